"""What a person sees while it runs: one line that changes on a terminal, else a line per round."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar


class Progress:
    """The words go to standard error, so that standard output holds the results only."""

    def __init__(self, rounds: int) -> None:
        self._console = Console(stderr=True)
        self._said = ""
        # Once a second: it is drawn while others are measured.
        columns = (
            SpinnerColumn(),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._bar = Bar(*columns, console=self._console, refresh_per_second=1, transient=True)
        self._task = self._bar.add_task("", total=rounds, now="")
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> "Progress":
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown:
            self._bar.stop()

    def count(self) -> None:
        """Note that a round is over."""
        self._bar.advance(self._task)

    def say(self, words: str) -> None:
        """Show what happens now; a terminal also sees how long it has gone on and how far it is."""
        if self._shown:
            self._bar.update(self._task, now=words)
        elif words != self._said:
            self._console.print(words, highlight=False, soft_wrap=True)
            self._said = words
