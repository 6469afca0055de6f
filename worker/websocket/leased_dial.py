"""Opens a WebSocket to a model whose lease is held meanwhile."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio
from msgspec.structs import replace

from arriero.protocol.worker_config import PeerRoute

from ..leases.leases import Lease
from ..relay.context import RelayContext
from ..relay.exchange import Exchange
from ..relay.model_request import ModelRequest, led_to
from ..relay.upstream_request import head_for_model, head_for_peer
from ..relay.wait_for_model import hold, pause, peek
from ..upstreams.pool import UpstreamUnanswered, UpstreamUnreachable
from ..upstreams.retry import LocalLosses
from .dial import DialledUpstream, dial
from .handshake import as_upgrade


@asynccontextmanager
async def dial_model(
    service: RelayContext, exchange: Exchange, opening: bytes
) -> AsyncGenerator[DialledUpstream, None]:
    """Open a WebSocket to the model; the lease is held for the block.

    Args:
        service: Has the leases, and the connections.
        exchange: Who asks; one whose WebSocket is open waits as long as a stream.
        opening: Lines that open a WebSocket of ours; empty if the client's own is passed on.

    Raises:
        ClientGone: The client has left meanwhile.
        RelayError: The model cannot be had, or not be reached.
    """
    request, conn = exchange.request, exchange.writer.conn
    if request.peer is not None:
        async with _dial_peer(service, exchange, request.peer, opening) as dialled:
            yield dialled
        return
    if request.route.ignore_websockets:
        async with _dial_unleased(service, exchange, opening) as dialled:
            yield dialled
        return
    losses = LocalLosses(conn.monitor.limits.refusing_s)
    limited = request.route.concurrency_limit > 0
    lease = None if limited else service.leases.enter(request.route.model)
    while True:
        if lease is None:
            lease = await hold(service, exchange, keepalive=request.stream)
        exchange.account.granted(trio.current_time())
        async with AsyncExitStack() as stack:
            stack.callback(service.exit_lease, lease, exchange.place)
            conn.lease = lease
            try:
                if lease.model != exchange.request.route.model:
                    exchange.request = _elsewhere(service, exchange, lease.model)
                dialled = await stack.enter_async_context(
                    _dial_local(service, exchange, lease, opening)
                )
            except (UpstreamUnreachable, UpstreamUnanswered) as loss:  # as in `_serve_local`
                service.say(service.leases.broken(lease))
                again_s = losses.after_loss(
                    trio.current_time(), refused=isinstance(loss, UpstreamUnreachable)
                )
                if again_s is None:
                    raise
            else:
                yield dialled
                return
        await pause(conn, again_s)
        lease = None


def _elsewhere(service: RelayContext, exchange: Exchange, model: str) -> ModelRequest:
    """Return the request with `model` in the place of the one that it asks for.

    Raises:
        UnknownModel: The configuration does not have it any more.
    """
    found = service.names.find_chosen(model)
    way = exchange.request.way._replace(named_in="query")
    tunnel = replace(exchange.request, is_verbatim=True, way=way)
    return led_to(tunnel, found, exchange.account)


@asynccontextmanager
async def _dial_unleased(
    service: RelayContext, exchange: Exchange, opening: bytes
) -> AsyncGenerator[DialledUpstream, None]:
    """Open a WebSocket that neither starts its model nor keeps it.

    Raises:
        NotRunning: The model is not ready.
    """
    lease = await peek(
        service,
        exchange.request.route.model,
        "its WebSockets do not start it (ignoreWebsockets)",
    )
    exchange.account.granted(trio.current_time())
    async with _dial_local(service, exchange, lease, opening) as dialled:
        yield dialled


def _dial_local(
    service: RelayContext, exchange: Exchange, lease: Lease, opening: bytes
) -> AbstractAsyncContextManager[DialledUpstream]:
    endpoint = service.upstreams.at(lease.endpoint)
    request, client = exchange.request, exchange.writer.conn.peer
    exchange.account.upstream_kind = request.route.kind or lease.kind
    exchange.account.swap = lease.swap
    head = head_for_model(request, client, endpoint, lease, 0, service.request_rules)
    return dial(
        endpoint,
        as_upgrade(head, opening),
        timeouts=request.route.timeouts,
        head_s=request.route.timeouts.response_header_s or request.config.upstream_idle_s,
        may_stay=lambda: lease.admits,
    )


def _dial_peer(
    service: RelayContext, exchange: Exchange, peer: PeerRoute, opening: bytes
) -> AbstractAsyncContextManager[DialledUpstream]:
    exchange.account.upstream_kind = peer.kind
    exchange.account.granted(trio.current_time())
    head = head_for_peer(
        exchange.request,
        peer,
        b"",
        0,
        service.admission.keys,
        service.request_rules,
        service.instance,
    )
    return dial(
        service.upstreams.at(peer.url),
        as_upgrade(head, opening),
        timeouts=peer.timeouts,
        head_s=peer.timeouts.response_header_s or exchange.request.config.upstream_idle_s,
        may_stay=lambda: True,
    )
