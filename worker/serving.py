"""One model request from its body to its last byte: name, lease, relay, errors. Doing."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from arriero.protocol.lease import FromWorker
from arriero.protocol.routes import WorkerConfig
from arriero.protocol.values import ErrorInfo

from .call import Call, error_answer
from .errors import (
    RelayError,
    StillLoading,
    Unavailable,
    from_supervisor,
)
from .head import RequestHead
from .leases import Lease, Leases
from .naming import Names, read_body, rename
from .paths import Form
from .progress_view import ProgressView
from .relay import relay
from .sentry import Connection, Sentry, Waits, Wakeup
from .upstream import Unreachable, Upstreams

log = logging.getLogger(__name__)

# Seconds that a request which is no stream waits for its model: clients give up at 300, the time
# for the answer included.
NONSTREAM_HOLD_S = 240.0

# The same for a stream, which can hear that it is alive. All that it waits for has deadlines of
# its own, far shorter; this one is above them.
STREAM_HOLD_S = 3600.0


# Seconds from a refused connection to asking for the model again. A process that ends closes its
# port first; pidfd tells the supervisor some milliseconds later.
AGAIN_PAUSE_S = 0.1


@dataclass(slots=True, kw_only=True)
class Service:
    """What answering a model request takes.

    Attributes:
        sentry: Looks after the clients' connections.
        names: The models of the configuration in force.
        say: Sends a message to the supervisor; set by the link to it.
        leases: What may be done without asking.
        view: How the models stand.
        upstreams: Connections to them.
        finishing: No further request is taken on any connection.
    """

    sentry: Sentry
    names: Names = field(default_factory=lambda: Names(WorkerConfig(generation=0, models=())))
    say: Callable[[FromWorker], None] = field(default=lambda _: None)
    leases: Leases = field(default_factory=Leases)
    view: ProgressView = field(default_factory=ProgressView)
    upstreams: Upstreams = field(default_factory=Upstreams)
    finishing: bool = False

    async def answer(self, conn: Connection, head: RequestHead, form: Form, body: bytes) -> bool:
        """Answer one model request.

        Returns:
            Whether the connection may carry another request.

        Raises:
            ClientGone: The client has left.
            AnswerCut: The answer could not be completed: the connection has to be cut.
        """
        close = not head.keep_alive or self.finishing
        conn.requests += 1
        try:
            asked = read_body(body)
            route = self.names.find(asked.model)
        except RelayError as error:
            await conn.send(error_answer(error, close=close, form=form))
            return not close
        body = self.names.strip(body)
        if route.send_as is not None:
            body = rename(body, route.send_as)
        call = Call(conn, head, body, form, route, asked.model, asked.stream, close)
        conn.busy = True
        try:
            await self._serve(call)
        except RelayError as error:
            log.info(
                "request.failed model=%s status=%d code=%s", route.model, error.status, error.code
            )
            await call.fail(error)
        finally:
            conn.busy = False
        return not call.close

    async def _serve(self, call: Call) -> None:
        model = call.route.model
        lease = self.leases.enter(model)
        if lease is None:
            lease = await self._hold(call)
        try:
            await relay(call, self.upstreams.at(lease.endpoint))
            return
        except Unreachable:
            self.say(self.leases.broken(lease))
        finally:
            self._exit(lease)
        # The process went away a moment ago. Once more, when the supervisor has noticed as well:
        # to one that has not, the model would still be ready.
        log.info("request.again model=%s reason=unreachable", model)
        await trio.sleep(AGAIN_PAUSE_S)
        lease = await self._hold(call)
        try:
            await relay(call, self.upstreams.at(lease.endpoint))
        finally:
            self._exit(lease)

    def _exit(self, lease: Lease) -> None:
        released = self.leases.exit(lease)
        if released is not None:
            self.upstreams.forget(lease.endpoint)
            self.say(released)

    async def _hold(self, call: Call) -> Lease:
        """Wait for the model; the request is counted on the lease that is returned.

        Raises:
            ClientGone: The client has left meanwhile.
            RelayError: It will not get its model, or not in time.
        """
        conn = call.conn
        model = call.route.model
        wakeup = conn.wakeup = Wakeup()
        waiter, want = self.leases.want(model, wakeup.set)
        self.view.watch(model, wakeup.set)
        conn.wait_for(Waits.SUPERVISOR, float("inf"))
        call.start_waiting(self.names.config)
        hold_s = STREAM_HOLD_S if call.is_told else NONSTREAM_HOLD_S
        until = trio.current_time() + hold_s
        self.say(want)
        try:
            while (outcome := waiter.outcome) is None:
                conn.check()
                await call.tell(self.view.look(model))
                due = call.waiting.next_deadline() if call.waiting is not None else until
                with trio.move_on_at(min(due, until)):
                    await wakeup.wait()
                if trio.current_time() >= until and waiter.outcome is None:
                    raise _too_long(call)
            if isinstance(outcome, ErrorInfo):
                raise from_supervisor(model, outcome)
            await call.tell_ready()
        except BaseException:
            left = self.leases.quit(waiter)
            if left is not None:
                self.say(left)
            raise
        finally:
            conn.wakeup = None
            self.view.unwatch(model, wakeup.set)
        return outcome


def _too_long(call: Call) -> RelayError:
    message = f"model {call.route.model} is not ready yet; ask again, the load goes on"
    return Unavailable(message) if call.is_told else StillLoading(message)
