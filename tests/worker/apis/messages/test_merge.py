# ruff: noqa: E501  one frame, one line
"""One message of two: ours with a block of thinking, and the upstream's."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.messages.dialect import MessagesDialect
from arriero.worker.errors import LoadFailed, Unavailable
from arriero.worker.streams.merge import MergingSplitter
from tests.worker.apis.recorded import (
    IDENT,
    LINE,
    MESSAGE,
    MESSAGE_OF_ANTHROPIC,
    MESSAGE_WITH_TOOL,
    cut,
    events,
    message_end,
    message_start,
    read,
)

RECORDED = [MESSAGE, MESSAGE_WITH_TOOL, MESSAGE_OF_ANTHROPIC]


def told(*pieces: bytes) -> bytes:
    """All that a client gets that was told one line."""
    dialect = MessagesDialect(merges=True, model="qwen", ident=IDENT)
    assert dialect.merge is not None
    splitter = MergingSplitter(dialect.merge)
    begun = dialect.opening() + dialect.line(LINE, None) + dialect.heartbeat(None)
    return begun + b"".join(map(splitter.push, pieces))


def test_what_is_said_before_the_answer_is_byte_for_byte_that_of_the_wire_format() -> None:
    assert told(MESSAGE).startswith(
        b"event: message_start\n"
        b'data: {"type":"message_start","message":{"id":"msg_swap_0123456789abcdef01234567",'
        b'"type":"message","role":"assistant","content":[],"model":"qwen","stop_reason":null,'
        b'"stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"thinking","thinking":"","signature":""}}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta",'
        b'"thinking":"swap-progress: qwen: loading 42% (12 s)\\n"}}\n\n'
        b'event: ping\ndata: {"type":"ping"}\n\n'
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta",'
        b'"signature":"swap-progress-v1"}}\n\n'
        b"event: content_block_stop\n"
        b'data: {"type":"content_block_stop","index":0}\n\n'
        b"event: content_block_start\n"
        b'data: {"type":"content_block_start","index":1,'
    )


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(places=st.lists(st.integers(0, 5000)))
def test_any_cut_gives_one_message_with_blocks_in_order(
    recorded: bytes, line_end: bytes, places: list[int]
) -> None:
    upstream = recorded.replace(b"\n", line_end)

    out = told(*cut(upstream, places))

    assert out == told(upstream)
    got = read(out.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    kinds = [value["type"] for value in got]
    assert kinds.count("message_start") == 1
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    starts = [value["index"] for value in got if value["type"] == "content_block_start"]
    assert starts == list(range(len(starts)))
    theirs = [v for v in read(recorded) if v["type"].startswith("content_block_")]
    ours = [v for v in got if v["type"].startswith("content_block_")][4:]
    assert [value | {"index": value["index"] - 1} for value in ours] == theirs


@pytest.mark.parametrize(
    ("recorded", "usage"),
    [
        (MESSAGE, {"output_tokens": 3, "input_tokens": 1, "cache_read_input_tokens": 20}),
        (MESSAGE_WITH_TOOL, {"output_tokens": 9, "input_tokens": 21, "cache_read_input_tokens": 0}),
        # what the upstream says at the end goes before what it said at the beginning
        (
            MESSAGE_OF_ANTHROPIC,
            {"output_tokens": 15, "input_tokens": 30, "cache_creation_input_tokens": 5},
        ),
    ],
)
def test_counts_of_the_beginning_are_carried_over_to_the_end(
    recorded: bytes, usage: dict[str, int]
) -> None:
    assert read(told(recorded))[-2]["usage"] == usage


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        (b": comment\n\n", b": comment\n\n"),
        (b'event: ping\ndata: { "type" : "ping" }\n\n', b'event: ping\ndata: { "type" : "ping" }\n\n'),
        (b'data: {"type":"error","error":{}}\n\n', b'data: {"type":"error","error":{}}\n\n'),
        (b"data: no json\n\n", b"data: no json\n\n"),
        (b'data: {"type":7}\n\n', b'data: {"type":7}\n\n'),
        (
            b'data: {"type":"content_block_stop","index":"x"}\n\n',
            b'data: {"type":"content_block_stop","index":"x"}\n\n',
        ),
        # one number is changed, the rest stays as it was written
        (
            b'data:{"type": "content_block_stop", "index": 9, "x" : 1.50}\r\n\r\n',
            b'data:{"type": "content_block_stop", "index": 10, "x" : 1.50}\r\n\r\n',
        ),
        # members in another order
        (
            b'data: {"index":0, "type":"content_block_stop"}\n\n',
            b'data: {"index":1,"type":"content_block_stop"}\n\n',
        ),
        # what else is in a frame stays where it is
        (
            b': hb\r\nid: 7\r\nevent: content_block_stop\r\ndata: {"type":"content_block_stop","index":0}\r\n\r\n',
            b': hb\r\nid: 7\r\nevent: content_block_stop\r\ndata: {"type":"content_block_stop","index":1}\r\n\r\n',
        ),
        (
            b'id: 7\ndata: {"type":"content_block_stop",\nretry: 5\ndata: "index":0}\n\n',
            b'id: 7\ndata: {"type":"content_block_stop","index":1}\nretry: 5\n\n',
        ),
        # only at the top, and never in a text
        (
            b'data: {"delta":{"index":0,"text":"\\"index\\":0"},"type":"content_block_delta","index":0}\n\n',
            b'data: {"delta":{"index":0,"text":"\\"index\\":0"},"type":"content_block_delta","index":1}\n\n',
        ),
        (b'data: {"type":"message_start"}\n\n', b""),
        (b'data: {"type":"message_delta"}\n\n', b'data: {"type":"message_delta"}\n\n'),
    ],
)  # fmt: skip
def test_only_what_has_to_be_changed_is_changed(sent: bytes, got: bytes) -> None:
    dialect = MessagesDialect(merges=True, model="qwen", ident=IDENT)
    assert dialect.merge is not None
    assert dialect.merge.edit(sent) == got


def test_a_second_beginning_is_left_out_as_well() -> None:
    stream = events(message_start(input_tokens=1), message_start(input_tokens=2))
    got = read(told(stream + events(*message_end("end_turn", output_tokens=1))))

    assert [value["type"] for value in got].count("message_start") == 1
    assert got[-2]["usage"]["input_tokens"] == 2


def test_without_a_merge_there_are_pings_only() -> None:
    dialect = MessagesDialect(merges=False, model="qwen", ident=IDENT)

    assert dialect.merge is None
    assert dialect.opening() == b""
    assert dialect.heartbeat(None) == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LoadFailed("model qwen failed to load: no memory"), "api_error"),
        (Unavailable("model qwen failed to load: no memory"), "overloaded_error"),
    ],
)
def test_a_failure_is_an_error_event(error: Any, kind: str) -> None:
    frame = MessagesDialect(merges=True, model="qwen", ident=IDENT).failure(error)

    name, data, *rest = frame.split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "error",
        "error": {"type": kind, "message": "model qwen failed to load: no memory"},
    }
