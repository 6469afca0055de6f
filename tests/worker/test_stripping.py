# ruff: noqa: E501  one message, one line
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.stripping import Stripper
from tests.worker.growth import assert_linear

MARK = "[swap-progress] "
LINE = f"{MARK}qwen: loading 42% (12 s)\n"
READY = f"{MARK}qwen: ready after 31.4 s\n"
stripper = Stripper([MARK])


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | more


def stripped(*messages: dict[str, Any], key: str = "messages") -> list[dict[str, Any]]:
    body = json.dumps({"model": "m", key: messages}).encode()
    found: list[dict[str, Any]] = json.loads(stripper.strip(body))[key]
    return found


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        # S1: strings of reasoning
        (assistant(reasoning_content=LINE + READY), assistant()),
        (assistant(reasoning_content=LINE + READY + "Let me see.\n"), assistant(reasoning_content="Let me see.\n")),
        (assistant(reasoning=READY + " think"), assistant(reasoning=" think")),
        (assistant(reasoning_text=LINE.rstrip("\n")), assistant()),
        (assistant(thinking=f"a\n{LINE}b"), assistant(thinking="a\nb")),
        # S2 and S3: blocks of thinking
        (
            assistant([{"type": "thinking", "thinking": LINE, "signature": "swap-progress-v1"}, {"type": "text", "text": "x"}]),
            assistant([{"type": "text", "text": "x"}]),
        ),
        (
            assistant([{"type": "thinking", "thinking": LINE + "own", "signature": "abc"}, {"type": "text", "text": "x"}]),
            assistant([{"type": "thinking", "thinking": "own", "signature": "abc"}, {"type": "text", "text": "x"}]),
        ),
        (
            assistant([{"type": "thinking", "thinking": LINE, "signature": "abc"}, {"type": "text", "text": "x"}]),
            assistant([{"type": "text", "text": "x"}]),
        ),
        # S4: texts that are nothing else
        (assistant([{"type": "text", "text": LINE + READY}, {"type": "text", "text": "x"}]), assistant([{"type": "text", "text": "x"}])),
        (assistant([{"type": "output_text", "text": LINE}, {"type": "output_text", "text": "x"}]), assistant([{"type": "output_text", "text": "x"}])),
        (assistant(LINE, tool_calls=[{"id": "1"}]), assistant("", tool_calls=[{"id": "1"}])),
        # S5: between tags
        (assistant(f"<think>\n{LINE}{READY}</think>\n\nhello"), assistant("hello")),
        (assistant(f"<think>{LINE}own\n</think>\nhello"), assistant("<think>own\n</think>\nhello")),
        (user(f"<assistant_thinking>{LINE}</assistant_thinking> go on"), user("go on")),
        (user([{"type": "text", "text": f"<think>{LINE}</think>go on"}]), user([{"type": "text", "text": "go on"}])),
    ],
)  # fmt: skip
def test_what_clients_send_back_is_taken_out(sent: dict[str, Any], meant: dict[str, Any]) -> None:
    assert stripped(user("hi"), sent, user("more")) == [user("hi"), meant, user("more")]


@pytest.mark.parametrize(
    "emptied",
    [
        assistant(LINE),
        assistant([{"type": "text", "text": LINE}]),
        assistant(None, reasoning_content=LINE),
        assistant("", reasoning=LINE),
        assistant([{"type": "thinking", "thinking": LINE, "signature": "swap-progress-v1"}]),
        assistant(f"<think>{LINE}</think>"),
    ],
)
def test_a_message_that_is_emptied_goes(emptied: dict[str, Any]) -> None:
    assert stripped(user("hi"), emptied) == [user("hi")]


@pytest.mark.parametrize("kind", ["reasoning", "item_reference"])
def test_items_of_ours_go_and_others_stay(kind: str) -> None:
    other = {"type": kind, "id": "rs_1", "summary": [{"type": "summary_text", "text": LINE}]}
    ours = {"type": kind, "id": "rs_swapprogress_0123", "summary": []}
    assert stripped(user("hi"), ours, other, key="input") == [user("hi"), other]


