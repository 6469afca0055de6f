"""The scheduler: decides which model runs, waits or is evicted.

The heart of the supervisor, without any I/O.

Events come in, commands go out; the caller carries them out in order. Time is an argument.

The rules, in the order in which they are applied after every event:

1. A draining model whose last lease came back is stopped.
2. A waiter for a ready model is granted a lease, unless an earlier turn needs its place.
3. The models with waiters take their turns: of a higher priority first, then in the order of their
   oldest waiter. Those that the model of a turn evicts are drained and stopped, then it is started.
   A later turn goes ahead only if it takes nothing away from an earlier one; `turns.py` decides.
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

All of it is in one file, longer than the others, because the rules are only right together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from arriero.protocol.control import ExplainReply
from arriero.protocol.events import EndReason, ProgressMade, QueueChanged, StateChanged
from arriero.protocol.lease import HeldLease
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import (
    DeviceStatus,
    ErrorInfo,
    ModelStatus,
    Phase,
    Progress,
    QueueEntry,
    State,
)

from ..memory.devices import DeviceReading, rooms
from ..memory.ledger import RETURN_LIMIT_S
from ..memory.policy import ByMemory
from ..memory.sizes import NOTHING, UNKNOWN, Amounts, ModelSize, largest
from ..placement.policy import OneAtATime, PlacementPolicy
from .messages import refusals
from .messages.events import (
    Adopted,
    Announce,
    BecameReady,
    Command,
    DevicesRead,
    EstimateSize,
    Event,
    Failing,
    FellAsleep,
    GrantLease,
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
    PutToSleep,
    RaiseSize,
    Reconfigured,
    Refused,
    RefuseWaiter,
    Released,
    ReleaseRequested,
    Reported,
    RevokeLease,
    ShuttingDown,
    Sized,
    SleepFailed,
    Spawn,
    Spawned,
    Spec,
    Stalled,
    Terminate,
    TimePassed,
    UnloadRequested,
    VoidLease,
    Waiter,
    Wake,
    Wanted,
    WokeUp,
)
from .room.explain import explanation
from .room.room import MAX_TURNS, Blockage, Room, eviction, is_protected, raised_size
from .room.turns import Turn, plan
from .states.backoff import Backoff
from .states.lifecycle import Step, after
from .states.model_state import MUTE, UNTOLD, ModelState, QueuedWaiter
from .states.wait_list import WaitList

# Seconds that workers get to end requests of a model that is stopped without waiting for them. They
# need milliseconds; one that hangs itself is not waited for.
CUT_LIMIT_S: Final = 2.0

# Seconds within which workers have reported what runs: they do so every second. Until then another
# one may have a request that came after the one that wants its model to go.
REPORT_LIMIT_S: Final = 2.0

# Seconds that the estimate of a size is waited for; reading the headers takes a fraction of one. A
# disk that hangs must not keep others waiting: after that the size is unknown.
SIZING_LIMIT_S: Final = 5.0

# The order of turns, the smallest first: minus the priority, and the number of the oldest waiter.
_Key: TypeAlias = tuple[float, float]
_LAST: Final[_Key] = (math.inf, math.inf)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that an operator may change.

    Attributes:
        max_wait_s: How long a contested model may go on admitting requests. Ten seconds let a
            chat or a batch finish a few short requests before the swap, and are not yet the
            minute after which clients begin to give up.
        backoff: Pauses between the starts of a model that fails.
    """

    max_wait_s: float = 10.0
    backoff: Backoff = msgspec.field(default_factory=Backoff)


class RunningModel(NamedTuple):
    """A model that has a process.

    Attributes:
        model: Its name.
        pid: The process.
        swap: Number of its start.
        serves: It is ready.
        sleeps: It is asleep.
    """

    model: str
    pid: int
    swap: int
    serves: bool
    sleeps: bool = False


class StandingOrders(NamedTuple):
    """What was ordered and is not over, and does not follow from what runs.

    Attributes:
        unloading: Numbers of the starts of models that are to end after their running requests.
        holds: Devices that are held, and until when; "" is all there is.
        pins: Models that stay while they are loaded.
    """

    unloading: tuple[int, ...] = ()
    holds: tuple[tuple[str, float], ...] = ()
    pins: tuple[str, ...] = ()


class ModelOutlook(NamedTuple):
    """What is known of how soon a model is likely to be started.

    Attributes:
        model: Its name.
        use: How much it was used lately.
        start_s: How long its starts took; None if that is not known.
        runs: It has a process.
        stays: It never makes room for another one.
    """

    model: str
    use: float
    start_s: float | None
    runs: bool
    stays: bool


class ModelDemand(NamedTuple):
    """How a model stands, for who has to choose between this machine and others.

    Attributes:
        state: See `Engine.standing`.
        running: Requests that run on it, as far as that was reported.
        waiting: Requests that wait for it.
        most: Requests that may run on it; 0: any number.
        fraction: Share of its start that is done; None if it is not starting, or not known.
        eta_s: Seconds until it is ready, likewise.
        start_s: How long its starts took; None if that is not known.
        loads_s: Seconds that all loads here take that are under way or waited for.
    """

    state: State
    running: int
    waiting: int
    most: int
    fraction: float | None
    eta_s: float | None
    start_s: float | None
    loads_s: float = 0.0


