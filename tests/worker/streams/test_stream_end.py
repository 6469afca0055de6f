import pytest

from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import BEDROCK, CHAT, COMPLETIONS, GEMINI, MESSAGES, RESPONSES
from arriero.worker.streams.aws_event_stream import event_message, exception_message
from arriero.worker.streams.stream_end import EndWatcher


def watch(api: Api) -> EndWatcher:
    assert api.stream_end is not None
    return EndWatcher(api.stream_end)


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
    watcher = watch(CHAT)
    watcher.look(b'data: {"x":1}\n\n' + frame)

    assert watcher.seen is whole


# headers only; checksums are of no concern here
_UNKNOWN_ERROR = b"\x0b:error-code\x07\x00\x01x\x0d:message-type\x07\x00\x05error"


@pytest.mark.parametrize(
    ("api", "frame", "whole"),
    [
        (MESSAGES, b'event: message_stop\ndata: {"type":"message_stop"}\n\n', True),
        (MESSAGES, b'data: {"a": 1, "type": "message_stop"}\r\n\r\n', True),
        (MESSAGES, b"event:message_stop\rdata: {}\r\r", True),
        (MESSAGES, b'event: error\ndata: {"message":"no"}\n\n', True),
        (MESSAGES, b'data: {"type":"error","error":{"type":"api_error"}}\n\n', True),
        (MESSAGES, b'data: {"type":"message_delta"}\n\n', False),
        (MESSAGES, b'data: {"text":"{\\"type\\":\\"message_stop\\"}"}\n\n', False),
        (MESSAGES, b'data: {"text":"event: message_stop\\n"}\n\n', False),
        (MESSAGES, b'data: {"finish_reason":"stop"}\n\ndata: [DONE]\n\n', False),
        (RESPONSES, b"event: response.completed\ndata: {}\n\n", True),
        (RESPONSES, b'data: {"type":"response.incomplete"}\n\n', True),
        (RESPONSES, b'data: {"type": "response.failed"}\n\n', True),
        (RESPONSES, b'event: error\ndata: {"type":"error"}\n\n', True),
        (RESPONSES, b'data: {"error":{"code":500,"message":"no"}}\n\n', True),
        (RESPONSES, b'data: {"type":"response.created","response":{"error":null}}\n\n', False),
        (RESPONSES, b'data: {"type":"response.output_item.done"}\n\n', False),
        (RESPONSES, b'data: {"type":"responseXcompleted"}\n\n', False),
        (GEMINI, b'data: {"candidates": [{"finishReason": "STOP"}]}\r\n\r\n', True),
        (GEMINI, b'data: {"candidates":[{"finishReason":"MAX_TOKENS"}]}\n\n', True),
        (GEMINI, b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n', True),
        (GEMINI, b'data: {"error": {"code": 503}}\n\n', True),
        (GEMINI, b'data: {"candidates": [{"content": {}}]}\n\n', False),
        (GEMINI, b'data: {"candidates": [{"finishReason": null}]}\n\n', False),
        (GEMINI, b'data: {"text": "{\\"finishReason\\":\\"STOP\\"}"}\n\n', False),
        (GEMINI, b'data: {"a": {"error": {}}}\n\n', False),
        (GEMINI, b"data: [DONE]\n\n", False),
        (BEDROCK, event_message("messageStop", {"stopReason": "end_turn"}), True),
        (BEDROCK, exception_message("no", "throttlingException"), True),
        (BEDROCK, _UNKNOWN_ERROR, True),
        (BEDROCK, event_message("messageStart", {"role": "assistant"}), False),
        (BEDROCK, event_message("messageStops", {}), False),
        (
            BEDROCK,
            event_message("contentBlockDelta", {"text": ":event-type\x07\x00\x0bmessageStop"}),
            False,
        ),
    ],
)
def test_the_other_apis_have_ends_of_their_own(api: Api, frame: bytes, whole: bool) -> None:
    watcher = watch(api)
    watcher.look(b'data: {"x":1}\n\n')
    watcher.look(frame)
    watcher.look(b'data: {"x":2}\n\n')

    assert watcher.seen is whole


@pytest.mark.parametrize(
    ("api", "may_be_cut"),
    [
        (CHAT, True),
        (COMPLETIONS, True),
        (GEMINI, True),  # its clients read line by line
        (MESSAGES, False),
        (RESPONSES, False),
        (BEDROCK, False),
    ],
)
def test_the_end_may_be_in_a_frame_that_is_not_complete(api: Api, may_be_cut: bool) -> None:
    assert watch(api).may_be_cut is may_be_cut


@pytest.mark.parametrize(
    ("api", "cut", "whole"),
    [
        (CHAT, b'data: {"choices":[{"finish_reason":"stop"', True),
        (CHAT, b'data: {"choices":[{"finish_reason": "sto', False),
        (CHAT, b'data: {"choices":[{"finish_reason": "', False),
        (GEMINI, b'data: {"candidates":[{"finishReason":"STOP"', True),
        (GEMINI, b'data: {"candidates":[{"finishReason": "', False),
        (GEMINI, b'data: {"promptFeedback":{"blockReason":"SAF', False),
    ],
)
def test_cut_finish_reason_is_no_end(api: Api, cut: bytes, whole: bool) -> None:
    watcher = watch(api)
    watcher.look(cut)

    assert watcher.seen is whole


@pytest.mark.parametrize(("api", "first"), [(RESPONSES, b"0"), (MESSAGES, b"0"), (CHAT, b"")])
def test_a_stream_of_named_events_is_known_by_its_first_frame(api: Api, first: bytes) -> None:
    watcher = watch(api)
    for number in range(20):
        watcher.look(b"%d" % number)

    assert watcher.sent_so_far == first + b"".join(b"%d" % number for number in range(12, 20))


@pytest.mark.parametrize("api", [MESSAGES, RESPONSES])
def test_signs_of_life_do_not_push_out_what_was_said(api: Api) -> None:
    watcher = watch(api)
    watcher.look(b": hb\n\n")
    watcher.look(b"event: first\ndata: {}\n\n")
    for _ in range(20):
        watcher.look(b'event: ping\ndata: {"type":"ping"}\n\n: hb\n\n')
    watcher.look(b'event: ping\ndata: {"type":"ping"}\n\nevent: x\ndata: {}\n\n')

    assert watcher.sent_so_far.count(b"event: first") == 2
    assert b"event: x" in watcher.sent_so_far
