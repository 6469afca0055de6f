"""Waits: for a model, with its client told meanwhile; or for some time."""

from functools import partial

import trio

from arriero.protocol.values import ErrorInfo

from ..connections.connection import WaitingFor, Wakeup
from ..errors import (
    RelayError,
    StillLoading,
    Unavailable,
    from_supervisor,
)
from ..leases.leases import Lease
from .context import RelayContext
from .exchange import Call

# The longest wait of a stream, which can hear that it is alive. All that it waits for has deadlines
# of its own, far shorter; this one is above them.
STREAM_HOLD_S = 3600.0


async def hold(service: RelayContext, call: Call, *, is_patient: bool = False) -> Lease:
    """Wait for the model; the request is counted on the lease that is returned.

    Args:
        service: Has the leases.
        call: The request.
        is_patient: It hears that it is alive, as a stream does.

    Raises:
        ClientGone: The client has left meanwhile.
        RelayError: It will not get its model, or not in time.
    """
    conn = call.conn
    model = call.route.model
    wakeup = conn.wakeup = Wakeup()
    waiter, want = service.leases.want(model, partial(service.waking.soon, wakeup.set))
    conn.wait_for(WaitingFor.SUPERVISOR, float("inf"))
    call.has_waited = True
    call.start_waiting()
    is_held = is_patient or call.is_told or call.gets_blanks
    hold_s = STREAM_HOLD_S if is_held else call.config.nonstream_hold_s
    until = trio.current_time() + hold_s
    service.say(want)
    listener = service.teller.add(call)
    try:
        with trio.move_on_at(until):
            while waiter.outcome is None:
                conn.check()
                await wakeup.wait()
        outcome = waiter.outcome
        if outcome is None:
            raise _too_long(call)
        service.teller.remove(listener)
        if isinstance(outcome, ErrorInfo):
            raise from_supervisor(model, outcome)
        await call.tell_ready()
    except BaseException:
        left = service.leases.quit(waiter)
        if left is not None:
            service.say(left)
        raise
    finally:
        conn.wakeup = None
        service.teller.remove(listener)
    return outcome


def exit_lease(service: RelayContext, lease: Lease) -> None:
    """End a request that was counted on `lease`; what has to be said of it is said."""
    released = service.leases.exit(lease)
    if released is not None:
        service.upstreams.forget(lease.endpoint)
        service.say(released)


async def pause(service: RelayContext, call: Call, seconds: float) -> None:
    """Let some time pass.

    Raises:
        ClientGone: The client has left meanwhile.
        RequestCancelled: Somebody has asked for the end.
    """
    conn = call.conn
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


def _too_long(call: Call) -> RelayError:
    message = f"model {call.route.model} is not ready yet; ask again, the load goes on"
    return Unavailable(message) if call.is_told else StillLoading(message)
