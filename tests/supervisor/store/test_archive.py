"""The store's thread: batches, failures, and a process that is killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from arriero.protocol.codec import AnyReply
from arriero.protocol.control import ActivityReply, ActivityRequest, Refusal
from arriero.protocol.records import RecordFilter
from arriero.supervisor.store import answers, archive
from arriero.supervisor.store.archive import RecordArchive
from arriero.supervisor.store.limits import StoreLimits
from arriero.supervisor.store.open_file import locked, open_database
from tests.paths import ROOT
from tests.records import record


class Place:
    """What an archive is told to keep, and where; a test may change it."""

    def __init__(self, path: Path) -> None:
        self.limits = StoreLimits(
            path=path, rows=10**6, age_s=1e10, size_bytes=10**9, memory_rows=1000
        )

    def __call__(self) -> StoreLimits:
        return self.limits


@asynccontextmanager
async def opened(place: Place) -> AsyncGenerator[RecordArchive]:
    kept = RecordArchive(place)
    with trio.fail_after(20):
        async with kept.running():
            yield kept


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "s")


async def ids(kept: RecordArchive, limit: int = 1000) -> list[str]:
    reply = await kept.ask(partial(answers.activity, asked=ActivityRequest(limit=limit), seq=0))
    assert isinstance(reply, ActivityReply), reply
    return [one.request_id for one in reply.records]


def add(kept: RecordArchive, names: Iterable[str]) -> list[str]:
    added = list(names)
    for name in added:
        kept.add(record(name))
    return added


async def test_who_asks_hears_of_all_that_was_added_before(place: Place) -> None:
    async with opened(place) as kept:
        for turn in range(5):
            added = add(kept, (f"{turn}-{n}" for n in range(70)))
            assert (await ids(kept))[-70:] == added
        assert kept.status().rows == 350
    async with opened(place) as kept:
        assert len(await ids(kept)) == 350
        assert kept.status().path == str(place.limits.path)


async def test_what_waits_at_the_end_is_written(place: Place) -> None:
    async with opened(place) as kept:
        add(kept, map(str, range(3)))
    with closing(sqlite3.connect(place.limits.path)) as database:
        assert database.execute("SELECT COUNT(*) FROM requests").fetchone() == (3,)
    assert not place.limits.path.with_name("s-wal").exists()


async def test_only_so_much_is_seen_as_was_added_when_asked(place: Place) -> None:
    """A follower is told which records are in an answer, and hears of the others itself."""
    async with opened(place) as kept:
        holds = threading.Event()
        answer: list[list[str]] = []

        async def asks() -> None:
            answer.append(await ids(kept))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.ask, partial(_after, holds))
            add(kept, ["before"])
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(asks)
            await trio.testing.wait_all_tasks_blocked()
            add(kept, ["after"])
            holds.set()

        assert answer == [["before"]]
        assert await ids(kept) == ["before", "after"]


def _after(holds: threading.Event, _: sqlite3.Connection) -> AnyReply:
    holds.wait(10)
    return ActivityReply(records=())


async def test_questions_are_bounded_and_a_bug_ends_one_of_them(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: sqlite3.Connection) -> AnyReply:
        raise ZeroDivisionError

    async with opened(place) as kept:
        holds = threading.Event()
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(kept.ask, partial(_after, holds))
            await trio.testing.wait_all_tasks_blocked()
            busy = await kept.ask(fails)
            nursery.cancel_scope.cancel()  # and those that nobody waits for are not asked
            holds.set()
        bug = await kept.ask(fails)
        assert await ids(kept) == []

    assert isinstance(busy, Refusal)
    assert isinstance(bug, Refusal)
    assert (busy.error.code, bug.error.code) == ("busy", "store_failed")
    assert "store.cannot_answer error=ZeroDivisionError()" in caplog.messages


# --- files that are of no use --------------------------------------------------------------------


async def test_broken_file_is_put_aside_and_told(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.limits.path.write_text("no database at all, but longer than a head of one" * 10)
    async with opened(place) as kept:
        added = add(kept, "ab")
        assert await ids(kept) == added
        assert kept.status().problem == ""
    assert [one.split(" reason")[0] for one in caplog.messages] == [
        f"store.put_aside path={place.limits.path} as=s.aside-1"
    ]


async def test_file_that_breaks_meanwhile_is_put_aside(place: Place) -> None:
    async with opened(place) as kept:
        add(kept, (str(n) for n in range(3000)))
        await ids(kept, 1)
    with place.limits.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)
    async with opened(place) as kept:
        add(kept, "ab")
        reply = await kept.ask(
            lambda it: answers.activity(
                it, ActivityRequest(where=RecordFilter(keys=("nobody",))), 0
            )
        )
        assert isinstance(reply, ActivityReply)
        add(kept, "cd")
        assert (await ids(kept))[-2:] == ["c", "d"]
    assert place.limits.path.with_name("s.aside-1").exists()


async def test_file_that_is_taken_away_is_begun_anew(place: Place) -> None:
    async with opened(place) as kept:
        add(kept, "a")
        await ids(kept)
        for one in place.limits.path.parent.iterdir():
            one.unlink()
        add(kept, "b")
        assert await ids(kept) == ["b"]
    with closing(open_database(place.limits.path)) as database:
        assert database.execute("SELECT request_id FROM requests").fetchall() == [("b",)]


async def test_another_path_is_followed(place: Place) -> None:
    async with opened(place) as kept:
        add(kept, "a")
        await ids(kept)
        place.limits = replace(place.limits, path=place.limits.path.with_name("t"))
        add(kept, "b")
        assert await ids(kept) == ["b"]
        place.limits = replace(place.limits, path=place.limits.path.with_name("s"))
        assert await ids(kept) == ["a"]


async def test_without_a_file_it_goes_on_in_memory_until_there_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(archive, "_AGAIN_S", 0.0)
    path = place.limits.path
    with locked(path):  # by another supervisor
        async with opened(place) as kept:
            place.limits = replace(place.limits, memory_rows=5)
            add(kept, map(str, range(9)))
            await ids(kept)
            while len(found := await ids(kept)) > 5:  # noqa: ASYNC110  it is forgotten in a moment
                await trio.sleep(0.01)
            status = kept.status()
    assert found == ["4", "5", "6", "7", "8"]
    assert (status.path, status.rows) == ("", 5)
    assert "another supervisor writes to it; requests are kept in memory" in status.problem
    assert sum("store.failed" in one for one in caplog.messages) == 1  # told once
    assert not path.exists()

    path.mkdir()
    async with opened(place) as kept:
        add(kept, "ab")
        assert await ids(kept) == ["a", "b"]
        path.rmdir()
        add(kept, "c")
        assert await ids(kept) == ["a", "b", "c"]  # what was in memory has come along
        assert (kept.status().path, kept.status().problem) == (str(path), "")


# --- a disk that is full -------------------------------------------------------------------------


async def test_full_disk_loses_records_that_are_counted_and_told_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody who adds a record waits, or hears of it."""
    monkeypatch.setattr(archive, "_AGAIN_S", 0.0)
    monkeypatch.setattr(archive, "MAX_WAITING", 2000)

    def pages(count: int, database: sqlite3.Connection) -> AnyReply:
        database.execute(f"PRAGMA max_page_count = {count}")
        return ActivityReply(records=())

    async with opened(place) as kept:
        add(kept, ["first"])
        await kept.ask(partial(pages, 1))  # not one more than there are
        for turn in range(6):
            add(kept, (f"{turn}-{n}" for n in range(1000)))
            reply = await kept.ask(
                partial(answers.activity, asked=ActivityRequest(request_id="first"), seq=0)
            )
            assert isinstance(reply, ActivityReply)
            assert len(reply.records) == 1  # what is there can be read
        full = kept.status()
        await kept.ask(partial(pages, 10**6))
        found = await ids(kept)
        after = kept.status()

    assert (full.waiting, "full" in full.problem) == (2000, True)
    assert 3000 <= full.lost <= 4001
    assert found[-1] == "5-999"
    assert (after.problem, after.waiting, after.lost) == ("", 0, full.lost)
    assert after.rows + after.lost == 6001
    warned = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert [one.split()[0] for one in warned] == ["store.failed"]


