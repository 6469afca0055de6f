"""The holder as a real process, with real locks where this user may have them."""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import psutil
import pytest
import trio

from arriero.supervisor.page_cache import holder_child
from arriero.supervisor.page_cache.holder import Holder
from arriero.supervisor.page_cache.loaded_files import LoadedFile, loaded_files
from arriero.supervisor.page_cache.orders import HolderPlan
from arriero.supervisor.processes.reaper import open_reaper
from tests.supervisor.processes.helpers import is_gone

MIB = 1024**2
PATIENCE_S = 20


@pytest.fixture
async def pressure(tmp_path: Path) -> Path:
    path = tmp_path / "pressure"
    path.write_text("some avg10=0.00 total=0\n")
    return path


@pytest.fixture
async def kept(pressure: Path) -> AsyncGenerator[Holder, None]:
    async with open_reaper() as reaper, trio.open_nursery() as nursery:
        found = Holder(reaper, (pressure,), first_pause_s=0.0)
        nursery.start_soon(found.run)
        yield found
        nursery.cancel_scope.cancel()


def model(folder: Path, name: str, size: int = 2 * MIB) -> LoadedFile:
    (folder / name).write_bytes(os.urandom(size))
    (found,) = loaded_files(["llama-server", "-m", str(folder / name)], {})
    return found


def plan(*files: LoadedFile, most: int = 100 * MIB) -> HolderPlan:
    return HolderPlan(most=most, reads=True, files=files)


async def until(found: Holder, holds: Callable[[], bool]) -> None:
    heard = trio.Event()

    def hear() -> None:
        heard.set()

    found.on_report(hear)
    with trio.fail_after(PATIENCE_S):
        while not holds():
            await heard.wait()
            heard = trio.Event()


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def locked_kib(pid: int) -> int:
    return int(re.findall(r"VmLck:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])


async def test_files_are_locked_and_let_go(kept: Holder, tmp_path: Path, pressure: Path) -> None:
    """One life: it is started for a plan, follows another, gives way, and ends with the last."""
    a, b = model(tmp_path, "a"), model(tmp_path, "b")
    assert kept.pid == 0
    kept.follow(plan(a, b))
    await until(kept, lambda: kept.held == {a.identity: a.size, b.identity: b.size})
    pid = kept.pid
    assert locked_kib(pid) == kept.locked_bytes // 1024 == 4 * 1024
    assert (oom_score(pid), psutil.Process(pid).nice()) == (1000, 19)

    kept.follow(plan(b))
    await until(kept, lambda: kept.held == {b.identity: b.size})
    await trio.Path(pressure).write_text("some avg10=0.00 total=90000000\n")
    await until(kept, lambda: kept.report.yields_s > 0 and not kept.held)
    assert locked_kib(pid) == 0

    kept.follow(HolderPlan())
    await until(kept, lambda: kept.pid == 0)
    assert is_gone(pid)


async def test_one_that_is_killed_is_replaced(kept: Holder, tmp_path: Path) -> None:
    """As by the kernel, when memory runs out."""
    a = model(tmp_path, "a")
    kept.follow(plan(a))
    await until(kept, lambda: bool(kept.held))
    pid = kept.pid
    os.kill(pid, signal.SIGKILL)
    await until(kept, lambda: kept.pid not in (0, pid) and bool(kept.held))


def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    a = model(tmp_path, "a")
    supervisor = f"""
import trio
from arriero.supervisor.page_cache.holder import Holder
from arriero.supervisor.page_cache.loaded_files import loaded_files
from arriero.supervisor.page_cache.orders import HolderPlan
from arriero.supervisor.processes.reaper import open_reaper

async def main():
    async with open_reaper() as reaper, trio.open_nursery() as nursery:
        found = Holder(reaper, ())
        found.on_report(lambda: found.held and print(found.pid, flush=True))
        nursery.start_soon(found.run)
        files = loaded_files(["llama-server", "-m", {a.path!r}], {{}})
        found.follow(HolderPlan(most=10**9, reads=True, files=files))
        await trio.sleep_forever()

trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        found = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert psutil.wait_procs([found], timeout=PATIENCE_S)[0] == [found]


def test_who_may_lock_nothing_reads() -> None:
    """As another user, if this one may lock all it wants."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CHILD, str(Path(holder_child.__file__))],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)),
    ) as process:
        said, _ = process.communicate(timeout=PATIENCE_S)
    assert said == "not locked: this user may lock 0 MiB (RLIMIT_MEMLOCK) 100000\n"


CHILD = """
import os, runpy, sys, tempfile
child = runpy.run_path(sys.argv[1])
if not os.geteuid():
    os.setuid(65534)
with tempfile.NamedTemporaryFile() as file:
    file.write(bytes(100000))
    file.flush()
    seen = os.stat(file.name)
    shelf = child["Shelf"]()
    shelf.follow(1, 10**9, [(file.name, (seen.st_dev, seen.st_ino, seen.st_size))])
    while shelf.bring_in():
        pass
    print(shelf.why, shelf.held)
"""
