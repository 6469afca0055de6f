"""Draws tables and live progress bars on a terminal.

rich leaves colours out when NO_COLOR is set, and measures the terminal. Texts are given to it as
`Text`, never as markup: a model may be called ``[red]``.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import AnyEvent, ProgressMade
from arriero.protocol.values import ModelStatus

from .bars import Bar, Bars, bars_after
from .text import (
    Table,
    config_lines,
    devices_table,
    fitted,
    headline,
    keep_line,
    kept_table,
    models_table,
    peers_table,
    percent,
    store_lines,
    workers_table,
)

_STYLES: Final = {
    "ready": "green",
    "serving": "green",
    "starting": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "asleep": "blue",
    "stopped": "dim",
}

# Columns of the bar in a table cell: wide enough to see a step of a tenth.
_CELL_BAR_WIDTH = 12

# Characters of a terminal on which there is room for such bars.
_LEAST_FOR_BARS = 110


def draw_status(status: StatusReply) -> None:
    """Draw models, queue, other machines and workers."""
    console = Console()
    console.print(Text(headline(status)))
    for line in (*config_lines(status.config, status.t), *store_lines(status.store)):
        console.print(Text(line))
    console.print(_models(status, console.width))
    if status.devices:
        console.print(_table(fitted(devices_table(status.devices), console.width)))
    if status.kept is not None:
        console.print(Text(keep_line(status.kept)))
        if status.kept.models:
            console.print(_table(fitted(kept_table(status.kept.models), console.width)))
    if status.peers:
        console.print(_table(fitted(peers_table(status.peers, status.t), console.width)))
    console.print(_table(fitted(workers_table(status.workers), console.width)))


def draw_table(table: Table) -> None:
    """Draw `table`, as much of it as there is room for."""
    console = Console()
    console.print(_table(fitted(table, console.width)))


def _models(status: StatusReply, width: int) -> RichTable:
    table = fitted(models_table(status.models, status.t), width)
    drawn = _headed(table)
    has_remarks = table.head[-1] == "remarks"
    for model, row in zip(status.models, table.rows, strict=True):
        cells: list[RenderableType] = list(_styled(row))
        if has_remarks:
            cells[-1] = _remarks(model, row[-1], has_bar=width >= _LEAST_FOR_BARS)
        drawn.add_row(*cells)
    return drawn


def _remarks(model: ModelStatus, shown: str, *, has_bar: bool) -> RenderableType:
    text = Text(shown, style="red" if model.error else "")
    if not has_bar or model.progress is None or model.progress.fraction is None:
        return text
    grid = RichTable.grid(padding=(0, 1))
    bar = ProgressBar(
        total=1.0,
        completed=model.progress.fraction,
        width=_CELL_BAR_WIDTH,
        complete_style="cyan",
    )
    grid.add_row(bar, text)
    return grid


def _table(table: Table) -> RichTable:
    drawn = _headed(table)
    for row in table.rows:
        drawn.add_row(*_styled(row))
    return drawn


def _headed(table: Table) -> RichTable:
    drawn = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for name in table.head:
        # Names and addresses are copied from here: they are not cut, but folded.
        drawn.add_column(name, justify="right" if name in table.right else "left", overflow="fold")
    return drawn


def _styled(row: Sequence[str]) -> list[Text]:
    return [Text(cell, style=_STYLES.get(cell, "")) for cell in row]


class LiveBars:
    """Progress bars at the bottom of the terminal, and lines that scroll by above them."""

    def __init__(self, progress: Progress, *, keep: bool) -> None:
        self._progress = progress
        self._keep = keep
        self._bars: Bars = {}
        self._tasks: dict[str, TaskID] = {}

    def show(self, event: AnyEvent, line: str | None) -> None:
        """Draw what `event` changes.

        Args:
            event: The latest one.
            line: The same as text; printed unless a bar shows it already. None prints nothing.
        """
        self._bars = bars_after(self._bars, event)
        if line is not None and not isinstance(event, ProgressMade):
            self._progress.console.print(Text(line), soft_wrap=True)
        for model in list(self._tasks):
            if model not in self._bars:
                self._progress.remove_task(self._tasks.pop(model))
        for model, bar in self._bars.items():
            self._draw(model, bar)

    def print(self, line: str) -> None:
        """Print `line` above the bars."""
        self._progress.console.print(Text(line), soft_wrap=True)

    def _draw(self, model: str, bar: Bar) -> None:
        if bar.over and not self._keep:
            if model in self._tasks:
                self._progress.remove_task(self._tasks.pop(model))
            return
        if model not in self._tasks:
            self._tasks[model] = self._progress.add_task(
                bar.model, total=1.0, percent="", caption="", eta=""
            )
        # Without colours what pulses looks like what is complete: there it stays empty.
        has_colours = self._progress.console.color_system and not self._progress.console.no_color
        pulses = bar.fraction is None and not bar.over and bool(has_colours)
        self._progress.update(
            self._tasks[model],
            total=None if pulses else 1.0,
            completed=bar.fraction or 0.0,
            percent="" if bar.fraction is None or bar.over else percent(bar.fraction),
            caption=bar.caption,
            eta=bar.eta,
        )


@contextmanager
def live_bars(*, keep: bool, console: Console | None = None) -> Generator[LiveBars, None, None]:
    """Draw progress bars while the block runs.

    Args:
        keep: Bars that are over stay to be seen; otherwise they go away.
        console: They are drawn there; None: on standard output.
    """

    def column(field: str, *, style: str = "none") -> TextColumn:
        text = f"{{task.{field}}}" if field == "description" else f"{{task.fields[{field}]}}"
        return TextColumn(text, style=style, markup=False, table_column=Column(no_wrap=True))

    progress = Progress(
        column("description", style="bold"),
        BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
        column("percent"),
        column("caption"),
        column("eta", style="dim"),
        console=console or Console(),
        transient=not keep,
    )
    with progress:
        yield LiveBars(progress, keep=keep)
