"""Who runs, who waits, who has to go. The heart of the supervisor, without any I/O.

Happenings come in, commands go out; the caller carries them out in order. Time is an argument.

The rules, in the order in which they are applied after every happening:

1. A draining model whose last lease came back is told to end.
2. Whoever waits for a ready model that nobody contests gets it.
3. The models that are waited for take their turns in the order of their oldest waiter. Those that
   cannot run beside the one whose turn it is are drained, stopped, and then it is started. A later
   turn goes ahead only if it takes nothing away from an earlier one.
4. A running request is never cut to make room, and a model that is starting for somebody is never
   stopped for somebody else.

Bounded wait: a contested model goes on admitting requests on the leases that are out until it is
idle for a moment, but not for longer than `Rules.max_wait_s`; then it admits none. So a request
waits for its turn no longer than `max_wait_s` plus the longest running request, for each model
that is ahead of it.

All of it is in one file, longer than the others, because the rules are only right together.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from arriero.protocol.control import ExplainReply
from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.values import (
    ErrorInfo,
    ModelStatus,
    Phase,
    Progress,
    QueueEntry,
    State,
)

from .backoff import Backoff
from .happenings import (
    Announce,
    CameUp,
    Command,
    Ended,
    Grant,
    Happening,
    Left,
    OwnerLost,
    Progressed,
    Refuse,
    Released,
    Reported,
    Revoke,
    ShuttingDown,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    UnloadAsked,
    Void,
    Waiter,
    Wanted,
)
from .lifecycle import Step, after
from .room import OneAtATime, Room
from .slots import Slot, Wait

# An announced fraction never reaches this before `ready`: a full bar that goes on waiting is a lie.
_FULLEST = 0.99


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
        self._queue: dict[Waiter, Wait] = {}  # in order of arrival
        self._announced_queue: tuple[QueueEntry, ...] = ()
        self._commands: list[Command] = []
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
        counts: dict[str, int] = {}
        for wait in self._queue.values():
            counts[wait.model] = counts.get(wait.model, 0) + 1
        return tuple(QueueEntry(model=model, waiting=n) for model, n in counts.items())

    def models(self, now: float, unix_now: float) -> tuple[ModelStatus, ...]:
        """Return all that anybody may know of every model, in the order of the configuration."""
        return tuple(slot.status(now, unix_now) for slot in self._slots.values())

    def knows(self, model: str) -> bool:
        """Say whether there is such a model (by id, not by alias)."""
        return model in self._slots

    def state(self, model: str) -> State:
        """Return what the process of `model` does."""
        return self._slots[model].state

    def swap(self, model: str) -> int:
        """Return the number of the start that the state of `model` belongs to."""
        return self._slots[model].swap

    def running(self) -> list[str]:
        """Return the models whose process exists or is about to."""
        return list(self._live)

    def leases_of(self, owner: str) -> tuple[str, ...]:
        """Return the models on which `owner` holds a lease."""
        return tuple(name for name, slot in self._live.items() if owner in slot.leases)

    def explain(self, model: str, now: float) -> ExplainReply:
        """Say what a request for `model` would meet, without changing anything."""
        slot, turns = self._slots[model], self._turns(now)
        ahead = tuple(itertools.takewhile(lambda name: name != model, turns))
        stops: tuple[str, ...] = ()
        action: Literal["serve", "join", "start", "swap", "wait"] = "wait"
        if slot.state == "ready" and not self._contested(model, turns):
            action, why = "serve", "it is ready"
        elif slot.state == "starting":
            action, why = "join", "it is being started already"
        elif slot.state != "stopped":
            why = "it has to make room first, and is started again after that"
        elif slot.not_before > now:
            why = f"it failed, and is not started again for {slot.not_before - now:.1f} s"
        elif ahead:
            why = "other models get their turn first"
        elif running := self._room.must_go(model, self.running()):
            action, stops = "swap", tuple(sorted(running))
            why = f"{', '.join(stops)} would finish what runs, and stop"
        else:
            action, why = "start", "nothing is in its way"
        return ExplainReply(
            model=model, state=slot.state, action=action, stops=stops, ahead=ahead, why=why
        )

    # --- taking note ----------------------------------------------------------------------------

    def _note(self, happening: Happening, now: float) -> None:
        match happening:
            case Wanted(waiter, model):
                self._wanted(waiter, model, now)
            case Left(waiter):
                self._queue.pop(waiter, None)
            case OwnerLost(owner):
                self._owner_lost(owner)
            case Released(owner, model, lease):
                slot = self._slots[model]
                if slot.leases.get(owner) == lease:
                    slot.drop_lease(owner)
                    slot.used_at = now
            case Reported():
                self._reported(happening, now)
            case Spawned(model, swap, pid, endpoint):
                slot = self._slots[model]
                if slot.swap == swap and slot.state in {"starting", "stopping"}:
                    slot.pid, slot.endpoint = pid, endpoint
            case Progressed(progress):
                self._progressed(progress)
            case CameUp(model, swap):
                slot = self._slots[model]
                if slot.swap == swap and slot.state == "starting":
                    slot.error = slot.progress = None
                    slot.up_at = slot.used_at = now
                    self._take(slot, Step.UP, now)
                    self._grant_all(slot, now)
            case Ended(model, swap, error):
                self._ended(self._slots[model], swap, error, now)
            case UnloadAsked(model, at_once):
                self._unload(self._slots[model], now, at_once=at_once)
            case ShuttingDown(at_once):
                self._closing = True
                for slot in self._slots.values():
                    self._unload(slot, now, at_once=at_once)
            case TimePassed():
                pass

    def _wanted(self, waiter: Waiter, model: str, now: float) -> None:
        if waiter in self._queue:
            return
        if self._closing:
            self._refuse(Wait(waiter, model, now), _unavailable(model, "arriero is stopping"))
            return
        self._queue[waiter] = Wait(waiter, model, now)

    def _owner_lost(self, owner: str) -> None:
        for waiter in [waiter for waiter in self._queue if waiter.owner == owner]:
            del self._queue[waiter]
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

    def _progressed(self, progress: Progress) -> None:
        slot = self._slots[progress.model]
        if slot.swap == progress.swap and slot.state == "starting":
            self._announce_progress(slot, progress)

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

    def _unload(self, slot: Slot, now: float, *, at_once: bool) -> None:
        model = slot.spec.model
        self._refuse_all(model, _unavailable(model, "it was unloaded"))
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
            if slot.state == "draining" and not slot.leases:
                self._stop(slot, now)
        self._grant_ready(now)
        claimed: list[str] = []
        for model in self._turns(now):
            if not any(self._clash(model, other) for other in claimed):
                self._pursue(self._slots[model], now)
            claimed.append(model)
        self._tell_who_is_paused(now)
        self._relent(now)

    def _look_at_deadlines(self, slot: Slot, now: float) -> None:
        model = slot.spec.model
        if slot.state == "starting" and now >= slot.since + slot.spec.start_limit_s:
            error = ErrorInfo(
                code="model_load_timeout",
                message=f"model {model} failed to load: it was not ready after "
                f"{slot.spec.start_limit_s:g} s; raise healthCheckTimeout if it needs longer",
            )
            slot.fail(error, now, self._rules.backoff)
            self._stop(slot, now)
            self._refuse_all(model, error)
        elif slot.state == "draining" and slot.admits:
            if now >= slot.since + self._rules.max_wait_s:
                self._admit_no_more(slot)
        elif slot.state == "ready" and now >= slot.idle_until():
            self._drain(slot, now, unloading=True)

    def _grant_ready(self, now: float) -> None:
        """Give to those whose model is ready, but not before somebody who came earlier."""
        turns = self._turns(now)
        for wait in list(self._queue.values()):
            slot = self._slots[wait.model]
            if slot.state == "ready" and not self._contested(wait.model, turns, wait.since):
                self._grant(slot, wait, now)

    def _grant_all(self, slot: Slot, now: float) -> None:
        """Give to all who waited for this start, whoever came in between: it spares a swap."""
        for wait in list(self._queue.values()):
            if wait.model == slot.spec.model:
                self._grant(slot, wait, now)

    def _grant(self, slot: Slot, wait: Wait, now: float) -> None:
        assert slot.endpoint is not None  # a ready model answers somewhere
        del self._queue[wait.waiter]
        lease, owner = 0, wait.waiter.owner
        if wait.waiter.takes_lease:
            # Another number than the recalled one: that one may be on its way back.
            if owner not in slot.leases or owner in slot.recalled:
                slot.leases[owner] = self._number()
                slot.recalled.discard(owner)
            lease = slot.leases[owner]
            slot.used_at = now
        self._commands.append(
            Grant(wait.waiter, wait.model, lease, slot.endpoint, max(0.0, now - wait.since))
        )

    def _contested(self, model: str, turns: Mapping[str, float], since: float = math.inf) -> bool:
        """Say whether somebody who came before `since` waits for a model in the place of this."""
        return any(oldest < since and self._clash(other, model) for other, oldest in turns.items())

    def _clash(self, one: str, other: str) -> bool:
        return one != other and (
            bool(self._room.must_go(one, [other])) or bool(self._room.must_go(other, [one]))
        )

    def _turns(self, now: float) -> dict[str, float]:
        """Return the models that are waited for, in order, with the time of their oldest waiter.

        A model in its pause after a failure has no turn: a crash loop takes nothing from anybody.
        """
        turns: dict[str, float] = {}
        for wait in self._queue.values():
            slot = self._slots[wait.model]
            if slot.state != "stopped" or now >= slot.not_before:
                turns.setdefault(wait.model, wait.since)
        return turns

    def _pursue(self, target: Slot, now: float) -> None:
        """Take the next step towards `target` being ready."""
        model = target.spec.model
        if target.state == "draining" and not target.unloading:
            self._keep(target, now)
        if target.state != "stopped":
            return
        in_the_way = [
            self._slots[name] for name in sorted(self._room.must_go(model, self.running()))
        ]
        if in_the_way and (error := self._obstacle(model)) is not None:
            target.fail(error, now, self._rules.backoff)
            self._refuse_all(model, error)
            return
        self._begin_turn(target, now)
        if not in_the_way:
            self._take(target, Step.START, now)
            self._commands.append(Spawn(model, target.swap))
            return
        for slot in in_the_way:
            self._make_go(slot, now)
        self._tell_who_is_in_the_way(target, in_the_way, now)

    def _make_go(self, slot: Slot, now: float) -> None:
        if slot.state == "ready":
            self._drain(slot, now)
            if not slot.leases:
                self._stop(slot, now)
        elif slot.state == "starting" and not self._is_waited_for(slot.spec.model):
            self._stop(slot, now)

    def _tell_who_is_paused(self, now: float) -> None:
        for model in dict.fromkeys(wait.model for wait in self._queue.values()):
            slot = self._slots[model]
            if slot.state == "stopped" and now < slot.not_before:
                self._begin_turn(slot, now)
                self._tell(slot, "waiting", now, eta_s=slot.not_before - now)

    def _relent(self, now: float) -> None:
        """Take back what was begun for somebody who has left."""
        turns = self._turns(now)
        for name, slot in self._live.items():
            wanted_back = slot.state == "draining" and not slot.unloading
            if wanted_back and not self._contested(name, turns):
                self._keep(slot, now)
        for name, slot in list(self._turning.items()):
            if not self._is_waited_for(name):
                slot.progress = None
                del self._turning[name]

    def _keep(self, slot: Slot, now: float) -> None:
        self._take(slot, Step.KEEP, now)
        self._grant_ready(now)

    def _is_waited_for(self, model: str) -> bool:
        return any(wait.model == model for wait in self._queue.values())

    # --- steps ----------------------------------------------------------------------------------

    def _take(self, slot: Slot, step: Step, now: float) -> None:
        slot.state = after(slot.state, step)
        slot.since = now
        if slot.state == "stopped":
            self._live.pop(slot.spec.model, None)
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
            slot.swap = self._number()
            slot.swap_since = now
            slot.progress = Progress(
                model=slot.spec.model, swap=slot.swap, phase="starting", elapsed_s=0.0
            )

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
        known = slot.progress
        if known is not None and (known.phase, known.other) == (phase, other):
            return
        self._announce_progress(
            slot,
            Progress(
                model=slot.spec.model,
                swap=slot.swap,
                phase=phase,
                other=other,
                eta_s=eta_s,
                elapsed_s=now - slot.swap_since,
            ),
        )

    def _announce_progress(self, slot: Slot, progress: Progress) -> None:
        known = slot.progress.fraction if slot.progress is not None else None
        if known is not None or progress.fraction is not None:
            fraction = min(_FULLEST, max(known or 0.0, progress.fraction or 0.0))
            progress = msgspec.structs.replace(progress, fraction=fraction)
        slot.progress = progress
        self._commands.append(Announce(ProgressMade(model=slot.spec.model, progress=progress)))

    def _refuse_all(self, model: str, error: ErrorInfo) -> None:
        for wait in [wait for wait in self._queue.values() if wait.model == model]:
            del self._queue[wait.waiter]
            self._refuse(wait, error)

    def _refuse(self, wait: Wait, error: ErrorInfo) -> None:
        self._commands.append(Refuse(wait.waiter, wait.model, error))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers


def _unavailable(model: str, why: str) -> ErrorInfo:
    return ErrorInfo(
        code="model_unavailable", message=f"model {model} is not available: {why}", transient=True
    )
