"""The scheduler: decides which model runs, waits or is evicted.

The heart of the supervisor, without any I/O.

Events come in, commands go out; the caller carries them out in order. Time is an argument.

The rules, in the order in which they are applied after every event:

1. A draining model whose last lease came back is stopped.
2. A waiter for a ready model is granted a lease, unless an earlier turn needs its place.
3. The models with waiters take their turns: of a higher priority first, then in the order of their
   oldest waiter. Those that the model of a turn evicts are drained and stopped, then it is started.
   A later turn goes ahead only if it takes nothing from an earlier one; `room/turns.py` decides.
4. A running request is never cut to make room, and a model that is starting for a waiter is never
   stopped for another one.

Whatever the placement policy is: a model is started only once all that it evicts have ended, and,
where memory decides, once the devices have their memory back. What cannot have room, whoever else
went, has no turn until that changes; its waiters wait, are refused, or get another model. A start
that runs out of memory is tried once more with a raised size.

Bounded wait: a contested model goes on admitting requests on the leases that are out until it is
idle for a moment, but not for longer than `Rules.max_wait_s`; then it admits none. So a request
waits no longer than `max_wait_s`, the longest running request, a stop and a start, for its own
model and for each one that is ahead of it. Those that come later and have no higher priority add
nothing to that.

A higher priority is ahead whenever it comes, and nothing ages. While requests for such models keep
coming, others that cannot run beside them are not started, without a bound. No request is cut for
them, though, and a model that is starting is not given up. So a higher priority is for models that
are asked for now and then.

Models that were stopped for one that then could not be started are started again, as if nothing had
been: those that fit, unless their place is waited for, or they were stopped on request.

A model that hangs, or answers with errors only, has failed like one that went by itself; its pause
keeps it from taking anything away. What it was doing ends with an error, and so do the requests of
a draining model that get no further for `Spec.drain_limit_s`: the workers get notice first, for
they alone can answer their clients.

The rules are only right together; each part has one of them, and changes only its own state:

    room/placement   who can be there beside whom        room/turn_order  whose turn it is
    room/sizing      how large models are                waiters, leases  who waits, who may ask
    steps, attempts  a model's next state, what is told  pursuit          turns are taken
    blocked          waiters that nothing can help       comebacks        who is started again
    processes        what processes report               orders           what operators order
    deadlines        what happens when nothing else does view             questions
"""

from collections.abc import Callable, Iterable

from arriero.protocol.values import ErrorInfo

from ..placement.policy import PlacementPolicy
from .attempts import Attempts
from .blocked import Blocked
from .comebacks import Comebacks
from .deadlines import Deadlines
from .leases import WorkerLeases
from .messages.events import (
    Adopted,
    BecameReady,
    Command,
    DevicesRead,
    Event,
    Failing,
    FellAsleep,
    HoldRequested,
    Hung,
    KeptAlive,
    LeasesHeld,
    Left,
    NotReady,
    OwnerLost,
    PinRequested,
    ProcessEnded,
    Progressed,
    Reconfigured,
    Refused,
    Released,
    ReleaseRequested,
    Reported,
    ShuttingDown,
    Sized,
    SleepFailed,
    Spawned,
    Spec,
    Stalled,
    TimePassed,
    UnloadRequested,
    Waiter,
    Wanted,
    WokeUp,
)
from .messages.pending_commands import PendingCommands
from .orders import Orders
from .processes import ProcessNews
from .pursuit import Pursuit
from .room.placement import Placement
from .room.sizing import Sizing
from .room.turn_order import TurnOrder
from .states.model_table import ModelTable
from .states.rules import Rules
from .steps import Steps
from .view import EngineView
from .waiters import QueueNews, Waiters


