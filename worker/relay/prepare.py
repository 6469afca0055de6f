"""What a request wants: the call that is to be answered."""

import os
import time
from typing import Final

import trio

from arriero.protocol.read_json import json_object

from ..accounting.account import Account
from ..apis.base.api import ChunkShape
from ..apis.model_names import BodyFields, asks_for_prefill_itself, read_body
from ..apis.routes import BY_BODY, CHAT, ROUTES, Route
from ..apis.turns.dialect import TurnDialect
from ..apis.turns.events import TurnEvents
from ..apis.turns.request import QUERY_PATH, Query, TurnFormat, read_query, turn_format
from ..connections.connection import Connection
from ..errors import RelayError, TooLarge
from ..http.request_head import RequestHead
from ..json.edit import check_one_model
from ..json.large_body import LARGE_BYTES, LargeBody
from ..progress.prefill import PrefillProgress, Style, style_of
from ..upstreams.heads import origin_form
from .context import RelayContext
from .exchange import Call
from .upload import Upload

# Characters of a name that are remembered, of a client that names nonsense.
_MAX_NAME_CHARS: Final = 400


def way_of(service: RelayContext, body: bytes) -> Route:
    """Return what a request wants whose path does not say it."""
    value = json_object(body)
    try:
        peer = service.names.find(read_body(body).model).peer
    except RelayError:
        return Route(CHAT)  # why it cannot be answered is said later
    return Route(ROUTES.of_body(value, peer.kind if peer is not None else "unknown"))


def open_call(
    service: RelayContext,
    conn: Connection,
    head: RequestHead,
    way: Route,
    body: bytes,
    large: LargeBody | None,
    upload: Upload | None,
    account: Account,
    caller: str,
    close: bool,
) -> Call:
    """Read what a request wants.

    Raises:
        RelayError: It makes no sense, or names no model that there is.
    """
    config = service.names.config
    target = origin_form(head)
    if way.forward_path is not None:
        target = way.forward_path + target[len(head.path) :]
    query: Query | None = None
    if upload is not None:
        asked = BodyFields(upload.model, upload.stream)
    elif head.path == QUERY_PATH:
        if large is not None:
            raise TooLarge(f"cannot take a query of more than {LARGE_BYTES} bytes")
        query = read_query(body)
        asked = BodyFields(query.model or service.names.first(), True)
        body = query.chat_body(asked.model)
        target = CHAT.target.encode()
    elif way.model is not None:
        asked = BodyFields(way.model, bool(way.streams))
    elif large is not None:
        body = large.body
        asked = read_body(large.outline)
        check_one_model(large.outline)
    else:
        asked = read_body(body)
        check_one_model(body)
        body = service.names.strip(body)
    outline = body if large is None else large.outline
    account.keeper.asked = asked.model[:_MAX_NAME_CHARS]
    route, peer = service.names.find(asked.model)
    if head.path == BY_BODY:
        target = way.api.target_for(route.send_as or route.model, stream=asked.stream)
    if upload is not None and route.send_as is not None:
        upload.rename(route.send_as)
    account.keeper.model = route.model
    account.keeper.prices = route.prices
    told = query.format if query is not None else None
    if told is None and asked.stream and way.api is CHAT and head.own:
        told = turn_format(head.own)
    style = style_of(head.own) if head.own and asked.stream else None
    shape = way.api.chunk
    prefill: PrefillProgress | None = None
    if (
        style is not None
        and shape is not None
        and told is None
        and not asks_for_prefill_itself(outline)
    ):
        prefill = _prefill(style, shape, asked.model)
    return Call(
        conn=conn,
        head=head,
        body=body,
        outline=outline,
        members=None if large is None else large.members,
        upload=upload,
        target=target,
        way=way,
        route=route,
        peer=peer,
        model=asked.model,
        stream=asked.stream,
        close=close,
        config=config,
        rules=service.response_rules,
        account=account,
        caller=caller,
        prefill=prefill,
        turns=_turns(account, told, query, asked.model, config.marker) if told else None,
    )


def _prefill(style: Style, shape: ChunkShape, model: str) -> PrefillProgress:
    return PrefillProgress(
        style=style,
        shape=shape,
        ident=shape.id_prefix + os.urandom(12).hex(),
        created=int(time.time()),
        model=model,
        came=trio.current_time(),
    )


def _turns(
    account: Account, told: TurnFormat, query: Query | None, model: str, marker: str
) -> TurnDialect:
    conversation = query.conversation_id if query is not None else None
    events = TurnEvents(
        request_id=account.request_id,
        conversation_id=conversation or account.request_id,
        model=model,
        turn_format=told,
    )
    return TurnDialect(events, marker=marker)
