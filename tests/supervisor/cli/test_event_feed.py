"""What a follower shows: the present, then what follows, nothing twice, no loss unnoticed."""

import msgspec
import pytest

from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    AnyEvent,
    Heartbeat,
    LogLine,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
    WorkerChanged,
)
from arriero.protocol.values import ConfigStatus, ModelStatus, Progress, WorkerStatus
from arriero.supervisor.cli.event_feed import DEFAULT_TYPES, Feed, Next
from tests.records import record

STEP = Progress(model="b", swap=2, phase="loading", elapsed_s=1.0)
STATUS = StatusReply(
    version="0.1.0",
    epoch="e",
    seq=41,
    t=1000.0,
    uptime_s=75.0,
    listen="127.0.0.1:8080",
    models=(
        ModelStatus(model="a", state="stopped", since=990.0),
        ModelStatus(model="b", state="starting", since=995.0, swap=2, pid=12, progress=STEP),
    ),
    queue=(),
    workers=(WorkerStatus(worker=1, pid=9, state="serving"),),
    control_requests=1,
    lease_requests=2,
    config=ConfigStatus(generation=1, loaded_at=990.0),
)


def queue(seq: int, epoch: str = "e") -> QueueChanged:
    return QueueChanged(epoch=epoch, seq=seq, queue=())


def log(seq: int, model: str = "b") -> LogLine:
    return LogLine(epoch="e", seq=seq, model=model, line="x", stream="stderr")


def usage(seq: int, epoch: str = "e") -> RequestEnded:
    return RequestEnded(epoch=epoch, seq=seq, model="b", record=record("r", model="b"))


def begun(feed: Feed) -> Feed:
    feed.present(STATUS)
    return feed


def test_the_present_is_shown_as_events_with_the_number_that_it_is_true_for() -> None:
    assert Feed(DEFAULT_TYPES).present(STATUS) == [
        StateChanged(epoch="e", seq=41, t=990.0, model="a", state="stopped", swap=0),
        StateChanged(epoch="e", seq=41, t=995.0, model="b", state="starting", swap=2, pid=12),
        ProgressMade(epoch="e", seq=41, t=1000.0, model="b", progress=STEP),
        QueueChanged(epoch="e", seq=41, t=1000.0, queue=()),
        WorkerChanged(epoch="e", seq=41, t=1000.0, worker=1, pid=9, state="serving"),
    ]


def test_the_present_of_one_model_leaves_out_the_others() -> None:
    assert Feed(("progress", "queue"), "b").present(STATUS) == [
        ProgressMade(epoch="e", seq=41, t=1000.0, model="b", progress=STEP)
    ]


@pytest.mark.parametrize(
    ("feed", "topics"),
    [
        (
            Feed(DEFAULT_TYPES),
            [
                b"state/",
                b"progress/",
                b"queue/",
                b"evicted/",
                b"worker/",
                b"config/",
                b"heartbeat/",
            ],
        ),
        (Feed(DEFAULT_TYPES, "b"), [b"state/b\n", b"progress/b\n", b"evicted/b\n", b"heartbeat/"]),
        (Feed(("log",)), [b"log/", b"heartbeat/"]),
        (Feed(("usage",)), [b"usage/", b"heartbeat/"]),
        (Feed(("usage",), "b"), [b"usage/b\n", b"heartbeat/"]),
        (Feed(("queue",), "b"), [b"heartbeat/"]),
    ],
)
def test_only_what_is_wanted_is_subscribed_to_and_heartbeats(
    feed: Feed, topics: list[bytes]
) -> None:
    assert feed.topics() == topics


@pytest.mark.parametrize(
    ("feed", "events", "verdict"),
    [
        (Feed(DEFAULT_TYPES), [queue(41)], Next.SKIP),
        (Feed(DEFAULT_TYPES), [queue(42)], Next.SHOW),
        (Feed(DEFAULT_TYPES), [queue(42), queue(43)], Next.SHOW),
        (Feed(DEFAULT_TYPES), [queue(43)], Next.RESTART),
        (Feed(DEFAULT_TYPES), [queue(42, epoch="f")], Next.RESTART),
        (Feed(DEFAULT_TYPES), [Heartbeat(epoch="e", seq=41)], Next.SKIP),
        (Feed(DEFAULT_TYPES), [Heartbeat(epoch="e", seq=42)], Next.RESTART),
        (Feed((*DEFAULT_TYPES, "heartbeat")), [Heartbeat(epoch="e", seq=41)], Next.SHOW),
        (Feed(("queue",)), [queue(41)], Next.SKIP),
        (Feed(("queue",)), [queue(99)], Next.SHOW),
        (Feed(("queue",)), [Heartbeat(epoch="e", seq=99)], Next.SKIP),
        (Feed(("queue",)), [Heartbeat(epoch="f", seq=1)], Next.RESTART),
        (Feed(("log",)), [log(7), log(8)], Next.SHOW),
        (Feed(("log",)), [log(7), log(9)], Next.RESTART),
        (Feed(("log",), "b"), [log(7), log(9)], Next.SHOW),
        (Feed(("log",), "b"), [log(7, model="a")], Next.SKIP),
        (Feed(("usage",)), [usage(7), usage(8)], Next.SHOW),
        (Feed(("usage",)), [usage(7), usage(9)], Next.RESTART),
        (Feed(("usage", "log")), [usage(7), log(3), usage(8)], Next.SHOW),
        (Feed((*DEFAULT_TYPES, "usage")), [usage(7), queue(42)], Next.SHOW),
    ],
)
def test_a_gap_means_a_loss_only_where_everything_is_heard(
    feed: Feed, events: list[AnyEvent], verdict: Next
) -> None:
    begun(feed)

    assert [feed.judge(event) for event in events][-1] is verdict


def test_ends_of_requests_that_were_shown_already_are_left_out_and_no_log_lines() -> None:
    feed = begun(Feed(("usage", "log")))
    feed.shown("usage", 8)

    assert [feed.judge(event) for event in (usage(8), log(8), usage(9))] == [
        Next.SKIP,
        Next.SHOW,
        Next.SHOW,
    ]


def test_log_lines_that_were_shown_already_are_left_out_until_the_numbers_begin_anew() -> None:
    feed = begun(Feed(("log",)))
    feed.shown("log", 8)

    assert [feed.judge(log(8)), feed.judge(log(9))] == [Next.SKIP, Next.SHOW]

    feed.present(msgspec.structs.replace(STATUS, epoch="f"))

    assert feed.judge(LogLine(epoch="f", seq=1, model="b", line="x", stream="stderr")) is Next.SHOW


def test_a_type_that_concerns_no_model_and_a_model_leave_nothing_to_show() -> None:
    assert Feed(("queue", "worker"), "b").shows_nothing
    assert not Feed(("queue", "state"), "b").shows_nothing
