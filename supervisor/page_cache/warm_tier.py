"""Keeps the files of likely models in main memory: `keepInRam`.

Decides which, and how much; the holder does it. What is locked counts as used for the kernel, but
not for models: a start that needs the room gets it, for the plan follows each start at once.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from arriero.protocol.values import KeepStatus, KeptModel

from ..config.load import Config, ModelConfig
from ..memory.devices import default_reserve
from ..memory.ram import read_ram, spare_ram
from ..memory.sizes import RAM
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.view import EngineView, ModelOutlook
from .choice import KeepCandidate, choose
from .holder import Holder
from .loaded_files import Identity, LoadedFile, loaded_files
from .orders import HolderPlan

log = logging.getLogger(__name__)

# Seconds between two looks at memory and files, while something is kept.
_LOOK_S: Final = 5.0

# Seconds that a look may take. A file system that hangs is not waited for: what is kept stays.
_LOOK_LIMIT_S: Final = 10.0

# Room is counted in steps: it changes all the time, and each change is a plan.
_STEP_BYTES: Final = 64 * 1024**2

# Files that cannot be kept are remembered until they change; so many of them.
_MOST_UNUSABLE: Final = 1000


class _MemoryLook(msgspec.Struct, frozen=True):
    """Main memory and files at one time.

    Attributes:
        spare: What files could take beside what is locked; None: that cannot be seen.
        total: Of main memory.
        files: Model -> what it loads.
    """

    spare: int | None
    total: int
    files: Mapping[str, tuple[LoadedFile, ...]]


def room_for(limit: int, locked: int, spare: int | None, reserve: int, free: int | None) -> int:
    """Return how many bytes may be kept.

    Args:
        limit: As configured.
        locked: What is kept and cannot be dropped.
        spare: What files could take beside that, without harm; None: unknown.
        reserve: What stays free in any case.
        free: Where memory decides: what is not reserved for models; None otherwise.
    """
    rooms = []
    if spare is not None:
        rooms.append(locked + spare - reserve)
    if free is not None:
        rooms.append(free)
    return max(0, min([limit, *(room // _STEP_BYTES * _STEP_BYTES for room in rooms)]))


class WarmTier:
    """Follows what is wanted and what there is room for."""

    def __init__(
        self,
        config: Callable[[], Config],
        dispatcher: Dispatcher,
        holder: Holder,
        root: Path = Path("/"),
    ) -> None:
        """Build it; `run` does the work.

        Args:
            config: Gives the configuration in force.
            dispatcher: Of the engine.
            holder: Keeps the files.
            root: Where ``proc`` and ``sys`` are.
        """
        self._config = config
        self._dispatcher = dispatcher
        self._holder = holder
        self._root = root
        self._woken = trio.Event()
        self._slowest_s: dict[str, float] = {}
        self._chosen: tuple[KeepCandidate, ...] = ()
        self._unusable: dict[Identity, str] = {}
        self._room = 0
        self._looker = trio.CapacityLimiter(1)  # one that hangs is not followed by others
        holder.on_report(self._take_report)

    @property
    def locked_bytes(self) -> int:
        """Main memory that is used for files now, and given back when models need it."""
        return self._holder.locked_bytes

    def wake(self) -> None:
        """Look soon: the configuration is another one."""
        self._woken.set()

    async def run(self) -> None:
        """Keep files as long as that is wanted. Runs until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._holder.run)
            nursery.start_soon(self._follow_starts)
            while True:
                self._woken = trio.Event()
                if self._config().keep_in_ram_bytes:
                    with trio.move_on_after(_LOOK_LIMIT_S):
                        await self._decide()
                    with trio.move_on_after(_LOOK_S):
                        await self._woken.wait()
                else:
                    self._chosen, self._room = (), 0
                    self._unusable.clear()
                    self._holder.follow(HolderPlan())
                    await self._woken.wait()

    async def _follow_starts(self) -> None:
        """Look at once when a start begins, or all have ended."""
        starting: tuple[str, ...] = ()

        def differs(engine: EngineView) -> bool:
            return engine.starting() != starting

        while True:
            await self._dispatcher.wait_until(differs)
            starting = self._dispatcher.engine.starting()
            self.wake()

    async def _decide(self) -> None:
        config, engine = self._config(), self._dispatcher.engine
        seen = await trio.to_thread.run_sync(
            partial(_look, config.models, self._holder.locked_bytes, self._root),
            abandon_on_cancel=True,
            limiter=self._looker,
        )
        outlooks = engine.outlooks(self._dispatcher.now())
        kept = {
            file.identity
            for file in self._holder.plan.files
            if self._holder.held.get(file.identity) == file.size
        }
        self._room = room_for(
            config.keep_in_ram_bytes,
            self._holder.locked_bytes,
            seen.spare,
            self._reserve(config, seen.total),
            self._free(),
        )
        candidates = [self._candidate(one, seen.files.get(one.model, ())) for one in outlooks]
        self._slowest_s = {one.model: one.slowest_s for one in candidates if one.slowest_s}
        self._chosen = choose(candidates, self._room, kept, self._unusable)
        files = {file.identity: file for one in self._chosen for file in one.files}
        # A start has the disk for itself.
        self._holder.follow(
            HolderPlan(most=self._room, reads=not engine.starting(), files=tuple(files.values()))
        )

    def _candidate(self, one: ModelOutlook, files: tuple[LoadedFile, ...]) -> KeepCandidate:
        known = [seconds for seconds in (one.start_s, self._slowest_s.get(one.model)) if seconds]
        return KeepCandidate(
            model=one.model,
            files=files,
            use=one.use,
            slowest_s=max(known, default=None),
            runs=one.runs,
            stays=one.stays,
        )

    def _reserve(self, config: Config, total: int) -> int:
        declared = config.memory.devices.get(RAM)
        if declared is not None and declared.reserve is not None:
            return declared.reserve
        return default_reserve(RAM, total)

    def _free(self) -> int | None:
        for device in self._dispatcher.engine.devices(self._dispatcher.now()):
            if device.device == RAM:
                return device.free
        return None

    def _take_report(self) -> None:
        report, plan = self._holder.report, self._holder.plan
        if report.number != plan.number:
            return
        for index, why in report.bad.items():
            file = plan.files[index] if 0 <= index < len(plan.files) else None
            if file is not None and file.identity not in self._unusable:
                log.warning("keep_in_ram.left_out path=%s reason=%r", file.path, why)
                if len(self._unusable) >= _MOST_UNUSABLE:
                    self._unusable.clear()
                self._unusable[file.identity] = why
                self.wake()

    def status(self) -> KeepStatus | None:
        """Return the public state; None if nothing is to be kept."""
        limit = self._config().keep_in_ram_bytes
        if not limit:
            return None
        holder, report = self._holder, self._holder.report
        held = holder.held
        remark = report.why
        if report.yields_s:
            remark = f"memory is short: nothing more is read for {report.yields_s:.0f} s"
        return KeepStatus(
            limit=limit,
            room=self._room,
            held=sum(held.values()),
            locked=report.locked and bool(held),
            remark=remark,
            models=tuple(
                KeptModel(
                    model=one.model,
                    size=one.size,
                    held=sum(held.get(file.identity, 0) for file in one.files),
                )
                for one in self._chosen
            ),
        )


def _look(models: Mapping[str, ModelConfig], locked: int, root: Path) -> _MemoryLook:
    """Look at memory and files. Blocks: some milliseconds, or as long as a file system hangs."""
    ram = read_ram(root)
    return _MemoryLook(
        spare_ram(locked, root),
        0 if ram is None else ram.total,
        {
            name: () if one.is_elsewhere else loaded_files(one.command, dict(one.env))
            for name, one in models.items()
        },
    )