class Engine:
    """Decides.

    Feed it events with `handle`; carry out the commands in the order given.
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
        self._entries = {spec.model: ModelState(spec, since=now) for spec in specs}
        self._rules = rules or Rules()
        self._obstacle = obstacle
        self._live: dict[str, ModelState] = {}  # those that are neither stopped nor asleep
        self._asleep: dict[str, ModelState] = {}
        self._found: Mapping[str, DeviceReading] = {}
        self._foreign: Amounts = NOTHING
        self._room: Room | None = None  # where memory decides
        self._always: list[ModelState] = []  # pinned to be there at any time
        self._held_until: float | None = None  # where it does not: everything is held
        self._follow_policy(policy or OneAtATime())
        self._turning: dict[str, ModelState] = {}  # stopped, with their turn announced
        self._queue = WaitList()
        self._restoring: dict[str, str] = {}  # stopped for one that failed; which one
        self._announced_queue: tuple[QueueEntry, ...] = ()
        self._queue_of: tuple[int, set[str]] = (0, set())  # what that was made of
        self._commands: list[Command] = []
        self._plan_of: tuple[frozenset[str], list[str], object] = (frozenset(), [], None)
        self._planned: tuple[Turn, ...] = ()
        self._arrivals = 0
        self._busy_at = now
        self._numbers = 0  # of leases and of swaps
        self._closing = False

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {entry.state}" for name, entry in self._entries.items())
        return f"<Engine {states}; {len(self._queue)} waiting>"

    # --- the outside ----------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take `event` and return the commands that follow from it."""
        if self._room is not None:
            self._room.now = now
        self._note(event, now)
        self._settle(now)
        self._announce_queue()
        commands, self._commands = self._commands, []
        return commands

    def _announce_queue(self) -> None:
        full = {name for name, entry in self._live.items() if entry.is_full()}
        queue_of = (self._queue.version, full)
        if queue_of == self._queue_of:
            return
        self._queue_of = queue_of
        keys = {
            model: self._key(self._entries[model], first.number)
            for model, first in self._queue.firsts()
        }
        queue = self._queue.entries(sorted(keys, key=keys.__getitem__), full)
        if queue != self._announced_queue:
            self._announced_queue = queue
            self._commands.append(Announce(QueueChanged(queue=queue)))

    def next_deadline(self, now: float) -> float:
        """Return the latest time for `TimePassed`; infinity for never."""
        times = [math.inf]
        for entry in self._live.values():
            match entry.state:
                case "starting":
                    times.append(entry.start_deadline())
                case "draining" if entry.cut_at is not None:
                    times.append(entry.cut_at + CUT_LIMIT_S)
                case "draining" if entry.admits:
                    times.append(entry.since + self._rules.max_wait_s)
                case "ready":
                    times.append(entry.idle_until())
                case _:
                    pass
        for entry in self._asleep.values():
            times += [entry.idle_until(), entry.sleep_seen_by or math.inf]
        paused = (*self._turning.values(), *(self._entries[model] for model in self._restoring))
        times += [entry.not_before for entry in paused if entry.not_before > now]
        if self._room is not None:
            times.append(self._room.ledger.next_deadline())
            for model in (*self._queue.models(), *self._restoring):
                entry = self._entries[model]
                if entry.size is None and entry.sizing_until is not None:
                    times.append(entry.sizing_until)
        elif self._held_until is not None:
            times.append(self._held_until)
        return min(times)

    def queue(self) -> tuple[QueueEntry, ...]:
        """Return the models that are waited for, in the order of turns."""
        return self._announced_queue

    def models(self, now: float, unix_now: float) -> tuple[ModelStatus, ...]:
        """Return the public state of all models, in configured order."""
        found = (entry.status(now, unix_now) for entry in self._entries.values())
        room = self._room
        return tuple(found if room is None else (room.told(status) for status in found))

    def devices(self, now: float) -> tuple[DeviceStatus, ...]:
        """Return the public state of the devices that limit models."""
        return () if self._room is None else self._room.devices(now)

    def on_device(self, device: str | None) -> set[str]:
        """Return the models that have a process and memory of `device`; of any, for None."""
        if self._room is None or device is None:
            return set(self._live)
        there = [*self._live, *self._asleep]
        return {model for model in there if self._room.amounts(model).get(device)}

    def is_unsized(self, model: str) -> bool:
        """Return whether the size of `model` is to be estimated."""
        entry = self._entries.get(model)
        return self._room is not None and entry is not None and entry.size is None

    def knows(self, model: str) -> bool:
        """Return whether there is such a model (by id, not by alias).

        Models that have to go count.
        """
        return model in self._entries

    def state(self, model: str) -> State:
        """Return the state of the process of `model`."""
        return self._entries[model].state

    def standing(self, model: str) -> State:
        """Return the state of `model`; one that is to end, whatever happens, is stopping."""
        entry = self._entries[model]
        return "stopping" if entry.is_leaving else entry.state

    def demand(self, model: str) -> ModelDemand | None:
        """Return how `model` stands; None if there is none of that id."""
        entry = self._entries.get(model)
        if entry is None:
            return None
        progress = entry.progress
        return ModelDemand(
            state=self.standing(model),
            running=sum(entry.in_flight.values()),
            waiting=self._queue.count(model),
            most=entry.spec.most,
            fraction=None if progress is None else progress.fraction,
            eta_s=None if progress is None else progress.eta_s,
            start_s=entry.start_s,
            loads_s=self._loads_s(),
        )

    def _loads_s(self) -> float:
        """Return the seconds that loads take that are under way or waited for, as far as known."""
        wanted = {name for name, entry in self._live.items() if entry.state == "starting"}
        left_s = 0.0
        for name in wanted.union(self._queue.models()):
            entry = self._entries.get(name)
            if entry is not None and entry.state not in {"ready", "asleep"}:
                progress = entry.progress
                eta_s = None if progress is None else progress.eta_s
                left_s += (entry.start_s or 0.0) if eta_s is None else eta_s
        return left_s

    def where_ready(self, model: str) -> tuple[str, UpstreamKind]:
        """Return where `model` answers, and what; empty unless it is ready."""
        entry = self._live.get(model)
        if entry is None or entry.state != "ready" or entry.endpoint is None:
            return "", "unknown"
        return entry.endpoint, entry.kind

    def swap(self, model: str) -> int:
        """Return the number of the start that `model`'s state belongs to."""
        return self._entries[model].swap

    def vitals(self, model: str) -> tuple[int, int, int]:
        """Return counts for the model: of requests, signs of life, and refused connections.

        All that is not known to be silence counts as a sign of life.
        """
        entry = self._entries.get(model)
        return (0, 0, 0) if entry is None else (entry.asks, entry.heard, entry.refused)

    def up_since(self, model: str) -> float | None:
        """Return since when the process of `model` serves; None if it does not."""
        entry = self._live.get(model)
        return None if entry is None else entry.up_at

    def has_ended(self, model: str, swap: int) -> bool:
        """Return whether the process of the start `swap` is gone."""
        entry = self._live.get(model) or self._asleep.get(model)
        return entry is None or entry.swap != swap

    def running(self) -> list[str]:
        """Return the models whose process exists or is about to."""
        return [*self._live, *self._asleep]

    def stale(self) -> tuple[str, ...]:
        """Return the models whose process was started with an older command."""
        there = self._live | self._asleep
        return tuple(name for name, entry in there.items() if entry.is_stale)

    def coming_back(self) -> set[str]:
        """Return the stopped models that may be started again by themselves."""
        gone = {name for name, entry in self._entries.items() if entry.goes_for is not None}
        return gone.union(self._restoring)

    def may_retry(self, model: str, now: float) -> bool:
        """Return whether `model` stopped by a failure, and the pause after that is over."""
        entry = self._entries.get(model)
        return (
            entry is not None
            and entry.state == "stopped"
            and entry.error is not None
            and not entry.put_away
            and now >= entry.not_before
        )

    def quiet_since(self) -> float:
        """Return since when nobody has asked for anything; infinity while somebody waits."""
        waits = bool(len(self._queue))
        runs = any(entry.places or any(entry.in_flight.values()) for entry in self._live.values())
        return math.inf if waits or runs else self._busy_at

    def leases_of(self, owner: str) -> tuple[str, ...]:
        """Return the models on which `owner` holds a lease."""
        return tuple(name for name, entry in self._live.items() if owner in entry.leases)

    @property
    def counts_memory(self) -> bool:
        """True if memory decides."""
        return self._room is not None

    @property
    def awaits_memory(self) -> bool:
        """True if memory of a process that is gone or asleep has not come back yet."""
        return self._room is not None and (
            any(self._room.ledger.departed())
            or any(entry.sleep_seen_by is not None for entry in self._asleep.values())
        )

    def orders(self) -> StandingOrders:
        """Return what another engine that goes on with this one's models has to be told."""
        live = self._live.values()
        unloading = tuple(e.swap for e in live if e.state == "draining" and e.unloading)
        holds = [] if self._held_until is None else [("", self._held_until)]
        if self._room is not None:
            holds = [(name, hold.until) for name, hold in self._room.ledger.holds.items()]
        pins = tuple(name for name, entry in self._entries.items() if entry.is_pinned)
        return StandingOrders(unloading, tuple(holds), pins)

    def running_models(self) -> list[RunningModel]:
        """Return the models that have a process."""
        return [
            RunningModel(
                name, entry.pid, entry.swap, entry.up_at is not None, entry.state == "asleep"
            )
            for name, entry in (*self._live.items(), *self._asleep.items())
            if entry.pid is not None
        ]

    def outlooks(self, now: float) -> list[ModelOutlook]:
        """Return the outlook of each model."""
        return [
            ModelOutlook(
                name, entry.use_at(now), entry.start_s, not entry.is_at_rest, is_protected(entry)
            )
            for name, entry in self._entries.items()
            if not entry.removed
        ]

    def awaiting_room(self) -> tuple[str, ...]:
        """Return the models that are started as soon as others have ended, in their order."""
        return tuple(
            name
            for name, entry in self._turning.items()
            if entry.state == "stopped"
            and entry.progress is not None
            and entry.progress.phase in {"draining", "stopping"}
        )

    def starting(self) -> tuple[str, ...]:
        """Return the models that are being started."""
        return tuple(name for name, entry in self._live.items() if entry.state == "starting")

    def explain(self, model: str, now: float) -> ExplainReply:
        """Return the course of a request for `model`, changing nothing."""
        entry, keys = self._entries[model], self._keys(now)
        key = keys.setdefault(model, self._key(entry, math.inf))
        turns = self._plan_anew(self._staying(), self._first(keys, model))
        return explanation(
            entry,
            turns,
            now,
            policy=self._policy,
            live=self._live,
            is_contested=self._contested(turns, keys).get(model, _LAST) < key,
            blockage=self._blockage(model),
        )

    def _first(self, keys: Mapping[str, _Key], model: str) -> list[str]:
        """Return the models of the turns before that of `model`, as far as they count, and it."""
        wanted = sorted(keys, key=keys.__getitem__)
        at = wanted.index(model)
        return wanted if self._room is None else [*wanted[: min(at, MAX_TURNS - 1)], model]

    def _staying(self) -> frozenset[str]:
        """Return the models that run and are not on their way out."""
        return frozenset(name for name, entry in self._live.items() if not entry.is_leaving)

    # --- taking note ----------------------------------------------------------------------------

    def _note(self, event: Event, now: float) -> None:
        match event:
            case Wanted(waiter, model):
                self._wanted(waiter, model, now)
            case Left(waiter):
                self._queue.remove(waiter)
                for entry in self._live.values():
                    entry.places.discard(waiter)
            case OwnerLost(owner):
                self._owner_lost(owner)
            case Released(owner, model, lease):
                held = self._entries.get(model)  # None: gone, while this was under way
                if held is not None and held.leases.get(owner) == lease:
                    held.drop_lease(owner)
                    held.used_at = self._busy_at = now
                    self._touch_room(held)
            case Reported():
                self._reported(event, now)
            case KeptAlive(owner, model, lease, keep_s, in_flight):
                held = self._entries.get(model)
                if held is not None and held.leases.get(owner) == lease:
                    is_alone = len(held.leases) == 1
                    held.used_at = now
                    held.keep_s = keep_s if is_alone else max(keep_s, REPORT_LIMIT_S)
                    self._busy_at = now
                    held.in_flight[owner] = in_flight
                    self._touch_room(held)
            case Spawned(model, swap, pid, endpoint, host):
                entry = self._entries[model]
                if entry.swap == swap and entry.state in {"starting", "stopping"}:
                    entry.pid, entry.endpoint, entry.not_ready = pid, endpoint, ""
                    entry.host = host
                    entry.is_there(now)
            case NotReady(model, swap, why):
                entry = self._entries[model]
                if entry.swap == swap:
                    entry.not_ready = why
            case Progressed(progress):
                self._progressed(progress)
            case BecameReady(model, swap, kind):
                entry = self._entries[model]
                if entry.swap == swap and entry.state == "starting":
                    entry.error = entry.progress = None
                    entry.kind = kind
                    entry.up_at = entry.used_at = now
                    entry.remark, entry.grew = "", False
                    if not entry.wakes:
                        entry.started_in(now - entry.start_since())
                    elif self._room is not None:  # it has given back what it kept while it slept
                        self._room.ledger.reserve(model, swap, self._room.need(model))
                    entry.wakes = False
                    self._take(entry, Step.UP, now)
                    self._stay_away(model)
                    self._restoring.pop(model, None)  # it was woken for that
                    self._grant_all(entry, now)
            case Adopted():
                self._adopted(event, now)
            case LeasesHeld(owner, leases, waits):
                self._leases_held(owner, leases)
                for model, requests in waits.items():
                    for request in requests:
                        self._wanted(Waiter(owner, request), model, now, waits_on=True)
            case FellAsleep(model, swap):
                self._fell_asleep(self._entries[model], swap, now)
            case WokeUp(model, swap):
                self._woke_up(self._entries[model], swap, now)
            case SleepFailed(model, swap):
                entry = self._entries[model]
                is_asked = entry.wakes or (entry.state == "stopping" and entry.goes_to_sleep)
                if entry.swap == swap and is_asked:
                    self._stop(entry, now, reason="failure")
            case ProcessEnded():
                self._ended(self._entries[event.model], event, now)
            case Hung(model, swap, error, well_s):
                entry = self._entries[model]
                if entry.swap == swap and entry.state in {"ready", "draining"}:
                    entry.give_up(error, well_s, now, self._rules.backoff)
                    entry.killed, entry.goes_for, entry.reason = True, None, "failure"
                    self._cut(entry, error, now)
            case Failing(model, swap, error, well_s):
                entry = self._entries[model]
                if entry.swap == swap and entry.state == "ready":
                    entry.give_up(error, well_s, now, self._rules.backoff)
                    self._drain(entry, now, "failure", unloading=True)
            case Refused(model):
                if model in self._entries:
                    self._entries[model].refused += 1
            case Stalled(model, swap, still_s):
                entry = self._entries[model]
                if entry.swap == swap:
                    entry.still_s = still_s
            case Sized():
                self._sized(event, now)
            case DevicesRead(found, foreign, began_at):
                self._found, self._foreign = found, foreign
                self._read_devices(began_at)
            case HoldRequested(device, for_s):
                self._hold(device, math.inf if for_s is None else now + for_s, now)
            case ReleaseRequested(device):
                self._release(device)
            case PinRequested(model, is_pinned):
                self._entries[model].is_pinned = is_pinned
                self._touch_room(self._entries[model])
            case UnloadRequested(model, at_once):
                self._refuse_all(model, refusals.unavailable(model, "it was unloaded"))
                self._entries[model].put_away = True
                self._unload(self._entries[model], now, "request", at_once=at_once)
            case Reconfigured():
                self._reconfigured(event, now)
            case ShuttingDown(at_once):
                self._closing = True
                for model, entry in self._entries.items():
                    self._refuse_all(model, refusals.unavailable(model, "arriero is stopping"))
                    self._unload(entry, now, "shutdown", at_once=at_once)
            case TimePassed():
                pass

    def _wanted(self, waiter: Waiter, model: str, now: float, *, waits_on: bool = False) -> None:
        """Take a waiter, who `waits_on` since before this engine was there."""
        if waiter in self._queue:
            return
        self._arrivals += 1
        if waiter.is_asked:
            self._busy_at = now
        wait = QueuedWaiter(waiter, model, now, self._arrivals)
        entry = self._entries.get(model)
        if entry is None or entry.removed:
            self._refuse(wait, refusals.removed(model))
        elif self._closing:
            self._refuse(wait, refusals.unavailable(model, "arriero is stopping"))
        elif entry.state == "ready" and entry.is_full() and not (waits_on or entry.is_untold):
            if waiter.takes_lease:
                ahead = self._queue.count(model)
                self._refuse(wait, refusals.full(model, entry.spec.most, ahead))
            else:  # a script needs no place
                self._grant(entry, wait, now)
        else:
            wait.came_untold = entry.state == "ready" and entry.is_untold and not waits_on
            self._queue.add(wait)

    def _owner_lost(self, owner: str) -> None:
        self._queue.remove_owner(owner)
        for entry in self._live.values():
            if owner in entry.leases:
                entry.drop_lease(owner)
                self._touch_room(entry)

    def _adopted(self, found: Adopted, now: float) -> None:
        entry = self._entries.get(found.model)
        if entry is None:
            entry = ModelState(Spec(model=found.model), since=now, removed=True)
            self._entries[found.model] = entry
        if entry.state != "stopped":
            return
        entry.swap, entry.swap_since, entry.launch = found.swap, now, found.launch
        entry.pid, entry.endpoint, entry.kind = found.pid, found.endpoint, found.kind
        entry.host = found.host
        entry.leases = dict.fromkeys(found.owners, UNTOLD) | dict.fromkeys(found.mute, MUTE)
        self._numbers = max(self._numbers, found.swap)
        if self._room is not None:
            self._room.ledger.reserve(found.model, found.swap, self._room.need(found.model))
        if found.serves:
            entry.up_at = entry.used_at = now
            self._take(entry, Step.ADOPT, now)
        else:
            self._take(entry, Step.START, now)
            entry.since = entry.swap_since = now - found.age_s
            self._tell(entry, "starting", now)
            for before in map(self._entries.get, found.went):
                if before is not None and before.state == "stopped":
                    before.goes_for = found.model
        if entry.is_stale or entry.removed or found.unloading:
            self._unload(entry, now, "config" if entry.is_stale or entry.removed else "request")

    def _leases_held(self, owner: str, leases: tuple[HeldLease, ...]) -> None:
        """Believe what a worker of an earlier supervisor says of its leases."""
        held = {lease.model: lease for lease in leases}
        for name, entry in self._live.items():
            if entry.leases.get(owner) != UNTOLD:
                continue
            lease = held.get(name)
            if lease is None or lease.lease == UNTOLD or lease.endpoint != entry.endpoint:
                entry.drop_lease(owner)
                continue
            del held[name]
            number = entry.leases[owner] = lease.lease
            self._numbers = max(self._numbers, number)
            if entry.spec.most:
                entry.places |= {Waiter(owner, request) for request in lease.places}
            if entry.state == "draining":  # it was not told, or could not know what was meant
                entry.recalled.add(owner)
                self._commands.append(RevokeLease(owner, name, number, when_idle=entry.admits))
        self._commands += [VoidLease(owner, name, lease.lease) for name, lease in held.items()]

    def _reported(self, report: Reported, now: float) -> None:
        for name, entry in self._live.items():
            if report.owner not in entry.leases:
                continue
            before = entry.in_flight.get(report.owner, 0)
            running = entry.in_flight[report.owner] = report.in_flight.get(name, 0)
            if before or running or name in report.used:
                entry.used_at, entry.keep_s = now, math.inf
                self._busy_at = now
                entry.asks += 1
                entry.use(now)
                self._touch_room(entry)
            if name in report.heard:
                entry.heard += 1

    def _progressed(self, progress: Progress) -> None:
        entry = self._entries[progress.model]
        if entry.swap == progress.swap and entry.state == "starting":
            entry.is_placing = entry.is_placing or progress.phase == "placing"
            self._announce_progress(entry.follow_progress(progress))

    def _ended(self, entry: ModelState, end: ProcessEnded, now: float) -> None:
        if entry.swap != end.swap or entry.state == "stopped":
            return
        error = end.error
        was: State = "stopping" if entry.wakes or entry.state == "asleep" else entry.state
        if was == "starting" and self._grow(entry, end):
            was = "stopping"  # as if it had been asked to: no failure, and its waiters wait on
        for owner, lease in entry.leases.items():
            self._commands.append(VoidLease(owner, entry.spec.model, lease))
        entry.lose_process(now, self._rules.backoff)
        if was != "stopping":  # it went by itself
            entry.fail(error, now, self._rules.backoff)
        self._take(entry, Step.END, now)
        if was == "starting":
            self._refuse_all(entry.spec.model, error)
            self._bring_back(entry)
        elif was != "stopping":
            entry.goes_for = None  # it would have gone by itself

    def _reconfigured(self, change: Reconfigured, now: float) -> None:
        if self._closing:
            return
        self._plan_of, self._planned = (frozenset(), [], None), ()
        self._queue_of = (-1, set())  # priorities may be others
        old, self._entries = self._entries, {}
        for spec in change.specs:
            entry = old.pop(spec.model) if spec.model in old else ModelState(spec, since=now)
            self._entries[spec.model] = entry
            entry.follow(spec)
            if change.drain and entry.is_stale:
                self._unload(entry, now, "config")
        for model, entry in old.items():
            entry.removed = True
            self._refuse_all(model, refusals.removed(model))
            self._turning.pop(model, None)
            self._stay_away(model)
            self._restoring.pop(model, None)
            if entry.state != "stopped":
                self._entries[model] = entry
                self._unload(entry, now, "config")
        self._follow_policy(change.policy or self._written_policy)
        for entry in list(self._asleep.values()):
            if entry.is_stale or not self._may_sleep(entry):
                self._unload(entry, now, "config")

    # --- memory ---------------------------------------------------------------------------------

    def _follow_policy(self, policy: PlacementPolicy) -> None:
        self._written_policy = policy
        if not isinstance(policy, ByMemory):
            self._room, self._policy = None, policy
            return
        is_new = self._room is None
        self._policy = self._room = self._room or Room()
        self._room.follow(self._entries, self._live, self._asleep, policy.inner)
        self._always = [
            entry
            for entry in self._entries.values()
            if entry.spec.pin == "always" and not entry.removed
        ]
        self._read_devices(-math.inf)
        if is_new:
            self._held_until = None
            for model, live in self._live.items():
                self._room.ledger.reserve(model, live.swap, self._room.need(model))
            for model, asleep in self._asleep.items():
                keeps = None if asleep.sleep_size is None else self._room.keeps(asleep)
                held = self._room.need(model) if keeps is None else keeps
                self._room.ledger.reserve(model, asleep.swap, held)

    def _read_devices(self, began_at: float) -> None:
        policy = self._written_policy
        if self._room is not None and isinstance(policy, ByMemory):
            found = rooms(policy.budgets, self._found, self._foreign, finds=policy.finds)
            self._room.ledger.read(found, began_at)

    def _touch_room(self, entry: ModelState) -> None:
        if self._room is not None:
            self._room.changed(entry.spec.model)

    def _sized(self, event: Sized, now: float) -> None:
        entry = self._entries.get(event.model)
        if entry is None or self._room is None:
            return
        ledger, declared = self._room.ledger, entry.spec.size
        is_declared = declared is not None and declared.source == "declared"
        if event.swap == 0:
            if entry.size is None:
                entry.size, entry.sizing_until = event.size, None
        elif event.sleeps:
            if event.swap == entry.swap and entry.state == "asleep":
                self._keeps(self._room, entry, event.size.amounts)
        elif event.swap == entry.swap and entry.state in {"starting", "ready", "draining"}:
            # While it starts it may yet need what it was thought to need; and who declares too
            # little has it all the same.
            least = ledger.held_by(event.model) if not event.serves else NOTHING
            if is_declared and declared is not None:
                least = declared.amounts
            ledger.reserve(event.model, event.swap, largest(event.size.amounts, least))
            if event.serves and not is_declared:
                entry.size = event.size
        self._touch_room(entry)
        self._room.resized()

    def _keeps(self, room: Room, entry: ModelState, seen: Amounts) -> None:
        """Note what a model that sleeps was seen to keep."""
        declared = entry.spec.sleep_size
        if declared is not None and declared.source == "declared":
            seen = largest(seen, declared.amounts)
        else:
            entry.sleep_size = ModelSize(seen, "learned")
        room.ledger.reserve(entry.spec.model, entry.swap, seen)

    def _size_up(self, room: Room, now: float) -> None:
        """Ask for the sizes of models that are to start; what takes too long is unknown."""
        for model in (*self._queue.models(), *self._restoring):
            entry = self._entries[model]
            if entry.size is not None:
                continue
            if entry.sizing_until is None:
                self._ask_size(entry, now)
            elif now >= entry.sizing_until:
                entry.size, entry.sizing_until = UNKNOWN, None
                room.resized()

    def _ask_size(self, entry: ModelState, now: float) -> None:
        entry.sizing_until = now + SIZING_LIMIT_S
        self._commands.append(EstimateSize(entry.spec.model))

    def _grow(self, entry: ModelState, end: ProcessEnded) -> bool:
        """Raise the size of a model that ran out of memory; return whether it is tried again."""
        if self._room is None or entry.grew:
            return False
        out_of = end.out_of
        if end.crashed and not out_of:
            out_of = self._room.ledger.short_of(entry.spec.model)
        raised = raised_size(self._room, entry, out_of) if out_of else None
        if raised is None:
            return False
        model = entry.spec.model
        entry.grew = True
        entry.size = ModelSize(raised, "learned")
        self._commands.append(RaiseSize(model, raised))
        self._room.resized()
        return True

    def _blockage(self, model: str) -> Blockage | None:
        """Return why `model` cannot have room, whoever else went."""
        if self._held_until is not None:
            return Blockage("this machine is held; `arriero release` gives it free")
        return None if self._room is None else self._room.blockage(model)

    def _settle_blocked(self, now: float) -> None:
        """Serve the waiters of models that cannot have room: as their `onBlocked` says."""
        if self._room is None and self._held_until is None:
            return
        for model in list(self._queue.models()):
            entry = self._entries[model]
            if not entry.is_at_rest or self._pauses(model, now):
                continue
            blockage = self._blockage(model)
            if blockage is None:
                continue
            spec = entry.spec
            if blockage.for_good or spec.on_blocked == "refuse":
                error = refusals.no_room(model, blockage.why, for_good=blockage.for_good)
                self._refuse_all(model, error)
            elif spec.on_blocked == "use" and self._can_serve(spec.instead):
                for wait in self._queue.of(model):
                    self._queue.remove(wait.waiter)
                    self._queue.add(
                        QueuedWaiter(wait.waiter, spec.instead, wait.since, wait.number)
                    )
            else:
                self._begin_turn(entry, now)
                self._tell(entry, "waiting", now, detail=blockage.why)

    def _can_serve(self, model: str) -> bool:
        entry = self._entries.get(model)
        return (
            entry is not None
            and not entry.removed
            and (entry.state in {"ready", "starting"} or self._blockage(model) is None)
        )

    def _hold(self, device: str | None, until: float, now: float) -> None:
        if self._room is None:
            self._held_until = until
            users = [*self._live.values(), *self._asleep.values()]
        else:
            devices = set(self._room.ledger.devices) if device is None else {device}
            users = [
                entry
                for model, entry in (*self._live.items(), *self._asleep.items())
                if any(self._room.amounts(model).get(name) for name in devices)
            ]
            for name in devices:
                self._room.ledger.hold(name, until)
        for entry in users:
            self._unload(entry, now, "hold")

    def _release(self, device: str | None) -> None:
        self._held_until = None
        if self._room is not None:
            for name in list(self._room.ledger.holds) if device is None else [device]:
                self._room.ledger.release(name)

    def _expire(self, now: float) -> None:
        if self._held_until is not None and now >= self._held_until:
            self._held_until = None
        if self._room is not None:
            self._room.ledger.expire(now)
            self._size_up(self._room, now)

    def _want_pinned(self, now: float) -> None:
        """Mark models that are to be there at any time, for a start."""
        if self._room is None or self._closing:
            return
        for entry in self._always:
            if entry.state == "stopped" and not entry.put_away:
                self._restoring.setdefault(entry.spec.model, "")
                if entry.size is None and entry.sizing_until is None:
                    self._ask_size(entry, now)

    def _unload(
        self, entry: ModelState, now: float, reason: EndReason, *, at_once: bool = False
    ) -> None:
        entry.goes_for = None  # stopped on request: it does not come back
        entry.reason = reason
        self._restoring.pop(entry.spec.model, None)
        match entry.state:
            case "starting":
                self._stop(entry, now)
            case "asleep":
                self._stop(entry, now, grace_s=0.0 if at_once else None)
            case "ready" if not at_once:
                self._drain(entry, now, reason, unloading=True)
            case "draining" if not at_once:
                entry.unloading = True
                self._admit_no_more(entry)
            case "ready" | "draining":
                self._stop(entry, now, grace_s=0.0)
            case "stopping" if at_once:
                self._stop(entry, now, grace_s=0.0)
            case "stopping" if entry.goes_to_sleep:
                self._stop(entry, now)
            case _:
                pass

    # --- settling -------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        self._expire(now)
        for entry in list(self._live.values()):
            self._look_at_deadlines(entry, now)
            self._stop_if_drained(entry, now)
        for entry in list(self._asleep.values()):
            if now >= entry.idle_until():
                self._stop(entry, now, reason="idle")
            elif entry.sleep_seen_by is not None and now >= entry.sleep_seen_by:
                self._give_up_seeing(entry)
        self._settle_blocked(now)
        for turn in self._serve(now):
            if turn.is_free:
                self._pursue(turn, now)
            elif turn.model in self._turning:  # it was before a waiter came that goes first
                self._tell(self._entries[turn.model], "waiting", now)
        self._want_pinned(now)
        self._restore(now)
        self._tell_who_is_paused(now)
        self._forget_turns()

    def _look_at_deadlines(self, entry: ModelState, now: float) -> None:
        model = entry.spec.model
        if entry.state == "starting" and now >= entry.start_deadline():
            if entry.wakes:
                # and it is started from nothing
                self._stop(entry, now, reason="failure")
                return
            error = refusals.too_slow(model, entry.spec.start_limit_s, entry.not_ready)
            entry.fail(error, now, self._rules.backoff)
            self._stop(entry, now, reason="failure")
            self._refuse_all(model, error)
            self._bring_back(entry)
        elif entry.state == "draining":
            limit_s = entry.spec.drain_limit_s
            if entry.cut_at is not None:
                if now >= entry.cut_at + CUT_LIMIT_S:
                    self._stop_drained(entry, now)
            elif limit_s and min(entry.still_s, now - entry.since) >= limit_s:
                self._cut(entry, refusals.stalled(model, limit_s), now)
            elif entry.admits and now >= entry.since + self._rules.max_wait_s:
                self._admit_no_more(entry)
        elif entry.state == "ready" and now >= entry.idle_until():
            self._drain(entry, now, "idle", unloading=True)

    def _serve(self, now: float) -> tuple[Turn, ...]:
        """Keep and grant models, unless an earlier turn needs their place.

        Returns:
            The turns that are left.
        """
        keys = self._keys(now)
        turns, commands = self._plan(keys), len(self._commands)
        contested = self._contested(turns, keys)
        for name, entry in self._live.items():
            may_stay = entry.state == "draining" and not entry.unloading
            if entry.goes_to_sleep and not self._queue.is_waited_for(name):
                may_stay = False  # it sleeps already
            if may_stay and keys.get(name, _LAST) <= contested.get(name, _LAST):
                entry.goes_for, entry.goes_to_sleep = None, False
                self._take(entry, Step.KEEP, now)
        for model in list(self._queue.models()):
            entry, before = self._entries[model], contested.get(model, _LAST)
            if entry.state != "ready":
                continue
            for wait in self._queue.of(model):
                if entry.is_full() or self._key(entry, wait.number) > before:
                    break  # and so are all later ones
                self._grant(entry, wait, now)
            if entry.is_full() and not entry.is_untold:
                self._refuse_newcomers(entry, now)
        return turns if len(self._commands) == commands else self._plan(self._keys(now))

    def _grant_all(self, entry: ModelState, now: float) -> None:
        """Grant to all waiters of this start, even latecomers: it spares a swap.

        Those that find no place wait on, and are not refused: what they wait for is the start.
        """
        for wait in self._queue.of(entry.spec.model):
            if not (entry.is_full() and wait.waiter.takes_lease):
                self._grant(entry, wait, now)

    def _refuse_newcomers(self, entry: ModelState, now: float) -> None:
        """Treat those who came before it was known whether there is a place as if they came now."""
        model = entry.spec.model
        for wait in [wait for wait in self._queue.of(model) if wait.came_untold]:
            if wait.waiter.takes_lease:
                self._queue.remove(wait.waiter)
                ahead = self._queue.count(model)
                self._refuse(wait, refusals.full(model, entry.spec.most, ahead))
            else:
                self._grant(entry, wait, now)

    def _grant(self, entry: ModelState, wait: QueuedWaiter, now: float) -> None:
        assert entry.endpoint is not None  # a ready model answers somewhere
        self._queue.remove(wait.waiter)
        lease, owner = 0, wait.waiter.owner
        if wait.waiter.takes_lease:
            # Another number than the recalled one: that one may be on its way back.
            if entry.leases.get(owner, UNTOLD) == UNTOLD or owner in entry.recalled:
                entry.leases[owner] = self._number()
                entry.recalled.discard(owner)
            lease = entry.leases[owner]
            entry.used_at = now
            if entry.spec.most:
                entry.places.add(wait.waiter)
            self._touch_room(entry)
        waited_s = max(0.0, now - wait.since)
        self._commands.append(
            GrantLease(wait.waiter, wait.model, lease, entry.endpoint, waited_s, entry.kind)
        )

    def _key(self, entry: ModelState, number: float) -> _Key:
        return (-entry.spec.priority, number)

    def _keys(self, now: float) -> dict[str, _Key]:
        """Return the keys of the models that have a turn.

        A model in its pause after a failure has none: a crash loop takes nothing from others.
        """
        keys = {}
        for model, first in self._queue.firsts():
            entry = self._entries[model]
            if not (self._pauses(model, now) or self._waits_for_room(model)):
                keys[model] = self._key(entry, first.number)
        return keys

    def _waits_for_room(self, model: str) -> bool:
        """Return whether `model` has no turn for want of memory, or of its size."""
        if self._room is None and self._held_until is None:
            return False
        entry = self._entries[model]
        if not entry.is_at_rest:
            return False
        is_unsized = self._room is not None and entry.size is None
        return is_unsized or self._blockage(model) is not None

    def _pauses(self, model: str, now: float) -> bool:
        entry = self._entries[model]
        return entry.state == "stopped" and now < entry.not_before

    def _plan(self, keys: Mapping[str, _Key]) -> tuple[Turn, ...]:
        staying = self._staying()
        wanted = sorted(keys, key=keys.__getitem__)
        plan_of = (staying, wanted, None if self._room is None else self._room.version)
        if plan_of != self._plan_of:  # it takes a while, and hardly ever changes
            self._plan_of, self._planned = plan_of, self._plan_anew(staying, wanted)
        return self._planned

    def _plan_anew(self, staying: Iterable[str], wanted: Sequence[str]) -> tuple[Turn, ...]:
        if self._room is not None:
            return self._room.plan(staying, wanted)
        return plan(self._policy, staying, wanted)

    def _contested(self, turns: Iterable[Turn], keys: Mapping[str, _Key]) -> dict[str, _Key]:
        """Return the models that are in the way of a turn.

        With the key of the first of these turns. A model that is stopping takes nothing from others
        until it has ended and can be started again.
        """
        contested: dict[str, _Key] = {}
        for turn in turns:
            if self._entries[turn.model].is_at_rest:
                for model in turn.goes:
                    contested.setdefault(model, keys[turn.model])
        return contested

    def _pursue(self, turn: Turn, now: float) -> None:
        """Take the next step of the turn's model towards ready."""
        model, target = turn.model, self._entries[turn.model]
        if not target.is_at_rest:
            return
        blocking = self._policy.evicted_by(model, self._live)
        if blocking and (error := self._obstacle(model)) is not None:
            target.fail(error, now, self._rules.backoff)
            self._refuse_all(model, error)
            self._bring_back(target)
            self._serve(now)  # it was in their way, and they in its way
            return
        self._begin_turn(target, now)
        if (unseen := self._unseen_sleeper(blocking, model)) is not None:
            self._tell(target, "stopping", now, other=unseen)
            return
        if not blocking:
            if self._lacks_room(target, now):
                return
            self._take_for_good(model)
            self._start(target, now)
            return
        for name in sorted(turn.goes):
            self._make_go(self._entries[name], model, now)
        leaving = self._live.keys() - turn.after
        in_the_way = sorted((blocking & leaving) or leaving or blocking)
        self._tell_who_is_in_the_way(target, [self._entries[name] for name in in_the_way], now)

    def _lacks_room(self, target: ModelState, now: float) -> bool:
        """Return whether memory of a process that is gone has not come back yet."""
        model = target.spec.model
        if self._room is None or self._room.has_room(model):
            return False
        for other in self._room.coming_back(model)[:1]:
            self._tell(target, "stopping", now, other=other)
        return True

    def _make_go(self, entry: ModelState, model: str, now: float) -> None:
        if entry.state == "ready":
            entry.goes_for = model
            self._drain(entry, now, "room")
        elif entry.state == "draining":
            entry.goes_for = model
        elif entry.state == "asleep":
            self._tell_eviction(entry, model, now)
            self._stop(entry, now, reason="room")
        elif entry.state == "starting" and not self._is_waited_for(entry):
            # It never took the place of those that went for it: they would come back, not it.
            for before in self._gone_for(entry.spec.model) or [entry]:
                before.goes_for = model
            self._stop(entry, now, reason="room")

    def _is_waited_for(self, entry: ModelState) -> bool:
        return entry.is_untold or self._queue.is_waited_for(entry.spec.model)

    def _stop_if_drained(self, entry: ModelState, now: float) -> None:
        if entry.state != "draining" or entry.leases:
            return
        if entry.goes_to_sleep and not entry.unloading:
            self._take(entry, Step.SLEEP, now)
        elif self._is_put_to_sleep(entry):
            if self._room is not None and entry.goes_for is not None:
                self._tell_eviction(entry, entry.goes_for, now, sleeps=True)
                room, model = self._room, entry.spec.model
                both = largest(room.ledger.held_by(model), room.keeps(entry) or NOTHING)
                room.ledger.reserve(model, entry.swap, both)
            self._take(entry, Step.STOP, now)
            entry.goes_to_sleep, entry.progress = True, None
            self._commands.append(PutToSleep(entry.spec.model, entry.swap))
        else:
            self._stop_drained(entry, now)

    def _stop_drained(self, entry: ModelState, now: float) -> None:
        self._stop(entry, now, grace_s=0.0 if entry.killed else None)

    # --- sleep ----------------------------------------------------------------------------------

    def _is_put_to_sleep(self, entry: ModelState) -> bool:
        """Return whether a drained model sleeps in the place of an end.

        Where memory decides: if the one that it goes for has room beside what it keeps.
        """
        if not (self._may_sleep(entry) and entry.can_be_put_to_sleep):
            return False
        if self._room is None:
            return True
        if (target := entry.goes_for) is None:
            return False
        goes = {
            name
            for name, one in self._live.items()
            if one.goes_for == target and one.state == "draining"
        }
        return entry.spec.model in self._room.falls_asleep(target, goes)

    def _may_sleep(self, entry: ModelState) -> bool:
        """Return whether it may be asleep at all: a pinned one keeps its memory."""
        return entry.spec.sleeps and not (self._room is not None and entry.pin)

    def _unseen_sleeper(self, blocking: Iterable[str], target: str) -> str | None:
        """Return a model that fell asleep for `target` and was not seen yet to give enough."""
        for name in sorted(blocking):
            entry = self._entries[name]
            if entry.goes_for == target and entry.sleep_seen_by is not None:
                return name
        return None

    def _give_up_seeing(self, entry: ModelState) -> None:
        """Wait no longer for what a model gives back that sleeps."""
        entry.sleep_seen_by = None
        if entry.sleep_size is None:
            entry.sleep_size = UNKNOWN
        self._touch_room(entry)

    def _fell_asleep(self, entry: ModelState, swap: int, now: float) -> None:
        if entry.swap != swap or not self._may_sleep(entry):
            return
        if entry.state == "stopping" and entry.goes_to_sleep:
            self._take(entry, Step.SLEEP, now)
        elif entry.state == "ready":  # by itself; a request that is on its way wakes it
            entry.goes_to_sleep = True
            self._drain(entry, now, "idle")
        elif entry.state == "draining":
            entry.goes_to_sleep = True

    def _woke_up(self, entry: ModelState, swap: int, now: float) -> None:
        if entry.swap != swap:
            return
        if entry.state == "asleep":  # it is not its turn, and takes up room
            self._stop(entry, now, reason="room")
        elif entry.state == "draining":
            entry.goes_to_sleep = False

    def _give_back_asleep(self, entry: ModelState, now: float) -> None:
        """Reserve what a model keeps that has fallen asleep; what is not known has to be seen."""
        if self._room is None:
            return
        if entry.goes_for is not None:
            entry.sleep_seen_by = now + RETURN_LIMIT_S
        if entry.sleep_size is not None and (keeps := self._room.keeps(entry)) is not None:
            self._room.ledger.keep(entry.spec.model, keeps, now)

    # --- giving back what was taken -------------------------------------------------------------

    def gone_for(self, model: str) -> tuple[str, ...]:
        """Return the names of the models that were evicted for `model`."""
        return tuple(entry.spec.model for entry in self._gone_for(model))

    def _gone_for(self, model: str) -> list[ModelState]:
        """Return the models evicted for `model`, in the order of their starts.

        In another order they may not fit.
        """
        gone = [entry for entry in self._entries.values() if entry.goes_for == model]
        return sorted(gone, key=lambda entry: entry.swap)

    def _take_for_good(self, model: str) -> None:
        """Give up the places of evicted models that do not fit beside `model`."""
        for entry in self._entries.values():
            if entry.goes_for not in (None, model) and model in self._policy.evicted_by(
                entry.spec.model, [model]
            ):
                entry.goes_for = None
            elif entry.goes_for == model:
                entry.sleep_seen_by = None  # it gave enough

    def _stay_away(self, model: str) -> None:
        """Note that models stopped for `model` do not come back."""
        for entry in self._gone_for(model):
            entry.goes_for = None

    def _bring_back(self, failed: ModelState) -> None:
        """Mark the models stopped for `failed`, which could not start, for a restart."""
        model = failed.spec.model
        for entry in self._gone_for(model):
            if entry.state in {"stopping", "stopped", "asleep"}:
                entry.goes_for = None
                if failed.spec.restores:
                    self._restoring[entry.spec.model] = model

    def _restore(self, now: float) -> None:
        """Start marked models again, where no turn is the worse for it."""
        for model, failed in list(self._restoring.items()):
            entry = self._entries[model]
            blocking = self._policy.evicted_by(model, self._live.keys() - {model})
            if not all(self._entries[name].is_leaving for name in blocking):
                del self._restoring[model]  # another model has its place
            elif self._waits_for_room(model) or (now < entry.not_before and not failed):
                pass
            elif entry.is_at_rest and not blocking and self._takes_nothing(model, now):
                if self._room is not None and not self._room.has_room(model):
                    continue
                entry.remark = (
                    f"restoring {model}: {failed} could not be started"
                    if failed
                    else "it is pinned: always"
                )
                self._begin_turn(entry, now)
                self._start(entry, now)

    def _takes_nothing(self, model: str, now: float) -> bool:
        """Return whether a start of `model` delays and costs no turn."""
        keys = self._keys(now)
        if model in keys:
            return False  # it has a turn of its own
        wanted = [*sorted(keys, key=keys.__getitem__), model]
        if self._room is not None and len(wanted) > MAX_TURNS:
            return False  # there are many who come first
        turn = self._plan_anew(self._staying(), wanted)[-1]
        return turn.model == model and turn.is_free and not turn.goes

    def _tell_who_is_paused(self, now: float) -> None:
        for model in self._queue.models():
            if self._pauses(model, now):
                entry = self._entries[model]
                self._begin_turn(entry, now)
                self._tell(entry, "waiting", now, eta_s=entry.not_before - now)

    def _forget_turns(self) -> None:
        """Take back the beginnings of turns whose waiters have left."""
        for name, entry in list(self._turning.items()):
            if not self._queue.is_waited_for(name):
                entry.progress = None
                del self._turning[name]
                self._stay_away(name)

    # --- steps ----------------------------------------------------------------------------------

    def _take(self, entry: ModelState, step: Step, now: float) -> None:
        entry.state = after(entry.state, step)
        entry.since = now
        if entry.state in {"stopped", "starting", "ready"}:
            entry.reason = None
        self._touch_room(entry)
        model = entry.spec.model
        self._asleep.pop(model, None)
        entry.sleep_seen_by = None
        if entry.is_at_rest:
            self._live.pop(model, None)
            if entry.state == "asleep":
                entry.goes_to_sleep, entry.up_at = False, None
                self._asleep[model] = entry
                self._give_back_asleep(entry, now)
            else:
                if self._room is not None:
                    self._room.ledger.end(model, now)
                if entry.removed:
                    del self._entries[model]
        else:
            self._live[model] = entry
            self._turning.pop(model, None)
        self._commands.append(
            Announce(
                StateChanged(
                    model=entry.spec.model,
                    state=entry.state,
                    swap=entry.swap,
                    pid=entry.pid,
                    endpoint=entry.endpoint,
                    error=entry.error,
                    memory=self._reserved(entry),
                    reason=entry.reason,
                )
            )
        )

    def _reserved(self, entry: ModelState) -> dict[str, int] | None:
        if self._room is None or entry.state == "stopped":
            return None
        return dict(self._room.ledger.held_by(entry.spec.model))

    def _start(self, entry: ModelState, now: float) -> None:
        entry.launch, entry.goes_for = entry.spec.launch, None
        entry.put_away, entry.went_for = False, None
        if entry.state == "asleep":
            entry.wakes = True
            if self._room is not None:
                model = entry.spec.model
                both = largest(self._room.ledger.held_by(model), self._room.need(model))
                self._room.ledger.reserve(model, entry.swap, both)
            self._take(entry, Step.WAKE, now)
            self._tell(entry, "waking", now)
            self._commands.append(Wake(entry.spec.model, entry.swap))
            return
        self._restoring.pop(entry.spec.model, None)
        if self._room is not None:
            need = self._room.need(entry.spec.model)
            self._room.ledger.reserve(entry.spec.model, entry.swap, need)
        self._take(entry, Step.START, now)
        self._commands.append(Spawn(entry.spec.model, entry.swap, entry.remark))

    def _cut(self, entry: ModelState, error: ErrorInfo, now: float) -> None:
        """End the requests of a model with `error`, then stop it."""
        if entry.state == "ready":
            self._take(entry, Step.DRAIN, now)
        entry.unloading, entry.admits, entry.cut_at = True, False, now
        for owner, lease in entry.leases.items():
            entry.recalled.add(owner)
            revoke = RevokeLease(owner, entry.spec.model, lease, when_idle=False, error=error)
            self._commands.append(revoke)

    def _drain(
        self, entry: ModelState, now: float, reason: EndReason, *, unloading: bool = False
    ) -> None:
        entry.reason = reason
        entry.unloading = unloading
        entry.admits = not unloading
        self._take(entry, Step.DRAIN, now)
        self._recall(entry)
        self._stop_if_drained(entry, now)

    def _admit_no_more(self, entry: ModelState) -> None:
        if not entry.admits:
            return
        entry.admits = False
        self._recall(entry)

    def _recall(self, entry: ModelState) -> None:
        for owner, lease in entry.leases.items():
            entry.recalled.add(owner)
            self._commands.append(
                RevokeLease(owner, entry.spec.model, lease, when_idle=entry.admits)
            )

    def _stop(
        self,
        entry: ModelState,
        now: float,
        *,
        grace_s: float | None = None,
        reason: EndReason | None = None,
    ) -> None:
        entry.reason = reason or entry.reason
        if entry.goes_for and entry.state in {"ready", "draining"}:
            self._tell_eviction(entry, entry.goes_for, now)
        self._take(entry, Step.STOP, now)
        entry.progress = None
        entry.goes_to_sleep = entry.wakes = False
        grace_s = entry.spec.stop_grace_s if grace_s is None else grace_s
        self._commands.append(Terminate(entry.spec.model, entry.swap, grace_s))

    def _tell_eviction(
        self, entry: ModelState, target: str, now: float, *, sleeps: bool = False
    ) -> None:
        if self._room is not None:
            record = eviction(self._room, entry, target, now, sleeps=sleeps)
            self._commands.append(Announce(record))
            entry.went_for = target, now

    def _begin_turn(self, entry: ModelState, now: float) -> None:
        """Number the attempt, once; the number stays until the process ends."""
        self._turning[entry.spec.model] = entry
        if entry.progress is None:
            entry.begin_attempt(self._number(), now)

    def _tell_who_is_in_the_way(
        self, target: ModelState, in_the_way: Sequence[ModelState], now: float
    ) -> None:
        draining = [entry for entry in in_the_way if entry.state != "stopping"]
        first = (draining or in_the_way)[0]
        if draining:
            running = sum(first.in_flight.values())
            self._tell(target, "draining", now, other=first.spec.model, requests=running)
        else:
            self._tell(target, "stopping", now, other=first.spec.model)

    def _tell(
        self,
        entry: ModelState,
        phase: Phase,
        now: float,
        *,
        other: str | None = None,
        requests: int | None = None,
        eta_s: float | None = None,
        detail: str = "",
    ) -> None:
        progress = entry.get_to(
            phase, now, other=other, requests=requests, eta_s=eta_s, detail=detail
        )
        if progress is not None:
            self._announce_progress(progress)

    def _announce_progress(self, progress: Progress) -> None:
        self._commands.append(Announce(ProgressMade(model=progress.model, progress=progress)))

    def _refuse_all(self, model: str, error: ErrorInfo) -> None:
        for wait in self._queue.of(model):
            self._queue.remove(wait.waiter)
            self._refuse(wait, error)

    def _refuse(self, wait: QueuedWaiter, error: ErrorInfo) -> None:
        self._commands.append(RefuseWaiter(wait.waiter, wait.model, error))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
