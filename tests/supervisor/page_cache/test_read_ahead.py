"""What is read ahead, and what is not."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest
import trio

from arriero.protocol.lease import Grant
from arriero.supervisor.config.load import parse_config
from arriero.supervisor.page_cache.holder_child import is_there
from arriero.supervisor.page_cache.loaded_files import LoadedFile, loaded_files
from arriero.supervisor.page_cache.read_ahead import (
    AheadReading,
    read_ahead,
    read_files,
)
from arriero.supervisor.scheduling.messages.events import Released
from tests.supervisor.train import SERVER, open_train

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


async def test_files_are_read_while_another_model_has_to_finish(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then nothing is read: `b` may never be asked for."""
    caplog.set_level("INFO", "arriero.supervisor.page_cache.read_ahead")
    file = cold(tmp_path / "b", 12)
    config = f"""
models:
  a: {{cmd: {SERVER}}}
  b: {{cmd: {SERVER}, env: [LLAMA_ARG_MODEL={file.path}]}}
"""
    async with open_train(tmp_path, config) as train, trio.open_nursery() as nursery:
        models = parse_config(config, environ={})
        nursery.start_soon(read_ahead, lambda: models, train.dispatcher)
        grant = await train.ask("a")
        assert isinstance(grant, Grant)
        assert resident(file) == 0.0
        train.want("b")
        await until_there(file)
        assert train.dispatcher.engine.awaiting_room() == ("b",)

        train.dispatcher.handle(Released("w1", "a", grant.lease))
        while not isinstance(answer := await train.answer(), Grant):
            pass
        assert answer.model == "b"
        assert "model.read_ahead model=b bytes=" in caplog.text  # how much, the kernel decides
        nursery.cancel_scope.cancel()
