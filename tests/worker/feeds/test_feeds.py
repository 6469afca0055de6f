"""What followers of logs and events get: in order, bounded, and told of what they miss."""

import json
from typing import Any

import pytest
import trio

from arriero.protocol.events import (
    AnyEvent,
    Heartbeat,
    InflightChanged,
    LogLine,
    OwnLine,
    RequestEnded,
)
from arriero.protocol.records import InflightRequest
from arriero.worker.errors import Unavailable
from arriero.worker.feeds.hub import MAX_READERS, FeedHub, WantedLines
from arriero.worker.feeds.inflight import InflightTable, shown_fields
from arriero.worker.feeds.line_reader import MAX_WAITING, LineJournal, LineReader
from tests.records import record


def request(request_id: str, t: float = 100.0, bytes_out: int = 0) -> InflightRequest:
    return InflightRequest(
        id=request_id,
        t=t,
        model="m",
        path="/v1/chat/completions",
        method="POST",
        peer="127.0.0.1",
        request_fields={"user-agent": "x"},
        response_fields={},
        bytes_out=bytes_out,
    )


class Facts:
    """What readers are told, of no models."""

    def __init__(self) -> None:
        self.inflight = InflightTable()
        self.chosen = "null"

    def model_status(self) -> str:
        return "[]"

    def profile(self) -> str:
        return f'{{"active":{self.chosen}}}'

    def page_settings(self) -> str:
        return "{}"


def messages(data: bytes) -> list[tuple[str, Any]]:
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        event, said = block.split("\n")
        assert event == "event:message"
        outer = json.loads(said.removeprefix("data:"))
        found.append((outer["type"], json.loads(outer["data"])))
    return found


def test_lines_begin_after_what_was_said() -> None:
    journal = LineJournal()
    journal.put(1, "before it came")
    reader = LineReader(journal)
    for seq in range(2, 5):
        journal.put(seq, f"line {seq}")
    reader.begin(2)
    journal.put(5, "\x1b[32mgreen")

    assert reader.take() == "line 3\nline 4\n\x1b[32mgreen\n"
    assert reader.take() == ""


def test_slow_reader_is_bounded_and_told() -> None:
    journal = LineJournal()
    reader, quick = LineReader(journal), LineReader(journal)
    read = 0
    for seq in range(1, 1001):
        journal.put(seq, "x" * 1000)
        read += len(quick.take().splitlines())

    told, *lines = reader.take().splitlines()
    assert len(lines) == MAX_WAITING // 1000
    assert told.startswith(f"... {1000 - len(lines)} lines are left out here")
    assert read == 1000
    assert len(journal.lines) == len(lines)
    journal.put(1001, "next")
    assert reader.take() == "next\n"


async def test_each_follower_gets_what_it_wants() -> None:
    hub = FeedHub()
    with (
        hub.following(WantedLines(own=True)) as own,
        hub.following(WantedLines(output=True)) as models,
        hub.following(WantedLines(output=True, model="a")) as one,
    ):
        events: list[AnyEvent] = [
            OwnLine(seq=1, line="o"),
            LogLine(seq=1, model="a", line="a1", stream="stdout"),
            LogLine(seq=2, model="b", line="b1", stream="stdout"),
            LogLine(seq=5, model="b", line="b2", stream="stdout"),  # two did not come
        ]
        for event in events:
            hub.take(event)

        assert own.own.take() == "o\n"
        told = "... 2 lines are left out here: they came faster than they were read\n"
        assert models.output.take() == f"a1\nb1\n{told}b2\n"
        assert one.output.take() == f"a1\n{told}"
    assert not hub.followers
    hub.take(OwnLine(seq=9, line="to nobody"))


async def test_a_line_wakes_once_who_waits() -> None:
    hub = FeedHub()
    with (
        hub.following(WantedLines(output=True, model="a")) as one,
        hub.following(WantedLines(output=True)) as other,
    ):
        one.arm()
        other.arm()
        hub.take(LogLine(seq=1, model="b", line="b", stream="stdout"))
        with trio.move_on_after(0) as waiting:
            await one.wakeup.wait()
        assert waiting.cancelled_caught  # that line is not for it
        with trio.fail_after(20):
            await other.wakeup.wait()
            hub.take(LogLine(seq=2, model="a", line="a", stream="stdout"))
            await one.wakeup.wait()


