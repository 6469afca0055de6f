"""Waiting: for the lease of a model, or for some time; or not at all, for a model that runs."""

from functools import partial

import trio

from arriero.protocol.lease import Peek, Peeked
from arriero.protocol.values import ErrorInfo

from ..connections.connection import Connection, WaitingFor, Wakeup
from ..errors import (
    NotRunning,
    StillLoading,
    Unavailable,
    from_supervisor,
)
from ..leases.leases import Lease, bearer_line
from .context import RelayContext
from .exchange import Exchange
from .model_request import ModelRequest

# The longest wait of a client that gets keep-alive bytes. Everything that it waits for has its own
# deadlines, far shorter; this one is above them.
STREAM_HOLD_S = 3600.0


async def hold(service: RelayContext, exchange: Exchange, *, keepalive: bool = False) -> Lease:
    """Wait for the lease of the model; the request is counted on it.

    It may be that of another model, which serves in its place (`onBlocked`).

    Args:
        service: Has the leases.
        exchange: Of the request.
        keepalive: The client gets keep-alive bytes, so it may wait up to `STREAM_HOLD_S`, as that
            of a stream.

    Raises:
        ClientGone: The client has left meanwhile.
        RelayError: It will not get its model, or not in time.
    """
    conn, request = exchange.writer.conn, exchange.request
    model, is_limited = request.route.model, service.names.is_limited
    wakeup = conn.wakeup = Wakeup()
    waiter, want = service.leases.want(model, partial(service.waking.soon, wakeup.set), is_limited)
    conn.wait_for(WaitingFor.SUPERVISOR, float("inf"))
    progress = exchange.wait_for_model()
    until = trio.current_time() + hold_limit_s(exchange, keepalive=keepalive)
    service.say(want)
    subscriber = service.broadcast.add(progress)
    try:
        with trio.move_on_at(until):
            while waiter.outcome is None:
                conn.check()
                await wakeup.wait()
        outcome = waiter.outcome
        if outcome is None:
            raise too_long(request)
        service.broadcast.remove(subscriber)
        if isinstance(outcome, ErrorInfo):
            raise from_supervisor(model, outcome)
        await progress.tell_ready()
    except BaseException:
        left = service.leases.quit(waiter)
        if left is not None:
            service.say(left)
        if isinstance(waiter.outcome, Lease) and is_limited(waiter.outcome.model):
            service.say(service.leases.leave_place(waiter.request))
        raise
    finally:
        conn.wakeup = None
        service.broadcast.remove(subscriber)
    if is_limited(outcome.model):
        exchange.place = waiter.request
    return outcome


async def peek(service: RelayContext, model: str, why: str) -> Lease:
    """Return where a model answers that runs; it may be stopped at any time.

    Args:
        service: Asks the supervisor.
        model: Its id.
        why: It is not started: for the message.

    Raises:
        NotRunning: It is not ready.
        Unavailable: The supervisor does not answer.
    """
    peeked = await service.queries.ask(lambda ask: Peek(ask=ask, model=model), Peeked)
    if not peeked.endpoint:
        raise NotRunning(f"model {model} does not run, and {why}: send it a request first")
    lease = Lease(model, 0, peeked.endpoint, kind=peeked.kind)
    lease.key_line = bearer_line(peeked.api_key)
    return lease


async def pause(conn: Connection, seconds: float) -> None:
    """Wait for some time.

    Raises:
        ClientGone: The client has left meanwhile.
        RequestCancelled: Somebody has asked for the end.
    """
    wakeup = conn.wakeup = Wakeup()
    conn.wait_for(WaitingFor.SUPERVISOR, float("inf"))
    try:
        with trio.move_on_after(seconds):
            while True:
                conn.check()
                await wakeup.wait()
    finally:
        conn.wakeup = None
    conn.check()


def hold_limit_s(exchange: Exchange, *, keepalive: bool = False) -> float:
    """Return the seconds that a request may wait for its model.

    It is short for a client that hears nothing meanwhile. Another program that is told of its wait
    has a client, and a limit, of its own.
    """
    request, progress = exchange.request, exchange.progress
    is_told = progress is not None and progress.hop is not None
    if keepalive or is_told or request.can_be_told or request.gets_blanks:
        return STREAM_HOLD_S
    return request.config.nonstream_hold_s


def too_long(request: ModelRequest) -> Unavailable:
    """Return what a request is told that has waited for as long as it may."""
    message = f"model {request.route.model} is not ready yet; ask again, the load goes on"
    return Unavailable(message) if request.can_be_told else StillLoading(message)
