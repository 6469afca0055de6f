"""From measured values to what is shown: medians, ratios, promises."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from .rows import ROWS, Asked, Row

_AFTER = "arriero x"

# Fewer rounds than these say nothing of a change.
MIN_ROUNDS = 3


@dataclass(slots=True)
class Results:
    """All that was measured: target -> row -> a value per round.

    Attributes:
        targets: Names of all targets, in the order of tables.
        before: The version that `arriero` is compared with; empty: none is.
        values: The values, in the order of the rounds.
        errors: Target -> failed requests.
        remarks: What a reader has to know: what was missing, how busy the machine was.
    """

    targets: list[str] = field(default_factory=list)
    before: str = ""
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, target: str, measured: dict[str, float]) -> None:
        """Take the figures of one round; ``errors`` among them are summed up."""
        for row, value in measured.items():
            if row == "errors":
                self.errors[target] = self.errors.get(target, 0) + int(value)
            else:
                self.values.setdefault(target, {}).setdefault(row, []).append(value)

    def median(self, target: str, row: str) -> float | None:
        """The figure to be shown; None if it was not measured."""
        values = self.values.get(target, {}).get(row)
        return median(values) if values else None

    def ratio(self, row: str, target: str, to: str) -> float | None:
        """The figure of `target` by that of `to`; None unless there are both."""
        ours, theirs = self.median(target, row), self.median(to, row)
        return ours / theirs if ours is not None and theirs else None

    def changes(self) -> Iterator[tuple[Row, int, "Change"]]:
        """Give what a change of the code did: row, number of workers, and the comparison."""
        workers = [int(name.removeprefix(_AFTER)) for name in self.targets if _AFTER in name]
        for row in ROWS.values():
            for count in workers:
                before = self.values.get(f"{self.before} x{count}", {}).get(row.name, [])
                after = self.values.get(f"{_AFTER}{count}", {}).get(row.name, [])
                if found := change(before, after):
                    yield row, count, found

    def add_scaling(self) -> None:
        """Add what a second worker brings, round by round."""
        for target, values in self.values.items():
            if target.endswith(" x2") and (single := self.values.get(f"{target[:-1]}1")):
                pairs = zip(values.get("requests", []), single.get("requests", []), strict=False)
                if ratios := [two / one for two, one in pairs if one]:
                    values["scaling"] = ratios

    def verdict(self, row: Row, asked: Asked) -> tuple[float | None, bool | None]:
        """What there is of what was asked, and whether that is enough; None: not measured."""
        if asked.to is None:
            value = self.median(asked.of, row.name)
        elif asked.to.startswith("row:"):
            ours = self.median(asked.of, row.name)
            other = self.median(asked.of, asked.to.removeprefix("row:"))
            value = ours / other if ours is not None and other else None
        else:
            value = self.ratio(row.name, asked.of, asked.to)
        return value, None if value is None else asked.is_met(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A row after a change by the same row before it, round by round.

    Attributes:
        before: Median before.
        after: Median after.
        ratio: Median of the ratios of the rounds; above 1.0: the figure is larger now.
        low: Lowest ratio of a round.
        high: Highest ratio of a round.
        rounds: How many there were.
    """

    before: float
    after: float
    ratio: float
    low: float
    high: float
    rounds: int


def change(before: list[float], after: list[float]) -> Change | None:
    """Compare what was measured in turns; None if there is no whole round of it."""
    ratios = [one / other for one, other in zip(after, before, strict=False) if other]
    if not ratios:
        return None
    return Change(
        before=median(before),
        after=median(after),
        ratio=median(ratios),
        low=min(ratios),
        high=max(ratios),
        rounds=len(ratios),
    )


def says(found: Change, *, more_is_better: bool) -> str:
    """One word on a change: it counts if three rounds or more agree on it, and it exceeds 2 %."""
    if found.rounds < MIN_ROUNDS:
        return "too few rounds"
    if found.low <= 1.0 <= found.high or 0.98 < found.ratio < 1.02:
        return "same"
    return "better" if (found.ratio > 1.0) == more_is_better else "WORSE"
