import pytest

from arriero.worker.apis.base.dialect import event_frame
from arriero.worker.apis.responses.dialect import ResponseState, read_response

CREATED = event_frame("response.created", {"sequence_number": 0, "response": {"id": "r", "a": 1}})
DELTA = event_frame("response.output_text.delta", {"sequence_number": 6, "delta": "x"})
LATER = event_frame("response.in_progress", {"sequence_number": 7, "response": {"a": 2}})
END = event_frame("response.incomplete", {"sequence_number": 8})
SILENT = event_frame("response.output_text.delta", {"delta": "x"})


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        (b"", ResponseState()),
        (b": hb\n\n", ResponseState()),
        (CREATED, ResponseState({"id": "r", "a": 1}, begun=True, next_number=1)),
        (DELTA, ResponseState(begun=True, next_number=7)),
        (DELTA + SILENT, ResponseState(begun=True, next_number=7)),  # llama-server numbers none
        (CREATED + LATER, ResponseState({"id": "r", "a": 2}, begun=True, next_number=8)),
        (DELTA + END, ResponseState(begun=True, next_number=9, over=True)),
        (event_frame("error", {}), ResponseState(over=True)),
        (b'data: {"error":{"code":500}}\n\n', ResponseState(over=True)),
        (b'data: {"type":7,"response":[],"sequence_number":"3"}\n\n', ResponseState()),
    ],
)
def test_what_was_sent_says_what_is_open(frames: bytes, state: ResponseState) -> None:
    assert read_response(frames) == state
