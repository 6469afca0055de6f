import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import LoadFailed
from arriero.worker.http.routes import Form
from arriero.worker.streams.aws_event_stream import event_message, exception_message
from arriero.worker.streams.sse_frames import (
    EndWatcher,
    FrameSplitter,
    error_frames,
    first_boundary,
    frames_with,
    last_boundary,
)

ENDS = [b"\n", b"\r\n", b"\r"]

# A blank line: two line ends in a row, whichever they are.
BLANK = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")

lines = st.text("abc: ", min_size=1, max_size=8).map(str.encode)
frames = st.builds(
    lambda text, ends, blank: b"".join(map(b"".join, zip(text, ends, strict=False))) + blank,
    st.lists(lines, min_size=1, max_size=3),
    st.lists(st.sampled_from(ENDS), min_size=3, max_size=3),
    st.sampled_from([b"\n", b"\r\n"]),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0),
        (b"data: a\n", 0),
        (b"data: a\n\n", 9),
        (b"data: a\n\ndata", 9),
        (b"data: a\r\n\r\ndata", 11),
        (b"data: a\r\n\r", 10),
        (b"data: a\r\rdata", 9),
        (b"data: a\n\r\ndata", 10),
        (b"data: a\r\n\ndata", 10),
        (b"data: a\r\ndata: b\r\n", 0),
        (b"\n\nx\n\ny", 5),
    ],
)
def test_a_frame_ends_with_a_blank_line_of_any_line_ends(data: bytes, end: int) -> None:
    assert last_boundary(data) == end


@given(st.lists(frames, max_size=6), st.binary(max_size=5), st.lists(st.integers(0, 200)))
def test_frames_pass_byte_for_byte_wherever_the_stream_is_cut(
    whole: list[bytes], tail: bytes, places: list[int]
) -> None:
    data = b"".join(whole) + tail.replace(b"\r", b"").replace(b"\n", b"")
    splitter = FrameSplitter()

    out = [splitter.push(piece) for piece in cut(data, places) if piece]

    assert b"".join(out) + splitter.rest == data
    for piece in filter(None, out):
        assert piece.endswith((b"\n\n", b"\n\r\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\n"))
    assert BLANK.search(splitter.rest.lstrip(b"\n")) is None


def test_a_frame_that_is_not_complete_is_kept_back() -> None:
    splitter = FrameSplitter()

    assert splitter.push(b"data: a\n\ndata: ") == b"data: a\n\n"
    assert splitter.push(b"b\n") == b""
    assert splitter.push(b"\ndata: c\n") == b"data: b\n\n"
    assert splitter.rest == b"data: c\n"


def test_a_frame_above_the_limit_is_passed_raw_until_the_next_boundary() -> None:
    splitter = FrameSplitter(limit_bytes=10)

    assert splitter.push(b"data: 123456") == b"data: 123456"
    assert (splitter.at_boundary, splitter.oversize) == (False, 1)
    assert splitter.push(b"789\n") == b"789\n"
    assert (splitter.at_boundary, splitter.oversize) == (False, 1)
    assert splitter.push(b"\ndata: b") == b"\n"
    assert (splitter.at_boundary, splitter.oversize) == (True, 1)
    assert splitter.push(b"\n\n") == b"data: b\n\n"
    assert splitter.oversize == 1


@pytest.mark.parametrize(
    ("frame", "whole"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"choices":[{"finish_reason":"stop"}]}\n\n', True),
        (b'data: {"choices":[{"finish_reason": "length"}]}\n\n', True),
        (b'data: {"error":{"message":"no"}}\n\n', True),
        (b'data: {"choices":[{"finish_reason":null}]}\n\n', False),
        (b'data: {"content":"[DONE]"}\n\n', False),
        (b'data: {"content":"\\n\\ndata: [DONE]"}\n\n', False),
        (b'data: {"content":"{\\"finish_reason\\":\\"stop\\"}"}\n\n', False),
        (b'data: {"content":"x","error":null}\n\n', False),
        (b": comment\n\n", False),
    ],
)
def test_the_end_of_an_answer_is_known_by_its_marks_only(frame: bytes, whole: bool) -> None:
    watcher = EndWatcher()
    watcher.look(b'data: {"x":1}\n\n' + frame)

    assert watcher.seen is whole


# headers only; checksums are of no concern here
_UNKNOWN_ERROR = b"\x0b:error-code\x07\x00\x01x\x0d:message-type\x07\x00\x05error"


