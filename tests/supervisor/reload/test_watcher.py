"""Real files and fast time: what happens to a configuration on disk, and what is told of it."""

import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from arriero.supervisor.config.sources import find_sources
from arriero.supervisor.reload.change_detector import View
from arriero.supervisor.reload.watcher import POLL_S, look_at, watch

# Looks by which any change is told: it is seen, it stands, it is told; and some more.
ENOUGH = 6


def list_folder(folder: Path) -> tuple[Path, ...]:
    return find_sources((), folder)


class Watched:
    """A watch under way."""

    def __init__(self, files: list[Path], folder: Path | None) -> None:
        self.told = 0
        self.looks = 0
        self._look = partial(look_at, files, folder, list_folder)

    def look(self) -> View:
        view = self._look()
        self.looks += 1
        return view

    def changed(self) -> None:
        self.told += 1

    async def tells(self) -> int:
        """Let some looks pass, and return how often a change was told since the last call."""
        until = self.looks + ENOUGH
        while self.looks < until:  # noqa: ASYNC110 -- they happen in a thread
            await trio.sleep(POLL_S)
        told, self.told = self.told, 0
        return told


@pytest.fixture
def fast() -> MockClock:
    # Not autojump: it would jump while a thread looks at the disk.
    return MockClock(rate=100.0)


@asynccontextmanager
async def watched(
    *files: Path, folder: Path | None = None, between: Callable[[], object] = lambda: None
) -> AsyncGenerator[Watched, None]:
    """Watch while the block runs; `between` happens after the first view was taken."""
    it = Watched(list(files), folder)
    first = it.look()
    between()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch, it.look, it.changed, first=first))
        yield it
        nursery.cancel_scope.cancel()


def write(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    """Write as careful editors do: beside it, and then into its place."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


def replace_by_twin(path: Path, text: str) -> None:
    """Put another file of the same size and time into its place."""
    before = path.stat()
    beside = path.with_name(f".{path.name}.new")
    beside.write_text("x" * before.st_size)
    os.utime(beside, ns=(before.st_atime_ns, before.st_mtime_ns))
    beside.replace(path)


def grow_unnoticed(path: Path, text: str) -> None:
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(path: Path, text: str) -> None:
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


CHANGES = [write, replace, replace_by_twin, grow_unnoticed, touch]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_a_file_is_told_once(
    tmp_path: Path, fast: MockClock, change: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("models: {}")

    async with watched(path) as it:
        assert await it.tells() == 0
        change(path, "models: {a: 1}")
        assert await it.tells() == 1
        assert await it.tells() == 0


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_a_file_in_a_folder_is_told_once(
    tmp_path: Path, fast: MockClock, change: Callable[[Path, str], None]
) -> None:
    (tmp_path / "a.yaml").write_text("models: {}")
    (tmp_path / "b.yml").write_text("models: {}")

    async with watched(folder=tmp_path) as it:
        assert await it.tells() == 0
        change(tmp_path / "b.yml", "models: {a: 1}")
        assert await it.tells() == 1


async def test_a_file_that_is_gone_is_told_when_it_is_back(tmp_path: Path, fast: MockClock) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("models: {}")

    async with watched(path) as it:
        path.rename(tmp_path / "away")
        assert await it.tells() == 0
        (tmp_path / "away").rename(path)  # the very same file
        assert await it.tells() == 1


async def test_a_link_that_is_turned_to_another_file_is_told(
    tmp_path: Path, fast: MockClock
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("models: {}")
    link = tmp_path / "c.yaml"
    link.symlink_to("one")

    async with watched(link) as it:
        link.unlink()
        link.symlink_to("two")
        assert await it.tells() == 1


@pytest.mark.parametrize("named", ["file", "folder"])
async def test_a_new_version_of_a_config_map_is_told_once(
    tmp_path: Path, fast: MockClock, named: str
) -> None:
    """As Kubernetes does it: files are links into ..data, a link that is replaced as a whole."""
    for version in ("..1", "..2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "c.yaml").write_text("models: {}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "c.yaml").symlink_to("..data/c.yaml")
    place = watched(tmp_path / "c.yaml") if named == "file" else watched(folder=tmp_path)

    async with place as it:
        assert await it.tells() == 0
        (tmp_path / "..data_tmp").symlink_to("..2")
        (tmp_path / "..data_tmp").rename(tmp_path / "..data")
        assert await it.tells() == 1


async def test_files_that_come_and_go_in_a_folder_are_told(tmp_path: Path, fast: MockClock) -> None:
    (tmp_path / "a.yaml").write_text("models: {}")

    async with watched(folder=tmp_path) as it:
        (tmp_path / "b.yml").write_text("models: {}")
        assert await it.tells() == 1
        (tmp_path / "b.yml").unlink()
        assert await it.tells() == 1


async def test_other_files_in_a_folder_are_not_told(tmp_path: Path, fast: MockClock) -> None:
    (tmp_path / "a.yaml").write_text("models: {}")

    async with watched(folder=tmp_path) as it:
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / ".a.yaml.swp").write_text("x")
        assert await it.tells() == 0


@pytest.mark.parametrize("with_folder", [True, False])
async def test_a_folder_without_files_is_told_when_it_has_some(
    tmp_path: Path, fast: MockClock, with_folder: bool
) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.yaml").write_text("models: {}")

    async with watched(folder=folder) as it:
        (folder / "a.yaml").unlink()
        if not with_folder:
            folder.rmdir()
        assert await it.tells() == 0
        folder.mkdir(exist_ok=True)
        (folder / "a.yaml").write_text("models: {}")
        assert await it.tells() == 1


async def test_a_change_during_the_load_is_not_lost(tmp_path: Path, fast: MockClock) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("models: {}")

    async with watched(path, between=partial(path.write_text, "models: {a: 1}")) as it:
        assert await it.tells() == 1


async def test_a_change_while_one_is_acted_upon_is_told_afterwards(
    tmp_path: Path, fast: MockClock
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("1")
    look = partial(look_at, [path], None, list_folder)
    texts: list[str] = []

    def changed() -> None:
        texts.append(path.read_text())
        path.write_text("333")

    first = look()
    path.write_text("22")
    with trio.move_on_after(20):
        await watch(look, changed, first=first)

    assert texts[:2] == ["22", "333"]


async def test_a_look_that_hangs_does_not_hold_up_the_end() -> None:
    """A file server is gone, and a look at its files returns only when it is back."""
    hangs, back = trio.Event(), threading.Event()

    def look() -> View:
        trio.from_thread.run_sync(hangs.set)
        back.wait()
        return {}

    def changed() -> None: ...

    try:
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(watch, look, changed, first={}, poll_s=0))
                await hangs.wait()
                nursery.cancel_scope.cancel()
    finally:
        back.set()


async def test_what_acting_upon_a_change_raises_ends_the_watch(
    tmp_path: Path, fast: MockClock
) -> None:
    def changed() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await watch(
            partial(look_at, [tmp_path], None, list_folder), changed, first={tmp_path: None}
        )
