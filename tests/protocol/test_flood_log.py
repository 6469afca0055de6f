"""Floods leave a line and a count, and nothing is lost silently."""

import logging

import pytest

from arriero.protocol.flood_log import MAX_CHARS, FloodLog


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def flood(clock: Clock) -> FloodLog:
    return FloodLog(logging.getLogger("flood"), interval_s=60.0, clock=clock)


def test_the_first_is_written_and_the_others_are_counted(
    flood: FloodLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(50_000):
        flood.warning("lease.unreadable number=%d", number)
    clock.now += 59.9
    flood.flush()
    assert caplog.messages == ["lease.unreadable number=0"]

    clock.now += 0.1
    flood.flush()
    flood.flush()

    assert caplog.messages == ["lease.unreadable number=0", "lease.unreadable more=49999 in_s=60"]


def test_without_a_flush_the_count_comes_before_the_next_line(
    flood: FloodLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        flood.warning("x.y number=%d", number)
    clock.now += 60
    flood.warning("x.y number=%d", 3)
    clock.now += 60
    flood.warning("x.y number=%d", 4)

    assert caplog.messages == ["x.y number=0", "x.y more=2 in_s=60", "x.y number=3", "x.y number=4"]


def test_a_flood_that_lasts_writes_two_lines_an_interval(
    flood: FloodLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(6000):  # ten minutes
        flood.warning("x.y")
        clock.now += 0.1
        flood.flush()

    assert len(caplog.messages) <= 2 * 10 + 1
    written = sum(message == "x.y" for message in caplog.messages)
    counted = sum(int(m.split("more=")[1].split()[0]) for m in caplog.messages if "more=" in m)
    clock.now += 60
    assert written + counted <= 6000
    assert 6000 - (written + counted) < 600  # what the last interval still counts


def test_kinds_are_told_apart_and_their_level_stays(
    flood: FloodLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        flood.warning("a.b n=%d", 1)
        flood.exception("c.d", exc=ValueError("no"))
    clock.now += 60
    flood.flush()

    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "a.b n=1"),
        ("ERROR", "c.d"),
        ("WARNING", "a.b more=1 in_s=60"),
        ("ERROR", "c.d more=1 in_s=60"),
    ]
    assert caplog.records[1].exc_info is not None


def test_what_a_stranger_sent_is_cut(flood: FloodLog, caplog: pytest.LogCaptureFixture) -> None:
    flood.warning("a.b text=%s", "x" * 1_000_000)

    assert len(caplog.messages[0]) <= MAX_CHARS + 3