@pytest.mark.parametrize(
    ("form", "frame", "whole"),
    [
        (Form.MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (Form.MESSAGES, b'data: {"a": 1, "type": "message_stop"}\r\n\r\n', True),
        (Form.MESSAGES, b"event:message_stop\rdata: {}\r\r", True),
        (Form.MESSAGES, b'event: error\ndata: {"message":"no"}\n\n', True),
        (Form.MESSAGES, b'data: {"type":"error","error":{"type":"api_error"}}\n\n', True),
        (Form.MESSAGES, b'data: {"type":"message_delta"}\n\n', False),
        (Form.MESSAGES, b'data: {"text":"{\\"type\\":\\"message_stop\\"}"}\n\n', False),
        (Form.MESSAGES, b'data: {"text":"event: message_stop\\n"}\n\n', False),
        (Form.MESSAGES, b'data: {"finish_reason":"stop"}\n\ndata: [DONE]\n\n', False),
        (Form.RESPONSES, b"event: response.completed\ndata: {}\n\n", True),
        (Form.RESPONSES, b'data: {"type":"response.incomplete"}\n\n', True),
        (Form.RESPONSES, b'data: {"type": "response.failed"}\n\n', True),
        (Form.RESPONSES, b'event: error\ndata: {"type":"error"}\n\n', True),
        (Form.RESPONSES, b'data: {"error":{"code":500,"message":"no"}}\n\n', True),
        (Form.RESPONSES, b'data: {"type":"response.created","response":{"error":null}}\n\n', False),
        (Form.RESPONSES, b'data: {"type":"response.output_item.done"}\n\n', False),
        (Form.RESPONSES, b'data: {"type":"responseXcompleted"}\n\n', False),
        (Form.GEMINI, b'data: {"candidates": [{"finishReason": "STOP"}]}\r\n\r\n', True),
        (Form.GEMINI, b'data: {"candidates":[{"finishReason":"MAX_TOKENS"}]}\n\n', True),
        (Form.GEMINI, b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n', True),
        (Form.GEMINI, b'data: {"error": {"code": 503}}\n\n', True),
        (Form.GEMINI, b'data: {"candidates": [{"content": {}}]}\n\n', False),
        (Form.GEMINI, b'data: {"candidates": [{"finishReason": null}]}\n\n', False),
        (Form.GEMINI, b'data: {"text": "{\\"finishReason\\":\\"STOP\\"}"}\n\n', False),
        (Form.GEMINI, b'data: {"a": {"error": {}}}\n\n', False),
        (Form.GEMINI, b"data: [DONE]\n\n", False),
        (Form.BEDROCK, event_message("messageStop", {"stopReason": "end_turn"}), True),
        (Form.BEDROCK, exception_message("no", "throttlingException"), True),
        (Form.BEDROCK, _UNKNOWN_ERROR, True),
        (Form.BEDROCK, event_message("messageStart", {"role": "assistant"}), False),
        (Form.BEDROCK, event_message("messageStops", {}), False),
        (
            Form.BEDROCK,
            event_message("contentBlockDelta", {"text": ":event-type\x07\x00\x0bmessageStop"}),
            False,
        ),
    ],
)
def test_the_other_apis_have_ends_of_their_own(form: Form, frame: bytes, whole: bool) -> None:
    watcher = EndWatcher(form)
    watcher.look(b'data: {"x":1}\n\n')
    watcher.look(frame)
    watcher.look(b'data: {"x":2}\n\n')

    assert watcher.seen is whole


@pytest.mark.parametrize(
    ("form", "takes_rest"),
    [
        (Form.CHAT, True),
        (Form.COMPLETION, True),
        (Form.GEMINI, True),  # its clients read line by line
        (Form.MESSAGES, False),
        (Form.RESPONSES, False),
        (Form.BEDROCK, False),
    ],
)
def test_the_end_may_be_in_a_frame_that_is_not_complete(form: Form, takes_rest: bool) -> None:
    assert EndWatcher(form).takes_rest is takes_rest


@pytest.mark.parametrize(
    ("form", "first"), [(Form.RESPONSES, b"0"), (Form.MESSAGES, b"0"), (Form.CHAT, b"")]
)
def test_a_stream_of_named_events_is_known_by_its_first_frame(form: Form, first: bytes) -> None:
    watcher = EndWatcher(form)
    for number in range(20):
        watcher.look(b"%d" % number)

    assert watcher.heard == first + b"".join(b"%d" % number for number in range(12, 20))


def test_an_error_frame_is_alone_and_followed_by_the_end_marker() -> None:
    assert error_frames(LoadFailed("model qwen failed to load: it is broken")) == (
        b'data: {"error":{"message":"model qwen failed to load: it is broken",'
        b'"type":"model_load_error","param":null,"code":"model_load_failed"}}\n\n'
        b"data: [DONE]\n\n"
    )


@pytest.mark.parametrize("form", [Form.MESSAGES, Form.RESPONSES])
def test_signs_of_life_do_not_push_out_what_was_said(form: Form) -> None:
    watcher = EndWatcher(form)
    watcher.look(b": hb\n\n")
    watcher.look(b"event: first\ndata: {}\n\n")
    for _ in range(20):
        watcher.look(b'event: ping\ndata: {"type":"ping"}\n\n: hb\n\n')
    watcher.look(b'event: ping\ndata: {"type":"ping"}\n\nevent: x\ndata: {}\n\n')

    assert watcher.heard.count(b"event: first") == 2
    assert b"event: x" in watcher.heard


@given(
    st.lists(
        st.sampled_from([b"data: a\n", b"data: hint\n", b"data: other\r\n", b"\n", b"\r\n", b"\r"])
        | st.text("abhint\r\n", max_size=6).map(str.encode),
        max_size=20,
    )
)
def test_frames_with_a_hint_are_found_as_if_each_was_looked_at(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    expected, start = [], 0
    while start < len(data):
        end = first_boundary(data, start)
        if b"hint" in data[start:end] or b"other" in data[start:end]:
            expected.append(data[start:end].lstrip(b"\r\n"))
        start = end

    found = list(frames_with(data, (b"hint", b"other")))

    assert [frame.lstrip(b"\r\n") for frame in found] == expected