async def test_followers_are_limited() -> None:
    begun: list[bool] = []
    hub = FeedHub(lambda: begun.append(True))
    blocks = [hub.following(WantedLines()) for _ in range(MAX_READERS)]
    for block in blocks:
        block.__enter__()
    with pytest.raises(Unavailable, match="200 others"), hub.following(WantedLines()):
        pass
    for block in blocks:
        block.__exit__(None, None, None)

    assert begun == [True]
    assert not hub.followers


async def test_it_is_sure_once_anything_is_heard() -> None:
    hub = FeedHub()
    hub.take(Heartbeat())
    assert hub.is_sure.is_set()
    hub.begin_anew()
    assert not hub.is_sure.is_set()


async def test_end_wakes_all() -> None:
    hub = FeedHub()
    with hub.following(WantedLines()) as follower:
        hub.over()
        with trio.fail_after(20):
            await follower.wakeup.wait()
    assert hub.is_over


async def test_events_are_told_in_llama_swaps_words() -> None:
    hub, facts = FeedHub(), Facts()
    hub.inflight = facts.inflight
    with hub.following(WantedLines(own=True, output=True), events=True) as follower:
        reader = follower.events
        assert reader is not None
        first = messages(reader.take(facts, 101.0))
        assert [kind for kind, _ in first] == [
            "modelStatus", "uiConfig", "profileChanged", "inflight"
        ]  # fmt: skip
        assert first[-1][1] == {"operation": "snapshot", "requests": []}
        assert reader.take(facts, 101.0) == b""

        hub.take(OwnLine(seq=1, line="o"))
        hub.take(LogLine(seq=1, model="a", line="a1", stream="stdout"))
        hub.take(RequestEnded(seq=7, model="m", record=record("r")))
        hub.take(InflightChanged(worker="w1", requests=(request("r1"),)))
        hub.take(InflightChanged(worker="w2", requests=(request("r2", bytes_out=5),)))
        found = messages(reader.take(facts, 101.5))
        assert found[:3] == [
            ("logData", {"source": "proxy", "data": "o\n"}),
            ("logData", {"source": "upstream", "data": "a1\n"}),
            ("activity", {"id": 7}),
        ]
        shown = found[3][1]["request"]
        assert (found[3][1]["operation"], shown["id"], shown["elapsed_ms"]) == (
            "upsert",
            "r1",
            1500,
        )
        assert shown["timestamp"] == "1970-01-01T00:01:40Z"
        assert found[4][1]["request"]["resp_bytes"] == 5

        hub.take(InflightChanged(worker="w1", requests=()))
        hub.take(InflightChanged(worker="w2", requests=(request("r2", bytes_out=5),)))
        facts.chosen = '"night"'
        hub.states_changed()
        assert messages(reader.take(facts, 102.0)) == [
            ("modelStatus", []),
            ("profileChanged", {"active": "night"}),
            ("inflight", {"operation": "remove", "id": "r1"}),
        ]


async def test_slow_reader_of_events_gets_the_truth() -> None:
    hub, facts = FeedHub(), Facts()
    hub.inflight = facts.inflight
    with hub.following(WantedLines(), events=True) as follower:
        reader = follower.events
        assert reader is not None
        reader.take(facts, 0.0)
        for number in range(1000):
            hub.states_changed()
            hub.take(RequestEnded(seq=number, model="m", record=record("r")))
            hub.take(InflightChanged(worker="w", requests=(request(f"r{number}"),)))
        found = messages(reader.take(facts, 0.0))

    kinds = [kind for kind, _ in found]
    assert (kinds.count("modelStatus"), kinds.count("activity"), kinds.count("inflight")) == (
        1,
        128,
        1,
    )
    assert found[-1][1]["operation"] == "snapshot"
    assert [one["id"] for one in found[-1][1]["requests"]] == ["r999"]
    assert max(one["id"] for kind, one in found if kind == "activity") == 999


def test_heads_are_shown_without_secrets() -> None:
    fields = [
        (b"Authorization", b"Bearer s3cret"),
        (b"x-goog-api-key", b"s3cret"),
        (b"accept", b"a"),
        (b"Accept", b"second"),
        (b"long", b"x" * 5000),
        *((b"n%d" % n, b"") for n in range(100)),
    ]
    shown = shown_fields(fields)

    assert shown["authorization"] == shown["x-goog-api-key"] == "[REDACTED]"
    assert shown["accept"] == "a"
    assert len(shown["long"]) == 200
    assert len(shown) == 32