# --- a process that is killed --------------------------------------------------------------------

WRITER = """
import sys, time, trio
from pathlib import Path
from arriero.supervisor.store import answers
from arriero.supervisor.store.archive import RecordArchive
from arriero.supervisor.store.limits import StoreLimits
from arriero.protocol.control import ActivityRequest
from tests.records import record

async def main():
    limits = StoreLimits(path=Path(sys.argv[1]), rows=700, age_s=1e10, size_bytes=10**9)
    kept = RecordArchive(lambda: limits)
    async with kept.running():
        number = int(sys.argv[2])
        while True:
            for _ in range(50):
                number += 1
                kept.add(record(f"r{number}", t=time.time(), input_tokens=1))
            await kept.ask(lambda it: answers.activity(it, ActivityRequest(limit=1), 0))
            print(number, flush=True)

trio.run(main)
"""


def killed_again_and_again(path: Path, times: int, seed: int) -> None:
    """Kill a writer at any moment; what it has said that it wrote has to be there each time."""
    chance = random.Random(seed)
    said = 0
    for _ in range(times):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(said)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 12)):
                line = writer.stdout.readline()
                assert line
                said = int(line)
            writer.send_signal(signal.SIGKILL)
            said = int((writer.stdout.read().split() or [b"%d" % said])[-1])
        with closing(open_database(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            (last,) = database.execute(
                "SELECT request_id FROM requests ORDER BY id DESC LIMIT 1"
            ).fetchone()
            (total,) = database.execute("SELECT SUM(input_tokens) FROM usage").fetchone()
            found = int(last[1:])
            assert said <= found
            assert total == found  # each of them once, in rows and in totals
            said = found
    assert sorted(one.name for one in path.parent.iterdir()) == ["s", "s-lock"]


def test_nothing_that_was_written_is_lost_by_a_kill(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "s", 2, seed=1)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_nothing_is_lost_by_hundreds_of_kills(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "s", 200, seed=random.randrange(10**6))
