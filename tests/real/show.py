"""How far downloads are: bars on a terminal, a plain line every ten percent elsewhere."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tests.real.fetch import Report

# Between two lines of a file, where there is no terminal.
_STEP_PERCENT = 10


class Lines:
    """Writes one line for every ten percent of one file."""

    def __init__(self, name: str, total_bytes: int) -> None:
        self._name = name
        self._total = total_bytes
        self._next = 0

    def __call__(self, done_bytes: int) -> None:
        """Write a line if a step was passed since the last one; never two for one step."""
        percent = 100 * done_bytes // self._total
        if percent < self._next:
            return
        self._next = percent - percent % _STEP_PERCENT + _STEP_PERCENT
        print(
            f"{self._name}: {percent} % of {self._total / 1e6:.1f} MB",
            flush=True,
        )


@contextmanager
def shown(name: str, total_bytes: int) -> Generator[Report, None, None]:
    """Give a `Report` that shows how far the file `name` is, while the block runs."""
    if not sys.stdout.isatty():
        yield Lines(name, total_bytes)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console()) as progress:
        task = progress.add_task(name, total=total_bytes)
        yield lambda done: progress.update(task, completed=done)