class Engine:
    """Decides.

    Feed it events with `handle`; carry out the commands in the order given.

    Attributes:
        view: How all stands.
    """

    def __init__(
        self,
        specs: Iterable[Spec],
        *,
        now: float = 0.0,
        rules: Rules | None = None,
        policy: PlacementPolicy | None = None,
        obstacle: Callable[[str], ErrorInfo | None] = lambda _: None,
    ) -> None:
        """Build it with every model stopped.

        Args:
            specs: The models.
            now: Since when they are stopped.
            rules: Settings of the operator.
            policy: Decides which models can run together.
            obstacle: Says at once why a model cannot be started, if that is plain to see. It is
                asked before others make room: what cannot start anyway takes nothing away.
        """
        rules = rules or Rules()
        self._out = out = PendingCommands()
        self._table = table = ModelTable(specs, now=now)
        self._placement = placement = Placement(table)
        self._sizing = sizing = Sizing(table, placement, out)
        self._waiters = waiters = Waiters(table, placement, out, now=now)
        self._leases = leases = WorkerLeases(table, placement, out, now=now)
        self._queue_news = queue_news = QueueNews(table, waiters.queue, out)
        self._attempts = attempts = Attempts(out)
        self._steps = steps = Steps(table=table, placement=placement, attempts=attempts, out=out)
        turn_order = TurnOrder(table, waiters.queue, placement)
        self._comebacks = comebacks = Comebacks(
            table,
            placement=placement,
            turn_order=turn_order,
            attempts=attempts,
            steps=steps,
            sizing=sizing,
        )
        self._blocked = Blocked(
            table=table,
            placement=placement,
            attempts=attempts,
            waiters=waiters,
        )
        self._pursuit = Pursuit(
            table=table,
            out=out,
            placement=placement,
            turn_order=turn_order,
            attempts=attempts,
            steps=steps,
            waiters=waiters,
            comebacks=comebacks,
            backoff=rules.backoff,
            obstacle=obstacle,
        )
        self._orders = orders = Orders(
            table=table,
            placement=placement,
            turn_order=turn_order,
            attempts=attempts,
            steps=steps,
            waiters=waiters,
            comebacks=comebacks,
        )
        self._processes = ProcessNews(
            table=table,
            out=out,
            placement=placement,
            sizing=sizing,
            attempts=attempts,
            steps=steps,
            waiters=waiters,
            comebacks=comebacks,
            orders=orders,
            backoff=rules.backoff,
        )
        self._deadlines = Deadlines(
            table=table,
            rules=rules,
            placement=placement,
            sizing=sizing,
            attempts=attempts,
            steps=steps,
            waiters=waiters,
            comebacks=comebacks,
        )
        self.view = EngineView(
            table,
            placement=placement,
            turn_order=turn_order,
            attempts=attempts,
            waiters=waiters,
            queue_news=queue_news,
            leases=leases,
            comebacks=comebacks,
            orders=orders,
        )
        placement.follow(policy)
        comebacks.follow()

    def __repr__(self) -> str:
        return f"<Engine of {self.view!r}>"

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take `event` and return the commands that follow from it."""
        self._placement.at(now)
        self._note(event, now)
        self._settle(now)
        self._queue_news.look()
        return self._out.take()

    def next_deadline(self, now: float) -> float:
        """Return the latest time for `TimePassed`; infinity for never."""
        return self._deadlines.next(now)

    def _settle(self, now: float) -> None:
        """Do all that follows from how things stand."""
        self._deadlines.look(now)
        self._blocked.settle(now)
        self._pursuit.take_turns(now)
        if not self._waiters.is_closing:
            self._comebacks.want_pinned(now)
        self._comebacks.restore(now)
        self._pursuit.tell_who_is_paused(now)
        self._pursuit.forget_turns()

    def _note(self, event: Event, now: float) -> None:
        """Take note of `event`: each part is told what concerns it."""
        match event:
            # Waiters, and the leases of workers
            case Wanted(waiter, model):
                self._waiters.want(waiter, model, now)
            case Left(waiter):
                self._waiters.leave(waiter)
            case OwnerLost(owner):
                self._waiters.queue.remove_owner(owner)
                self._leases.lose(owner)
            case Released():
                self._leases.release(event, now)
            case Reported():
                self._leases.report(event, now)
            case KeptAlive():
                self._leases.keep_alive(event, now)
            # Processes
            case Spawned():
                self._processes.spawned(event, now)
            case NotReady():
                self._processes.not_ready(event)
            case Progressed(progress):
                self._attempts.follow(self._table.all[progress.model], progress)
            case BecameReady():
                self._processes.ready(event, now)
            case ProcessEnded():
                self._processes.ended(event, now)
            case Hung():
                self._processes.hung(event, now)
            case Failing():
                self._processes.failing(event, now)
            case Refused(model):
                self._processes.refused(model)
            case Stalled():
                self._processes.stalled(event)
            # What an earlier supervisor has left
            case Adopted():
                self._processes.adopted(event, now)
            case LeasesHeld(owner, leases, waits):
                self._leases.believe(owner, leases)
                for model, requests in waits.items():
                    for request in requests:
                        self._waiters.want(Waiter(owner, request), model, now, waits_on=True)
            # Sleep
            case FellAsleep(model, swap):
                self._steps.fell_asleep(self._table.all[model], swap, now)
            case WokeUp(model, swap):
                self._steps.woke_up(self._table.all[model], swap, now)
            case SleepFailed(model, swap):
                self._steps.did_not_sleep(self._table.all[model], swap, now)
            # Memory
            case Sized():
                self._sizing.take(event)
            case DevicesRead(found, foreign, began_at):
                self._placement.see(found, foreign, began_at)
            # Orders
            case HoldRequested():
                self._orders.hold(event, now)
            case ReleaseRequested(device):
                self._placement.release(device)
            case PinRequested(model, is_pinned):
                self._orders.pin(model, is_pinned=is_pinned)
            case UnloadRequested():
                self._orders.unload_model(event, now)
            case Reconfigured():
                self._reconfigure(event, now)
            case ShuttingDown(at_once):
                self._orders.shut_down(now, at_once=at_once)
            case TimePassed():
                pass

    def _reconfigure(self, change: Reconfigured, now: float) -> None:
        if not self._waiters.is_closing:
            self._orders.reconfigure(change, now)
            self._queue_news.forget()
