"""A chat stream told as the events of a turn."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.turns.events import TurnEvents
from arriero.worker.apis.turns.request import TurnFormat
from arriero.worker.errors import LoadFailed, TooLarge, UpstreamAnsweredError, UpstreamDied
from tests.worker.apis.recorded import cut
from tests.worker.sse import DONE


def turn(turn_format: TurnFormat = TurnFormat.EVENTS) -> TurnEvents:
    return TurnEvents(
        request_id="r-12", conversation_id="c-7", model="qwen", turn_format=turn_format
    )


def told(events: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and data of all events, of which each has to be one line."""
    found = []
    for frame in events.decode().split("\n\n")[:-1]:
        assert frame.startswith("data: ")
        assert "\n" not in frame
        assert "\r" not in frame
        event = json.loads(frame.removeprefix("data: "))
        assert event.keys() - {"available_quotas"} == {"event", "data"}
        found.append((event["event"], event["data"]))
    return found


def kinds(events: bytes) -> list[str]:
    return [kind for kind, _ in told(events)]


def frame(value: object, line_end: str = "\n") -> bytes:
    return f"data: {json.dumps(value)}{line_end}{line_end}".encode()


def delta(finish: str | None = None, index: int = 0, **members: Any) -> bytes:
    choice = {"index": index, "delta": members, "finish_reason": finish}
    return frame({"id": "x", "object": "chat.completion.chunk", "choices": [choice]})


def usage(prompt: int, answer: int) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": answer}
    return frame({"object": "chat.completion.chunk", "choices": [], "usage": counts})


def call(index: int | None, arguments: str, ident: str = "", name: str = "") -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece: dict[str, Any] = {"function": function}
    if index is not None:
        piece["index"] = index
    return piece | ({"id": ident, "type": "function"} if ident else {})


# Reasoning, an answer, usage: as llama-server sends them, with a comment between.
CHAT = b"".join(
    (
        delta(role="assistant", content=None),
        delta(reasoning_content="Let me"),
        delta(reasoning_content=" see."),
        b": ping\n\n",
        delta(content="A mule"),
        delta(content=" \u2713\n\n"),
        delta(content="data: [DONE]"),
        delta(finish="stop"),
        usage(21, 5),
        DONE,
    )
)
TOLD = [
    ("start", {"request_id": "r-12", "conversation_id": "c-7", "model": "qwen"}),
    ("reasoning", {"id": 0, "token": "Let me"}),
    ("reasoning", {"id": 1, "token": " see."}),
    ("token", {"id": 2, "token": "A mule"}),
    ("token", {"id": 3, "token": " \u2713\n\n"}),
    ("token", {"id": 4, "token": "data: [DONE]"}),
    ("turn_complete", {"id": 5, "token": "A mule \u2713\n\ndata: [DONE]"}),
    (
        "end",
        {"referenced_documents": [], "truncated": False, "input_tokens": 21, "output_tokens": 5},
    ),
]


# --- a whole turn --------------------------------------------------------------------------------


def test_a_whole_turn_is_told_in_order_with_ids_and_counts() -> None:
    events = turn()

    got = events.take(CHAT)
    assert events.is_complete
    assert not events.is_over

    assert told(got + events.end()) == TOLD
    assert events.is_over


def test_quotas_stand_beside_the_data_of_the_last_event() -> None:
    assert turn().end().endswith(b'"output_tokens":0},"available_quotas":{}}\n\n')


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@given(places=st.lists(st.integers(0, 5000)))
def test_any_cut_and_any_line_end_give_the_same_turn(line_end: bytes, places: list[int]) -> None:
    events = turn()

    got = b"".join(map(events.take, cut(CHAT.replace(b"\n", line_end), places)))

    assert told(got + events.end()) == TOLD


def test_what_came_before_the_answer_shares_its_ids() -> None:
    events = turn()

    got = events.status("loading", 0.42, "loading 42%")
    got += events.heartbeat() + events.take(delta(content="a")) + events.heartbeat()

    assert told(got + events.end())[1:-1] == [
        ("status", {"phase": "loading", "progress": 0.42, "message": "loading 42%"}),
        ("heartbeat", {"id": 0, "token": "heartbeat"}),
        ("token", {"id": 1, "token": "a"}),
        ("heartbeat", {"id": 2, "token": "heartbeat"}),
        ("turn_complete", {"id": 3, "token": "a"}),
    ]


