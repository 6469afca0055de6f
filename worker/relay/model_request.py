"""Head and body of a request -> `ModelRequest`."""

import copy
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from arriero.protocol.read_json import json_object
from arriero.protocol.worker_config import ModelRoute, PeerRoute, WorkerConfig

from ..accounting.account import Account
from ..apis.base.api import Api
from ..apis.base.translation import Translation
from ..apis.chat.api import QUERY_PATH
from ..apis.model_names import Detour, ModelNames, Target, asks_for_prefill_itself, read_body
from ..apis.routes import BY_BODY, CHAT, COMFYUI, PLAIN, ROUTES, UPSTREAM, Route
from ..apis.turns.request import Query, TurnFormat, read_query, turn_format
from ..errors import (
    BadRequest,
    MovedPermanently,
    MovedWithMethod,
    RelayError,
    TooLarge,
    UnknownModel,
)
from ..http.request_head import RequestHead
from ..http.request_target import model_in_query, with_model
from ..http.tracing import Trace
from ..json.edit import check_one_model
from ..json.large_body import LARGE_BYTES, LargeBody, read_large
from ..json.spans import Member, Steps, finish
from ..progress.prefill import Style, style_of
from ..upstreams.heads import origin_form
from ..upstreams.upload import Upload

# Characters of a name that are remembered, of a client that names nonsense.
_MAX_NAME_CHARS: Final = 400


class ModelRequest(msgspec.Struct, frozen=True, eq=False):
    """The request of a client for a model; never changes.

    Attributes:
        head: Head of the request.
        way: What its path says.
        target: Path and query that go upstream.
        asked: The model's name as the client wrote it.
        route: That model.
        peer: Where the model is, if it is not here.
        detour: What is to be done before it goes there; None for nothing.
        stream: The response is to be a stream.
        is_verbatim: Nothing is changed in its body, nor said before its response.
        starts: The model is started for it if need be.
        keep_s: Seconds for which it wants the model to be kept, at most; None: not said.
        body: The body that goes upstream, before it is edited; empty with an `upload`.
        outline: The part of the body that is read; see `LargeBody`.
        members: Where the members of a long body are.
        upload: A body that is passed on as it comes.
        prefill: In which style the client wants to be told of its prompt; None if it does not.
        turns: In which format it wants the events of a turn; None if it does not.
        translation: It goes upstream in the words of another API; None if in those it came in.
        conversation_id: What it calls their conversation, if it calls it anything.
        config: The configuration in force when the request came.
        trace: How the request is called.
    """

    head: RequestHead
    way: Route
    target: bytes
    asked: str
    route: ModelRoute
    stream: bool
    body: bytes
    config: WorkerConfig
    trace: Trace
    is_verbatim: bool = False
    starts: bool = True
    peer: PeerRoute | None = None
    detour: Detour | None = None
    outline: bytes = b""
    members: Sequence[Member] | None = None
    upload: Upload | None = None
    prefill: Style | None = None
    turns: TurnFormat | None = None
    translation: Translation | None = None
    conversation_id: str | None = None
    keep_s: float | None = None

    @property
    def api(self) -> Api:
        """The API that is spoken."""
        return self.way.api

    @property
    def asks_nothing(self) -> bool:
        """Whether all that is wanted is that its model be loaded, or not be kept."""
        return self.translation is not None and not self.translation.body

    @property
    def is_replayable(self) -> bool:
        """Whether its body can be sent once more."""
        return self.upload is None or self.upload.replayable

    @property
    def can_be_told(self) -> bool:
        """Whether its API has words for a client that waits."""
        return self.stream and not self.way.api.is_silent

    @property
    def why_it_does_not_start(self) -> str:
        """Return why its model is not started for it, to be said."""
        if self.way.named_in == "query":
            return "this does not start it"
        if self.head.path.startswith(UPSTREAM):
            return "no path of upstream.ignorePaths starts it, no key with the scope 'read' alone"
        return f"only {COMFYUI.decode()}/ starts it"

    @property
    def gets_blanks(self) -> bool:
        """Whether a client that waits for JSON is sent blanks meanwhile."""
        return (
            self.config.nonstream_blanks
            and not self.stream
            and not self.way.api.is_silent
            and not self.is_verbatim
            and self.upload is None
        )


def way_of(names: ModelNames, body: bytes) -> Route:
    """Return the route of a request whose path does not tell its API."""
    value = json_object(body)
    try:
        peer = names.find(_meant(read_body(body).model, names)).peer
    except RelayError:
        return Route(CHAT)  # why it cannot be answered is said later
    return Route(ROUTES.of_body(value, peer.kind if peer is not None else "unknown"))


