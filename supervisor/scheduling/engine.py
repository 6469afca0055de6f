"""Who runs, who waits, who has to go. The heart of the supervisor, without any I/O.

Happenings come in, commands go out; the caller carries them out in order. Time is an argument.

The rules, in the order in which they are applied after every happening:

1. A draining model whose last lease came back is told to end.
2. Whoever waits for a ready model gets it, unless it is in the way of an earlier turn.
3. The models that are waited for take their turns: of a higher priority first, then in the order of
   their oldest waiter. Those that have to go for the one whose turn it is are drained and stopped,
   then it is started. A later turn goes ahead only if it takes nothing away from an earlier one;
   `turns.py` knows.
4. A running request is never cut to make room, and a model that is starting for somebody is never
   stopped for somebody else.

Whatever the room says: when a model is started, nobody runs who would have to go for it.

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
been: those that fit, when nobody waits for their place, and if nobody wanted them to be stopped.

A model that hangs, or answers with errors only, has failed like one that went by itself; its pause
keeps it from taking anything away. What it was doing ends with an error, and so do the requests of
a draining model that get no further for `Spec.drain_limit_s`: the workers are told so first, for
they alone can say it to their clients.

All of it is in one file, longer than the others, because the rules are only right together.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from arriero.protocol.control import ExplainReply
from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.values import ErrorInfo, ModelStatus, Phase, Progress, QueueEntry, State

from ..placement.policy import OneAtATime, Room
from . import refusals
from .backoff import Backoff
from .events import (
    Announce,
    CameUp,
    Command,
    Ended,
    Failing,
    Grant,
    Happening,
    Hung,
    Left,
    NotReady,
    OwnerLost,
    Progressed,
    Reconfigured,
    Refuse,
    Released,
    Reported,
    Revoke,
    ShuttingDown,
    Spawn,
    Spawned,
    Spec,
    Stalled,
    Terminate,
    TimePassed,
    UnloadAsked,
    Void,
    Waiter,
    Wanted,
)
from .explain import explanation
from .lifecycle import Step, after
from .model_state import Slot, Wait
from .turns import Turn, plan
from .wait_list import WaitList

# Seconds that workers get to end requests of a model that is stopped without waiting for them. They
# need milliseconds; one that hangs itself is not waited for.
CUT_LIMIT_S: Final = 2.0

# The order of turns, the smallest first: minus the priority, and the number of the oldest waiter.
_Key: TypeAlias = tuple[float, float]
_LAST: Final[_Key] = (math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an operator may want to have otherwise.

    Attributes:
        max_wait_s: How long a contested model may go on admitting requests. Ten seconds let a
            chat or a batch finish a few short requests before the swap, and are not yet the
            minute after which clients begin to give up.
        backoff: Pauses between the starts of a model that fails.
    """

    max_wait_s: float = 10.0
    backoff: Backoff = field(default_factory=Backoff)