@pytest.mark.parametrize(
    "first",
    [
        TurnEvents.start,
        TurnEvents.heartbeat,
        TurnEvents.end,
        TurnEvents.interrupted,
        lambda events: events.take(b": ping\n\n"),
        lambda events: events.take(CHAT),
        lambda events: events.status("queued", None, "queued (1 ahead)"),
        lambda events: events.failure(LoadFailed("no")),
    ],
)
def test_whoever_comes_first_begins_the_turn_and_nobody_begins_it_twice(first: Any) -> None:
    events = turn()

    got = kinds(first(events) + events.start() + events.take(CHAT) + events.heartbeat())

    assert got[0] == "start"
    assert got.count("start") == 1


def test_only_the_first_choice_is_told() -> None:
    events = turn()
    both = [{"index": i, "delta": {"content": f"<{i}>"}, "finish_reason": "length"} for i in (1, 0)]
    unnumbered = {"choices": [{"delta": {"content": "!"}}]}

    events.take(delta(index=1, content="other", finish="length"))
    assert not events.is_complete
    got = told(events.take(frame({"choices": both}) + frame(unnumbered)))

    assert got == [("token", {"id": 0, "token": "<0>"}), ("token", {"id": 1, "token": "!"})]


@pytest.mark.parametrize(
    "members",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": "hm", "reasoning_content": "hm"},
        {"reasoning": "hm", "reasoning_content": None},
    ],
)
def test_reasoning_is_told_once_and_is_no_part_of_the_answer(members: dict[str, Any]) -> None:
    events = turn()

    got = told(events.take(delta(content="a", **members)) + events.end())

    assert got[1:4] == [
        ("reasoning", {"id": 0, "token": "hm"}),
        ("token", {"id": 1, "token": "a"}),
        ("turn_complete", {"id": 2, "token": "a"}),
    ]


def test_a_refusal_is_an_answer() -> None:
    events = turn()

    got = told(events.take(delta(content=None, refusal="No.")) + events.end())

    assert ("turn_complete", {"id": 1, "token": "No."}) in got


def test_empty_pieces_are_no_events() -> None:
    got = turn().take(delta(content="", reasoning_content="", tool_calls=[]) + delta() + DONE)

    assert kinds(got) == ["start"]


def test_a_long_piece_is_told_whole() -> None:
    text = "x" * 9 * 1024 * 1024  # more than a reader of events keeps where nothing is passed on

    assert told(turn().take(delta(content=text)))[1:] == [("token", {"id": 0, "token": text})]


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "truncated"), [("length", True), ("stop", False), ("tool_calls", False)]
)
def test_an_answer_that_was_cut_for_its_length_says_so(finish: str, truncated: bool) -> None:
    events = turn()
    events.take(delta(content="a") + delta(finish=finish))

    assert told(events.end())[-1][1]["truncated"] is truncated


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (usage(21, 3), (21, 3)),
        (
            frame({"choices": [], "timings": {"cache_n": 4, "prompt_n": 6, "predicted_n": 2}}),
            (10, 2),
        ),
        (b"", (0, 2)),  # one piece, one token
    ],
)
def test_tokens_are_counted_as_the_upstream_says_or_else_by_pieces(
    upstream: bytes, expected: tuple[int, int]
) -> None:
    events = turn()
    events.take(delta(reasoning_content="a") + delta(content="b") + upstream)

    data = told(events.end())[-1][1]

    assert (data["input_tokens"], data["output_tokens"]) == expected


@pytest.mark.parametrize(
    ("upstream", "complete"),
    [
        (delta(content="a"), False),
        (b": [DONE]\n\n", False),
        (delta(finish="stop"), True),
        (DONE, True),
        (frame({"error": {"message": "no"}}), True),
    ],
)
def test_an_answer_is_complete_when_its_upstream_has_said_so(
    upstream: bytes, complete: bool
) -> None:
    events = turn()
    events.take(upstream)

    assert events.is_complete is complete


# --- errors --------------------------------------------------------------------------------------


def test_an_error_after_two_tokens_is_the_last_event() -> None:
    events = turn()

    got = events.take(delta(content="a") + delta(content="b"))
    got += events.failure(UpstreamDied("the model's server went away"))
    got += events.take(CHAT) + events.heartbeat() + events.status("queued", None, "x")
    got += events.end() + events.interrupted() + events.failure(LoadFailed("no"))

    assert kinds(got) == ["start", "token", "token", "error"]
    assert told(got)[-1][1] == {
        "status_code": 502,
        "response": "Model server failed",
        "cause": "the model's server went away",
    }


