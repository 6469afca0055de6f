"""What waits for the database: batches, files that are of no use, a disk that is full."""

import logging
import sqlite3
import time
from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from arriero.protocol.codec import encode, encode_finished
from arriero.protocol.control.base import Refusal
from arriero.protocol.control.requests import ActivityReply, ActivityRequest
from arriero.protocol.records import RecordFilter, RequestRecord
from arriero.supervisor.store import answers, keeper
from arriero.supervisor.store.frames import Frame, Kind, StoreQuestion
from arriero.supervisor.store.keeper import RecordKeeper
from arriero.supervisor.store.limits import StoreLimits
from arriero.supervisor.store.open_file import locked, open_database
from tests.records import record


@pytest.fixture
def limits(tmp_path: Path) -> StoreLimits:
    return StoreLimits(
        path=tmp_path / "s", rows=10**6, age_s=1e10, size_bytes=10**9, memory_rows=1000
    )


class Told(list[str]):
    """What was told, with its level."""

    def __call__(self, level: int, text: str) -> None:
        self.append(f"{logging.getLevelName(level)} {text}")


@contextmanager
def opened(limits: StoreLimits, told: Told | None = None) -> Generator[RecordKeeper]:
    with closing(RecordKeeper(limits, Told() if told is None else told)) as kept:
        yield kept


def take(kept: RecordKeeper, records: Iterable[RequestRecord], kind: Kind = "records") -> list[str]:
    added = list(records)
    kept.take(Frame(kind, len(added), encode_finished(map(encode, added))))
    return [one.request_id for one in added]


def take_each(kept: RecordKeeper, names: Iterable[str]) -> list[str]:
    return [take(kept, [record(name)])[0] for name in names]


def ids(kept: RecordKeeper, limit: int = 1000, **where: object) -> list[str]:
    request = ActivityRequest(limit=limit, where=RecordFilter(**where))  # type: ignore[arg-type]
    reply = kept.answer(StoreQuestion(request=request))
    assert isinstance(reply, ActivityReply), reply
    return [one.request_id for one in reply.records]


def database_of(kept: RecordKeeper) -> sqlite3.Connection:
    return kept._ready().connection


def test_a_bug_ends_one_question(limits: StoreLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    with opened(limits, told) as kept:
        with monkeypatch.context() as broken:
            broken.setattr(answers, "activity", lambda *_, **__: 1 / 0)
            bug = kept.answer(StoreQuestion(request=ActivityRequest()))
        assert ids(kept) == []

    assert isinstance(bug, Refusal)
    assert bug.error.code == "store_failed"
    assert told == ["WARNING store.cannot_answer error=ZeroDivisionError('division by zero')"]


def test_a_message_that_cannot_be_read_is_lost_alone(limits: StoreLimits) -> None:
    told = Told()
    with opened(limits, told) as kept:
        kept.take(Frame("records", 7, b'{"records":[{}]}'))
        kept.tend()
        take_each(kept, "a")
        assert ids(kept) == ["a"]
        assert (kept.report().lost, kept.report().settled) == (7, 2)
    assert told[0].startswith("ERROR store.bug\nTraceback")


# --- records that may be there already ------------------------------------------------------------


def test_what_was_kept_is_not_kept_again(limits: StoreLimits) -> None:
    """A process before this one may have kept a part of what it had in hand."""
    records = [record(f"r{n}", t=float(n), input_tokens=1) for n in range(9)]
    with opened(limits) as kept:
        take(kept, records[:5])
        kept.tend()
        take(kept, records, "again")
        take(kept, records, "again")
        assert ids(kept) == [one.request_id for one in records]
        one_more = replace(records[2], t=99.0)  # a client may give an id twice
        take(kept, [one_more], "again")
        assert ids(kept)[-1] == "r2"
        totals = database_of(kept).execute("SELECT SUM(requests), SUM(input_tokens) FROM usage")
        assert totals.fetchone() == (10, 10)


def test_what_was_kept_and_forgotten_is_not_kept_again(limits: StoreLimits) -> None:
    now = time.time()
    records = [record(f"r{n}", t=now + n) for n in range(9)]
    with opened(replace(limits, rows=3)) as kept:
        take(kept, records[:8])
        kept.tend()
        kept.tend()
        take(kept, records, "again")
        kept.tend()
        (total,) = database_of(kept).execute("SELECT SUM(requests) FROM usage").fetchone()
    assert total == 9


# --- files that are of no use --------------------------------------------------------------------


def test_broken_file_is_put_aside_and_told(limits: StoreLimits) -> None:
    limits.path.write_text("no database at all, but longer than a head of one" * 10)
    told = Told()
    with opened(limits, told) as kept:
        added = take_each(kept, "ab")
        assert ids(kept) == added
        assert kept.report().problem == ""
    assert [one.split(" reason")[0] for one in told] == [
        f"WARNING store.put_aside path={limits.path} as=s.aside-1"
    ]


def test_file_that_breaks_meanwhile_is_put_aside(limits: StoreLimits) -> None:
    with opened(limits) as kept:
        take(kept, (record(str(n)) for n in range(3000)))
        ids(kept, 1)
    with limits.path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)
    with opened(limits) as kept:
        take_each(kept, "ab")
        ids(kept, keys=("nobody",))
        take_each(kept, "cd")
        assert ids(kept)[-2:] == ["c", "d"]
    assert limits.path.with_name("s.aside-1").exists()


