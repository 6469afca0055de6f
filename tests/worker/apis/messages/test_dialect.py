import pytest

from arriero.worker.apis.base.dialect import event_frame
from arriero.worker.apis.messages.dialect import MessageState, read_message

PING = event_frame("ping", {})
START = event_frame("message_start", {"message": {}})
BLOCK = event_frame("content_block_start", {"index": 1})
DELTA = event_frame("content_block_delta", {"index": 1})
STOP = event_frame("content_block_stop", {"index": 1})
REASON = event_frame("message_delta", {"delta": {"stop_reason": "end_turn"}})
COUNTS = event_frame("message_delta", {"delta": {"stop_reason": None}, "usage": {}})
END = event_frame("message_stop", {})
ERROR = event_frame("error", {"error": {}})


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        (b"", MessageState()),
        (PING, MessageState()),
        (START, MessageState(begun=True)),
        (START + BLOCK + DELTA, MessageState(begun=True, open=1)),
        (DELTA, MessageState(begun=True, open=1)),  # its beginning is not kept
        (START + BLOCK + STOP, MessageState(begun=True)),
        (START + COUNTS, MessageState(begun=True)),
        (START + REASON + PING, MessageState(begun=True, has_reason=True)),
        (START + REASON + END, MessageState(begun=True, has_reason=True, over=True)),
        (ERROR, MessageState(over=True)),
        (event_frame("content_block_start", {"index": "x"}), MessageState(begun=True)),
        (event_frame("message_delta", {"delta": []}), MessageState(begun=True)),
    ],
)
def test_what_was_sent_says_what_is_open(frames: bytes, state: MessageState) -> None:
    assert read_message(frames) == state
