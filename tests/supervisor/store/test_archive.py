"""The store and its real process: order, ends, and what is killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from arriero.protocol.codec import decode_reply, encode, encode_finished
from arriero.protocol.control.base import Refusal
from arriero.protocol.control.requests import ActivityReply, ActivityRequest
from arriero.supervisor.store import archive
from arriero.supervisor.store.archive import RecordArchive
from arriero.supervisor.store.limits import StoreLimits
from arriero.supervisor.store.open_file import StoreInUse, locked, open_database
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
    kept = RecordArchive(place, first_pause_s=0.01)
    with trio.fail_after(25):
        async with kept.running():
            yield kept


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "s")


async def ids(kept: RecordArchive, limit: int = 1000) -> list[str]:
    reply = await kept.ask(ActivityRequest(limit=limit), 7)
    assert isinstance(reply, bytes), reply
    found = decode_reply(reply, ActivityReply)
    assert isinstance(found, ActivityReply), found
    assert found.seq == 7
    return [one.request_id for one in found.records]


def add(kept: RecordArchive, names: Iterable[str]) -> list[str]:
    added = list(names)
    kept.add(encode_finished(encode(record(name)) for name in added), len(added))
    return added


def has(kept: RecordArchive, rows: int) -> bool:
    return kept.status().rows == rows


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  the archive tells nobody
        await trio.sleep(0.005)


async def test_who_asks_hears_of_all_that_was_added_before(place: Place) -> None:
    async with opened(place) as kept:
        for turn in range(5):
            added = add(kept, (f"{turn}-{n}" for n in range(70)))
            assert (await ids(kept))[-70:] == added
        status = kept.status()
        assert (status.rows, status.waiting, status.path) == (350, 0, str(place.limits.path))
        place.limits = replace(place.limits, path=place.limits.path.with_name("t"))
        add(kept, "b")
        assert await ids(kept) == ["b"]
    async with opened(place) as kept:
        place.limits = replace(place.limits, path=place.limits.path.with_name("s"))
        assert len(await ids(kept)) == 350


async def test_what_waits_at_the_end_is_written(place: Place) -> None:
    async with opened(place) as kept:
        kept.start()
        add(kept, map(str, range(3)))
    assert (kept.pid, kept.status().waiting) == (0, 0)
    with closing(sqlite3.connect(place.limits.path)) as database:
        assert database.execute("SELECT COUNT(*) FROM requests").fetchone() == (3,)
    assert not place.limits.path.with_name("s-wal").exists()


async def test_only_so_much_is_seen_as_was_added_when_asked(place: Place) -> None:
    """A follower is told which records are in an answer, and hears of the others itself."""
    answers: list[list[str]] = []

    async with opened(place) as kept:

        async def asks() -> None:
            answers.append(await ids(kept))

        async with trio.open_nursery() as nursery:
            for name in "ab":  # the second one waits for the answer to the first
                add(kept, [name])
                nursery.start_soon(asks)
                await trio.testing.wait_all_tasks_blocked()
            add(kept, ["after"])

        assert sorted(answers) == [["a"], ["a", "b"]]
        assert await ids(kept) == ["a", "b", "after"]


async def test_questions_are_bounded_and_only_asked_for_who_waits(place: Place) -> None:
    async with opened(place) as kept:
        await ids(kept)
        os.kill(kept.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(kept.ask, ActivityRequest())
            await trio.testing.wait_all_tasks_blocked()
            busy = await kept.ask(ActivityRequest())
            nursery.cancel_scope.cancel()
        os.kill(kept.pid, signal.SIGCONT)
        assert await ids(kept) == []

    assert isinstance(busy, Refusal)
    assert busy.error.code == "busy"


async def test_more_than_can_wait_is_lost_the_oldest_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_WAITING", 200)
    async with opened(place) as kept:
        for turn in range(5):  # before there is any process
            add(kept, (f"{turn}-{n}" for n in range(100)))
        assert (kept.status().waiting, kept.status().lost) == (200, 300)
        assert (await ids(kept))[::100] == ["3-0", "4-0"]
        assert kept.status().waiting == 0


# --- what is killed -------------------------------------------------------------------------------


async def test_a_process_that_is_killed_loses_and_doubles_nothing(place: Place) -> None:
    chance = random.Random(4)
    async with opened(place) as kept:
        added = await killed_while_it_writes(kept, 2, chance)
        assert await ids(kept) == added[-1000:]
        status = kept.status()
    assert (status.rows, status.lost, status.waiting) == (len(added), 0, 0)


async def killed_while_it_writes(
    kept: RecordArchive, times: int, chance: random.Random
) -> list[str]:
    added: list[str] = []
    for _ in range(times):
        await ids(kept)  # there is one
        for _ in range(chance.randrange(20)):
            added += add(kept, (f"r{len(added) + n}" for n in range(100)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.ask, ActivityRequest())  # so that it writes
            await trio.sleep(chance.random() / 20)
            await kill_it(kept)
            nursery.cancel_scope.cancel()
    return added


async def kill_it(kept: RecordArchive) -> None:
    pid = kept.pid
    os.kill(pid, signal.SIGKILL)
    while kept.pid == pid:  # noqa: ASYNC110
        await trio.sleep(0.001)


@pytest.mark.nightly
@pytest.mark.timeout(600)
async def test_nothing_is_lost_by_a_hundred_ends_of_the_process(place: Place) -> None:
    kept = RecordArchive(place, first_pause_s=0.01)
    async with kept.running():
        added = await killed_while_it_writes(kept, 100, random.Random())
        assert await ids(kept) == added[-1000:]
        assert kept.status().rows == len(added)


async def test_who_has_nothing_to_do_rests(place: Place) -> None:
    kept = RecordArchive(place, first_pause_s=0.01, rest_after_s=0.05)
    with trio.fail_after(25):
        async with kept.running():
            kept.start()
            for turn in range(3):
                add(kept, [str(turn)])
                await until(partial(has, kept, turn + 1))
                await until(lambda: kept.pid == 0)
                status = kept.status()
                assert (status.rows, status.waiting, status.problem) == (turn + 1, 0, "")
                assert status.path == str(place.limits.path)
            assert await ids(kept) == ["0", "1", "2"]
            assert kept.status().lost == 0


async def test_what_is_in_memory_alone_stays_there(place: Place) -> None:
    place.limits.path.mkdir()  # no file can be there
    kept = RecordArchive(place, first_pause_s=0.01, rest_after_s=0.05)
    with trio.fail_after(25):
        async with kept.running():
            add(kept, ["a"])
            assert await ids(kept) == ["a"]
            pid = kept.pid
            await trio.sleep(0.3)  # several times what is enough for a rest
            assert await ids(kept) == ["a"]
            assert kept.pid == pid


async def test_records_that_end_each_process_are_lost(place: Place) -> None:
    async with opened(place) as kept:
        await ids(kept)
        added = add(kept, ["poison"])
        for _ in range(3):
            while not kept.pid:  # noqa: ASYNC110
                await trio.sleep(0.001)
            os.kill(kept.pid, signal.SIGSTOP)  # it is given the records, and writes nothing
            while not kept.has_handed_over:  # noqa: ASYNC110
                await trio.sleep(0.001)
            await kill_it(kept)
        assert await ids(kept) == []
        assert (kept.status().lost, kept.status().waiting) == (len(added), 0)


WRITER = """
import sys, time, trio
from pathlib import Path
from arriero.protocol.codec import encode, encode_finished
from arriero.protocol.control.requests import ActivityRequest
from arriero.supervisor.store.archive import RecordArchive
from arriero.supervisor.store.limits import StoreLimits
from tests.records import record