def _meant(named: str, names: ModelNames, what: str = "the body") -> str:
    """Return the model's name; of a request that names none the only one there is.

    Raises:
        BadRequest: There are several, or none.
    """
    if not named and names.sole is None:
        raise BadRequest(f"cannot tell which model is meant: {what} has no 'model'")
    return named or names.sole or ""


def way_upstream(names: ModelNames, head: RequestHead, way: Route) -> Route:
    """Return the route of a request that is passed on whatever it is: its model, and the path.

    Args:
        names: The models of the configuration in force.
        head: Of the request.
        way: What its path says without them.
    """
    if way.model is not None:
        return way
    model, path = names.split(head.path[len(UPSTREAM) :])
    known = ROUTES.find(path) if head.method == b"POST" else None
    return Route(
        PLAIN if known is None else known.api,
        model,
        forward_path=path,
        named_in="path",
        starts=not names.is_ignored(path),
        is_counted=known is not None,
        access=ROUTES.access_under_upstream(head.method, path),
    )


def find_meant(names: ModelNames, head: RequestHead, asked: str) -> Target:
    """Return the model of a request that is passed on as it is.

    Under ``/comfyui`` that is the model here that has this very id: neither a peer's, nor an
    alias.

    Raises:
        UnknownModel: There is none.
    """
    is_comfyui = (head.path + b"/").startswith(COMFYUI + b"/")
    return names.find_own(asked) if is_comfyui else names.find(asked)


class LongBody(NamedTuple):
    """A body that takes long to be read, and what came out.

    Attributes:
        large: What goes upstream.
        translation: How that was made of the client's; None if it is that.
    """

    large: LargeBody
    translation: Translation | None = None


def read_long(names: ModelNames, head: RequestHead, way: Route, body: bytes) -> Steps[LongBody]:
    """Read a long body; steps as in `spans`.

    Raises:
        RelayError: It makes no sense.
    """
    large = yield from read_large(body, names.strip_large)
    if not way.api.is_translated:
        return LongBody(large)
    translation = yield from way.api.translate(head.path, large.body, _name_meant(names))
    if not translation.body:
        return LongBody(LargeBody(b"", b"{}", ()), translation)
    return LongBody((yield from read_large(translation.body, names.strip_large)), translation)


def _name_meant(names: ModelNames) -> Callable[[str], str]:
    return lambda said: _meant(names.without_usual_tag(said), names)


