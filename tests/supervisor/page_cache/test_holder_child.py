"""What the holder does with files, and when it gives way."""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arriero.supervisor.page_cache.holder_child import (
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    KeptFile,
    Output,
    Pressure,
    Shelf,
)

SLICE = 4 * mmap.PAGESIZE
Entry = tuple[str, tuple[int, int, int]]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(SLICE)


def entry(path: Path, size: int = 0) -> Entry:
    """A file as a plan names it; it is made with `size` bytes first, if any."""
    if size:
        path.write_bytes(os.urandom(size))
    seen = path.stat()
    return str(path), (seen.st_dev, seen.st_ino, seen.st_size)


def work(shelf: Shelf) -> None:
    for _ in range(1000):
        if not shelf.bring_in():
            return
    raise AssertionError("there is no end of it")


def held(shelf: Shelf) -> list[int]:
    return [file.done for file in shelf.files]


def open_files(folder: Path) -> int:
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return sum(str(link.resolve()).startswith(str(folder)) for link in links if link.is_symlink())


def test_files_are_brought_in_slice_by_slice(shelf: Shelf, tmp_path: Path) -> None:
    entries = [entry(tmp_path / "a", 2 * SLICE + 5), entry(tmp_path / "b", SLICE)]
    shelf.follow(1, 10 * SLICE, entries)

    assert shelf.bring_in()
    assert held(shelf) == [SLICE, 0]
    work(shelf)
    assert held(shelf) == [2 * SLICE + 5, SLICE]
    assert shelf.locks


def test_what_is_not_in_the_plan_goes_and_the_rest_stays(shelf: Shelf, tmp_path: Path) -> None:
    a, b, c = (entry(tmp_path / name, SLICE) for name in "abc")
    shelf.follow(1, 3 * SLICE, [a, b])
    work(shelf)
    shelf.follow(2, 3 * SLICE, [c, b])

    assert held(shelf) == [0, SLICE]
    shelf.follow(3, SLICE, [b, c])
    work(shelf)
    assert held(shelf) == [SLICE, 0]
    shelf.follow(4, 0, [])
    assert (shelf.held, open_files(tmp_path)) == (0, 0)


def test_the_least_worthy_are_given_back_first(shelf: Shelf, tmp_path: Path) -> None:
    shelf.follow(1, 9 * SLICE, [entry(tmp_path / name, 3 * SLICE) for name in "ab"])
    work(shelf)
    shelf.give_back(SLICE + 1)
    assert held(shelf) == [3 * SLICE, SLICE]
    shelf.give_way()
    assert held(shelf) == [0, 0]


