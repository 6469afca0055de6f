"""A WebSocket of a model, which is kept for it as long as that is open."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import trio

from arriero.protocol.worker_config import PeerRoute

from ..http.tracing import Trace
from ..leases.leases import Lease
from ..relay.context import RelayContext
from ..relay.exchange import Call
from ..relay.upstream_request import head_for_model, head_for_peer
from ..relay.wait_for_model import exit_lease, hold, pause
from ..upstreams.pool import CONNECT_S, UpstreamUnanswered, UpstreamUnreachable
from ..upstreams.retry import LocalLosses
from .dial import DialledUpstream, dial
from .handshake import as_upgrade


@asynccontextmanager
async def dial_model(
    service: RelayContext, call: Call, trace: Trace, opening: bytes
) -> AsyncGenerator[DialledUpstream, None]:
    """Ask the model of `call` for a WebSocket; its lease is held until the block ends.

    Args:
        service: Has the leases, and the connections.
        call: Who asks; one whose WebSocket is open waits as long as a stream.
        trace: How it is called.
        opening: Lines that open a WebSocket of ours; empty if the client's own is passed on.

    Raises:
        ClientGone: The client has left meanwhile.
        RelayError: The model cannot be had, or not be reached.
    """
    if call.peer is not None:
        async with _dial_peer(service, call, call.peer, trace, opening) as dialled:
            yield dialled
        return
    losses = LocalLosses()
    lease = service.leases.enter(call.route.model)
    while True:
        if lease is None:
            lease = await hold(service, call, is_patient=call.stream)
        call.account.keeper.granted(trio.current_time())
        async with AsyncExitStack() as stack:
            stack.callback(exit_lease, service, lease)
            call.conn.lease = lease
            try:
                dialled = await stack.enter_async_context(
                    _dial_local(service, call, lease, trace, opening)
                )
            except (UpstreamUnreachable, UpstreamUnanswered) as loss:  # as in `_serve`
                service.say(service.leases.broken(lease))
                again_s = losses.after_loss(
                    trio.current_time(), refused=isinstance(loss, UpstreamUnreachable)
                )
                if again_s is None:
                    raise
            else:
                yield dialled
                return
        await pause(service, call, again_s)
        lease = None


def _dial_local(
    service: RelayContext, call: Call, lease: Lease, trace: Trace, opening: bytes
) -> AbstractAsyncContextManager[DialledUpstream]:
    endpoint = service.upstreams.at(lease.endpoint)
    call.account.keeper.upstream_kind = call.route.kind or lease.kind
    request = head_for_model(call, endpoint, lease, 0, trace, service.request_rules)
    return dial(
        endpoint,
        as_upgrade(request, opening),
        connect_s=CONNECT_S,
        head_s=call.config.upstream_idle_s,
        may_stay=lambda: lease.admits,
    )


def _dial_peer(
    service: RelayContext, call: Call, peer: PeerRoute, trace: Trace, opening: bytes
) -> AbstractAsyncContextManager[DialledUpstream]:
    call.account.keeper.upstream_kind = peer.kind
    call.account.keeper.granted(trio.current_time())
    request = head_for_peer(call, peer, b"", 0, trace, service.request_rules)
    return dial(
        service.upstreams.at(peer.url),
        as_upgrade(request, opening),
        connect_s=peer.connect_s,
        head_s=peer.header_s or call.config.upstream_idle_s,
        may_stay=lambda: True,
    )
