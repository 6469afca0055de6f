"""Room in memory: which models go so that another one fits.

The placement policy where memory decides; groups and the matrix, if there are any, act on top.
Reads the states of the models, and changes nothing. `needs` says what models need, `costs` which
are the first to go.

Of those that go, the ones that can fall asleep where what they then keep leaves room enough: waking
takes less than a start. What they keep is reserved, and may have to go for others like anything
that is idle. As long as that was not seen, nothing of a GPU is taken to be kept, and all that it
had there to move into main memory; the model that they make room for is started when a look has
shown enough.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...memory.ledger import Ledger
from ...memory.sizes import added
from ...memory.victims import cheapest
from ...placement.policy import PlacementPolicy
from ..states.model_table import ModelTable
from .costs import Costs
from .needs import Needs
from .taken import Taken
from .turns import Turn, plan

# Turns that are planned ahead: these, or the first two for each device. Those behind them wait, as
# they would anyway, and the work for each decision has a bound.
MAX_TURNS: Final = 16

_NOBODY: Final[frozenset[str]] = frozenset()

# The most recent questions come again with the next event.
_REMEMBERED: Final = 2000


class Room(PlacementPolicy):
    """Decides by memory which models go for another one.

    Attributes:
        table: All models.
        needs: What models need and have.
        ledger: Who has how much.
        costs: What it costs to take a model away.
    """

    def __init__(self, table: ModelTable, ledger: Ledger | None = None) -> None:
        self.table = table
        self.needs = Needs(table, ledger)
        self.ledger = self.needs.ledger
        self.costs = Costs(table, self.needs)
        self._inner: PlacementPolicy | None = None
        self._all, self._live, self._asleep = table.all, table.live, table.asleep
        self._seen: tuple[int, int] = (0, 0)
        self._goes: dict[tuple[str, frozenset[str]], frozenset[str]] = {}
        self._taken: tuple[frozenset[str], Taken] | None = None

    def follow(self, inner: PlacementPolicy | None) -> None:
        """Follow another configuration, with groups or the matrix; None without."""
        self._inner = inner
        self.costs.forget()
        self.needs.resized()

    def changed(self, model: str) -> None:
        """Note that `model` is used or counted otherwise than before."""
        self.needs.changed()
        self.costs.changed(model)

    def _refresh(self) -> None:
        """Forget what was decided before something changed."""
        self.needs.refresh()
        if self._seen != self.needs.seen:
            self._seen = self.needs.seen
            self._goes.clear()
            self._taken = None
            self.costs.see(int(self.needs.seen_at))

    # --- who goes -------------------------------------------------------------------------------

    def evicted_by(self, target: str, running: Iterable[str]) -> frozenset[str]:
        """Return those of `running` that end or fall asleep before `target` is started.

        And those that sleep and have to end. If it cannot have room: all that may go.
        """
        there = frozenset(running)
        if target in there:
            return frozenset()
        self._refresh()
        goes = self._goes.get((target, there))
        if goes is None:
            if len(self._goes) >= _REMEMBERED:
                self._goes.clear()
            goes = self._goes[target, there] = self._evicted_by(target, there)
        return goes

    def _evicted_by(self, target: str, there: frozenset[str]) -> frozenset[str]:
        goes = frozenset() if self._inner is None else self._inner.evicted_by(target, there)
        return goes | self._victims(target, self._taken_by(there - goes))

    def _taken_by(self, models: frozenset[str]) -> Taken:
        """Return what `models` have, and those that sleep; it is not to be changed."""
        if self._taken is None or self._taken[0] != models:
            self._taken = models, self._sum_up(models)
        return self._taken[1]

    def _sum_up(self, models: frozenset[str]) -> Taken:
        return Taken(self.needs, models, self._asleep)

    def _victims(self, target: str, taken: Taken) -> frozenset[str]:
        """Return those that go so that `target` has memory beside what is `taken`."""
        lack = taken.lack(target)
        if not lack:
            return frozenset()
        useful = {name for device in lack for name in taken.on.get(device, ())}
        candidates = [
            self.costs.candidate(target, name, taken)
            for name in useful
            if name not in self.needs.protected and name != target
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
        total = added(*map(self.needs.need, models))
        return all(count <= self.ledger.limit(device) for device, count in total.items())

    def keeps_apart(self, target: str, running: Iterable[str]) -> bool:
        """Return whether groups or the matrix make others go for `target`, memory aside."""
        return self._inner is not None and bool(self._inner.evicted_by(target, running))

    def lack(self, target: str, others: Iterable[str]) -> dict[str, int]:
        """Return what is missing for `target` beside `others`: device -> bytes."""
        self._refresh()
        return self._taken_by(frozenset(others)).lack(target)

    def has_room(self, model: str) -> bool:
        """Return whether `model` can be started at this moment, as far as memory is concerned."""
        others = [name for name in self._live if name != model]
        return not self.lack(model, others) and not self.needs.coming_back(model)

    # --- turns ----------------------------------------------------------------------------------

    def plan(self, staying: Iterable[str], wanted: Sequence[str]) -> tuple[Turn, ...]:
        """Return the turns of `wanted`, as far as they are planned; see `turns.plan`.

        Where only memory decides, whether a turn takes something away is seen from the sums.
        """
        self._refresh()
        wanted = self._looked_at(wanted)
        if self._inner is not None:
            return plan(self, staying, wanted)
        staying = there = frozenset(staying)
        taken = self._sum_up(staying)
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
            needed = self.needs.need(model)
            if not needed or any(counts.get(device, 0) < most for device in needed):
                found.append(model)
                for device in needed:
                    counts[device] = counts.get(device, 0) + 1
                if len(found) == 2 * MAX_TURNS:
                    break
        return found

    def _fits_below(
        self, peak: Mapping[str, int], model: str, goes: Iterable[str], taken: Taken
    ) -> bool:
        freed = [taken.of(name) for name in goes]
        has = taken.had_asleep(model)
        return all(
            peak.get(device, 0)
            - sum(one.get(device, 0) for one in freed)
            + max(0, count - has.get(device, 0))
            <= self.ledger.limit(device)
            for device, count in self.needs.need(model).items()
        )

    # --- sleep ----------------------------------------------------------------------------------

    def falls_asleep(self, target: str, goes: Iterable[str]) -> frozenset[str]:
        """Return those of `goes` that fall asleep in the place of an end: `target` has room then.

        They are looked at in the order in which it costs most to start them anew.
        """
        able = [entry for entry in map(self._all.get, goes) if entry is not None]
        able = [entry for entry in able if entry.can_be_put_to_sleep]
        if not able:
            return _NOBODY
        self._refresh()
        goes = frozenset(goes)
        used = dict(self.ledger.used)
        staying = [name for name, one in self._live.items() if not one.is_leaving]
        taken = self._sum_up(frozenset(staying) - goes)
        for name in goes & taken.asleep:  # they end
            taken.remove(name)
        for name, entry in self._live.items():
            if entry.state == "stopping" and entry.goes_to_sleep:
                taken.add(name, self.needs.will_keep(entry))
        found = set()
        costs = {entry.spec.model: self.costs.of(entry) for entry in able}
        for entry in sorted(able, key=lambda one: (-costs[one.spec.model], one.spec.model)):
            model, keeps = entry.spec.model, self.needs.keeps(entry)
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
