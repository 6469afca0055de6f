"""What an earlier supervisor has left: processes, and memory that outlives it."""

import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

import trio

from ..config.load import Config
from ..errors import SupervisorError
from ..host.kept_ring import KeptRing
from ..host.runtime_dir import REAPER_NAME
from ..host.shortage import why
from ..models.start.adoption import ModelCard, read_model_card
from ..processes.kept_process import Inheritance, KeptProcess, inherited_from
from ..processes.reaper import Reaper
from ..workers.pool import WorkerCard, read_worker_card

log = logging.getLogger(__name__)

# Bytes of memory that the reaper holds, for each kind of messages. Some thousand lines and records,
# and the last of the orders: a thousand models that unload are 8 kB.
_RINGS: Final = {
    "log": 2 * 1024**2,
    "own-log": 1024**2,
    "records": 2 * 1024**2,
    "orders": 256 * 1024,
}


async def find_inheritance(config: Config, folder: Path) -> Inheritance | None:
    """Return what an earlier supervisor has left; without `adopt`, end that.

    Raises:
        SupervisorError: See `inherited_from`.
    """
    found = await trio.to_thread.run_sync(inherited_from, folder / REAPER_NAME)
    if found is None:
        return None
    log.info("supervisor.inherits processes=%d reaper=%d", len(found.processes), found.reaper)
    if config.adopt:
        return found
    await trio.to_thread.run_sync(found.end)
    return None


def open_rings(
    inheritance: Inheritance | None, reaper: Reaper, stack: AsyncExitStack
) -> dict[str, KeptRing]:
    """Return the memory that outlives this process, by name; what is there is gone on with.

    Raises:
        SupervisorError: There is none.
    """
    rings: dict[str, KeptRing] = {}
    for name, size in _RINGS.items():
        _, fd = (inheritance and inheritance.take(name)) or (b"", None)
        try:
            ring = rings[name] = KeptRing(f"arriero-{name}", size, fd)
        except OSError as exc:
            raise SupervisorError(
                f"cannot keep memory for the next supervisor: {why(exc)}"
            ) from exc
        stack.callback(ring.close)
        reaper.hold(name, b"", ring.fd)
    return rings


class LeftBehind(NamedTuple):
    """Processes that an earlier supervisor has left.

    Attributes:
        models: Models, with what is known of them.
        workers: Workers, likewise.
        strangers: The rest.
    """

    models: list[tuple[KeptProcess, ModelCard]]
    workers: list[tuple[KeptProcess, WorkerCard]]
    strangers: list[KeptProcess]


def left_processes(inheritance: Inheritance | None) -> LeftBehind:
    """Return what was left, by what it is."""
    models: list[tuple[KeptProcess, ModelCard]] = []
    workers: list[tuple[KeptProcess, WorkerCard]] = []
    strangers: list[KeptProcess] = []
    for kept in inheritance.processes if inheritance is not None else ():
        if (model := read_model_card(kept.card)) is not None:
            models.append((kept, model))
        elif (worker := read_worker_card(kept.card)) is not None:
            workers.append((kept, worker))
        else:
            strangers.append(kept)
    return LeftBehind(models, workers, strangers)