class Engine:
    """Decides. Feed it happenings with `handle`; carry out the commands in the order given."""

    def __init__(
        self,
        specs: Iterable[Spec],
        *,
        now: float = 0.0,
        rules: Rules | None = None,
        room: Room | None = None,
        obstacle: Callable[[str], ErrorInfo | None] = lambda _: None,
    ) -> None:
        """Build it with every model stopped.

        Args:
            specs: The models.
            now: Since when they are stopped.
            rules: What an operator may want to have otherwise.
            room: Which models cannot run beside which.
            obstacle: Says at once why a model cannot be started, if that is plain to see. It is
                asked before others make room: what cannot start anyway takes nothing away.
        """
        self._slots = {spec.model: Slot(spec, since=now) for spec in specs}
        self._rules = rules or Rules()
        self._room: Room = room or OneAtATime()
        self._obstacle = obstacle
        self._live: dict[str, Slot] = {}  # those that are not stopped
        self._turning: dict[str, Slot] = {}  # those that are stopped and had their turn announced
        self._queue = WaitList()
        self._restoring: dict[str, str] = {}  # stopped for one that failed; which one
        self._announced_queue: tuple[QueueEntry, ...] = ()
        self._commands: list[Command] = []
        self._plan_of: tuple[frozenset[str], list[str]] = (frozenset(), [])
        self._planned: tuple[Turn, ...] = ()
        self._arrivals = 0
        self._numbers = 0  # of leases and of swaps
        self._closing = False

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {slot.state}" for name, slot in self._slots.items())
        return f"<Engine {states}; {len(self._queue)} waiting>"

    # --- the outside ----------------------------------------------------------------------------

    def handle(self, happening: Happening, now: float) -> list[Command]:
        """Take note of `happening` and say what is to be done about it."""
        self._note(happening, now)
        self._settle(now)
        if (queue := self.queue()) != self._announced_queue:
            self._announced_queue = queue
            self._commands.append(Announce(QueueChanged(queue=queue)))
        commands, self._commands = self._commands, []
        return commands

    def next_deadline(self, now: float) -> float:
        """Return when `TimePassed` has to be handled at the latest; infinity if never."""
        times = [math.inf]
        for slot in self._live.values():
            match slot.state:
                case "starting":
                    times.append(slot.since + slot.spec.start_limit_s)
                case "draining" if slot.cut_at is not None:
                    times.append(slot.cut_at + CUT_LIMIT_S)
                case "draining" if slot.admits:
                    times.append(slot.since + self._rules.max_wait_s)
                case "ready":
                    times.append(slot.idle_until())
                case _:
                    pass
        times += [slot.not_before for slot in self._turning.values() if slot.not_before > now]
        return min(times)

    def queue(self) -> tuple[QueueEntry, ...]:
        """Return who waits for what, in the order of turns."""
        oldest = self._oldest()
        return self._queue.entries(sorted(oldest, key=oldest.__getitem__))

    def models(self, now: float, unix_now: float) -> tuple[ModelStatus, ...]:
        """Return all that anybody may know of every model, in the order of the configuration."""
        return tuple(slot.status(now, unix_now) for slot in self._slots.values())

    def knows(self, model: str) -> bool:
        """Say whether there is such a model (by id, not by alias), be it one that has to go."""
        return model in self._slots

    def state(self, model: str) -> State:
        """Return what the process of `model` does."""
        return self._slots[model].state

    def swap(self, model: str) -> int:
        """Return the number of the start that the state of `model` belongs to."""
        return self._slots[model].swap

    def vitals(self, model: str) -> tuple[int, int]:
        """Return two numbers for the model: they rise when it is asked, and when it says anything.

        What is not known to be silence counts as something said.
        """
        slot = self._slots.get(model)
        return (0, 0) if slot is None else (slot.asks, slot.heard)

    def up_since(self, model: str) -> float | None:
        """Return when the process of `model` began to serve; None if it does not."""
        slot = self._live.get(model)
        return None if slot is None else slot.up_at

    def has_ended(self, model: str, swap: int) -> bool:
        """Say whether the process of the start `swap` of `model` is gone."""
        slot = self._live.get(model)
        return slot is None or slot.swap != swap

    def running(self) -> list[str]:
        """Return the models whose process exists or is about to."""
        return list(self._live)

    def stale(self) -> tuple[str, ...]:
        """Return the models whose process was started with an older command."""
        return tuple(name for name, slot in self._live.items() if slot.is_stale)

    def coming_back(self) -> set[str]:
        """Return the models that do not run, but are started again by themselves, or may be."""
        gone = {name for name, slot in self._slots.items() if slot.goes_for is not None}
        return gone.union(self._restoring)

    def leases_of(self, owner: str) -> tuple[str, ...]:
        """Return the models on which `owner` holds a lease."""
        return tuple(name for name, slot in self._live.items() if owner in slot.leases)

    def explain(self, model: str, now: float) -> ExplainReply:
        """Say what a request for `model` would meet, without changing anything."""
        slot, keys = self._slots[model], self._keys(now)
        key = keys.setdefault(model, self._key(slot, math.inf))
        turns = self._plan(keys)
        return explanation(
            slot,
            turns,
            now,
            room=self._room,
            live=self._live,
            is_contested=self._contested(turns, keys).get(model, _LAST) < key,
        )

    # --- taking note ----------------------------------------------------------------------------

    def _note(self, happening: Happening, now: float) -> None:
        match happening:
            case Wanted(waiter, model):
                self._wanted(waiter, model, now)
            case Left(waiter):
                self._queue.remove(waiter)
            case OwnerLost(owner):
                self._owner_lost(owner)
            case Released(owner, model, lease):
                held = self._slots.get(model)  # None: gone, while this was under way
                if held is not None and held.leases.get(owner) == lease:
                    held.drop_lease(owner)
                    held.used_at = now
            case Reported():
                self._reported(happening, now)
            case Spawned(model, swap, pid, endpoint):
                slot = self._slots[model]
                if slot.swap == swap and slot.state in {"starting", "stopping"}:
                    slot.pid, slot.endpoint, slot.not_ready = pid, endpoint, ""
            case NotReady(model, swap, why):
                slot = self._slots[model]
                if slot.swap == swap:
                    slot.not_ready = why
            case Progressed(progress):
                self._progressed(progress)
            case CameUp(model, swap, kind):
                slot = self._slots[model]
                if slot.swap == swap and slot.state == "starting":
                    slot.error = slot.progress = None
                    slot.kind = kind
                    slot.up_at = slot.used_at = now
                    slot.remark = ""
                    self._take(slot, Step.UP, now)
                    self._stay_away(model)
                    self._grant_all(slot, now)
            case Ended(model, swap, error):
                self._ended(self._slots[model], swap, error, now)
            case Hung(model, swap, error, well_s):
                slot = self._slots[model]
                if slot.swap == swap and slot.state in {"ready", "draining"}:
                    slot.give_up(error, well_s, now, self._rules.backoff)
                    slot.killed, slot.goes_for = True, None
                    self._cut(slot, error, now)
            case Failing(model, swap, error, well_s):
                slot = self._slots[model]
                if slot.swap == swap and slot.state == "ready":
                    slot.give_up(error, well_s, now, self._rules.backoff)
                    self._drain(slot, now, unloading=True)
            case Stalled(model, swap, still_s):
                slot = self._slots[model]
                if slot.swap == swap:
                    slot.still_s = still_s
            case UnloadAsked(model, at_once):
                self._refuse_all(model, refusals.unavailable(model, "it was unloaded"))
                self._unload(self._slots[model], now, at_once=at_once)
            case Reconfigured():
                self._reconfigured(happening, now)
            case ShuttingDown(at_once):
                self._closing = True
                for model, slot in self._slots.items():
                    self._refuse_all(model, refusals.unavailable(model, "arriero is stopping"))
                    self._unload(slot, now, at_once=at_once)
            case TimePassed():
                pass

    def _wanted(self, waiter: Waiter, model: str, now: float) -> None:
        if waiter in self._queue:
            return
        self._arrivals += 1
        wait = Wait(waiter, model, now, self._arrivals)
        slot = self._slots.get(model)
        if slot is None or slot.removed:
            self._refuse(wait, refusals.removed(model))
        elif self._closing:
            self._refuse(wait, refusals.unavailable(model, "arriero is stopping"))
        else:
            self._queue.add(wait)

    def _owner_lost(self, owner: str) -> None:
        self._queue.remove_owner(owner)
        for slot in self._live.values():
            slot.drop_lease(owner)

    def _reported(self, report: Reported, now: float) -> None:
        for name, slot in self._live.items():
            if report.owner not in slot.leases:
                continue
            before = slot.in_flight.get(report.owner, 0)
            running = slot.in_flight[report.owner] = report.in_flight.get(name, 0)
            if before or running or name in report.used:
                slot.used_at = now
                slot.asks += 1
            if name in report.heard:
                slot.heard += 1

    def _progressed(self, progress: Progress) -> None:
        slot = self._slots[progress.model]
        if slot.swap == progress.swap and slot.state == "starting":
            self._announce_progress(slot.follow_progress(progress))

    def _ended(self, slot: Slot, swap: int, error: ErrorInfo, now: float) -> None:
        if slot.swap != swap or slot.state == "stopped":
            return
        was = slot.state
        for owner, lease in slot.leases.items():
            self._commands.append(Void(owner, slot.spec.model, lease))
        slot.lose_process(now, self._rules.backoff)
        if was != "stopping":  # it went by itself
            slot.fail(error, now, self._rules.backoff)
        self._take(slot, Step.END, now)
        if was == "starting":
            self._refuse_all(slot.spec.model, error)
            self._bring_back(slot)
        elif was != "stopping":
            slot.goes_for = None  # it would have gone by itself

    def _reconfigured(self, change: Reconfigured, now: float) -> None:
        if self._closing:
            return
        self._room = change.room or self._room
        self._plan_of, self._planned = (frozenset(), []), ()
        old, self._slots = self._slots, {}
        for spec in change.specs:
            slot = old.pop(spec.model) if spec.model in old else Slot(spec, since=now)
            self._slots[spec.model] = slot
            slot.follow(spec)
            if change.drain and slot.is_stale:
                self._unload(slot, now)
        for model, slot in old.items():
            slot.removed = True
            self._refuse_all(model, refusals.removed(model))
            self._turning.pop(model, None)
            self._stay_away(model)
            self._restoring.pop(model, None)
            if slot.state != "stopped":
                self._slots[model] = slot
                self._unload(slot, now)

    def _unload(self, slot: Slot, now: float, *, at_once: bool = False) -> None:
        slot.goes_for = None  # whoever asks for that does not want it back
        self._restoring.pop(slot.spec.model, None)
        match slot.state:
            case "starting":
                self._stop(slot, now)
            case "ready" if not at_once:
                self._drain(slot, now, unloading=True)
            case "draining" if not at_once:
                slot.unloading = True
                self._admit_no_more(slot)
            case "ready" | "draining":
                self._stop(slot, now, grace_s=0.0)
            case "stopping" if at_once:
                self._stop(slot, now, grace_s=0.0)
            case _:
                pass

    # --- settling -------------------------------------------------------------------------------

    def _settle(self, now: float) -> None:
        for slot in list(self._live.values()):
            self._look_at_deadlines(slot, now)
            self._stop_if_drained(slot, now)
        self._serve(now)
        for turn in self._plan(self._keys(now)):
            if turn.is_free:
                self._pursue(turn, now)
            elif turn.model in self._turning:  # it was before somebody came who goes first
                self._tell(self._slots[turn.model], "waiting", now)
        self._restore(now)
        self._tell_who_is_paused(now)
        self._forget_turns()

    def _look_at_deadlines(self, slot: Slot, now: float) -> None:
        model = slot.spec.model
        if slot.state == "starting" and now >= slot.since + slot.spec.start_limit_s:
            error = refusals.too_slow(model, slot.spec.start_limit_s, slot.not_ready)
            slot.fail(error, now, self._rules.backoff)
            self._stop(slot, now)
            self._refuse_all(model, error)
            self._bring_back(slot)
        elif slot.state == "draining":
            limit_s = slot.spec.drain_limit_s
            if slot.cut_at is not None:
                if now >= slot.cut_at + CUT_LIMIT_S:
                    self._stop_drained(slot, now)
            elif limit_s and min(slot.still_s, now - slot.since) >= limit_s:
                self._cut(slot, refusals.stalled(model, limit_s), now)
            elif slot.admits and now >= slot.since + self._rules.max_wait_s:
                self._admit_no_more(slot)
        elif slot.state == "ready" and now >= slot.idle_until():
            self._drain(slot, now, unloading=True)

    def _serve(self, now: float) -> None:
        """Keep what need not go, and give what is ready, but take from no earlier turn."""
        keys = self._keys(now)
        contested = self._contested(self._plan(keys), keys)
        for name, slot in self._live.items():
            may_stay = slot.state == "draining" and not slot.unloading
            if may_stay and keys.get(name, _LAST) <= contested.get(name, _LAST):
                slot.goes_for = None
                self._take(slot, Step.KEEP, now)
        for model in list(self._queue.models()):
            slot, before = self._slots[model], contested.get(model, _LAST)
            if slot.state != "ready":
                continue
            for wait in self._queue.of(model):
                if self._key(slot, wait.number) > before:
                    break  # and so is everybody who came later
                self._grant(slot, wait, now)

    def _grant_all(self, slot: Slot, now: float) -> None:
        """Give to all who waited for this start, whoever came in between: it spares a swap."""
        for wait in self._queue.of(slot.spec.model):
            self._grant(slot, wait, now)

    def _grant(self, slot: Slot, wait: Wait, now: float) -> None:
        assert slot.endpoint is not None  # a ready model answers somewhere
        self._queue.remove(wait.waiter)
        lease, owner = 0, wait.waiter.owner
        if wait.waiter.takes_lease:
            # Another number than the recalled one: that one may be on its way back.
            if owner not in slot.leases or owner in slot.recalled:
                slot.leases[owner] = self._number()
                slot.recalled.discard(owner)
            lease = slot.leases[owner]
            slot.used_at = now
        waited_s = max(0.0, now - wait.since)
        self._commands.append(
            Grant(wait.waiter, wait.model, lease, slot.endpoint, waited_s, slot.kind)
        )

    def _key(self, slot: Slot, number: float) -> _Key:
        return (-slot.spec.priority, number)

    def _oldest(self) -> dict[str, _Key]:
        """Return the models that are waited for, with the key of their oldest waiter."""
        return {
            model: self._key(self._slots[model], self._queue.first(model).number)
            for model in self._queue.models()
        }

    def _keys(self, now: float) -> dict[str, _Key]:
        """Return the keys of the models that have a turn.

        A model in its pause after a failure has none: a crash loop takes nothing from anybody.
        """
        return {model: key for model, key in self._oldest().items() if not self._pauses(model, now)}

    def _pauses(self, model: str, now: float) -> bool:
        slot = self._slots[model]
        return slot.state == "stopped" and now < slot.not_before

    def _plan(self, keys: Mapping[str, _Key]) -> tuple[Turn, ...]:
        staying = frozenset(name for name, slot in self._live.items() if not slot.is_leaving)
        plan_of = (staying, sorted(keys, key=keys.__getitem__))
        if plan_of != self._plan_of:  # it takes a while, and hardly ever changes
            self._plan_of, self._planned = plan_of, plan(self._room, *plan_of)
        return self._planned

    def _contested(self, turns: Iterable[Turn], keys: Mapping[str, _Key]) -> dict[str, _Key]:
        """Return the models that are in somebody's way, with the key of the first of these turns.

        What ends takes nothing from anybody until it has ended and can be started again.
        """
        contested: dict[str, _Key] = {}
        for turn in turns:
            if self._slots[turn.model].state == "stopped":
                for model in turn.goes:
                    contested.setdefault(model, keys[turn.model])
        return contested

    def _pursue(self, turn: Turn, now: float) -> None:
        """Take the next step towards the model of `turn` being ready."""
        model, target = turn.model, self._slots[turn.model]
        if target.state != "stopped":
            return
        blocking = self._room.must_go(model, self._live)
        if blocking and (error := self._obstacle(model)) is not None:
            target.fail(error, now, self._rules.backoff)
            self._refuse_all(model, error)
            self._bring_back(target)
            self._serve(now)  # it was in their way, and they in its way
            return
        self._begin_turn(target, now)
        if not blocking:
            self._take_for_good(model)
            self._start(target, now)
            return
        for name in sorted(turn.goes):
            self._make_go(self._slots[name], model, now)
        leaving = self._live.keys() - turn.after
        in_the_way = sorted((blocking & leaving) or leaving or blocking)
        self._tell_who_is_in_the_way(target, [self._slots[name] for name in in_the_way], now)

    def _make_go(self, slot: Slot, model: str, now: float) -> None:
        if slot.state == "ready":
            slot.goes_for = model
            self._drain(slot, now)
            self._stop_if_drained(slot, now)
        elif slot.state == "draining":
            slot.goes_for = model
        elif slot.state == "starting" and not self._queue.is_waited_for(slot.spec.model):
            # It never took the place of those that went for it: they would come back, not it.
            for before in self._gone_for(slot.spec.model) or [slot]:
                before.goes_for = model
            self._stop(slot, now)

    def _stop_if_drained(self, slot: Slot, now: float) -> None:
        if slot.state == "draining" and not slot.leases:
            self._stop_drained(slot, now)

    def _stop_drained(self, slot: Slot, now: float) -> None:
        self._stop(slot, now, grace_s=0.0 if slot.killed else None)

    # --- giving back what was taken -------------------------------------------------------------

    def _gone_for(self, model: str) -> list[Slot]:
        """Return those that were told to go for `model`, in the order in which they were started.

        In another order they may not fit.
        """
        gone = [slot for slot in self._slots.values() if slot.goes_for == model]
        return sorted(gone, key=lambda slot: slot.swap)

    def _take_for_good(self, model: str) -> None:
        """Who went for another one, and has no room beside `model`, has lost its place to it."""
        for slot in self._slots.values():
            if slot.goes_for not in (None, model) and self._room.must_go(slot.spec.model, [model]):
                slot.goes_for = None

    def _stay_away(self, model: str) -> None:
        """What was stopped for `model` has gone for good."""
        for slot in self._gone_for(model):
            slot.goes_for = None

    def _bring_back(self, failed: Slot) -> None:
        """What was stopped for `failed`, which could not be started, is to be started again."""
        model = failed.spec.model
        for slot in self._gone_for(model):
            if slot.state in {"stopping", "stopped"}:
                slot.goes_for = None
                if failed.spec.restores:
                    self._restoring[slot.spec.model] = model

    def _restore(self, now: float) -> None:
        """Start again what fits, and takes nothing away from anybody who waits."""
        for model, failed in list(self._restoring.items()):
            slot = self._slots[model]
            blocking = self._room.must_go(model, self._live.keys() - {model})
            if not all(self._slots[name].is_leaving for name in blocking):
                del self._restoring[model]  # somebody else has its place
            elif slot.state == "stopped" and not blocking and self._takes_nothing(model, now):
                slot.remark = f"restoring {model}: {failed} could not be started"
                self._begin_turn(slot, now)
                self._start(slot, now)

    def _takes_nothing(self, model: str, now: float) -> bool:
        """Say whether nobody's turn is later, or costs more, if `model` is started now."""
        keys = self._keys(now)
        if model in keys:
            return False  # it has a turn of its own
        staying = [name for name, slot in self._live.items() if not slot.is_leaving]
        turn = plan(self._room, staying, [*sorted(keys, key=keys.__getitem__), model])[-1]
        return turn.is_free and not turn.goes

    def _tell_who_is_paused(self, now: float) -> None:
        for model in self._oldest():
            if self._pauses(model, now):
                slot = self._slots[model]
                self._begin_turn(slot, now)
                self._tell(slot, "waiting", now, eta_s=slot.not_before - now)

    def _forget_turns(self) -> None:
        """Take back what was begun for somebody who has left."""
        for name, slot in list(self._turning.items()):
            if not self._queue.is_waited_for(name):
                slot.progress = None
                del self._turning[name]
                self._stay_away(name)

    # --- steps ----------------------------------------------------------------------------------

    def _take(self, slot: Slot, step: Step, now: float) -> None:
        slot.state = after(slot.state, step)
        slot.since = now
        if slot.state == "stopped":
            self._live.pop(slot.spec.model, None)
            if slot.removed:
                del self._slots[slot.spec.model]
        else:
            self._live[slot.spec.model] = slot
            self._turning.pop(slot.spec.model, None)
        self._commands.append(
            Announce(
                StateChanged(
                    model=slot.spec.model,
                    state=slot.state,
                    swap=slot.swap,
                    pid=slot.pid,
                    endpoint=slot.endpoint,
                    error=slot.error,
                )
            )
        )

    def _start(self, slot: Slot, now: float) -> None:
        slot.launch, slot.goes_for = slot.spec.launch, None
        self._restoring.pop(slot.spec.model, None)
        self._take(slot, Step.START, now)
        self._commands.append(Spawn(slot.spec.model, slot.swap, slot.remark))

    def _cut(self, slot: Slot, error: ErrorInfo, now: float) -> None:
        """Let the requests of a model end with `error`; it is stopped as soon as they have."""
        if slot.state == "ready":
            self._take(slot, Step.DRAIN, now)
        slot.unloading, slot.admits, slot.cut_at = True, False, now
        for owner, lease in slot.leases.items():
            slot.recalled.add(owner)
            revoke = Revoke(owner, slot.spec.model, lease, when_idle=False, error=error)
            self._commands.append(revoke)

    def _drain(self, slot: Slot, now: float, *, unloading: bool = False) -> None:
        slot.unloading = unloading
        slot.admits = not unloading
        self._take(slot, Step.DRAIN, now)
        self._recall(slot)

    def _admit_no_more(self, slot: Slot) -> None:
        if not slot.admits:
            return
        slot.admits = False
        self._recall(slot)

    def _recall(self, slot: Slot) -> None:
        for owner, lease in slot.leases.items():
            slot.recalled.add(owner)
            self._commands.append(Revoke(owner, slot.spec.model, lease, when_idle=slot.admits))

    def _stop(self, slot: Slot, now: float, *, grace_s: float | None = None) -> None:
        self._take(slot, Step.STOP, now)
        slot.progress = None
        grace_s = slot.spec.stop_grace_s if grace_s is None else grace_s
        self._commands.append(Terminate(slot.spec.model, slot.swap, grace_s))

    def _begin_turn(self, slot: Slot, now: float) -> None:
        """Give the attempt a number, once; the number stays until the process ends."""
        self._turning[slot.spec.model] = slot
        if slot.progress is None:
            slot.begin_attempt(self._number(), now)

    def _tell_who_is_in_the_way(self, target: Slot, in_the_way: Sequence[Slot], now: float) -> None:
        draining = [slot for slot in in_the_way if slot.state != "stopping"]
        phase: Phase = "draining" if draining else "stopping"
        self._tell(target, phase, now, other=(draining or in_the_way)[0].spec.model)

    def _tell(
        self,
        slot: Slot,
        phase: Phase,
        now: float,
        *,
        other: str | None = None,
        eta_s: float | None = None,
    ) -> None:
        if (progress := slot.get_to(phase, now, other=other, eta_s=eta_s)) is not None:
            self._announce_progress(progress)

    def _announce_progress(self, progress: Progress) -> None:
        self._commands.append(Announce(ProgressMade(model=progress.model, progress=progress)))

    def _refuse_all(self, model: str, error: ErrorInfo) -> None:
        for wait in self._queue.of(model):
            self._queue.remove(wait.waiter)
            self._refuse(wait, error)

    def _refuse(self, wait: Wait, error: ErrorInfo) -> None:
        self._commands.append(Refuse(wait.waiter, wait.model, error))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
