"""What is read ahead, and what is not."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest
import trio

from arriero.supervisor.page_cache.holder_child import is_there
from arriero.supervisor.page_cache.loaded_files import LoadedFile, loaded_files
from arriero.supervisor.page_cache.read_ahead import AheadReading, read_files

MIB = 1024**2


def cold(path: Path, mib: int) -> LoadedFile:
    """Make a file that is not in the page cache."""
    with path.open("wb") as file:
        file.write(os.urandom(mib * MIB))
    (found,) = loaded_files(["llama-server", "-m", str(path)], {})
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(1000):  # pages on their way to a list are not dropped
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if not resident(found):
                return found
    finally:
        os.close(fd)
    pytest.skip("this file system keeps what it was told to drop")


async def until_there(file: LoadedFile, start: int = 0) -> None:
    """The kernel reads on by itself."""
    fd = os.open(file.path, os.O_RDONLY)
    try:
        with trio.fail_after(20):
            while not is_there(fd, start, file.size - start):  # noqa: ASYNC110
                await trio.sleep(0.01)
    finally:
        os.close(fd)


def resident(file: LoadedFile) -> float:
    """Return which share of a file is in the page cache, and read nothing for that."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    fd = os.open(file.path, os.O_RDONLY)
    try:
        with mmap.mmap(fd, file.size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as found:
            pages = ctypes.create_string_buffer(-(-file.size // mmap.PAGESIZE))
            begin = ctypes.c_char.from_buffer(found)
            assert libc.mincore(ctypes.addressof(begin), file.size, pages) == 0
            del begin
            return sum(byte & 1 for byte in pages.raw) / len(pages.raw)
    finally:
        os.close(fd)


async def test_all_files_are_read_and_only_once(tmp_path: Path) -> None:
    files = [cold(tmp_path / "a", 20), cold(tmp_path / "b", 3)]
    reading = AheadReading()
    read_files(files, reading, 100 * MIB)
    assert reading.read_bytes == 23 * MIB
    for file in files:
        await until_there(file)

    again = AheadReading()
    read_files(files, again, 100 * MIB)
    assert again.read_bytes == 0


@pytest.mark.parametrize(("stops", "most"), [(True, 100 * MIB), (False, 10 * MIB), (False, -1)])
def test_no_more_is_read_than_may_be(tmp_path: Path, stops: bool, most: int) -> None:
    reading = AheadReading(stops=stops)
    read_files([cold(tmp_path / "a", 24)], reading, most)
    assert reading.read_bytes == (8 * MIB if most == 10 * MIB else 0)


def test_what_is_gone_or_another_is_not_read(tmp_path: Path) -> None:
    gone, pipe, last = (cold(tmp_path / name, 1) for name in "abc")
    Path(gone.path).unlink()
    Path(pipe.path).unlink()
    os.mkfifo(pipe.path)
    reading = AheadReading()
    read_files([gone, pipe, last], reading, 100 * MIB)
    assert reading.read_bytes == MIB
