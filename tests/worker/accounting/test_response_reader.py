# ruff: noqa: E501  one event, one line
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import FinishReason
from arriero.worker.accounting.account import Account, open_account
from arriero.worker.accounting.response_reader import (
    read_first_frames,
    read_further_frames,
    read_last_frames,
    read_message,
    read_response,
    read_rest,
)
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.routes import APIS, BEDROCK, CHAT, GEMINI, MESSAGES, RESPONSES
from arriero.worker.streams.aws_event_stream import EventStreamMessage

# What a real llama-server (build 10434) sent, shortened.
CHAT_STREAM = b"""\
data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk","prompt_progress":{"total":209,"cache":0,"processed":209,"time_ms":2937}}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" fire"}}],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" mule"}}],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk"}

data: {"choices":[],"id":"chatcmpl-A","model":"tiny.gguf","object":"chat.completion.chunk","usage":{"completion_tokens":2,"prompt_tokens":209,"total_tokens":211},"timings":{"cache_n":0,"prompt_n":209,"prompt_ms":2937.415,"predicted_n":2,"predicted_ms":1315.916}}

data: [DONE]

"""
MESSAGES_STREAM = b"""\
event: message_start
data: {"type":"message_start","message":{"id":"a","type":"message","role":"assistant","content":[],"model":"tiny.gguf","stop_reason":null,"usage":{"cache_read_input_tokens":208,"input_tokens":1,"output_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" fire"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" mule"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":2}}

event: message_stop
data: {"type":"message_stop"}

"""
RESPONSES_STREAM = b"""\
event: response.created
data: {"type":"response.created","response":{"id":"r","object":"response","status":"in_progress"}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"m","delta":" salt"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"m","delta":" mule"}

event: response.output_text.done
data: {"type":"response.output_text.done","item_id":"m","text":" salt mule"}

event: response.completed
data: {"type":"response.completed","response":{"id":"r","object":"response","status":"completed","model":"tiny.gguf","output":[{"type":"message"}],"usage":{"input_tokens":21,"output_tokens":2}},"timings":{"cache_n":7,"prompt_n":14,"prompt_ms":799.653,"predicted_n":2,"predicted_ms":1404.014}}

"""


def frames(*events: Any, separators: tuple[str, str] = (",", ":")) -> bytes:
    return b"".join(
        b"data: %b\n\n" % json.dumps(event, separators=separators).encode() for event in events
    )


class Facts(NamedTuple):
    """What an account knows of a response."""

    usage: Usage
    finish_reason: FinishReason | None = None
    served_as: str | None = None
    error: str | None = None


def open_it(api: Api) -> Account:
    return open_account(request_id="r", path=b"/x", api=api, now=0.0, t=0.0)


def facts_of(account: Account) -> Facts:
    usage = read_rest(account)
    return Facts(usage, account.finish_reason, account.served_as, account.told_error)


def read(api: Api, stream: bytes) -> Account:
    account = open_it(api)
    for frame in stream.split(b"\n\n"):
        read_further_frames(account, frame + b"\n\n")
    return account


