"""Room in memory: which models go so that another one fits, and what cannot go.

The placement policy where memory decides; groups and the matrix, if there are any, act on top.
Reads the states of the models, and changes nothing.

What a model needs depends on where its size comes from. A declared size is taken as it is. A
learned one is never more than models may have of a device. An estimate is meant to be too large,
so less will do if there cannot be more. Of an unknown size is all that can be had: such a
model runs alone, but for those that are pinned.

Who goes: those that are on their way out for this one already; then idle ones; then busy ones,
which end when their requests have; then ones that start for others. Within each kind the set that
costs least to bring back: the seconds that a start takes, times how much a model was used lately.

Of those that go, the ones that can fall asleep where what they then keep leaves room enough: waking
takes less than a start. What they keep is reserved, and may have to go for others like anything
that is idle. As long as that was not seen, nothing of a GPU is taken to be kept, and all that it
had there to move into main memory; the model that they make room for is started when a look has
shown enough.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from arriero.protocol.events import ModelEvicted
from arriero.protocol.values import DeviceStatus, ModelFit, ModelStatus

from ...memory.ledger import Ledger
from ...memory.sizes import (
    NOTHING,
    RAM,
    UNKNOWN,
    Amounts,
    ModelSize,
    SizeSource,
    added,
    amounts_text,
    bytes_text,
    in_order,
    largest,
)
from ...memory.victims import Evictable, cheapest
from ...placement.policy import PlacementPolicy
from ..room.turns import Turn, plan
from ..states.model_state import ModelState

# Turns that are planned ahead: these, or the first two for each device. Those behind them wait, as
# they would anyway, and the work for each decision has a bound.
MAX_TURNS: Final = 16

# An estimate may be this much too large: if there is no more than that, it is tried.
_ESTIMATE_FITS: Final = 0.7

# What it costs to take a busy model, and one that starts for somebody: more than any idle ones.
_BUSY: Final = 1e9
_STARTING: Final = 1e12

# Bytes a second that a start takes, for a model of which no start is known: a slow disk.
_BYTES_PER_S: Final = 0.5e9

# What counts for a model that was not used lately: so that dear ones stay before cheap ones.
_LITTLE_USE: Final = 0.01

# By how much the size of a model is raised that ran out of memory: a quarter, and in any case above
# what it could have had.
_RAISED: Final = 1.25
_RAISED_LEAST: Final = 64 * 1024**2

_NOBODY: Final[frozenset[str]] = frozenset()

# The most recent questions come again with the next event.
_REMEMBERED: Final = 2000


class Blockage(msgspec.Struct, frozen=True):
    """Why a model cannot have room, whoever else went.

    Attributes:
        why: In words.
        for_good: It is larger than its device: only another configuration helps.
    """

    why: str
    for_good: bool = False


class Room(PlacementPolicy):
    """Decides by memory which models go for another one.

    Attributes:
        ledger: Who has how much.
        now: Time of the event at hand.
        costs_at: Second in which the costs were seen that decide.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.now = 0.0
        self._inner: PlacementPolicy | None = None
        self._entries: Mapping[str, ModelState] = {}
        self._live: Mapping[str, ModelState] = {}
        self._asleep: Mapping[str, ModelState] = {}
        self._changes = self._resizes = 0
        self._seen: tuple[int, int] = (0, 0)
        self._needed_with: object = None  # what needs and blockages depend on
        self.costs_at = 0
        self._needs: dict[str, Amounts] = {}
        self._goes: dict[tuple[str, frozenset[str]], frozenset[str]] = {}
        self._blockages: dict[str, Blockage | None] = {}
        self._candidates: dict[str, Evictable] = {}
        self._taken: tuple[frozenset[str], _Taken] | None = None
        self._protected: dict[str, ModelState] = {}
        self._kept: Amounts = NOTHING  # what these have

    def follow(
        self,
        entries: Mapping[str, ModelState],
        live: Mapping[str, ModelState],
        asleep: Mapping[str, ModelState],
        inner: PlacementPolicy | None,
    ) -> None:
        """Follow another configuration.

        Args:
            entries: All models.
            live: Those whose process exists or is about to.
            asleep: Those whose process sleeps; they are not among these.
            inner: Groups or the matrix; None without.
        """
        self._entries, self._live, self._asleep, self._inner = entries, live, asleep, inner
        self._candidates.clear()
        self.resized()

    def changed(self, model: str) -> None:
        """Note that `model` is used or counted otherwise than before."""
        self._changes += 1
        self._candidates.pop(model, None)

    def resized(self) -> None:
        """Note that a size is another one."""
        self._changes += 1
        self._resizes += 1

    @property
    def live(self) -> Mapping[str, ModelState]:
        """The models whose process exists or is about to."""
        return self._live

    def asleep(self) -> set[str]:
        """Return the models whose process sleeps."""
        return set(self._asleep)

    @property
    def version(self) -> tuple[int, int]:
        """Another value when decisions may be others."""
        return self.ledger.version, self._changes

    # --- needs ----------------------------------------------------------------------------------

    def need(self, model: str) -> Amounts:
        """Return what a start of `model` would reserve."""
        self._forget_if_changed()
        found = self._needs.get(model)
        if found is None:
            found = self._needs[model] = self._need(model)
        return found

    def _need(self, model: str) -> Amounts:
        size = self._size(model)
        devices = self.ledger.devices
        if size.source == "declared" and size.amounts.keys() <= devices.keys():
            return size.amounts
        if size.source == "unknown":
            names = [name for name in size.amounts or devices if name in devices]
            return {name: max(1, self._had_alone(name)) for name in names}
        needed = {}
        for name, count in size.amounts.items():
            if name not in devices:
                continue  # it limits nobody
            if size.source == "learned":
                count = min(count, self.ledger.budget(name))
            elif size.source == "estimated":
                most = self._had_alone(name)
                if most >= count * _ESTIMATE_FITS:
                    count = min(count, most)
            needed[name] = count
        return needed

    def _size(self, model: str) -> ModelSize:
        entry = self._entries.get(model)
        return UNKNOWN if entry is None or entry.size is None else entry.size

    def amounts(self, model: str) -> Amounts:
        """Return what `model` has, or would have."""
        has_some = model in self._live or model in self._asleep
        return self.ledger.held_by(model) if has_some else self.need(model)

    def held_asleep(self, model: str) -> Amounts:
        """Return what `model` has as long as it sleeps; nothing, if it does not."""
        return self.ledger.held_by(model) if model in self._asleep else NOTHING

    def keeps(self, entry: ModelState) -> dict[str, int] | None:
        """Return what a model keeps when it sleeps; None if nobody can tell."""
        if (size := entry.sleep_size) is None:
            held = self.ledger.held_by(entry.spec.model)
            size = ModelSize({RAM: sum(held.values())}, "estimated")
        if size.source == "unknown":
            return None
        return {name: size.amounts[name] for name in size.amounts if name in self.ledger.devices}

    def _had_alone(self, device: str) -> int:
        """Return what one model can have of `device` if all go that may."""
        return max(0, self.ledger.limit(device) - self._kept.get(device, 0))

    # --- what is told ---------------------------------------------------------------------------

    def told(self, status: ModelStatus) -> ModelStatus:
        """Return `status` with what is known of memory."""
        entry = self._entries[status.model]
        return msgspec.structs.replace(
            status,
            memory=dict(self.amounts(status.model)),
            memory_source=self._source(entry),
            pin=entry.pin,
        )

    def devices(self, now: float) -> tuple[DeviceStatus, ...]:
        """Return the public state of the devices."""
        found = []
        for name in in_order(self.ledger.devices):
            room, hold = self.ledger.devices[name], self.ledger.holds.get(name)
            reserved = self.ledger.used.get(name, 0)
            until = None if hold is None or math.isinf(hold.until) else hold.until
            found.append(
                DeviceStatus(
                    device=name,
                    total=room.total,
                    reserve=room.reserve,
                    foreign=room.foreign,
                    reserved=reserved,
                    free=max(0, self.ledger.limit(name) - reserved),
                    held=hold is not None,
                    held_s=None if until is None else max(0.0, until - now),
                    name=room.name,
                )
            )
        return tuple(found)

    def fits(self, target: str, turn: Turn, now: float) -> tuple[ModelFit, ...]:
        """Return what becomes of all that have memory, if `target` is started now."""
        why = self._why_size(target)
        entry = self._entries[target]
        if (went := entry.went_for) is not None:
            how = "put to sleep" if entry.state == "asleep" else "evicted"
            why += f"; it was {how} {now - went[1]:.0f} s ago for {went[0]}"
        found = [self._fit(target, "stays" if target in turn.before else "starts", why)]
        falls_asleep = self.falls_asleep(target, turn.goes)
        for name, entry in sorted((*self._live.items(), *self._asleep.items())):
            if name == target:
                continue
            why = self._why(entry, now)
            if name in falls_asleep:
                found.append(self._fit(name, "sleeps", f"{why}; {self._why_keeps(entry)}"))
            elif entry.is_leaving:
                doing = "it falls asleep" if entry.goes_to_sleep else "it is on its way out"
                found.append(self._fit(name, "ends", doing))
            elif name in turn.goes:
                found.append(self._fit(name, "goes", why + self._why_no_sleep(entry, target)))
            else:
                found.append(self._fit(name, "stays", why))
        return tuple(found)

    def _fit(
        self, model: str, verdict: Literal["starts", "goes", "sleeps", "stays", "ends"], why: str
    ) -> ModelFit:
        entry = self._entries[model]
        return ModelFit(
            model=model,
            state=entry.state,
            memory=dict(self.amounts(model)),
            source=self._source(entry),
            verdict=verdict,
            why=why,
            start_s=entry.start_s,
        )

    def _why_size(self, model: str) -> str:
        match self._size(model).source:
            case "unknown":
                return "it is not known how much it needs, so it runs alone until it was seen"
            case "estimated":
                return "it never ran: this is estimated from its files and options"
            case "learned":
                return "it was seen to use this"
            case _:
                return "the configuration says so"

    def _why(self, entry: ModelState, now: float) -> str:
        if entry.pin:
            return f"pinned: {entry.pin}"
        if entry.state == "starting":
            return "it is being started"
        if entry.state == "asleep":
            return f"asleep for {now - entry.since:.0f} s"
        if entry.is_busy:
            count = sum(entry.in_flight.values())
            return f"busy: {count} request{'s' * (count != 1)}"
        why = f"idle {now - entry.used_at:.0f} s"
        if entry.start_s is not None:
            why += f", comes back in {entry.start_s:.1f} s"
        return why

    def _source(self, entry: ModelState) -> SizeSource:
        if entry.state != "asleep":
            return self._size(entry.spec.model).source
        return "unknown" if entry.sleep_size is None else entry.sleep_size.source

    def _why_keeps(self, entry: ModelState) -> str:
        if entry.sleep_size is None:
            return "what it keeps while it sleeps is seen then"
        return f"it keeps {amounts_text(self.keeps(entry) or NOTHING)} while it sleeps"

    def _why_no_sleep(self, entry: ModelState, target: str) -> str:
        if not entry.can_be_put_to_sleep:
            return ""
        keeps = self.keeps(entry)
        if keeps is None:
            return "; it does not sleep, for what it would keep is not known"
        return f"; asleep it would keep {amounts_text(keeps)}, too much for {target}"

    # --- decisions ------------------------------------------------------------------------------

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that end or fall asleep before `target` is started.

        And those that sleep and have to end. If it cannot have room: all that may go.
        """
        there = frozenset(running)
        if target in there:
            return frozenset()
        self._forget_if_changed()
        goes = self._goes.get((target, there))
        if goes is None:
            if len(self._goes) >= _REMEMBERED:
                self._goes.clear()
            goes = self._goes[target, there] = self._evicted_by(target, there)
        return goes

    def _evicted_by(self, target: str, there: frozenset[str]) -> frozenset[str]:
        goes = frozenset() if self._inner is None else self._inner.evicted_by(target, there)
        return goes | self._victims(target, self._taken_by(there - goes))

    def _taken_by(self, models: frozenset[str]) -> "_Taken":
        """Return what `models` have, and those that sleep; it is not to be changed."""
        if self._taken is None or self._taken[0] != models:
            self._taken = models, _Taken(self, models)
        return self._taken[1]

    def _victims(self, target: str, taken: "_Taken") -> frozenset[str]:
        """Return those that go so that `target` has memory beside what is `taken`."""
        lack = taken.lack(target)
        if not lack:
            return frozenset()
        useful = {name for device in lack for name in taken.on.get(device, ())}
        candidates = [
            self._candidate(target, name, taken)
            for name in useful
            if name not in self._protected and name != target
        ]
        victims = cheapest(lack, candidates)
        if victims is None:
            victims = tuple(one.model for one in candidates)
        return frozenset(victims)

    def can_run_together(self, models: Iterable[str]) -> bool:
        """Return whether `models` all fit, in whatever order they are started."""
        models = frozenset(models)
        if len(models) <= 1:
            return True
        if self._inner is not None and not self._inner.can_run_together(models):
            return False
        total = added(*map(self.need, models))
        return all(count <= self.ledger.limit(device) for device, count in total.items())

    def lack(self, target: str, others: Iterable[str]) -> dict[str, int]:
        """Return what is missing for `target` beside `others`: device -> bytes."""
        self._forget_if_changed()
        return self._taken_by(frozenset(others)).lack(target)

    def has_room(self, model: str) -> bool:
        """Return whether `model` can be started at this moment, as far as memory is concerned."""
        others = [name for name in self._live if name != model]
        return not self.lack(model, others) and not self.coming_back(model)

    def coming_back(self, model: str) -> tuple[str, ...]:
        """Return the models whose memory `model` waits for, which are gone already."""
        needed = self.need(model)
        late = list(self.ledger.departed(needed))
        if not late:
            return ()
        has = self.held_asleep(model)
        for device, count in needed.items():
            taken = self.ledger.used.get(device, 0) + sum(
                one.amounts.get(device, 0) for one in late
            )
            if count - has.get(device, 0) + taken > self.ledger.limit(device):
                return tuple(one.model for one in late)
        return ()

    def blockage(self, model: str) -> Blockage | None:
        """Return why `model` cannot have room even if all went that may; None if it can."""
        self._forget_if_changed()
        if model not in self._blockages:
            self._blockages[model] = self._blockage(model)
        return self._blockages[model]

    def _blockage(self, model: str) -> Blockage | None:
        for device, count in self.need(model).items():
            if device in self.ledger.holds:
                return Blockage(f"{device} is held; `arriero release {device}` gives it free")
            limit = self.ledger.limit(device)
            if count + self._kept.get(device, 0) <= limit:
                continue
            room = self.ledger.devices[device]
            needs = f"it needs {bytes_text(count)} of {device}"
            if count > room.budget:
                return Blockage(
                    f"{needs}, which has {bytes_text(room.budget)} for models", for_good=True
                )
            pinned = [
                f"{name} (pinned: {entry.pin})"
                for name, entry in self._protected.items()
                if self.ledger.held_by(name).get(device)
            ]
            why = f"{needs}, and {bytes_text(self._had_alone(device))} can be had"
            if pinned:
                why += f" beside {', '.join(pinned)}"
            if room.foreign:
                why += f"; other programs use {bytes_text(room.foreign)}"
            return Blockage(why)
        return None

    def reason(self, target: str, running: Iterable[str]) -> str:
        """Return why others go for `target`."""
        there = frozenset(running)
        reasons = []
        if lack := self.lack(target, there):
            needed = self.need(target)
            reasons += [
                f"it needs {bytes_text(needed[device])} of {device}, where "
                f"{bytes_text(max(0, needed[device] - lack[device]))} are free"
                for device in in_order(lack)
            ]
        if self._inner is not None and self._inner.evicted_by(target, there):
            reasons.append("groups or the matrix keep them apart")
        return ", and ".join(reasons)

    def plan(self, staying: Iterable[str], wanted: Sequence[str]) -> tuple[Turn, ...]:
        """Return the turns of `wanted`, as far as they are planned; see `turns.plan`.

        Where only memory decides, whether a turn takes something away is seen from the sums.
        """
        self._forget_if_changed()
        wanted = self._looked_at(wanted)
        if self._inner is not None:
            return plan(self, staying, wanted)
        staying = there = frozenset(staying)
        taken = _Taken(self, staying)
        asleep = taken.asleep.copy()
        peak = dict(taken.used)  # the most that is used until the turn at hand
        turns: list[Turn] = []
        earlier: set[str] = set()
        for model in wanted:
            if model in there:
                goes, is_free = _NOBODY, True
            else:
                goes = self._victims(model, taken)
                is_free = (
                    model not in staying  # else it has to go for an earlier one first
                    and (model in taken.asleep or model not in asleep)
                    and goes.isdisjoint(earlier)
                    and self._fits_below(peak, model, goes, taken)
                )
                for name in goes:
                    taken.remove(name)
                taken.start(model)
                for device in taken.of(model):
                    peak[device] = max(peak.get(device, 0), taken.used[device])
            turn = Turn(model, there, goes, is_free)
            turns.append(turn)
            earlier.add(model)
            there = turn.after
        return tuple(turns)

    def _looked_at(self, wanted: Sequence[str]) -> list[str]:
        """Return the first models for each device, in their order, as far as turns are planned."""
        if len(wanted) <= MAX_TURNS:
            return list(wanted)
        most = max(2, MAX_TURNS // max(1, len(self.ledger.devices)))
        counts: dict[str, int] = {}
        found = []
        for model in wanted:
            needed = self.need(model)
            if not needed or any(counts.get(device, 0) < most for device in needed):
                found.append(model)
                for device in needed:
                    counts[device] = counts.get(device, 0) + 1
                if len(found) == 2 * MAX_TURNS:
                    break
        return found

    def _fits_below(
        self, peak: Mapping[str, int], model: str, goes: Iterable[str], taken: "_Taken"
    ) -> bool:
        freed = [taken.of(name) for name in goes]
        has = taken.had_asleep(model)
        return all(
            peak.get(device, 0)
            - sum(one.get(device, 0) for one in freed)
            + max(0, count - has.get(device, 0))
            <= self.ledger.limit(device)
            for device, count in self.need(model).items()
        )

    # --- sleep ----------------------------------------------------------------------------------

    def _will_keep(self, entry: ModelState) -> Amounts:
        """Return what a model that falls asleep is thought to keep; both are reserved by now."""
        if entry.sleep_size is None:
            return {RAM: self.ledger.held_by(entry.spec.model).get(RAM, 0)}
        return self.keeps(entry) or NOTHING

    def falls_asleep(self, target: str, goes: Iterable[str]) -> frozenset[str]:
        """Return those of `goes` that fall asleep in the place of an end: `target` has room then.

        They are looked at in the order in which it costs most to start them anew.
        """
        able = [entry for entry in map(self._entries.get, goes) if entry is not None]
        able = [entry for entry in able if entry.can_be_put_to_sleep]
        if not able:
            return _NOBODY
        goes = frozenset(goes)
        used = dict(self.ledger.used)
        staying = [name for name, one in self._live.items() if not one.is_leaving]
        taken = _Taken(self, frozenset(staying) - goes)
        for name in goes & taken.asleep:  # they end
            taken.remove(name)
        for name, entry in self._live.items():
            if entry.state == "stopping" and entry.goes_to_sleep:
                taken.add(name, self._will_keep(entry))
        found = set()
        costs = {entry.spec.model: self.cost(entry) for entry in able}
        for entry in sorted(able, key=lambda one: (-costs[one.spec.model], one.spec.model)):
            model, keeps = entry.spec.model, self.keeps(entry)
            if keeps is None:
                continue
            held = self.ledger.held_by(model)
            grows = {name: count - held.get(name, 0) for name, count in keeps.items()}
            if any(
                more > 0 and used.get(name, 0) + more > self.ledger.limit(name)
                for name, more in grows.items()
            ):
                continue
            taken.add(model, keeps)
            if taken.lack(target):
                taken.remove(model)
                continue
            found.add(model)
            for name, more in grows.items():
                used[name] = used.get(name, 0) + max(0, more)
        return frozenset(found)

    # --- costs ----------------------------------------------------------------------------------

    def _candidate(self, target: str, model: str, taken: "_Taken") -> Evictable:
        entry = self._entries.get(model)
        if entry is None or entry.is_leaving:
            return Evictable(0.0, 0.0, model, self.amounts(model))
        found = self._candidates.get(model)
        if found is None:
            found = self._candidates[model] = self._candidate_of(entry)
        if entry.goes_for == target:
            return found._replace(cost=0.0)
        if model in self._asleep and model not in taken.asleep:  # it is woken before that
            return found._replace(cost=found.cost + _STARTING, amounts=taken.of(model))
        return found

    def _candidate_of(self, entry: ModelState) -> Evictable:
        amounts = self.amounts(entry.spec.model)
        cost = self.cost(entry, amounts)
        if entry.state not in {"ready", "draining", "asleep"}:
            cost += _STARTING
        elif entry.is_busy:
            cost += _BUSY * (1 + sum(entry.in_flight.values()))
        return Evictable(cost, entry.used_at, entry.spec.model, amounts)

    def cost(self, entry: ModelState, amounts: Amounts = NOTHING) -> float:
        """Return what it costs to bring a model back: seconds, times recent use."""
        start_s = entry.start_s
        if start_s is None:
            start_s = 1.0 + sum(amounts.values()) / _BYTES_PER_S
        return start_s * (_LITTLE_USE + entry.use_at(self.costs_at))

    def _forget_if_changed(self) -> None:
        seen = self._seen
        if seen[1] == self._changes and seen[0] == self.ledger.version:
            return
        self._seen = self.version
        self._goes.clear()
        self._taken = None
        if self.costs_at != int(self.now):  # uses fade, and slowly
            self.costs_at = int(self.now)
            self._candidates.clear()
        self._protected = {name: entry for name, entry in self._live.items() if is_protected(entry)}
        self._kept = added(*map(self.ledger.held_by, self._protected))
        needed_with = (self.ledger.limits_version, self._resizes, [*self._protected], self._kept)
        if needed_with != self._needed_with:
            self._needed_with = needed_with
            self._needs.clear()
            self._blockages.clear()


class _Taken:
    """What some models have, summed up.

    Attributes:
        used: Device -> bytes.
        on: Device -> models that have some of it.
        asleep: Those of them that sleep: all that do, until they are started or removed.
    """

    def __init__(self, room: Room, models: Iterable[str]) -> None:
        ledger, models = room.ledger, frozenset(models)
        self.used = dict(ledger.used)
        self.on = {device: set(holders) for device, holders in ledger.on.items()}
        self.asleep = room.asleep()
        self._room = room
        self._other: dict[str, Amounts] = {}  # what is otherwise than at this moment
        for model in ledger.holders - models - self.asleep:
            self.remove(model)
        for model in models - ledger.holders:
            self.add(model, room.amounts(model))

    def of(self, model: str) -> Amounts:
        """Return what `model` has."""
        found = self._other.get(model)
        return self._room.amounts(model) if found is None else found

    def had_asleep(self, model: str) -> Amounts:
        """Return what `model` has already, for it sleeps."""
        return self._room.held_asleep(model) if model in self.asleep else NOTHING

    def add(self, model: str, amounts: Amounts) -> None:
        for device, count in amounts.items():
            self.used[device] = self.used.get(device, 0) + count
            self.on.setdefault(device, set()).add(model)
        self._other[model] = amounts

    def start(self, model: str) -> None:
        if model in self.asleep:
            needed = largest(self._room.need(model), self.had_asleep(model))
            self.remove(model)
            self.add(model, needed)
        else:
            self.add(model, self._room.amounts(model))

    def remove(self, model: str) -> None:
        for device, count in self.of(model).items():
            self.used[device] -= count
            self.on[device].discard(model)
        self._other.pop(model, None)
        self.asleep.discard(model)

    def lack(self, target: str) -> dict[str, int]:
        """Return what is missing for a start of `target`: device -> bytes."""
        limit, used, has = self._room.ledger.limit, self.used, self.had_asleep(target)
        missing = {}
        for device, count in self._room.need(target).items():
            more = count - has.get(device, 0)
            over = more + used.get(device, 0) - limit(device)
            if more > 0 and over > 0:
                missing[device] = over
        return missing


def is_protected(entry: ModelState) -> bool:
    """Return whether a model never goes for another one."""
    return bool(entry.pin) and not entry.is_leaving and entry.state != "stopped"


def needed_of_free(room: Room, target: str) -> str:
    """Return how much `target` needs of what is free: ``7.0 GiB of 3.2 GiB free``."""
    needed = room.need(target)
    lacking = room.lack(target, [name for name in room.live if name != target])
    parts = []
    for device in in_order(lacking or needed):
        free = max(0, room.ledger.limit(device) - room.ledger.used.get(device, 0))
        where = f" on {device}" if len(needed) > 1 else ""
        parts.append(f"{bytes_text(needed[device])} of {bytes_text(free)} free{where}")
    return ", ".join(parts)


def eviction(
    room: Room, entry: ModelState, target: str, now: float, *, sleeps: bool = False
) -> ModelEvicted:
    """Return the record of an eviction, before the model ends or is put to sleep."""
    model = entry.spec.model
    idle_s = max(0.0, now - entry.used_at)
    amounts = room.amounts(model)
    kept = {
        name: f"pinned: {other.pin}"
        for name, other in room.live.items()
        if name not in (model, target) and is_protected(other)
    }
    keeps = None
    if sleeps:
        keeps = {} if entry.sleep_size is None else room.keeps(entry) or {}
        doing, what = "put to sleep", f", of which it keeps {amounts_text(keeps) or 'nothing'}"
        if entry.sleep_size is None:
            what = ", and what it keeps will be seen"
    else:
        doing, what = "evicted", ", which it kept asleep" * (entry.state == "asleep")
    text = f"{doing} {model}: idle {idle_s:.0f} s, {amounts_text(amounts)}{what}"
    if room.need(target):
        text += f"; {target} needed {needed_of_free(room, target)}"
    text += "".join(f"; {name} kept: {why}" for name, why in kept.items())
    return ModelEvicted(
        model=model,
        swap=entry.swap,
        made_room_for=target,
        idle_s=idle_s,
        memory=dict(amounts),
        needed=dict(room.need(target)),
        kept=kept,
        text=text,
        keeps=keeps,
    )


def raised_size(room: Room, entry: ModelState, out_of: Iterable[str]) -> dict[str, int] | None:
    """Return a larger size for a model that ran out of memory on those devices.

    None if it would be no larger than what it could have had: then nobody's going helps.
    """
    model = entry.spec.model
    held = room.ledger.held_by(model)
    names = set(out_of)
    if "gpu" in names:
        names = {name for name in held if name != RAM} or set(room.ledger.devices) - {RAM}
    raised = dict(held)
    for device in names & room.ledger.devices.keys():
        others = room.ledger.used.get(device, 0) - held.get(device, 0)
        if not others:
            continue
        could_have = room.ledger.limit(device) - others
        wanted = max(int(held.get(device, 0) * _RAISED), could_have + _RAISED_LEAST)
        raised[device] = min(wanted, room.ledger.budget(device))
    return raised if raised != held else None
