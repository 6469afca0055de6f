"""What a reaper keeps, and what is believed of one: real processes, and a stranger in its place."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import trio

from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.host.runtime_dir import REAPER_NAME
from arriero.supervisor.processes.kept_process import Inheritance, inherited_from
from arriero.supervisor.processes.process import adopt_process
from arriero.supervisor.processes.reaper import Refuge, open_reaper
from arriero.supervisor.processes.reaper_child import kill
from arriero.supervisor.processes.spawn import SpawnSpec
from tests.supervisor.processes.helpers import PATIENCE_S, Lines, is_gone
from tests.supervisor.processes.left_behind import killed_supervisor


def wait_until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
    return is_so()


@pytest.fixture
def left(tmp_path: Path) -> Generator[tuple[int, int, int]]:
    """Of a supervisor that was killed: reaper, the entrusted process, and the other one."""
    pids = killed_supervisor(tmp_path, 60)
    yield pids
    for pid in pids:
        kill(pid)


def taken(folder: Path) -> Inheritance:
    found = inherited_from(folder / REAPER_NAME)
    assert found is not None
    return found


def test_what_is_entrusted_goes_on_and_the_rest_ends(
    left: tuple[int, int, int], tmp_path: Path
) -> None:
    reaper, entrusted, other = left
    assert wait_until(lambda: is_gone(other))

    found = taken(tmp_path)

    assert found.reaper == reaper
    (kept,) = found.processes
    assert (kept.pid, kept.card, kept.runs, kept.is_ours) == (entrusted, b"a card", True, True)
    assert not is_gone(entrusted)
    found.end()
    assert wait_until(lambda: is_gone(entrusted) and is_gone(reaper))


def test_it_ends_when_nobody_comes_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    reaper, entrusted, _ = killed_supervisor(tmp_path, 0.3)

    assert wait_until(lambda: is_gone(entrusted) and is_gone(reaper))
    assert time.monotonic() - began > 0.3


async def test_no_line_is_missed_and_nothing_is_blocked(
    left: tuple[int, int, int], tmp_path: Path
) -> None:
    _, entrusted, _ = left
    await trio.sleep(1.0)  # it writes, whoever reads
    found = taken(tmp_path)
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        async with open_reaper(Refuge(tmp_path, 60), found) as reaper:
            process = adopt_process(found.processes[0], SpawnSpec(argv=("sh",)), reaper)
            assert process.pid == entrusted
            async with trio.open_nursery() as nursery:
                nursery.start_soon(process.run, lines)
                await lines.wait_for("stdout", 500)
                process.stop(grace_s=0.0)
    assert is_gone(entrusted)
    numbers = [int(line.split()[1]) for line in lines.stdout[1:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_how_an_adopted_process_ended_is_not_made_up(
    left: tuple[int, int, int], tmp_path: Path
) -> None:
    _, entrusted, _ = left
    found = taken(tmp_path)
    with trio.fail_after(PATIENCE_S):
        async with open_reaper(Refuge(tmp_path, 60), found) as reaper:
            process = adopt_process(found.processes[0], SpawnSpec(argv=("sh",)), reaper)
            os.kill(entrusted, signal.SIGKILL)
            end = await process.run(lambda *_: None)
    assert end.code is None
    assert not end.asked
    assert str(end).endswith("its exit code is not known")


def test_a_number_that_is_used_again_is_another_process(
    left: tuple[int, int, int], tmp_path: Path
) -> None:
    _, entrusted, _ = left
    found = taken(tmp_path)
    (kept,) = found.processes

    kept.started += 1  # as if this process had been started a moment later

    assert not kept.runs
    kept.mark = "of another start"
    kept.kill()
    assert not is_gone(entrusted)  # it is none of ours
    found.processes.clear()
    found.end()


def test_who_dies_during_the_adoption_loses_nothing(
    left: tuple[int, int, int], tmp_path: Path
) -> None:
    _, entrusted, _ = left
    for _ in range(3):
        found = taken(tmp_path)
        for kept in found.processes:
            kept.close()
        found.door.close()  # as the kernel does for one that is killed
    found = taken(tmp_path)
    assert [kept.pid for kept in found.processes] == [entrusted]
    found.end()


def test_nobody_is_there(tmp_path: Path) -> None:
    place = tmp_path / REAPER_NAME
    assert inherited_from(place) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stale:
        stale.bind(str(place))
    assert inherited_from(place) is None
    assert not place.exists()


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / REAPER_NAME).mkdir()
    with pytest.raises(SupervisorError, match="remove it"):
        inherited_from(tmp_path / REAPER_NAME)


HELLO = b"reaper 2 mark 1"
HOSTILE = {
    "no word": [b"\0\xff" * 100],
    "an order": [b"add 1"],
    "no number": [HELLO, b"kept x y z\ncard"],
    "no pipes": [HELLO, b"kept 77 1 mark\ncard"],
    "of nobody": [HELLO, b"said 77 1\nhello"],
    "twice": [HELLO, HELLO],
    "held without a file": [HELLO, b"held listener\ncard"],
    "not even begun": [b"end"],
    "no end": [HELLO],
    "nothing": [],
    "long": [b"x" * 60_000],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_stranger_in_its_place_is_not_believed(what: str, tmp_path: Path) -> None:
    place = tmp_path / REAPER_NAME
    # in another process: who is in the place of a reaper and makes no sense is killed
    stranger = os.fork()
    if stranger == 0:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
                door.bind(str(place))
                door.listen(1)
                caller, _ = door.accept()
                for packet in HOSTILE[what]:
                    caller.send(packet)
        finally:
            os._exit(0)
    try:
        assert wait_until(place.exists)
        began = time.monotonic()
        assert inherited_from(place) is None
        assert time.monotonic() - began < PATIENCE_S
        assert not place.exists()
    finally:
        kill(stranger)
        os.waitpid(stranger, 0)


def test_the_pipes_are_closed_whatever_comes(tmp_path: Path) -> None:
    """One of two processes has no pipes: nothing of the first one stays open."""
    place = tmp_path / REAPER_NAME
    ends = [os.pipe() for _ in range(3)]
    ready = threading.Event()

    def answer() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
            door.bind(str(place))
            door.listen(1)
            ready.set()
            caller, _ = door.accept()
            with caller:
                caller.send(HELLO)
                socket.send_fds(caller, [b"kept 77 1 mark\ncard"], [end[0] for end in ends])
                caller.send(b"kept 78 1 mark\ncard")

    thread = threading.Thread(target=answer)
    thread.start()
    assert ready.wait(PATIENCE_S)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arriero.supervisor.processes.kept_process.kill", lambda _: None)
        assert inherited_from(place) is None
    thread.join(PATIENCE_S)
    assert len(os.listdir("/proc/self/fd")) <= before
    for end in ends:
        os.close(end[0])
        os.close(end[1])


def test_what_hangs_is_ended_with_all_it_has(
    left: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else knows of its processes: they would be there for ever."""
    reaper, entrusted, _ = left
    found = taken(tmp_path)  # it is at work
    for kept in found.processes:
        kept.close()
    found.close_held()
    found.door.close()
    os.kill(reaper, signal.SIGSTOP)
    monkeypatch.setattr("arriero.supervisor.processes.kept_process.ANSWER_LIMIT_S", 1.0)

    assert inherited_from(tmp_path / REAPER_NAME) is None
    assert wait_until(lambda: is_gone(reaper) and is_gone(entrusted))


def test_a_reaper_of_another_version_ends_all_in_order(
    left: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reaper, entrusted, _ = left
    monkeypatch.setattr("arriero.supervisor.processes.kept_process.SPEAKS", 2)

    assert inherited_from(tmp_path / REAPER_NAME) is None
    assert is_gone(entrusted)
    assert wait_until(lambda: is_gone(reaper))
