"""Streams and whole responses, in Ollama's words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.base.dialect import ResponseEnd
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.ollama.lines import OllamaLines, Shape
from arriero.worker.apis.ollama.whole import nothing_said, whole_embeddings, whole_response
from arriero.worker.errors import LoadFailed, UpstreamDied
from arriero.worker.json.spans import finish
from arriero.worker.streams.merge import MergingSplitter
from tests.worker.apis.recorded import cut
from tests.worker.sse import DONE, chunk, data, text_chunk

USAGE = Usage(input_tokens=7, output_tokens=3, source="final", prompt_ms=1.5, predicted_ms=2.0)
END = ResponseEnd(USAGE, unix_time=1_700_000_001.5, elapsed_s=0.25, waited_s=0.125)
HEAD = {"model": "m", "created_at": "2023-11-14T22:13:20Z"}
LAST = {
    "model": "m",
    "created_at": "2023-11-14T22:13:21.500000Z",
    "done": True,
    "done_reason": "stop",
    "total_duration": 250_000_000,
    "load_duration": 125_000_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 1_500_000,
    "eval_count": 3,
    "eval_duration": 2_000_000,
}
EMPTY: dict[str, Any] = {"role": "assistant", "content": ""}


def lines(shape: Shape = "chat") -> OllamaLines:
    return OllamaLines(shape, "m", 1_700_000_000)


def read(told: bytes) -> list[dict[str, Any]]:
    assert told == b"" or told.endswith(b"\n")
    return [json.loads(line) for line in told.splitlines()]


def call_piece(index: int, arguments: str, **more: Any) -> bytes:
    piece = {"index": index, "function": {"arguments": arguments} | more}
    return chunk({"tool_calls": [piece]})


STREAM = (
    chunk({"role": "assistant", "content": None})
    + chunk({"reasoning_content": "hm"})
    + b": comment\n\n"
    + chunk({"content": "A\nmüle"})
    + call_piece(0, "", name="f")
    + call_piece(0, '{"a":')
    + call_piece(0, " 1.0}")
    + call_piece(1, "", name="g")
    + chunk({}, "tool_calls")
    + chunk(None, usage={"prompt_tokens": 7, "completion_tokens": 3})
    + DONE
)
TOLD = [
    {**HEAD, "message": {**EMPTY, "thinking": "hm"}, "done": False},
    {**HEAD, "message": {**EMPTY, "content": "A\nmüle"}, "done": False},
    {
        **HEAD,
        "message": {**EMPTY, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.0}}}]},
        "done": False,
    },
    {
        **HEAD,
        "message": {**EMPTY, "tool_calls": [{"function": {"name": "g", "arguments": {}}}]},
        "done": False,
    },
    {**LAST, "message": EMPTY},
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_lines_do_not_depend_on_cuts(places: list[int]) -> None:
    dialect = lines()
    splitter = MergingSplitter(dialect.merge)
    told = b"".join(map(splitter.push, cut(STREAM, places)))
    assert dialect.is_complete
    assert read(told + dialect.finish(END)) == TOLD


def test_a_generation_has_its_own_members() -> None:
    dialect = lines("generation")
    told = dialect.line("loading\n", None) + dialect.heartbeat(None)
    told += dialect.take(text_chunk("A", "length") + DONE) + dialect.finish(END)
    assert read(told) == [
        {**HEAD, "response": "", "thinking": "loading\n", "done": False},
        {**HEAD, "response": "", "done": False},
        {**HEAD, "response": "A", "done": False},
        {**LAST, "response": "", "done_reason": "length"},
    ]


@pytest.mark.parametrize("error", ["no memory", {"message": "no memory", "code": 500}])
def test_nothing_follows_an_error(error: object) -> None:
    dialect = lines()
    told = dialect.take(chunk({"content": "A"}) + data({"error": error}) + STREAM)
    assert dialect.is_complete
    told += dialect.finish(END) + dialect.heartbeat(None) + dialect.failure(LoadFailed("late"))
    assert read(told)[1:] == [{"error": "no memory"}]


def test_a_cancelled_stream_ends_with_counts() -> None:
    dialect = lines()
    told = dialect.take(chunk({"content": "A"})) + dialect.interrupted(b"", USAGE)
    last = read(told)[-1]
    assert (last["done"], last["eval_count"], last["message"]) == (True, 3, EMPTY)
    assert dialect.finish(END) == b""


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"data: ", b"\n\n", b'{"choices":[']), max_size=8
    )
)
def test_whatever_comes_is_told_in_lines(pieces: list[bytes]) -> None:
    dialect = lines()
    read(dialect.take(b"".join(pieces)) + dialect.finish(END))


def whole(message: dict[str, Any], finish_reason: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish_reason}]}).encode()


def test_a_whole_response_is_one_object() -> None:
    function = {"name": "f", "arguments": '{"a": 1}'}
    message = {
        "content": "A",
        "reasoning_content": "hm",
        "tool_calls": [{"function": function}] * 2,
    }
    told = json.loads(whole_response("chat", "m", whole(message, "tool_calls"), END))
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    said = {"role": "assistant", "content": "A", "thinking": "hm", "tool_calls": [call, call]}
    assert told == {**LAST, "message": said}

    text = json.dumps({"choices": [{"text": "A", "finish_reason": "length"}]}).encode()
    told = json.loads(whole_response("generation", "m", text, END))
    assert told == {**LAST, "response": "A", "done_reason": "length"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[1]}', b"\xff"]
)
def test_a_senseless_response_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamDied):
        whole_response("chat", "m", body, END)
    with pytest.raises(UpstreamDied):
        finish(whole_embeddings("m", body, END, only_first=False))


def test_embeddings_pass_as_they_are() -> None:
    body = b'{"data":[{"index":0,"embedding":[1.50, -2e-7]},{"embedding":[3]}],"usage":{}}'
    told = finish(whole_embeddings("m", body, END, only_first=False))
    assert b'"embeddings":[[1.50, -2e-7],[3]]' in told
    assert json.loads(told)["prompt_eval_count"] == 7
    assert (
        finish(whole_embeddings("m", body, END, only_first=True)) == b'{"embedding":[1.50, -2e-7]}'
    )
    coded = b'{"data":[{"embedding":"AAAA"}]}'
    with pytest.raises(UpstreamDied):
        finish(whole_embeddings("m", coded, END, only_first=False))


def test_a_loaded_model_says_nothing() -> None:
    told = json.loads(nothing_said("generation", "m", "load", END))
    assert told["response"] == ""
    assert (told["done"], told["done_reason"]) == (True, "load")
    assert "eval_count" not in told
