"""How all stands, for those who watch: nothing is missed, said twice over, or kept without end."""

import json
from typing import Any

import pytest

from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    AnyEvent,
    ConfigChanged,
    InflightChanged,
    ModelEvicted,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
)
from arriero.protocol.records import InflightRequest
from arriero.protocol.values import (
    ConfigStatus,
    ModelStatus,
    Progress,
    QueueEntry,
)
from arriero.worker.feeds.live_state import (
    LivePosition,
    LiveReader,
    LiveState,
    read_position,
)
from tests.records import record


def status(*models: ModelStatus, seq: int = 10, epoch: str = "e", t: float = 100.0) -> StatusReply:
    return StatusReply(
        version="1",
        epoch=epoch,
        seq=seq,
        t=t,
        uptime_s=t - 50,
        listen="x:1",
        models=models or (ModelStatus(model="a", state="stopped", since=1.0),),
        queue=(),
        workers=(),
        control_requests=1,
        lease_requests=0,
        config=ConfigStatus(generation=1, loaded_at=0.0),
    )


def running(name: str) -> InflightRequest:
    return InflightRequest(
        id=name, t=1.0, model="a", path="/", method="POST", peer="", request_fields={},
        response_fields={}, bytes_out=0,
    )  # fmt: skip


def state_of(model: str, state: Any, seq: int, **more: Any) -> StateChanged:
    return StateChanged(model=model, state=state, swap=1, epoch="e", seq=seq, t=101.0, **more)


def progress(seq: int, fraction: float) -> ProgressMade:
    made = Progress(model="a", swap=1, phase="loading", elapsed_s=1.0, fraction=fraction)
    return ProgressMade(model="a", progress=made, epoch="e", seq=seq)


def begun(usage: int = 0) -> LiveState:
    state = LiveState()
    state.begin(status(), usage)
    return state


def said(data: bytes) -> tuple[str, dict[str, Any]]:
    first, second, *_ = data.decode().split("\n")
    return first.removeprefix("id:"), json.loads(second.removeprefix("data:"))


def test_decisions_go_back_to_before_the_first_watcher() -> None:
    before = ConfigChanged(generation=2, epoch="e", seq=4)
    meanwhile = state_of("a", "stopping", 12, reason="idle")
    later = state_of("a", "stopped", 13, reason="idle")
    state = LiveState()
    state.begin(status(seq=11), 0, (before, meanwhile))
    reader = LiveReader(state)
    told = [said(reader.take(0.0))[1]["decisions"]]
    for event in (meanwhile, later):  # the first of them once more
        assert state.take(event)
    told.append(said(reader.take(1.0))[1]["decisions"])

    assert [[one["seq"] for one in some] for some in told] == [[4, 12], [13]]


def test_all_comes_first_and_then_what_changes() -> None:
    state = LiveState()
    reader = LiveReader(state)
    assert reader.take(0.0) == b""  # nothing is known yet
    state.begin(status(), 0)
    at, told = said(reader.take(5.0))

    assert (at, told["all"], told["t"]) == ("e.10.0", True, 5.0)
    assert [it["model"] for it in told["models"]] == ["a"]
    assert told["host"]["link"] == "up"
    assert reader.take(6.0) == b""

    assert state.take(state_of("a", "starting", 11))
    assert state.take(progress(12, 0.2))
    assert state.take(progress(13, 0.4))
    at, told = said(reader.take(7.0))
    assert at == "e.13.0"
    assert set(told) == {"t", "models"}
    assert [it["progress"]["fraction"] for it in told["models"]] == [0.4]  # once, as it is

    assert state.take(state_of("a", "ready", 14))
    assert state.take(QueueChanged(queue=(QueueEntry(model="b", waiting=1),), epoch="e", seq=15))
    told = said(reader.take(8.0))[1]
    assert told["models"][0]["progress"] is None
    assert told["queue"][0]["model"] == "b"


def test_a_status_says_what_no_event_does() -> None:
    state = begun()
    reader = LiveReader(state)
    reader.take(0.0)
    same = ModelStatus(model="a", state="stopped", since=1.2)  # counted back from another now
    assert state.update(status(same, t=101.3))
    assert reader.take(1.0) == b""

    busy = ModelStatus(model="a", state="stopped", since=1.0, in_flight=2)
    new = ModelStatus(model="b", state="stopped", since=3.0)
    assert state.update(status(busy, new, seq=12))
    assert {it["model"] for it in said(reader.take(2.0))[1]["models"]} == {"a", "b"}
    assert state.update(status(new, seq=12))
    assert said(reader.take(3.0))[1]["gone"] == ["a"]
    assert not state.update(status(seq=11))  # older
    assert not state.update(status(seq=99, epoch="f"))  # of another supervisor


