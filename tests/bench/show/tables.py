"""Results as tables."""

from rich.table import Table
from rich.text import Text

from ..results import Results, says
from ..rows import NGINX, ROWS, SWAP, Asked, Row

OURS = "arriero"


def figure(value: float | None, digits: int) -> str:
    """A figure as shown; empty for none."""
    return "" if value is None else f"{value:,.{digits}f}"


def measured(results: Results) -> Table:
    """Return a line per row, a column per target, and what was asked with what came of it."""
    targets = results.targets
    table = Table(title="medians of the rounds", title_justify="left")
    table.add_column("", overflow="fold")
    for target in targets:
        table.add_column(target, justify="right")
    ours = f"{OURS} x2" if f"{OURS} x2" in targets else f"{OURS} x1"
    references = [name for name in (NGINX, SWAP) if name in targets and ours in targets]
    for name in references:
        table.add_column(f"{ours[-2:]} / {name}", justify="right")
    table.add_column("asked")
    for row in ROWS.values():
        figures = [results.median(target, row.name) for target in targets]
        if all(value is None for value in figures):
            continue
        table.add_row(
            f"{row.title}, {row.unit}".removesuffix(", "),
            *(figure(value, row.digits) for value in figures),
            *(figure(results.ratio(row.name, ours, name), 2) for name in references),
            asked_of(results, row),
        )
    if any(results.errors.values()):
        counts = (f"{results.errors.get(target, 0)}" for target in targets)
        table.add_row("failed requests", *counts, *("" for _ in references), "")
    return table


def asked_of(results: Results, row: Row) -> Text:
    """Return every promise on a row, one a line, and whether it is kept."""
    return Text("\n").join(_promise(results, row, asked) for asked in row.asked)


def _promise(results: Results, row: Row, asked: Asked) -> Text:
    words = asked.words(row.unit)
    value, met = results.verdict(row, asked)
    if met is None:
        return Text(f"{words}: not measured", style="dim")
    return Text(
        f"{words}: {'met' if met else f'missed ({value:.2f})'}", style="green" if met else "red"
    )


def changes(results: Results) -> Table:
    """Return what a change of the code did: the ratio of each row, and its range."""
    table = Table(title=f"{OURS} against {results.before}", title_justify="left")
    for head in ("", "workers"):
        table.add_column(head)
    for head in (results.before, OURS, "ratio", "of the rounds", ""):
        table.add_column(head, justify="right")
    for row, workers, found in results.changes():
        word = says(found, more_is_better=row.more_is_better)
        table.add_row(
            f"{row.title}, {row.unit}".removesuffix(", "),
            str(workers),
            figure(found.before, row.digits),
            figure(found.after, row.digits),
            f"{found.ratio:.3f}",
            f"{found.low:.2f} - {found.high:.2f}",
            Text(word, style={"better": "green", "WORSE": "red"}.get(word, "dim")),
        )
    return table
