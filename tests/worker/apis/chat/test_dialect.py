import pytest

from arriero.worker.apis.chat.dialect import ChatState, read_chat

HEAD = b'"id":"c","created":1,"model":"m"'
KNOWN = {"id": "c", "created": 1, "model": "m"}
OPEN = b'data: {%b,"choices":[{"index":0,"finish_reason":null}]}\n\n' % HEAD
OPEN_1 = b'data: {%b,"choices":[{"index":1,"finish_reason":null}]}\n\n' % HEAD
CLOSED = b'data: {%b,"choices":[{"index":0,"finish_reason":"stop"}]}\n\n' % HEAD
USAGE = b'data: {%b,"choices":[],"usage":{"prompt_tokens":1}}\n\n' % HEAD


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        (b"", ChatState()),
        (b": hb\n\n", ChatState()),
        (b"data: [1]\n\n", ChatState()),
        (OPEN, ChatState(KNOWN, [0])),
        (OPEN + OPEN_1, ChatState(KNOWN, [0, 1])),
        (OPEN + OPEN_1 + CLOSED, ChatState(KNOWN, [1])),
        (OPEN + CLOSED + USAGE, ChatState(KNOWN, [], has_usage=True)),
        (CLOSED + OPEN, ChatState(KNOWN, [])),  # it cannot be opened again
        (CLOSED + b"data: [DONE]\n\n", ChatState(KNOWN, [], over=True)),
        (b'data: {"error":{"code":500}}\n\n', ChatState(over=True)),
        (b'data: {"id":7,"created":"x","choices":[{"index":"0"},3]}\n\n', ChatState()),
        (b'data: {"choices":{}}\n\n' + OPEN[:-1], ChatState()),  # a frame that is cut
    ],
)
def test_what_was_sent_says_what_is_open(frames: bytes, state: ChatState) -> None:
    assert read_chat(frames) == state
