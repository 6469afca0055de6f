"""One response of two: ours with an item of reasoning or without, and the upstream's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.base.dialect import Mode
from arriero.worker.apis.responses.dialect import ResponsesDialect
from arriero.worker.errors import LoadFailed, Unavailable
from arriero.worker.streams.merge import MergingSplitter
from tests.worker.apis.recorded import (
    CALL_ITEM,
    IDENT,
    LINE,
    MESSAGE_ITEM,
    REASONING_ITEM,
    RESPONSE,
    RESPONSE_OF_OPENAI,
    RESPONSE_WITH_TOOL,
    USAGE,
    cut,
    events,
    read,
)

RESP = f"resp_swap_{IDENT}"
ITEM = f"rs_swapprogress_{IDENT}"
BODY = (
    b'{"model":"qwen","temperature":0.5,"tools":[{"type":"function","name":"look"}],"input":"hi"}'
)


def voice_of(mode: Mode, body: bytes = BODY) -> ResponsesDialect:
    return ResponsesDialect(mode, model="qwen", ident=IDENT, created=1700000000, body=body)


def told(mode: Mode, *pieces: bytes) -> list[dict[str, Any]]:
    """All that a client gets that was told something."""
    dialect = voice_of(mode)
    assert dialect.merge is not None
    splitter = MergingSplitter(dialect.merge)
    begun = dialect.opening()
    if mode == "reasoning":
        begun += dialect.line(LINE, None)
    begun += dialect.heartbeat(None)
    return read(begun + b"".join(map(splitter.push, pieces)))


def kinds(values: list[dict[str, Any]]) -> list[str]:
    return [value["type"].removeprefix("response.") for value in values]


def test_the_first_event_has_a_complete_response() -> None:
    created, in_progress, heartbeat = read(
        (dialect := voice_of("heartbeat")).opening() + dialect.heartbeat(None)
    )

    assert created == {
        "type": "response.created",
        "sequence_number": 0,
        "response": {
            "id": RESP,
            "object": "response",
            "created_at": 1700000000,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": {},
            "model": "qwen",
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "temperature": 0.5,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [{"type": "function", "name": "look"}],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
        },
    }
    assert in_progress == created | {"type": "response.in_progress", "sequence_number": 1}
    assert heartbeat == in_progress | {"sequence_number": 2}


def test_lines_are_deltas_of_one_summary_that_is_closed_before_the_answer() -> None:
    got = told("reasoning", RESPONSE)[2:9]

    assert kinds(got) == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert all(value["output_index"] == 0 for value in got)
    assert all(value["summary_index"] == 0 for value in got[1:6])
    assert all(value["item_id"] == ITEM for value in got[1:6])
    item = {"id": ITEM, "type": "reasoning", "status": "in_progress", "summary": []}
    part = {"type": "summary_text", "text": LINE}
    assert got[0]["item"] == item
    assert [value["delta"] for value in got[2:4]] == [LINE, ""]
    assert got[4]["text"] == LINE
    assert got[5]["part"] == part
    assert got[6]["item"] == item | {"status": "completed", "summary": [part]}


@pytest.mark.parametrize("recorded", [RESPONSE, RESPONSE_WITH_TOOL, RESPONSE_OF_OPENAI])
@pytest.mark.parametrize("mode", ["heartbeat", "reasoning"])
@given(places=st.lists(st.integers(0, 6000)))
def test_any_cut_gives_one_response_without_gaps(
    mode: Mode, recorded: bytes, places: list[int]
) -> None:
    got = told(mode, *cut(recorded, places))

    assert got == told(mode, recorded)
    assert [value["sequence_number"] for value in got] == list(range(len(got)))
    assert {value["response"]["id"] for value in got if "response" in value} == {RESP}
    assert kinds(got).count("created") == 1
    # ours: the opening, and a heartbeat where there is no item to carry it
    assert kinds(got).count("in_progress") == (2 if mode == "heartbeat" else 1)
    assert kinds(got)[-len(read(recorded)) + 2 :] == kinds(read(recorded))[2:]
    for value in got:
        if "item" in value or "item_id" in value:
            assert isinstance(value["output_index"], int)
        if "output_text" in value["type"] or "content_part" in value["type"]:
            assert value["content_index"] == 0


@pytest.mark.parametrize(("mode", "first"), [("heartbeat", 0), ("reasoning", 1)])
def test_items_are_counted_and_found_by_their_ids(mode: Mode, first: int) -> None:
    got = told(mode, RESPONSE_WITH_TOOL)

    places: dict[str, set[int]] = {}
    for value in got:
        item = value.get("item") or {}
        name = value.get("item_id") or item.get("id") or item.get("call_id")
        if name:
            places.setdefault(name, set()).add(value["output_index"])
    places.pop(ITEM, None)
    assert places == {"rs_1": {first}, "msg_1": {first + 1}, "fc_1": {first + 2}}


@pytest.mark.parametrize(("mode", "first"), [("heartbeat", 0), ("reasoning", 1)])
def test_places_that_the_upstream_gives_are_moved_by_our_item(mode: Mode, first: int) -> None:
    theirs = [value for value in told(mode, RESPONSE_OF_OPENAI) if "msg_1" in str(value)]
    assert {value["output_index"] for value in theirs if "output_index" in value} == {first}


def test_two_calls_of_tools_are_told_apart_by_their_call_ids() -> None:
    calls = [CALL_ITEM | {"call_id": ident} for ident in ("fc_1", "fc_2")]
    begin, end = "response.output_item.added", "response.output_item.done"
    stream = events(*({"type": kind, "item": call} for kind in (begin, end) for call in calls))

    got = told("heartbeat", stream)[-4:]

    assert [(v["item"]["call_id"], v["output_index"]) for v in got] == [
        ("fc_1", 0), ("fc_2", 1), ("fc_1", 0), ("fc_2", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("mode", ["heartbeat", "reasoning"])
def test_our_own_item_is_not_in_the_final_output(mode: Mode) -> None:
    final = told(mode, RESPONSE_WITH_TOOL)[-1]["response"]

    assert final["output"] == [REASONING_ITEM, MESSAGE_ITEM, CALL_ITEM]
    assert final["usage"] == USAGE
    assert final["status"] == "completed"
    assert final["model"] == "/m.gguf"
    assert final["tools"] == [{"type": "function", "name": "look"}]  # completed from ours


def test_an_output_that_the_upstream_leaves_out_is_put_together_from_its_items() -> None:
    stream = events(
        {"type": "response.output_item.added", "item": MESSAGE_ITEM},
        {"type": "response.output_item.done", "item": MESSAGE_ITEM},
        {"type": "response.completed", "response": {"id": "x", "status": "completed"}},
    )

    assert told("reasoning", stream)[-1]["response"]["output"] == [MESSAGE_ITEM]


@pytest.mark.parametrize(
    "frame",
    [
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b'data: {"error":{"message":"no"}}\n\n',
        b"data: {\n\n",
    ],
)
def test_what_is_no_event_of_this_api_passes_as_it_is(frame: bytes) -> None:
    merge = voice_of("heartbeat").merge
    assert merge is not None
    assert merge.edit(frame) == frame


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tools":', b"\xff"])
def test_a_request_that_cannot_be_read_is_repeated_with_defaults(body: bytes) -> None:
    (created, _) = read(voice_of("heartbeat", body).opening())
    assert created["response"]["tools"] == []
    assert created["response"]["temperature"] == 1.0


# --- failures ---------------------------------------------------------------------------------

ERROR = LoadFailed("model qwen failed to load: no memory")
TOLD = {
    "type": "model_load_error",
    "code": "model_load_failed",
    "message": "model qwen failed to load: no memory",
    "param": None,
}


@pytest.mark.parametrize("mode", ["heartbeat", "reasoning"])
def test_a_failure_is_told_twice_and_goes_on_counting(mode: Mode) -> None:
    dialect = voice_of(mode)
    before = read(dialect.opening())

    failed, error = read(dialect.failure(ERROR, sent_so_far=b"of our own making"))

    assert failed["type"] == "response.failed"
    assert failed["response"] == before[0]["response"] | {
        "status": "failed",
        "error": {"code": "server_error", "message": TOLD["message"]},
    }
    assert error == {"type": "error", "sequence_number": len(before) + 1, "error": TOLD}


def test_a_client_that_heard_comments_only_is_told_what_has_failed() -> None:
    got = read(voice_of("comment").failure(Unavailable("evicted")))

    assert kinds(got) == ["created", "failed", "error"]
    assert [value["sequence_number"] for value in got] == [0, 1, 2]
    assert got[2]["error"]["type"] == "server_error"


def test_a_stream_that_was_passed_on_fails_under_its_own_id_and_number() -> None:
    failed, error = read(voice_of("off").failure(ERROR, sent_so_far=RESPONSE_OF_OPENAI[:1500]))

    assert failed["response"]["id"] == "resp_up"
    numbers = [value["sequence_number"] for value in (failed, error)]
    seen = RESPONSE_OF_OPENAI[:1500].rpartition(b"\n\n")[0].count(b"sequence_number")
    assert numbers == [seen, seen + 1]