def test_an_answer_of_the_upstream_keeps_its_status() -> None:
    error = UpstreamAnsweredError("the prompt is too long", upstream_status=400, code="http_400")

    assert told(turn().failure(error))[-1] == (
        "error",
        {"status_code": 400, "response": "Invalid request", "cause": "the prompt is too long"},
    )


@pytest.mark.parametrize(
    ("upstream", "status", "cause"),
    [
        (frame({"error": {"code": 500, "message": "no room", "type": "x"}}), 500, "no room"),
        (frame({"error": {"code": "x", "message": "no room", "status": 413}}), 413, "no room"),
        (frame({"error": {"code": 7, "message": "no room"}}), 502, "no room"),
        (frame({"error": "no room"}), 502, "no room"),
        (frame({"error": {"message": 7}}), 502, "the model's server could not go on"),
        (b"event: error\n" + frame({"code": 503, "message": "no room"}), 503, "no room"),
    ],
)  # fmt: skip
def test_an_error_within_the_stream_ends_the_turn(upstream: bytes, status: int, cause: str) -> None:
    events = turn()

    got = events.take(delta(content="a") + upstream + delta(content="b") + DONE) + events.end()

    assert kinds(got) == ["start", "token", "error"]
    assert told(got)[-1][1]["status_code"] == status
    assert told(got)[-1][1]["cause"] == cause


@pytest.mark.parametrize("nothing", [None, {}, "", False])
def test_no_error_is_no_error(nothing: object) -> None:
    chunk = {"error": nothing, "choices": [{"delta": {"content": "a"}}]}

    assert kinds(turn().take(frame(chunk))) == ["start", "token"]


def test_a_turn_that_was_stopped_ends_there() -> None:
    events = turn()

    got = events.take(delta(content="a")) + events.interrupted() + events.end()

    assert kinds(got) == ["start", "token", "interrupted"]
    assert told(got)[-1][1] == {"request_id": "r-12"}


# --- tools ---------------------------------------------------------------------------------------


