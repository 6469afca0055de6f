"""A turn from the first word of waiting to the last of the answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.base.dialect import Mode, ProgressNumbers, ResponseEnd
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.turns.dialect import TurnDialect
from arriero.worker.apis.turns.events import TurnEvents
from arriero.worker.apis.turns.request import TurnFormat
from arriero.worker.errors import LoadFailed
from arriero.worker.progress.model_view import ModelView
from arriero.worker.progress.status_stream import StatusStream
from arriero.worker.streams.merge import MergingSplitter
from tests.worker.apis.recorded import cut

MARKER = "swap-progress: "
END = ResponseEnd(Usage(), unix_time=0.0, elapsed_s=0.0, waited_s=0.0)
CHAT = (
    b": ping\r\n\r\n"
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\r\n\r\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"A "}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"mule"},"finish_reason":"length"}]}\n\n'
    b"data: [DONE]\n\n"
)


def speak(turn_format: TurnFormat = TurnFormat.EVENTS) -> TurnDialect:
    events = TurnEvents(
        request_id="r-12", conversation_id="r-12", model="qwen", turn_format=turn_format
    )
    return TurnDialect(events, marker=MARKER)


def told(frames: bytes) -> list[tuple[str, dict[str, Any]]]:
    lines = frames.decode().split("\n\n")[:-1]
    found = [json.loads(line.removeprefix("data: ")) for line in lines]
    return [(event["event"], event["data"]) for event in found]


def wait(dialect: TurnDialect, mode: Mode = "reasoning") -> StatusStream:
    return StatusStream(
        mode=mode,
        dialect=dialect,
        model="qwen",
        now=0.0,
        delay_s=1.0,
        heartbeat_s=10.0,
        marker=MARKER,
        details=True,
    )


def test_a_turn_that_waits_for_its_model_is_told_from_the_queue_to_the_end() -> None:
    dialect = speak()
    waiting = wait(dialect)
    splitter = MergingSplitter(dialect.merge)

    frames = waiting.on_time(1.0, ModelView("queued", ahead=2))
    frames += waiting.on_time(3.0, ModelView("stopping", other="llama"))
    frames += waiting.on_time(5.0, ModelView("loading", fraction=0.42))
    frames += waiting.on_time(15.0, ModelView("loading", fraction=0.42))
    frames += waiting.on_time(17.0, ModelView("warming", fraction=0.95))
    frames += waiting.on_ready(18.0)
    frames += [splitter.push(CHAT), dialect.finish(END)]

    assert told(b"".join(frames)) == [
        ("start", {"request_id": "r-12", "conversation_id": "r-12", "model": "qwen"}),
        ("status", {"phase": "queued", "progress": None, "message": "qwen: queued (2 ahead)"}),
        ("status", {"phase": "queued", "progress": None, "message": "qwen: stopping llama"}),
        ("status", {"phase": "loading", "progress": 0.42, "message": "qwen: loading 42% (5 s)"}),
        ("heartbeat", {"id": 0, "token": "heartbeat"}),
        ("status", {"phase": "loading", "progress": 0.95, "message": "qwen: warming up"}),
        ("status", {"phase": "prefill", "progress": None, "message": "qwen: ready after 18.0 s"}),
        ("token", {"id": 1, "token": "A "}),
        ("token", {"id": 2, "token": "mule"}),
        ("turn_complete", {"id": 3, "token": "A mule"}),
        (
            "end",
            {"referenced_documents": [], "truncated": True, "input_tokens": 0, "output_tokens": 2},
        ),
    ]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(places=st.lists(st.integers(0, 500)))
def test_a_turn_that_never_waited_begins_with_the_first_frame(
    line_end: bytes, places: list[int]
) -> None:
    dialect = speak()
    splitter = MergingSplitter(dialect.merge)
    chat = CHAT.replace(b"\r\n", b"\n").replace(b"\n", line_end)

    was_complete = dialect.is_complete
    got = b"".join(map(splitter.push, cut(chat, places))) + dialect.finish(END)

    assert (was_complete, dialect.is_complete) == (False, True)
    assert [kind for kind, _ in told(got)] == ["start", "token", "token", "turn_complete", "end"]


def test_a_model_that_does_not_come_up_ends_the_turn() -> None:
    dialect = speak()

    got = told(
        b"".join(wait(dialect).on_time(1.0, ModelView("queued", ahead=1)))
        + dialect.failure(LoadFailed("model qwen failed to load: no memory"), b"heard")
        + dialect.heartbeat(None)
        + dialect.finish(END)
    )

    assert [kind for kind, _ in got] == ["start", "status", "error"]
    assert got[-1][1]["status_code"] == 500
    assert got[-1][1]["cause"] == "model qwen failed to load: no memory"


def test_a_turn_that_was_stopped_ends_with_its_request_s_id() -> None:
    dialect = speak()

    begun = dialect.opening()
    got = dialect.midway_heartbeat(after_id=True)
    got += dialect.interrupted(b"heard", Usage()) + dialect.midway_heartbeat(after_id=False)

    assert [kind for kind, _ in told(begun)] == ["start"]
    assert speak().merge.begin() == begun
    assert told(got) == [
        ("heartbeat", {"id": 0, "token": "heartbeat"}),
        ("interrupted", {"request_id": "r-12"}),
    ]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("queued", "queued"),
        ("draining", "queued"),
        ("stopping", "queued"),
        ("loading", "loading"),
        ("warming", "loading"),
        ("restoring", "loading"),
        ("waking", "loading"),
        ("placing", "queued"),
        ("ready", "prefill"),
        ("prefill", "prefill"),
    ],
)
def test_a_turn_has_fewer_phases_than_a_load(phase: str, expected: str) -> None:
    dialect = speak()
    numbers = ProgressNumbers(phase, None, 1.0, None)

    (_, (kind, data)) = told(dialect.event(numbers))

    assert (kind, data) == ("status", {"phase": expected, "progress": None, "message": phase})


def test_without_numbers_the_phase_is_the_last_one_that_was_known() -> None:
    dialect = speak()
    dialect.line("a\n", ProgressNumbers("loading", 3, 1.0, None))

    assert told(dialect.line(MARKER + "b\n", None)) == [
        ("status", {"phase": "loading", "progress": None, "message": "b"})
    ]


def test_as_text_nothing_is_told_before_the_answer() -> None:
    dialect = speak(TurnFormat.TEXT)
    waiting = wait(dialect)
    splitter = MergingSplitter(dialect.merge)

    assert b"".join(waiting.on_time(1.0, ModelView("queued"))) == b""
    assert b"".join(waiting.on_time(12.0, ModelView("queued"))) == b""
    assert b"".join(waiting.on_ready(13.0)) == b""
    assert dialect.midway_heartbeat(after_id=False) == b""
    assert splitter.push(CHAT) + dialect.finish(END) == b"A mule"


@pytest.mark.parametrize("turn_format", TurnFormat)
def test_the_voice_knows_the_content_type(turn_format: TurnFormat) -> None:
    assert speak(turn_format).content_type == turn_format.content_type