@pytest.mark.parametrize(
    ("api", "stream", "facts"),
    [
        (CHAT, CHAT_STREAM, Facts(Usage(input_tokens=209, output_tokens=2, prompt_ms=2937.415, predicted_ms=1315.916, source="final"), "length", "tiny.gguf")),
        (MESSAGES, MESSAGES_STREAM, Facts(Usage(input_tokens=209, cached_tokens=208, output_tokens=2, source="final"), "length", "tiny.gguf")),
        (RESPONSES, RESPONSES_STREAM, Facts(Usage(input_tokens=21, cached_tokens=7, output_tokens=2, prompt_ms=799.653, predicted_ms=1404.014, source="final"), "stop", "tiny.gguf")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("whole", [True, False])
def test_all_is_known_of_an_answer_at_its_end(
    api: Api, stream: bytes, facts: Facts, whole: bool
) -> None:
    account = open_it(api)
    if whole:
        read_further_frames(account, stream)
    else:
        account = read(api, stream)

    assert facts_of(account) == facts
    assert account.pieces == 2


@pytest.mark.parametrize("times", [1, 90])  # longer than what is looked at last, or shorter
@pytest.mark.parametrize(
    ("api", "stream"),
    [(CHAT, CHAT_STREAM), (MESSAGES, MESSAGES_STREAM), (RESPONSES, RESPONSES_STREAM)],
)
def test_beginning_and_end_tell_as_much_as_all_of_it(api: Api, stream: bytes, times: int) -> None:
    events = [frame + b"\n\n" for frame in stream.split(b"\n\n")[:-1]]
    (piece,) = (
        index for index, event in enumerate(events) if b'" fire"' in event or b'" salt"' in event
    )
    events[piece:piece] = [events[piece]] * (times - 1)
    for whole in range(len(events) + 1):  # and each stream that is cut off
        for first in range(1, whole, 7):
            all_at_once, by_halves = open_it(api), open_it(api)
            read_further_frames(all_at_once, b"".join(events[:whole]))
            begin, rest = b"".join(events[:first]), b"".join(events[first:whole])
            read_to = read_first_frames(by_halves, begin)
            if by_halves.pieces:
                read_last_frames(by_halves, begin[read_to:] + rest)
            else:
                assert read_to == len(begin)
                read_further_frames(by_halves, rest)

            assert facts_of(by_halves) == facts_of(all_at_once)


@pytest.mark.parametrize(
    ("api", "stream", "usage"),
    [
        (CHAT, CHAT_STREAM, Usage(input_tokens=209, output_tokens=1, source="estimated")),
        (MESSAGES, MESSAGES_STREAM, Usage(input_tokens=209, cached_tokens=208, output_tokens=1, source="estimated")),
        (RESPONSES, RESPONSES_STREAM, Usage(output_tokens=1, source="estimated")),
    ],
)  # fmt: skip
def test_of_an_answer_that_is_cut_off_what_came_is_counted(
    api: Api, stream: bytes, usage: Usage
) -> None:
    word = b'" fire"' if b'" fire"' in stream else b'" salt"'
    facts = facts_of(read(api, stream[: stream.index(b"\n\n", stream.index(word)) + 2]))

    assert facts.usage == usage
    assert facts.finish_reason is None
    assert facts.error is None


def test_measures_of_vllm_are_read_from_a_stream() -> None:
    drafts = {"num_draft_tokens": 30, "num_accepted_draft_tokens": 20}
    measures = {"time_to_first_token_ms": 85.5, "mean_itl_ms": 9.5, "speculative_decoding": drafts}
    counts = {"prompt_tokens": 42, "completion_tokens": 100}
    stream = frames(
        {"choices": [{"delta": {"content": "x"}}]},
        {"choices": [{"finish_reason": "stop"}]},
        {"choices": [], "usage": counts, "metrics": measures},
    )

    assert facts_of(read(CHAT, stream + b"data: [DONE]\n\n")).usage == Usage(
        input_tokens=42,
        output_tokens=100,
        draft_tokens=30,
        draft_accepted=20,
        prompt_ms=85.5,
        predicted_ms=950.0,
        source="final",
    )


PADDING: Any = {"delta": {}}


@pytest.mark.parametrize(
    ("api", "event"),
    [
        (CHAT, {"choices": [{"finish_reason": "length"}], "usage": {"prompt_tokens": 3}}),
        (CHAT, {"stop": True, "stop_type": "limit", "timings": {"prompt_n": 3}}),
        (RESPONSES, {"type": "response.incomplete", "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": {"input_tokens": 3}}}),
        (MESSAGES, {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"input_tokens": 3}}),
        (GEMINI, {"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": {"promptTokenCount": 3}}),
        (BEDROCK, {"stopReason": "max_tokens", "usage": {"inputTokens": 3}}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_last_words_are_noticed_among_events_that_are_not_parsed(
    api: Api, event: Any, separators: tuple[str, str]
) -> None:
    account = open_it(api)
    read_further_frames(account, frames(*[PADDING] * 5, event, PADDING, separators=separators))

    assert facts_of(account).finish_reason == "length"
    assert facts_of(account).usage.input_tokens == 3


def test_an_error_in_the_middle_of_a_stream_marks_it_as_failed() -> None:
    account = open_it(CHAT)
    error = {"error": {"code": 500, "message": "x", "type": "server_error"}}
    read_further_frames(account, frames(*[PADDING] * 5, error) + CHAT_STREAM[-900:])

    assert facts_of(account).error == "500"


def test_bad_json_between_two_good_frames_hides_nothing() -> None:
    at = CHAT_STREAM.index(b'data: {"choices":[{"finish_reason":"length"')
    broken = CHAT_STREAM[:at] + b'data: {"usage":{"finish_reason":"\n\n' + CHAT_STREAM[at:]

    assert facts_of(read(CHAT, broken)) == facts_of(read(CHAT, CHAT_STREAM))


def test_a_body_is_read_as_a_whole() -> None:
    account = open_it(CHAT)
    body = b'{"model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'
    read_response(account, body, 1.0)

    assert facts_of(account) == Facts(Usage(input_tokens=3, source="final"), "stop", "m")


def test_messages_of_bedrock_are_read() -> None:
    account = open_it(BEDROCK)
    for payload in (
        b'{"role":"assistant"}',
        b'{"contentBlockIndex":0,"delta":{"text":"a"}}',
        b'{"stopReason":"end_turn"}',
        b'{"metrics":{"latencyMs":9},"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}',
    ):
        read_message(account, EventStreamMessage({":message-type": "event"}, payload, b""), 1.0)

    assert facts_of(account) == Facts(
        Usage(input_tokens=3, output_tokens=2, source="final"), "stop"
    )
    assert account.pieces == 1


def test_an_exception_of_bedrock_is_an_error() -> None:
    account = open_it(BEDROCK)
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    read_message(account, EventStreamMessage(headers, b'{"message":"slow"}', b""), 1.0)

    assert facts_of(account).error == "throttlingException"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just("error"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "finish_reason", "response", "status", "output", "error", "type", "code", "delta", "stop_reason", "candidates", "finishReason", "promptFeedback", "blockReason", "incomplete_details", "reason", "model", "message", "usage"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.sampled_from(APIS), st.lists(_JSON, max_size=5))
def test_whatever_an_upstream_says_something_is_known(api: Api, events: list[Any]) -> None:
    account = open_it(api)
    read_further_frames(account, frames(*events))
    for event in events:
        read_response(account, json.dumps(event).encode(), 1.0)
    facts = facts_of(account)
    assert facts.finish_reason in (None, "stop", "length", "tool", "content_filter", "other")
    assert facts.error is None or len(facts.error) <= 80


@given(st.sampled_from(APIS), st.binary(max_size=200))
def test_whatever_bytes_come_nothing_is_raised(api: Api, data: bytes) -> None:
    account = open_it(api)
    read_further_frames(account, data)
    read_response(account, data, 1.0)
    read_message(account, EventStreamMessage({}, data, data), 1.0)
    assert facts_of(account).usage.output_tokens == account.pieces or account.pieces == 0
