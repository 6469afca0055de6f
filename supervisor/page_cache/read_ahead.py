"""Reads the files of a model ahead while others make room for it.

By then the disk has nothing to do, and when they have ended a start finds its files in memory.
What is read displaces nothing that somebody uses.
"""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from ..config.load import Config, ModelConfig
from ..memory.ram import spare_ram
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.view import EngineView
from .holder_child import Unusable, is_there, open_file
from .loaded_files import LoadedFile, loaded_files

log = logging.getLogger(__name__)

# Bytes that the kernel is asked for at a time. Of a longer part it reads only the first so many;
# it may be told more for a disk (read_ahead_kb), and larger reads leave larger pages behind.
# Source: Linux, mm/readahead.c, force_page_cache_ra.
_LEAST_READ: Final = 128 * 1024
_MOST_READ: Final = 8 * 1024 * 1024

# Bytes after which it is looked whether to go on.
_STEP_BYTES: Final = 8 * 1024 * 1024

# Memory that stays free in any case.
_RESERVE_BYTES: Final = 512 * 1024 * 1024


class AheadReading(msgspec.Struct):
    """How far it is.

    Attributes:
        stops: Set by who wants no more of it.
        read_bytes: Asked for, of what was not there.
    """

    stops: bool = False
    read_bytes: int = 0


async def read_ahead(config: Callable[[], Config], dispatcher: Dispatcher) -> None:
    """Read ahead whenever a model waits for others to make room. Runs until cancelled.

    One model at a time: the first in the order of turns.
    """
    done: tuple[str, int] | None = None

    def is_new(engine: EngineView) -> bool:
        return _next_one(engine) not in (None, done)

    while True:
        await dispatcher.wait_until(is_new)
        done = _next_one(dispatcher.engine)
        model = None if done is None else config().models.get(done[0])
        if model is not None and not model.is_elsewhere:
            await _read_for(model, dispatcher)


def _next_one(engine: EngineView) -> tuple[str, int] | None:
    """Return the model that is started next, and the number of that attempt."""
    for model in engine.awaiting_room():
        return model, engine.swap(model)
    return None


async def _read_for(model: ModelConfig, dispatcher: Dispatcher) -> None:
    """Read the files of `model` until they are there, or it waits no more."""
    began_at = trio.current_time()
    reading = AheadReading()

    async def stop() -> None:
        await dispatcher.wait_until(lambda engine: model.model not in engine.awaiting_room())
        reading.stops = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        try:
            await trio.to_thread.run_sync(
                partial(_read_files, model, reading), abandon_on_cancel=True
            )
        finally:
            reading.stops = True
        nursery.cancel_scope.cancel()
    if reading.read_bytes:
        log.info(
            "model.read_ahead model=%s bytes=%d took_s=%.2f",
            *(model.model, reading.read_bytes, trio.current_time() - began_at),
        )


def _read_files(model: ModelConfig, reading: AheadReading) -> None:
    """Read all files of a model, as far as memory has room. Blocks: for as long as a disk takes."""
    spare = spare_ram(0)
    files = loaded_files(model.command, dict(model.env))
    read_files(files, reading, _MOST_BYTES if spare is None else spare - _RESERVE_BYTES)


# More than any machine has.
_MOST_BYTES: Final = 2**50


def read_files(files: Sequence[LoadedFile], reading: AheadReading, most: int) -> None:
    """Ask the kernel for all that is not in memory yet. Blocks: for as long as a disk takes.

    Args:
        files: In their order.
        reading: Told how far it is.
        most: Bytes that may be read.
    """
    for file in files:
        try:
            fd = open_file(file.path, file.identity)
        except (OSError, Unusable):
            continue
        try:
            piece = _read_size(file.identity[0])
            for start in range(0, file.size, _STEP_BYTES):
                count = min(_STEP_BYTES, file.size - start)
                if reading.stops or reading.read_bytes + count > most:
                    return
                if is_there(fd, start, count):
                    continue
                for at in range(start, start + count, piece):
                    os.posix_fadvise(fd, at, piece, os.POSIX_FADV_WILLNEED)
                reading.read_bytes += count
        except OSError:  # a file system that cannot
            continue
        finally:
            os.close(fd)


def _read_size(device: int) -> int:
    """Return how much the kernel reads at once from a device."""
    name = f"{os.major(device)}:{os.minor(device)}"
    for place in (f"/sys/class/bdi/{name}", f"/sys/dev/block/{name}/../queue"):
        try:
            kib = int(Path(place, "read_ahead_kb").read_text())
        except (OSError, ValueError):
            continue
        return min(_MOST_READ, max(_LEAST_READ, kib * 1024))
    return _LEAST_READ
