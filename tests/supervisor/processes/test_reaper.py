"""Nothing survives a supervisor that is killed. A real one: a Python process with a reaper."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeAlias

import psutil
import pytest
import trio

from arriero.supervisor.errors import SpawnError
from arriero.supervisor.processes.reaper import OPTIONS, Reaper, open_reaper
from tests.supervisor.processes.helpers import PATIENCE_S, is_gone

# A supervisor with one process that ignores every signal that can be ignored and has a child.
# `registered` starts it in the usual way, `unregistered` is killed before it could register it,
# `escaped` starts one whose child has left the group.
SUPERVISOR = """
import os, subprocess, sys, trio
from arriero.supervisor.processes.reaper import open_reaper

STUBBORN = "trap '' TERM INT HUP; %s sh -c 'echo $$; exec sleep 3600' & while :; do sleep 1; done"

async def main(way):
    async with open_reaper() as reaper:
        name, mark = reaper.new_mark()
        env = os.environ | ({name: mark} if way != "registered" else {})
        script = STUBBORN % ("setsid" if way == "escaped" else "")
        child = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, env=env, process_group=0)
        if way != "unregistered":
            reaper.add(child.pid)
        grandchild = int(child.stdout.readline())
        print(reaper.pid, child.pid, grandchild, flush=True)
        await trio.sleep_forever()

trio.run(main, sys.argv[1])
"""


Sleeper: TypeAlias = "subprocess.Popen[bytes]"


@pytest.fixture
def other() -> Generator[Sleeper, None, None]:
    """A process that a reaper may look after."""
    with subprocess.Popen(["sleep", "3600"], process_group=0) as sleeper:
        yield sleeper
        sleeper.kill()


@pytest.fixture
def stubborn() -> Generator[Sleeper, None, None]:
    """One that does not end when it is asked to."""
    script = "trap '' TERM; echo; exec sleep 3600"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, process_group=0) as sleeper:
        assert sleeper.stdout is not None
        sleeper.stdout.readline()
        yield sleeper
        sleeper.kill()


async def until_replaced(reaper: Reaper, pid: int) -> None:
    while reaper.pid == pid:  # noqa: ASYNC110  there is nobody who would set an event
        await trio.sleep(0.005)


def wait_until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return is_so()


@pytest.mark.parametrize("way", ["registered", "unregistered", "escaped"])
def test_no_process_survives_a_killed_supervisor(way: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, way], stdout=subprocess.PIPE, text=True
    ) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        there_before = [pid for pid in pids if not is_gone(pid)]

        supervisor.kill()
        all_gone = wait_until(lambda: all(is_gone(pid) for pid in pids))
        for pid in pids:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)

    assert len(there_before) == 3
    assert all_gone


async def test_what_was_removed_is_left_alone_and_the_reaper_ends_with_the_block(
    other: Sleeper,
) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            reaper.add(other.pid)
            reaper.remove(other.pid)
            pid = reaper.pid

    assert other.poll() is None
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_what_is_still_registered_at_the_end_of_the_block_is_asked_to_end(
    other: Sleeper, is_stopped: bool
) -> None:
    if is_stopped:
        other.send_signal(signal.SIGSTOP)
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            reaper.add(other.pid)

    assert other.wait(PATIENCE_S) == -signal.SIGTERM


async def test_what_does_not_end_is_killed(stubborn: Sleeper) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            reaper.add(stubborn.pid)

    assert stubborn.wait(PATIENCE_S) == -signal.SIGKILL


async def test_a_reaper_that_dies_is_replaced_and_told_everything(
    other: Sleeper, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            reaper.add(other.pid)
            first = reaper.pid
            os.kill(first, signal.SIGKILL)
            await until_replaced(reaper, first)

    assert other.wait(PATIENCE_S) == -signal.SIGTERM
    assert caplog.messages == [f"reaper.died pid={first} code=-9 groups=1"]


async def test_a_reaper_that_sleeps_is_replaced_without_killing_anything(
    other: Sleeper,
) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            reaper.add(other.pid)
            first = reaper.pid
            os.kill(first, signal.SIGSTOP)
            for _ in range(20_000):  # more than a pipe holds
                reaper.add(other.pid)
            await until_replaced(reaper, first)
            assert other.poll() is None

    assert other.wait(PATIENCE_S) == -signal.SIGTERM


async def test_who_hangs_at_the_end_is_replaced_in_its_duty(
    other: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arriero.supervisor.processes.reaper._END_S", 0.1)
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            name, mark = reaper.new_mark()
            sleep = ["sleep", "3600"]
            escaped = subprocess.Popen(sleep, env={name: mark})  # noqa: ASYNC220  at once
            reaper.add(other.pid)
            os.kill(reaper.pid, signal.SIGSTOP)

    assert other.wait(PATIENCE_S) == escaped.wait(PATIENCE_S) == -signal.SIGKILL
    assert is_gone(reaper.pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals_that_ask_to_end_are_ignored(number: signal.Signals) -> None:
    with trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper:
            first = reaper.pid
            await _ignores(first, number)
            os.kill(first, number)
            reaper.add(os.getpid() + 1_000_000_000)  # no such group; it is read after the signal
            assert not is_gone(first)
            assert reaper.pid == first


async def _ignores(pid: int, number: signal.Signals) -> None:
    """Wait until the process has come so far as to ignore that signal."""
    while True:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()  # noqa: ASYNC240
        mask = next(line for line in lines if line.startswith("SigIgn:")).split()[1]
        if int(mask, 16) >> (number - 1) & 1:
            return
        await trio.sleep(0.005)


async def test_a_reaper_that_cannot_be_started_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async with trio.open_nursery() as nursery:
        with pytest.raises(SpawnError, match=r"^cannot start the reaper process"):
            await nursery.start(Reaper().keep_running)


def test_the_reaper_imports_nothing_large() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", *OPTIONS, "mark"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}

    assert {"os", "reaper_child"} <= imported
    assert imported.isdisjoint({"enum", "re", "signal", "site", "socket", "typing"})