def test_file_that_is_taken_away_is_begun_anew(limits: StoreLimits) -> None:
    with opened(limits) as kept:
        take_each(kept, "a")
        ids(kept)
        for one in limits.path.parent.iterdir():
            one.unlink()
        take_each(kept, "b")
        assert ids(kept) == ["b"]
    with closing(open_database(limits.path)) as database:
        assert database.execute("SELECT request_id FROM requests").fetchall() == [("b",)]


def test_another_path_is_followed(limits: StoreLimits) -> None:
    with opened(limits) as kept:
        take_each(kept, "a")
        ids(kept)
        kept.limits = replace(limits, path=limits.path.with_name("t"))
        take_each(kept, "b")
        assert ids(kept) == ["b"]
        kept.limits = limits
        assert ids(kept) == ["a"]


def test_without_a_file_it_goes_on_in_memory_until_there_is_one(
    limits: StoreLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_AGAIN_S", 0.0)
    monkeypatch.setattr(keeper, "_TURN_S", 0.0)
    path, told = limits.path, Told()
    with (
        locked(path),  # by another supervisor
        opened(replace(limits, memory_rows=5), told) as kept,
    ):
        take_each(kept, map(str, range(9)))
        kept.tend()
        assert ids(kept) == ["4", "5", "6", "7", "8"]
        report = kept.report()
    assert (report.path, report.rows) == ("", 5)
    assert "another supervisor writes to it; requests are kept in memory" in report.problem
    assert sum("store.failed" in one for one in told) == 1  # told once
    assert not path.exists()

    path.mkdir()
    with opened(limits) as kept:
        take_each(kept, "ab")
        assert ids(kept) == ["a", "b"]
        path.rmdir()
        take_each(kept, "c")
        assert ids(kept) == ["a", "b", "c"]  # what was in memory has come along
        assert (kept.report().path, kept.report().problem) == (str(path), "")


# --- a disk that is full -------------------------------------------------------------------------


def test_full_disk_loses_records_that_are_counted_and_told_once(
    limits: StoreLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_AGAIN_S", 0.0)
    monkeypatch.setattr(keeper, "MAX_WAITING", 2000)
    told = Told()
    with opened(limits, told) as kept:
        take_each(kept, ["first"])
        kept.tend()
        database_of(kept).execute("PRAGMA max_page_count = 1")  # not one more than there are
        for turn in range(6):
            take_each(kept, (f"{turn}-{n}" for n in range(1000)))
            kept.tend()
            assert ids(kept, 1) != []  # what is there can be read
        full = kept.report()
        database_of(kept).execute("PRAGMA max_page_count = 1000000")
        found = ids(kept)
        after = kept.report()

    assert "full" in full.problem
    assert 3000 <= full.lost <= 4001
    assert found[-1] == "5-999"
    assert (after.problem, after.lost, after.settled) == ("", full.lost, 6001)
    assert after.rows + after.lost == 6001
    warned = [one.split(" reason")[0] for one in told if one.startswith("WARNING")]
    assert warned == ["WARNING store.failed"]