async def main():
    limits = StoreLimits(path=Path(sys.argv[1]), rows=700, age_s=1e10, size_bytes=10**9)
    kept = RecordArchive(lambda: limits)
    async with kept.running():
        number = int(sys.argv[2])
        while True:
            batch = [
                encode(record(f"r{number + n}", t=time.time(), input_tokens=1))
                for n in range(1, 51)
            ]
            number += 50
            kept.add(encode_finished(batch), 50)
            await kept.ask(ActivityRequest(limit=1))
            print(number, flush=True)

trio.run(main)
"""


def killed_again_and_again(path: Path, times: int, seed: int) -> None:
    """Kill a supervisor at any moment; what it has said that it wrote has to be there each time."""
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
        wait_for_its_turn(path)
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


def wait_for_its_turn(path: Path) -> None:
    """Wait for the end of the store's process, which writes what it has."""

    async def wait() -> None:
        with trio.fail_after(20):
            while True:
                try:
                    with locked(path):
                        return
                except StoreInUse:
                    await trio.sleep(0.01)

    trio.run(wait)


def test_nothing_that_was_written_is_lost_by_a_kill(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "s", 2, seed=1)


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_nothing_is_lost_by_hundreds_of_kills(tmp_path: Path) -> None:
    killed_again_and_again(tmp_path / "s", 200, seed=random.randrange(10**6))
