"""`ModelRequest` -> `UpstreamRequest`, for a local model or a peer."""

import math
import time
from typing import Final

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import PeerRoute

from ..http.auth import KeyRing
from ..http.header_rules import CompiledRules
from ..json.edit import Edited
from ..leases.leases import Lease
from ..progress.hop_progress import ASKING_LINES
from ..upstreams.heads import upstream_request
from ..upstreams.hops import hops_line, hops_of
from ..upstreams.peers import peer_request
from ..upstreams.pool import Endpoint
from ..upstreams.request import RequestOptions, UpstreamRequest, edit_body
from .exchange import Exchange
from .model_request import ModelRequest

# Behind these there may be a program of this kind.
_MAY_BE_OURS: Final[frozenset[UpstreamKind]] = frozenset(
    {"openai", "llama-server", "vllm", "unknown"}
)


def request_for_model(
    exchange: Exchange,
    endpoint: Endpoint,
    lease: Lease,
    kind: UpstreamKind,
    rules: CompiledRules | None,
) -> UpstreamRequest:
    """Return the request to a local model.

    Args:
        exchange: Of the request.
        endpoint: Where the model answers.
        lease: The right to ask it.
        kind: What answers there.
        rules: What is changed in the client's lines; None for nothing.
    """
    edited, length = _body_for(exchange, kind)
    request, peer = exchange.request, exchange.writer.conn.peer
    timeouts = request.route.timeouts
    expect_s = 0.0 if request.upload is None else _expect_s(request)
    return UpstreamRequest(
        head=head_for_model(request, peer, endpoint, lease, length, rules, expects=expect_s > 0),
        body=edited.body,
        parts=edited.parts,
        asked_usage=edited.asked_usage,
        asked_progress=edited.asked_progress,
        timeouts=timeouts,
        head_s=timeouts.response_header_s or math.inf,
        expect_s=expect_s,
    )


def request_for_peer(
    exchange: Exchange,
    peer: PeerRoute,
    keys: KeyRing,
    rules: CompiledRules | None,
    instance: str,
) -> UpstreamRequest:
    """Return the request to a peer, signed now.

    One of this kind is asked to tell how its model stands, for our client.

    Args:
        exchange: Of the request.
        peer: Where the model is.
        keys: Those of this program, which no peer ever gets.
        rules: What is changed in the client's lines; None for nothing.
        instance: See `hops_line`.

    Raises:
        RelayError: It cannot be signed.
    """
    edited, length = _body_for(exchange, peer.kind)
    request, expect_s = exchange.request, _expect_s(exchange.request)
    return UpstreamRequest(
        head=head_for_peer(
            request,
            peer,
            edited.body,
            length,
            keys,
            rules,
            instance,
            expects=expect_s > 0,
            more=ASKING_LINES if peer.kind in _MAY_BE_OURS else b"",
        ),
        body=edited.body,
        parts=edited.parts,
        asked_usage=edited.asked_usage,
        asked_progress=edited.asked_progress,
        timeouts=peer.timeouts,
        head_s=peer.timeouts.response_header_s or math.inf,
        expect_s=expect_s,
    )


def head_for_model(
    request: ModelRequest,
    client: bytes,
    endpoint: Endpoint,
    lease: Lease,
    length: int | None,
    rules: CompiledRules | None,
    *,
    expects: bool = False,
) -> bytes:
    """Return the head for a local model; see `upstream_request`.

    With keys of our own, what a client shows is one of them, and no model's business.
    """
    return upstream_request(
        request.head,
        target=request.target,
        length=length,
        peer=client,
        base_path=endpoint.base_path,
        extra=_extra(request, expects=True) if expects else request.trace.upstream_lines,
        rules=rules,
        key_line=lease.key_line,
        forwards=bool(request.head.keys) and not request.config.asks_for_keys,
    )


def head_for_peer(
    request: ModelRequest,
    peer: PeerRoute,
    body: bytes,
    length: int | None,
    keys: KeyRing,
    rules: CompiledRules | None,
    instance: str,
    *,
    expects: bool = False,
    more: bytes = b"",
) -> bytes:
    """Return the head for a peer, signed now; see `peer_request`."""
    if peer.kind in _MAY_BE_OURS:
        more += hops_line(hops_of(request.head.own), instance, peer.peer)
    return peer_request(
        peer,
        request.route.send_as or request.route.model,
        request.head,
        body,
        length=length,
        route=request.way,
        stream=request.stream,
        own_keys=keys,
        now=time.time(),
        extra=_extra(request, expects=expects) + more,
        rules=rules,
    )


def _expect_s(request: ModelRequest) -> float:
    """Return how long an upstream is asked first whether it takes a form, as its client asked."""
    if request.upload is None or not request.head.continues:
        return 0.0
    return request.route.timeouts.expect_continue_s


def _extra(request: ModelRequest, *, expects: bool) -> bytes:
    lines = request.trace.upstream_lines
    return lines + b"Expect: 100-continue\r\n" if expects else lines


def _body_for(exchange: Exchange, kind: UpstreamKind) -> tuple[Edited, int | None]:
    """Return the body for that kind, and its length; None for chunks."""
    request = exchange.request
    if request.upload is not None:
        return Edited(b""), request.upload.length
    if request.is_verbatim or (not request.stream and request.route.send_as is None):
        return Edited(request.body), len(request.body)
    progress = exchange.progress
    wants_turns = request.turns is not None
    options = RequestOptions(
        api=request.api,
        stream=request.stream,
        usage=wants_turns or (request.translation is not None and request.stream),
        progress=wants_turns
        or (
            request.translation is None
            and progress is not None
            and (progress.prefill is not None or progress.is_told_in_lines)
        ),
    )
    path = request.target.partition(b"?")[0]
    edited = edit_body(request.body, request.route, kind, path, options, request.members)
    return edited, edited.length