def test_a_reader_of_some_parts_hears_of_no_other() -> None:
    state = begun()
    reader = LiveReader(state, parts=("models", "queue"))
    assert said(reader.take(1.0))[1].keys() == {"t", "all", "models", "queue"}

    state.take(InflightChanged(worker="w", requests=(running("r"),)))
    state.take(RequestEnded(model="a", record=record(), epoch="e", seq=1))
    assert reader.take(2.0) == b""
    state.take(state_of("a", "starting", 11))
    assert said(reader.take(3.0))[1].keys() == {"t", "models"}
    state.update(status(ModelStatus(model="b", state="stopped", since=1.0), seq=11))
    assert said(reader.take(4.0))[1]["gone"] == ["a"]


def test_missed_events_are_noticed() -> None:
    state = begun()

    assert not state.take(progress(13, 0.1))
    assert state.take(progress(9, 0.1))  # old: the status has it
    assert state.take(state_of("a", "starting", 11))
    assert not state.take(StateChanged(model="a", state="ready", swap=1, epoch="f", seq=1))


def test_who_comes_back_gets_what_has_changed_since() -> None:
    state = begun(usage=5)
    state.take(state_of("a", "starting", 11))
    state.take(QueueChanged(queue=(), epoch="e", seq=12))
    state.take(state_of("b", "starting", 13))
    for number in (6, 7):
        state.take(RequestEnded(model="a", record=record(str(number)), epoch="e", seq=number))

    told = said(LiveReader(state, LivePosition("e", 12, 6)).take(1.0))[1]
    assert "all" not in told
    assert [it["model"] for it in told["models"]] == ["b"]
    assert [it["id"] for it in told["records"]] == [7]
    for position in (
        LivePosition("e", 9, 6),  # before this worker watched
        LivePosition("e", 99, 6),
        LivePosition("f", 12, 6),
        None,
    ):
        assert said(LiveReader(state, position).take(1.0))[1]["all"] is True
    lagging = said(LiveReader(state, LivePosition("e", 12, 3)).take(1.0))[1]
    assert lagging["records_lost"] is True


def test_what_was_decided_is_told_once_to_each() -> None:
    state = begun()
    reader = LiveReader(state)
    reader.take(0.0)
    evicted = ModelEvicted(
        model="a", swap=1, made_room_for="b", idle_s=1.0, memory={}, needed={}, kept={},
        text="evicted a", epoch="e", seq=11,
    )  # fmt: skip
    assert state.update(status(seq=12))  # which was quicker than the event
    decided: tuple[AnyEvent, ...] = (
        evicted,
        state_of("b", "starting", 12),
        state_of("a", "stopping", 13, reason="room"),
        ConfigChanged(generation=2, epoch="e", seq=14),
    )
    for event in decided:
        assert state.take(event)
    kinds = [it["type"] for it in said(reader.take(1.0))[1]["decisions"]]

    assert kinds == ["evicted", "state", "config"]
    state.take(progress(15, 0.1))
    assert "decisions" not in said(reader.take(2.0))[1]
    assert len(said(LiveReader(state).take(3.0))[1]["decisions"]) == 3


def test_running_requests_come_and_go_within_bounds() -> None:
    state = begun()
    slow, reader = LiveReader(state), LiveReader(state)
    slow.take(0.0)
    reader.take(0.0)
    for number in range(3000):
        state.take(InflightChanged(worker="w", requests=(running(f"r{number}"),), epoch="e"))
    told = said(slow.take(1.0))[1]

    assert told["all"] is True  # too much has gone to say what
    assert [it["id"] for it in told["running"]] == ["r2999"]
    assert len(state._changes) < 2000
    state.take(InflightChanged(worker="w", requests=(), epoch="e"))
    assert said(slow.take(2.0))[1]["ended"] == ["r2999"]


def test_another_supervisor_is_another_beginning() -> None:
    state = begun()
    reader = LiveReader(state)
    reader.take(0.0)
    state.leave()
    assert said(reader.take(1.0))[1]["host"]["link"] == "away"
    state.begin(status(epoch="f", seq=1), 0)
    at, told = said(reader.take(2.0))

    assert (at, told["all"], told["host"]["link"]) == ("f.1.0", True, "up")


@pytest.mark.parametrize("text", ["", "e", "e.1", "e.1.x", "e.1.2.3", ".1.2", "e.-1.2", "é.1.2"])
def test_senseless_position_is_none(text: str) -> None:
    assert read_position(text) is None
    assert read_position("0a.12.3") == LivePosition("0a", 12, 3)