def read_request(
    names: ModelNames,
    head: RequestHead,
    way: Route,
    body: bytes,
    long_body: LongBody | None,
    upload: Upload | None,
    account: Account,
    trace: Trace,
) -> ModelRequest:
    """Read a request, and fill in its account as it becomes known.

    Args:
        names: The models of the configuration in force.
        head: Head of the request.
        way: What its path says.
        body: All of the body; empty with an `upload`.
        long_body: The same, read step by step, if it is long.
        upload: A body that is passed on as it comes.
        account: Of the request.
        trace: How the request is called.

    Raises:
        RelayError: It makes no sense, or names no model that there is.
    """
    target = origin_form(head)
    if way.forward_path is not None:
        target = way.forward_path + target[len(head.path) :]
    large = long_body.large if long_body is not None else None
    translation = long_body.translation if long_body is not None else None
    query: Query | None = None
    keep_s: float | None = None
    is_verbatim = way.named_in == "path"
    in_query = model_in_query(head.target) if way.named_in == "query" else None
    if is_verbatim:
        asked, stream = way.model or "", False
        _check_slash(head, way, target)
    elif in_query is not None:
        asked, stream, is_verbatim = in_query, False, True
    elif upload is not None and way.api.is_translated:
        raise BadRequest(f"cannot read a form at {head.path.decode()}: send JSON")
    elif upload is not None:
        asked, stream = _meant(upload.model, names, "the form"), upload.stream
    elif way.named_in == "query" and not body and names.sole is not None:
        asked, stream, is_verbatim = names.sole, False, True
    elif way.named_in == "query" and not body:
        raise BadRequest(
            "cannot tell which model is meant: name it in the query, as in '?model=name'"
        )
    elif head.path == QUERY_PATH:
        if large is not None:
            raise TooLarge(f"cannot take a query of more than {LARGE_BYTES} bytes")
        query = read_query(body)
        asked, stream = query.model or names.first(), True
        body = query.chat_body(asked)
        target = CHAT.target.encode()
    elif way.model is not None:
        asked, stream = way.model, bool(way.streams)
    elif way.api.is_translated:
        if translation is None:
            translation = finish(
                way.api.translate(head.path, names.strip(body), _name_meant(names))
            )
        asked, stream, keep_s = translation.model, translation.stream, translation.keep_s
        body, target = translation.body, translation.target
        way = way._replace(forward_path=target)
    elif large is not None:
        body = large.body
        asked, stream, keep_s = read_body(large.outline)
        asked = _meant(asked, names)
        check_one_model(large.outline)
    else:
        asked, stream, keep_s = read_body(body)
        asked = asked or _meant(asked, names)
        check_one_model(body)
        body = names.strip(body)
    account.asked = asked[:_MAX_NAME_CHARS]
    route, peer, detour = find_meant(names, head, asked) if is_verbatim else names.find(asked)
    if is_verbatim and detour is not None:
        if in_query is None and detour.selector is not None:
            raise UnknownModel(
                f"cannot use the selector '{asked}' under {UPSTREAM.decode()}: name one of its "
                "models there"
            )
        detour = detour._replace(changes=None)
    account.model = route.model
    account.prices = route.prices
    if head.path == BY_BODY:
        target = way.api.target_for(route.send_as or route.model, stream=stream)
    if route.send_as is not None and (not detour or not detour.selector):
        if in_query is not None:
            head, target = _renamed(head, target, route.send_as)
        elif not is_verbatim and way.model is not None:
            target = _with_name(target, route.send_as)
        elif not is_verbatim and upload is not None:
            upload.rename(route.send_as)
    outline = body if large is None else large.outline
    turns = _turns_wanted(query, head, way) if stream else None
    account.stream = stream
    # The first ones by place: of more than fifteen names Python makes a dictionary, and this takes
    # 3 us in the place of 0.2.
    return ModelRequest(
        head,
        way,
        target,
        asked,
        route,
        stream,
        body,
        names.config,
        trace,
        is_verbatim,
        way.starts,
        peer,
        detour,
        outline=outline,
        members=None if large is None else large.members,
        upload=upload,
        prefill=_prefill_wanted(head, way, outline) if stream and turns is None else None,
        turns=turns,
        translation=translation,
        conversation_id=query.conversation_id if query is not None else None,
        keep_s=keep_s,
    )


def led_to(request: ModelRequest, found: Target, account: Account) -> ModelRequest:
    """Return `request` on its way to another model, as its selector or `onBlocked` has chosen."""
    route = found.route
    account.model = route.model
    account.prices = route.prices
    target = request.target
    if request.head.path == BY_BODY:
        target = request.api.target_for(route.send_as or route.model, stream=request.stream)
    head, detour = request.head, found.detour
    if request.is_verbatim:
        detour = None
        if route.send_as is not None and request.way.named_in == "query":
            head, target = _renamed(head, target, route.send_as)
    elif route.send_as is not None and request.way.model is not None:
        target = _with_name(target, route.send_as)
    elif route.send_as is not None and request.upload is not None:
        request.upload.rename(route.send_as)
    return replace(request, head=head, route=route, peer=found.peer, detour=detour, target=target)


def _renamed(head: RequestHead, target: bytes, model: str) -> tuple[RequestHead, bytes]:
    """Return head and target with another name in the query."""
    renamed = copy.copy(head)
    renamed.target = with_model(head.target, model)
    return renamed, with_model(target, model)


def _with_name(target: bytes, model: str) -> bytes:
    """Return path and query with another name where the path has one."""
    path, question, query = target.partition(b"?")
    return ROUTES.with_model(path, model) + question + query


def _check_slash(head: RequestHead, way: Route, target: bytes) -> None:
    """Make sure that links within the pages of a model's server lead to it.

    Raises:
        MovedPermanently: They would not: the path ends with the model's name.
    """
    if way.forward_path == b"":
        moved = MovedPermanently if head.method in {b"GET", b"HEAD"} else MovedWithMethod
        raise moved(head.path + b"/" + target)


def _turns_wanted(query: Query | None, head: RequestHead, way: Route) -> TurnFormat | None:
    if query is not None:
        return query.format
    return turn_format(head.own) if head.own and way.api is CHAT else None


def _prefill_wanted(head: RequestHead, way: Route, outline: bytes) -> Style | None:
    if not head.own or way.api.chunk is None or asks_for_prefill_itself(outline):
        return None
    return style_of(head.own)
