"""Sends of several tasks in one turn of the loop, made together at its end.

A send wakes the process at the other end, and the kernel may let it have this processor at once;
with sixty connections that is dozens of times in a turn, and each time our caches are gone. Made
one after the other they spare a worker 5 to 10 % of its CPU (docs/performance.md, "Levers").

A task that is alone in its turn must not wait: the first send of each turn is made at once, so at
one connection all of them are.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import trio

from .stream import SocketStream, StreamBroken

# Longest text that is kept back: the kernel takes it in one piece, nearly always.
_MAX_BYTES: Final = 16 * 1024

# Sends that are made together; their receivers need not wait for the rest of a long turn.
_TOGETHER: Final = 32


class SendQueue(trio.abc.Instrument):
    """Takes sends, and makes them before the loop waits."""

    def __init__(self) -> None:
        self._kept: list[tuple[SocketStream, Callable[[], None] | None]] = []
        self._is_wanted = False
        self._runs = False  # there is a hook
        self._first_is_made = False

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Keep sends back while the block runs; otherwise none is taken."""
        self._is_wanted = True
        self._hook(wanted=True)
        try:
            yield
        finally:
            self._is_wanted = False
            self._hook(wanted=False)

    def rest(self, *, rests: bool) -> None:
        """Take none while there are so few connections that the hook of each turn costs more."""
        if self._runs is rests and self._is_wanted:
            self._hook(wanted=not rests)

    def _hook(self, *, wanted: bool) -> None:
        if wanted:
            trio.lowlevel.add_instrument(self)
        elif self._runs:
            self.flush()
            trio.lowlevel.remove_instrument(self)
        self._runs, self._first_is_made = wanted, False

    def take(
        self, transport: SocketStream, data: bytes, lost: Callable[[], None] | None = None
    ) -> bool:
        """Send `data` at the end of this turn, unless it is better sent at once.

        What the kernel does not take then is sent by the next `receive`, which the caller has to
        call before it sends anything else.

        Args:
            transport: Where to.
            data: What.
            lost: Called if the peer has gone by then; whoever reads from it learns that anyway.

        Returns:
            Whether it was taken. If not, the caller sends it.
        """
        if not self._runs or not self._first_is_made or len(data) > _MAX_BYTES:
            self._first_is_made = True
            return False
        transport.kept_back = data
        self._kept.append((transport, lost))
        if len(self._kept) >= _TOGETHER:
            self.flush()
        return True

    def flush(self) -> None:
        """Make all sends that were kept back."""
        kept, self._kept = self._kept, []
        for transport, lost in kept:
            try:
                transport.send_kept()
            except StreamBroken:
                if lost is not None:
                    lost()

    def before_io_wait(self, timeout: float) -> None:
        """End the turn (trio calls this)."""
        self._first_is_made = False
        if self._kept:
            self.flush()
