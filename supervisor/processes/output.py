"""Reads the output of a process, line by line, to the end."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

import trio

from .line_splitter import LineSplitter

Stream: TypeAlias = Literal["stdout", "stderr"]

# Bytes per read, and lines that are handed on before other tasks get their turn: 32 lines take
# well below a millisecond, so a process that floods its log delays nothing else.
_READ_BYTES = 16 * 1024
_LINES_PER_TURN = 32


class OutputReader:
    """Reads the output of a process, until its end or until `give_up`.

    Goes on while the task is being cancelled: the last lines are often the interesting ones.

    Attributes:
        ended: Set when there is nothing more to come.
    """

    def __init__(self) -> None:
        self.ended = trio.Event()
        self._scope = trio.CancelScope(shield=True)

    async def read(
        self,
        pipes: list[tuple[Stream, trio.lowlevel.FdStream]],
        take: Callable[[Stream, bytes], None],
        said: Mapping[Stream, bytes],
    ) -> None:
        """Hand each line of `pipes` to `take`, and close them.

        What was `said` before comes first; the end of a line may come by the pipe.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                for stream, pipe in pipes:
                    nursery.start_soon(
                        _read_lines, pipe, partial(take, stream), said.get(stream, b"")
                    )
            self.ended.set()

    def give_up(self) -> None:
        """Stop reading: another process holds the other end."""
        self._scope.cancel()


async def _read_lines(
    pipe: trio.lowlevel.FdStream, take: Callable[[bytes], None], said: bytes
) -> None:
    cutter = LineSplitter()
    async with pipe:
        try:
            data = said or await pipe.receive_some(_READ_BYTES)
            while data:
                for number, line in enumerate(cutter.feed(data), start=1):
                    take(line)
                    if number % _LINES_PER_TURN == 0:
                        await trio.lowlevel.checkpoint()
                data = await pipe.receive_some(_READ_BYTES)
        finally:
            for line in cutter.finish():
                take(line)
