"""Processes under test, and what becomes of them."""

from collections.abc import Callable

import psutil
import trio

from arriero.supervisor.processes.process import Exit, RunningProcess, run_process
from arriero.supervisor.processes.reaper import Reaper
from arriero.supervisor.processes.spawn import SpawnSpec

# Everything on a busy machine; a test that needs as long as this has failed.
PATIENCE_S = 30.0

IGNORES_TERM = "trap '' TERM; echo up; while :; do sleep 0.05; done"


def shell(script: str, **fields: object) -> SpawnSpec:
    return SpawnSpec(argv=("sh", "-c", script), **fields)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    """A killed grandchild may wait for the machine's first process to reap it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Lines:
    """Collects lines; `wait_for` returns when there are so many of a stream."""

    def __init__(self) -> None:
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self._changed = trio.Event()

    def __call__(self, stream: str, line: bytes) -> None:
        getattr(self, stream).append(line)
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, stream: str, count: int = 1) -> None:
        with trio.fail_after(PATIENCE_S):
            while len(getattr(self, stream)) < count:
                await self._changed.wait()


class Result:
    """The exit of a process that runs beside the test."""

    def __init__(self) -> None:
        self.exit: Exit

    async def run(
        self,
        launch: SpawnSpec,
        reaper: Reaper,
        on_line: Callable[..., None],
        task_status: trio.TaskStatus[RunningProcess],
    ) -> None:
        self.exit = await run_process(
            launch, on_line=on_line, reaper=reaper, task_status=task_status
        )