def grows(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def is_replaced(path: Path) -> None:
    path.with_suffix(".new").write_bytes(path.read_bytes())
    path.with_suffix(".new").replace(path)


def is_cut_short(path: Path) -> None:
    os.truncate(path, SLICE + 1)


@pytest.mark.parametrize("change", [grows, is_replaced, is_cut_short, Path.unlink])
def test_a_changed_file_is_given_back(
    shelf: Shelf, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Its disk space would stay taken; a mapping of what is gone harms nobody meanwhile."""
    shelf.follow(1, 9 * SLICE, [entry(tmp_path / "a", 2 * SLICE), entry(tmp_path / "b", SLICE)])
    work(shelf)
    change(tmp_path / "a")
    shelf.check()

    assert held(shelf) == [0, SLICE]
    assert shelf.files[0].why
    work(shelf)
    assert (shelf.files[0].done, open_files(tmp_path)) == (0, 1)


@pytest.mark.parametrize("change", [grows, is_replaced, is_cut_short, Path.unlink])
def test_a_file_that_changes_while_it_is_read(
    shelf: Shelf, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shelf.follow(1, 99 * SLICE, [entry(tmp_path / "a", 6 * SLICE)])
    shelf.bring_in()
    change(tmp_path / "a")
    work(shelf)
    shelf.check()

    assert held(shelf) == [0]
    assert shelf.files[0].why


def put_fifo(path: Path) -> None:
    os.mkfifo(path)


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_folder(path: Path) -> None:
    path.mkdir()


def put_other(path: Path) -> None:
    path.write_bytes(b"x" * 5 * SLICE)


@pytest.mark.parametrize("put", [put_fifo, put_device, put_folder, put_other])
def test_only_the_file_that_was_meant_is_opened(
    shelf: Shelf, tmp_path: Path, put: Callable[[Path], None]
) -> None:
    path, identity = entry(tmp_path / "a", SLICE)
    (tmp_path / "a").unlink()
    put(tmp_path / "a")
    shelf.follow(1, 9 * SLICE, [(path, identity), entry(tmp_path / "b", SLICE)])
    work(shelf)  # a pipe without a writer would wait for ever

    assert held(shelf) == [0, SLICE]
    assert b'"bad": {"0": "it ' in shelf.report(0.0)


def test_a_link_is_followed(shelf: Shelf, tmp_path: Path) -> None:
    (_, identity), link = entry(tmp_path / "a", SLICE), tmp_path / "link"
    link.symlink_to("a")
    shelf.follow(1, SLICE, [(str(link), identity)])
    work(shelf)
    assert held(shelf) == [SLICE]

    link.unlink()
    entry(tmp_path / "b", SLICE)
    link.symlink_to("b")
    shelf.check()
    assert held(shelf) == [0]


class NoLocks(KeptFile):
    """As where this user may lock nothing."""

    def bring_in(self, count: int, *, locks: bool) -> None:
        if locks:
            raise PermissionError
        super().bring_in(count, locks=False)


def test_without_locks_files_are_read_and_read_again(shelf: Shelf, tmp_path: Path) -> None:
    path, identity = entry(tmp_path / "a", 64 * SLICE)
    shelf.follow(1, 99 * SLICE, [(path, identity)])
    shelf.files = [NoLocks(path, identity)]
    work(shelf)
    assert (shelf.held, shelf.locks) == (64 * SLICE, False)
    assert "may lock" in shelf.why

    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        shelf.look_again()
        work(shelf)
        for at in range(0, identity[2], mmap.PAGESIZE):
            os.preadv(file.fileno(), [bytearray(1)], at, os.RWF_NOWAIT)  # or it fails


# --- pressure -----------------------------------------------------------------------------------


def stall(file: Path, total_s: float) -> None:
    file.write_text(
        f"some avg10=0.00 avg60=0.00 avg300=0.00 total={int(total_s * 1e6)}\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )


def test_memory_is_short_when_tasks_stall(tmp_path: Path) -> None:
    machine, group = tmp_path / "machine", tmp_path / "group"
    pressure = Pressure([str(machine), str(group)])
    stall(machine, 100)
    stall(group, 0)
    assert not pressure.is_short(1000)  # all of the past
    assert not pressure.is_short(1001)
    stall(machine, 100.02)
    assert not pressure.is_short(1001.5)  # a twenty-fifth of the time
    stall(group, 0.1)
    assert pressure.is_short(1002)
    assert pressure.pauses_until == 1002 + FIRST_PAUSE_S
    assert not pressure.is_short(1002.5)


def test_the_pause_doubles_while_the_shortage_comes_back(tmp_path: Path) -> None:
    file, now, total = tmp_path / "pressure", 1000.0, 0.0
    pressure = Pressure([str(file)])
    pauses = []
    for rest in (1, 1, 1, 1, 1, 1, LAST_PAUSE_S + 1):
        for seconds in (rest, 0.5, 0.5):  # quiet; then short, for two looks
            stall(file, total)
            pressure.is_short(now)
            now, total = now + seconds, total + (0.4 if seconds < 1 else 0)
        pauses.append(pressure.pauses_until - now)
        now = pressure.pauses_until + 1
    assert pauses == pytest.approx([59.5, 119.5, 239.5, 479.5, 959.5, 959.5, 59.5], abs=1.1)


@pytest.mark.parametrize("text", [None, "", "some avg10=0.00 total=x\n", "full total=5\n", "\0"])
def test_a_kernel_that_does_not_tell(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "pressure"
    if text is not None:
        file.write_text(text)
    pressure = Pressure([str(file)])
    assert [pressure.is_short(now) for now in (1, 2, 3)] == [False] * 3


# --- reports ------------------------------------------------------------------------------------


def test_who_does_not_read_holds_up_nothing() -> None:
    reading, writing = os.pipe()
    output = Output(writing)
    reports = [b"%d" % number * 5000 + b"\n" for number in range(60)]
    for number, report in enumerate(reports):
        output.tell(report, float(number))
    os.set_blocking(reading, False)
    said = os.read(reading, 1 << 20)
    assert all(line in {r[:-1] for r in reports} for line in said.split(b"\n")[:-1])
    output.tell(b"last\n", 99.0)
    output.tell(b"last\n", 100.0)
    assert os.read(reading, 1 << 20).split(b"\n")[-2:] == [b"last", b""]
    os.close(reading)
    os.close(writing)