@pytest.mark.parametrize(
    "kept",
    [
        user(f"what does this mean?\n{LINE}"),
        user(LINE),
        user([{"type": "text", "text": LINE}]),
        {"role": "tool", "tool_call_id": "1", "content": LINE},
        {"role": "system", "content": LINE},
        user([{"type": "tool_result", "content": LINE}]),
        assistant(f"the log says\n{LINE}"),
        assistant(f"<think>I saw {MARK}x</think>y"),
        assistant(reasoning_content=f"it wrote {MARK}once"),
        assistant(tool_calls=[{"function": {"arguments": LINE}}]),
        assistant(""),
        {"type": "function_call_output", "output": LINE},
    ],
)
def test_what_somebody_quotes_stays(kept: dict[str, Any]) -> None:
    assert stripped(kept) == [kept]


def test_a_body_without_marks_is_the_same_object() -> None:
    body = b'{"model": "m", "messages" : [ {"role":"user","content":"<think>a</think>"} ]}'
    assert stripper.strip(body) is body


def test_a_marker_that_json_escapes_is_found() -> None:
    odd = Stripper(['say "x\\ '])
    body = json.dumps({"messages": [assistant(reasoning='say "x\\ m: loading\nown')]}).encode()
    assert json.loads(odd.strip(body))["messages"] == [assistant(reasoning="own")]


def test_a_marker_that_was_used_before_is_known() -> None:
    both = Stripper(["(new) ", MARK])
    body = json.dumps({"messages": [assistant(reasoning=f"(new) a: b\n{LINE}own")]}).encode()
    assert json.loads(both.strip(body))["messages"] == [assistant(reasoning="own")]


@pytest.mark.parametrize(
    "body", [b"", b"no [swap-progress] json", b'["[swap-progress] "]', b"\xff[swap-progress] "]
)
def test_what_is_no_object_is_left_to_upstream(body: bytes) -> None:
    assert stripper.strip(body) is body


_TEXTS = st.lists(
    st.sampled_from([LINE, READY, "own\n", "<think>", "</think>", "\n", "x ", MARK])
).map("".join)
_VALUES = st.recursive(
    st.none() | st.integers() | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "text", "thinking", "signature", "id", "reasoning"]
            ),
            inner
            | st.sampled_from(
                ["assistant", "user", "thinking", "text", "reasoning", "rs_swapprogress_1"]
            ),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_VALUES, max_size=4), st.sampled_from(["messages", "input"]))
def test_any_history_is_stripped_once_and_for_all(items: list[Any], key: str) -> None:
    body = json.dumps({"model": "m", key: items}).encode()
    once = stripper.strip(body)
    assert json.loads(once)["model"] == "m"
    assert stripper.strip(once) == once


_LINE = re.compile(rf"^(?:{re.escape(MARK)})[^\n]*(?:\n|\Z)", re.MULTILINE)
_WRAPPED = re.compile(r"<(think|assistant_thinking)>(.*?)</\1>\s*", re.DOTALL)
_PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<assistant_thinking>", "</assistant_thinking>", "<", " ", "\n"),
        *("x", LINE, READY, MARK, LINE.rstrip()),
    ]
)


def _by_pattern(text: str) -> str:
    """What is left of a text of the user's, said in patterns, which are slow and easy to read."""

    def wrapped(match: re.Match[str]) -> str:
        rest = _LINE.sub("", match[2])
        if rest == match[2]:
            return match[0]
        return match[0].replace(match[2], rest, 1) if rest.strip() else ""

    return _WRAPPED.sub(wrapped, text)


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_texts_are_searched_as_the_patterns_say(text: str) -> None:
    wanted = _by_pattern(text)
    found = stripped(user("hi"), user(text))[1:]
    assert found == ([user(wanted)] if wanted or not text else [])
    reasoning = _LINE.sub("", text)
    wanted_message = assistant() | ({"reasoning": reasoning} if reasoning or not text else {})
    assert stripped(assistant(reasoning=text)) == [wanted_message]


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "<assistant_thinking><think>",
        "</think><think>",
        f"<think>{LINE}",
        f"<think>{LINE}</think>",
        "<think></assistant_thinking>",
        "<think></think>",
        f"<think>{LINE}</think> ",
        MARK,
        LINE,
        " ",
        "\n",
    ],
)
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    def strip(count: int) -> None:
        text = LINE + piece * count
        stripped(user(text), assistant(text, reasoning=text))

    assert_linear(strip, 4000)
