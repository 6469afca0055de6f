"""What a person sees while it runs: one line that changes on a terminal, else a line per round."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """The words go to standard error, so that standard output holds the results only."""

    def __init__(self, rounds: int) -> None:
        self.console = Console(stderr=True)
        self.began_at = time.monotonic()
        self.rounds = rounds
        self.done = 0
        self._said = ""
        self._status: Status | None = None
        if sys.stderr.isatty():
            self._status = self.console.status("")

    def __enter__(self) -> "Progress":
        if self._status:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._status:
            self._status.stop()

    def count(self) -> None:
        """Note that a round is over."""
        self.done += 1

    def say(self, words: str) -> None:
        """Show what happens now; a terminal also sees how long it has gone on and how far it is."""
        if self._status:
            minutes, seconds = divmod(int(time.monotonic() - self.began_at), 60)
            share = self.done / max(1, self.rounds)
            self._status.update(f"[bold]{share:4.0%}[/] {minutes}:{seconds:02} {words}")
        elif words != self._said:
            self.console.print(words, highlight=False, soft_wrap=True)
            self._said = words