def calls_in(*deltas: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return name and arguments of the calls of a whole turn."""
    events = turn()
    got = b"".join(events.take(delta(**members)) for members in deltas)
    got += events.take(delta(finish="tool_calls") + DONE) + events.end()
    assert [data["id"] for _, data in told(got) if "id" in data] == [*range(len(told(got)) - 2)]
    found = [data for kind, data in told(got) if kind == "tool_call"]
    assert all(data.keys() == {"id", "name", "args", "type"} for data in found)
    assert all(data["type"] == "tool_call" for data in found)
    return [(data["name"], data["args"]) for data in found]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_arguments_in_twenty_pieces_are_one_call(line_end: str) -> None:
    text = json.dumps({"at": "hill \u2713", "n": [1.5, None, 2**70], "o": {}}, indent=1)
    text = text.replace("\n", line_end)
    size = -(-len(text) // 20)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    first = {"tool_calls": [call(0, "", "c1", "look")]}

    got = calls_in(first, *({"tool_calls": [call(0, piece)]} for piece in pieces))

    assert got == [("look", json.loads(text))]


@pytest.mark.parametrize(
    "arguments",
    ['{"at":', '{"at":"a\nb"}', '["at"]', "7", "look there", '{"at":1}}', "[" * 100_000],
)
def test_arguments_that_are_no_object_are_told_raw(arguments: str) -> None:
    assert calls_in({"tool_calls": [call(0, arguments, "c1", "look")]}) == [
        ("look", {"_raw": arguments})
    ]


@pytest.mark.parametrize("arguments", ["", "  ", "{}"])
def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    assert calls_in({"tool_calls": [call(0, arguments, "c1", "look")]}) == [("look", {})]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 0), (None, None)])
def test_two_calls_are_two_whether_their_server_numbers_them_or_not(
    first: int | None, second: int | None
) -> None:
    got = calls_in(
        {"tool_calls": [call(first, '{"a"', "c1", "look")]},
        {"tool_calls": [call(first, ":1}", "c1")]},
        {"tool_calls": [call(second, '{"b"', "c2", "go")]},
        {"tool_calls": [call(second, ":2}")]},
    )

    assert got == [("look", {"a": 1}), ("go", {"b": 2})]


def test_calls_in_one_piece_are_all_told() -> None:
    both = [call(0, '{"a":1}', "c1", "look"), call(1, '{"b":2}', "c2", "go")]

    assert calls_in({"tool_calls": both}) == [("look", {"a": 1}), ("go", {"b": 2})]


def test_calls_that_are_written_at_a_time_are_not_told_too_early() -> None:
    got = calls_in(
        {"tool_calls": [call(0, '{"a"', "c1", "look"), call(1, '{"b"', "c2", "go")]},
        {"tool_calls": [call(0, ":1}"), call(1, ":2}")]},
    )

    assert got == [("look", {"a": 1}), ("go", {"b": 2})]


def test_a_call_is_told_when_the_next_one_begins() -> None:
    events = turn()
    events.take(delta(tool_calls=[call(0, '{"a":1}', "c1", "look")]))

    got = events.take(delta(tool_calls=[call(1, "{", "c2", "go")]))
    got += events.take(delta(content="!"))

    assert told(got) == [
        ("tool_call", {"id": 0, "name": "look", "args": {"a": 1}, "type": "tool_call"}),
        ("token", {"id": 1, "token": "!"}),
    ]


def test_the_old_way_to_call_a_function_is_a_call() -> None:
    got = calls_in(
        {"function_call": {"name": "look", "arguments": '{"a":'}},
        {"function_call": {"arguments": "1}"}},
    )

    assert got == [("look", {"a": 1})]


def test_a_call_whose_answer_failed_is_not_told() -> None:
    events = turn()

    got = events.take(delta(tool_calls=[call(0, '{"a":', "c1", "look")]))
    got += events.failure(UpstreamDied("gone"))

    assert kinds(got) == ["start", "error"]


# --- the prompt ----------------------------------------------------------------------------------


def prompt(processed: int, total: int = 1000) -> bytes:
    progress = {"total": total, "cache": 0, "processed": processed, "time_ms": 9}
    choices = [{"index": 0, "delta": {"role": "assistant", "content": None}}]
    return frame({"choices": choices, "prompt_progress": progress})


def test_every_percent_of_the_prompt_is_told_once_and_none_after_the_first_token() -> None:
    events = turn()

    got = events.take(b"".join(map(prompt, (100, 105, 509, 300, 990))))
    got += events.take(delta(content="a") + prompt(1000))

    assert told(got)[1:] == [
        ("status", {"phase": "prefill", "progress": 0.1, "message": "prefill 10%"}),
        ("status", {"phase": "prefill", "progress": 0.5, "message": "prefill 50%"}),
        ("status", {"phase": "prefill", "progress": 0.99, "message": "prefill 99%"}),
        ("token", {"id": 0, "token": "a"}),
    ]


# --- as text -------------------------------------------------------------------------------------


def test_as_text_only_the_answer_is_told() -> None:
    events = turn(TurnFormat.TEXT)

    got = events.start() + events.status("queued", None, "x") + events.heartbeat()
    got += events.take(CHAT) + events.end()

    assert got.decode() == "A mule \u2713\n\ndata: [DONE]"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([], b"[Tool Call: look]\n"),
        (["I look."], b"I look.\n[Tool Call: look]\n"),
        (["I look.\n"], b"I look.\n[Tool Call: look]\n"),
    ],
)
def test_as_text_a_call_has_a_line_of_its_own(before: list[str], expected: bytes) -> None:
    events = turn(TurnFormat.TEXT)

    got = b"".join(events.take(delta(content=text)) for text in before)
    got += events.take(delta(tool_calls=[call(0, '{"a":1}', "c1", "look")])) + events.end()

    assert got == expected


def test_as_text_an_error_is_a_line_and_the_last() -> None:
    events = turn(TurnFormat.TEXT)

    got = events.take(delta(content="a")) + events.failure(TooLarge("more than 8 MiB"))

    assert got == b"a\nStatus: 413 - Request too large - more than 8 MiB\n"
    assert events.end() == events.heartbeat() == events.take(CHAT) == b""


def test_as_text_a_turn_that_was_stopped_just_ends() -> None:
    events = turn(TurnFormat.TEXT)

    assert events.take(delta(content="a")) + events.interrupted() == b"a"


# --- whatever comes ------------------------------------------------------------------------------

ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def some(*members: str, **known: Any) -> st.SearchStrategy[Any]:
    """Objects with these members, of which any may be missing or odd; or no object at all."""
    strategies = dict.fromkeys(members, ODD) | {k: v | ODD for k, v in known.items()}
    return st.fixed_dictionaries({}, optional=strategies) | ODD


FUNCTIONS = some(name=st.text(max_size=3), arguments=st.sampled_from(["", "{}", '{"a":', "1}"]))
CALLS = some(
    function=FUNCTIONS, index=st.integers(0, 2), id=st.sampled_from(["", "c1", "c2"])
)  # fmt: skip
DELTAS = some(
    "reasoning",
    content=st.text(max_size=4),
    reasoning_content=st.text(max_size=4),
    tool_calls=st.lists(CALLS, max_size=3),
    function_call=FUNCTIONS,
)
CHOICES = some(
    index=st.integers(0, 1), delta=DELTAS, finish_reason=st.sampled_from(["stop", "length"])
)
PROGRESS = some("cache", "time_ms", total=st.integers(-1, 20), processed=st.integers(-1, 20))
CHUNKS = some(
    "usage", "timings", choices=st.lists(CHOICES, max_size=3), prompt_progress=PROGRESS
)  # fmt: skip
FRAMES = st.one_of(
    CHUNKS.map(frame),
    CHUNKS.map(frame),
    some(error=some("code", "message", "status")).map(frame),
    st.binary(max_size=20),
    st.binary(max_size=20).map(lambda data: b"data: %b\n\n" % data),
    st.sampled_from([DONE, b": hb\n\n", b"\xef\xbb\xbf", b"event: error\n"]),
)


@pytest.mark.parametrize("odd", [5, True, 1.5, "x", {"a": 1}, [5], [[5]], [{}], [None]])
@pytest.mark.parametrize(
    "around",
    [
        lambda odd: odd,
        lambda odd: {"choices": odd},
        lambda odd: {"choices": [], "usage": odd, "timings": odd, "prompt_progress": odd},
        lambda odd: {"choices": [{"index": odd, "delta": {"content": "a"}}]},
        lambda odd: {"choices": [{"delta": odd, "finish_reason": odd}]},
        lambda odd: {"choices": [{"delta": {"content": odd, "reasoning": odd}}]},
        lambda odd: {"choices": [{"delta": {"tool_calls": odd, "function_call": odd}}]},
        lambda odd: {"choices": [{"delta": {"tool_calls": [{"function": odd}]}}]},
        lambda odd: {"choices": [{"delta": {"tool_calls": [call(odd, "{}", odd, odd)]}}]},
        lambda odd: {"choices": [{"delta": {"tool_calls": [call(0, odd)]}}]},
    ],
)
def test_odd_types_at_any_place_are_passed_over(around: Any, odd: Any) -> None:
    events = turn()

    got = events.take(frame(around(odd)) + delta(content="!")) + events.end()

    assert kinds(got)[-1] == "end"
    assert '"token":"!"' in got.decode()


STEPS = st.sampled_from(["take"] * 8 + ["heartbeat", "status", "end", "failure", "interrupted"])

LAST = {"end", "error", "interrupted"}


@given(st.lists(st.tuples(STEPS, FRAMES)))
def test_whatever_comes_a_turn_has_one_beginning_one_end_and_ids_in_order(
    steps: list[tuple[str, bytes]],
) -> None:
    events = turn()
    out = []
    for step, data in steps:
        match step:
            case "take":
                out.append(events.take(data))
            case "status":
                out.append(events.status("queued", None, "x"))
            case "failure":
                out.append(events.failure(LoadFailed("no")))
            case other:
                out.append(getattr(events, other)())
    out.append(events.end())

    got = told(b"".join(out))

    names = [kind for kind, _ in got]
    assert [at for at, kind in enumerate(names) if kind == "start"] == [0]
    assert [at for at, kind in enumerate(names) if kind in LAST] == [len(names) - 1]
    ids = [data["id"] for _, data in got if "id" in data]
    assert ids == list(range(len(ids)))
    if names[-1] == "end":
        assert names[-2] == "turn_complete"
        text = "".join(data["token"] for kind, data in got if kind == "token")
        assert got[-2][1]["token"] == text


@given(st.lists(FRAMES), st.lists(st.integers(0, 5000)))
def test_whatever_comes_the_cut_changes_nothing(frames: list[bytes], places: list[int]) -> None:
    data = b"".join(frames)
    whole, pieces = turn(), turn()

    expected = whole.take(data) + whole.end()

    assert b"".join(map(pieces.take, cut(data, places))) + pieces.end() == expected


@given(st.lists(st.text(max_size=9)), st.lists(st.text(max_size=9)))
def test_the_answer_is_the_upstream_s_text_in_both_formats(
    answer: list[str], reasoning: list[str]
) -> None:
    upstream = b"".join(delta(reasoning_content=text) for text in reasoning)
    upstream += b"".join(delta(content=text) for text in answer) + DONE
    events, text = turn(), turn(TurnFormat.TEXT)

    got = dict(told(events.take(upstream) + events.end()))

    assert got["turn_complete"]["token"] == "".join(answer)
    assert (text.take(upstream) + text.end()).decode() == "".join(answer)
