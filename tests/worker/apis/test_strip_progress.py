# ruff: noqa: E501  one message, one line
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import DEFAULT_MARKER, FORMER_MARKERS
from arriero.worker.apis.strip_progress import Stripper
from arriero.worker.json.spans import find_members, finish
from tests.worker.growth import assert_linear

MARK = DEFAULT_MARKER
LINE = f"{MARK}qwen: loading 42% (12 s)\n"
FORMER = f"{FORMER_MARKERS[0]}qwen: ready after 31.4 s\n"
READY = f"{MARK}qwen: ready after 31.4 s\n"
stripper = Stripper([MARK, *FORMER_MARKERS])


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
        # bare, and with whatever a client puts before
        (assistant(f"{LINE}{READY}hello"), assistant("hello")),
        (assistant(f"{LINE}{READY}\n\nhello"), assistant("hello")),
        (assistant(f"hello\n{LINE}more"), assistant("hello\nmore")),
        (assistant(f"> {LINE}> {READY}\nhello"), assistant("hello")),
        (assistant(f"> {LINE}> {READY}>\n> own\n\nhello"), assistant("> own\n\nhello")),
        (assistant(f"> > {LINE}hello"), assistant("hello")),
        (assistant(f"&gt; {LINE}&gt; own"), assistant("&gt; own")),
        (assistant(f"  * *{READY.rstrip()}*\nhello"), assistant("hello")),
        (assistant(f"```\n{LINE}```\nhello"), assistant("hello")),
        (assistant(f"~~~text\n{LINE}own\n~~~\nhello"), assistant("~~~text\nown\n~~~\nhello")),
        (assistant(LINE.replace("\n", "\r\n") + "hello\r\n"), assistant("hello\r\n")),
        (assistant(LINE.replace("\n", "\r") + "hello"), assistant("hello")),
        (assistant(LINE.replace("\n", "<br>") + READY.replace("\n", "<br/>\n") + "hello"), assistant("hello")),
        (assistant(f"<think>{READY.rstrip()}</think>hello"), assistant("hello")),
        (assistant(f"<think>\n{LINE}"), assistant("<think>\n")),  # it was cut there
        # in other tags
        (assistant(f'<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 s</summary>\n> {LINE}> {READY}</details>\n\nhello'), assistant("hello")),
        (assistant(f'<details type="reasoning">\n<summary>Thought for 3 s</summary>\n> {LINE}> own\n</details>\nhello'), assistant('<details type="reasoning">\n<summary>Thought for 3 s</summary>\n> own\n</details>\nhello')),
        (assistant(f"<Thinking>{LINE}</THINKING>hello"), assistant("hello")),
        (assistant(f"<reasoning><thought>{LINE}</thought>\n</reasoning>hello"), assistant("hello")),
        (assistant(f"[THINK]{LINE}[/THINK]hello"), assistant("hello")),
        (assistant(f"<thinking a='b'>{LINE}own</thinking>"), assistant("<thinking a='b'>own</thinking>")),
        # the user's: in tags, quotes and fences
        (user(f"<details>\n{LINE}</details>\ngo on"), user("go on")),
        (user(f"you said\n> {LINE}> this\n"), user("you said\n> this\n")),
        (user(f"see:\n```\n{LINE}x\n```\n{LINE}"), user(f"see:\n```\nx\n```\n{LINE}")),
        (user(f"see:\n````\n```\n{LINE}x"), user("see:\n````\n```\nx")),
        (user(f"<a><b>x</a>{LINE}</b>{LINE}"), user(f"<a><b>x</a></b>{LINE}")),
        (user(f"<think>x<think>{LINE}y</think>"), user("<think>x<think>y</think>")),
        (user(f"<think><think>x</think>{LINE}y</think>"), user("<think><think>x</think>y</think>")),
        # other members, and other APIs
        (assistant(reasoning_details=[{"type": "reasoning.text", "text": LINE}]), assistant()),
        (assistant(reasoning_details=[{"type": "reasoning.summary", "summary": LINE + "own"}]), assistant(reasoning_details=[{"type": "reasoning.summary", "summary": "own"}])),
        (assistant(thinking_blocks=[{"type": "thinking", "thinking": LINE, "signature": "swap-progress-v1"}]), assistant()),
        (assistant([{"text": "x"}, {"reasoningContent": {"reasoningText": {"text": LINE}}}]), assistant([{"text": "x"}])),
        ({"role": "model", "parts": [{"text": LINE, "thought": True}, {"text": "x"}]}, {"role": "model", "parts": [{"text": "x"}]}),
        ({"role": "tool", "tool_call_id": "1", "content": f"<think>{LINE}</think>"}, {"role": "tool", "tool_call_id": "1", "content": ""}),
        ({"role": "system", "content": f"so far:\n> {LINE}> x"}, {"role": "system", "content": "so far:\n> x"}),
        (user([{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": f"<a>{LINE}</a>x"}]}]), user([{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "x"}]}])),
        # under the former marker
        (assistant(FORMER + "hello", reasoning_content=FORMER), assistant("hello")),
        (assistant(f"<think>{FORMER}{LINE}</think>hello"), assistant("hello")),
        (user(f"> {FORMER}hello"), user("hello")),
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
    other = {"type": kind, "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}]}
    ours = {"type": kind, "id": "rs_swapprogress_0123", "summary": []}
    assert stripped(user("hi"), ours, other, key="input") == [user("hi"), other]


def test_summaries_of_reasoning_are_read() -> None:
    def item(*texts: str, **more: str) -> dict[str, Any]:
        parts = [{"type": "summary_text", "text": text} for text in texts]
        return {"type": "reasoning", "id": "rs_1", "summary": parts} | more

    sent = [item(LINE), item(LINE, "own"), item(LINE + "own"), item(LINE, encrypted_content="x")]
    meant = [item("own"), item("own"), item(encrypted_content="x")]
    assert stripped(*sent, key="input") == meant


@pytest.mark.parametrize("name", ["system", "instructions", "prompt", "input"])
def test_texts_beside_histories_are_read(name: str) -> None:
    body = json.dumps({name: f"x\n{LINE}<think>{LINE}</think>y"}).encode()
    wanted = {name: f"x\n{LINE}y"}
    assert json.loads(stripper.strip(body)) == wanted
    assert json.loads(finish(stripper.strip_large(body, finish(find_members(body))))) == wanted


def test_texts_that_are_embedded_stay() -> None:
    body = json.dumps({"input": [f"<think>{LINE}</think>"]}).encode()
    assert stripper.strip(body) is body


@pytest.mark.parametrize(
    "kept",
    [
        user(f"what does this mean?\n{LINE}"),
        user(LINE),
        user([{"type": "text", "text": LINE}]),
        {"role": "tool", "tool_call_id": "1", "content": LINE},
        {"role": "system", "content": LINE},
        user([{"type": "tool_result", "content": LINE}]),
        user("swap-progress: is a nice feature"),
        user("[swap-progress] is a nice feature"),
        user(f"it said: <b>x</b>\n{LINE}<i>y</i>"),
        user(f"a > {LINE}"),
        user(f"<think>{LINE}"),
        user(f"- {LINE}"),
        {"role": "tool", "tool_call_id": "1", "content": f"x\n{LINE}"},
        {"type": "function_call", "call_id": "1", "arguments": LINE},
        assistant([{"type": "tool_use", "id": "1", "name": "x", "input": {"text": LINE}}]),
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


@pytest.mark.parametrize("marker", [MARK, "<progress> ", "a/b ", "(&&) "])
@pytest.mark.parametrize(
    "escape",
    [
        str,
        lambda it: it.replace("/", "\\/"),
        lambda it: _escaped(it, "x"),
        lambda it: _escaped(it, "X"),
    ],
)
def test_a_marker_is_found_however_its_json_was_written(marker: str, escape: Any) -> None:
    body = escape(json.dumps({"messages": [assistant(reasoning=f"{marker}m: loading\nown")]}))
    clean = Stripper([marker]).strip(body.encode())
    assert json.loads(clean)["messages"] == [assistant(reasoning="own")]


def _escaped(text: str, form: str) -> str:
    return "".join(f"\\u{ord(char):04{form}}" if char in "<>&()" else char for char in text)


def test_half_a_character_does_not_hide_a_line() -> None:
    body = json.dumps({"messages": [assistant(f"{LINE}cut \ud83d")]}).encode()
    assert json.loads(stripper.strip(body)) == {"messages": [assistant("cut \ud83d")]}


def test_a_marker_that_was_used_before_is_known() -> None:
    both = Stripper(["(new) ", MARK])
    body = json.dumps({"messages": [assistant(reasoning=f"(new) a: b\n{LINE}own")]}).encode()
    assert json.loads(both.strip(body))["messages"] == [assistant(reasoning="own")]


@pytest.mark.parametrize(
    "body", [b"", b"no swap-progress: json", b'["swap-progress: "]', b"\xffswap-progress: "]
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


_NAMES = ("think", "details", "a", "THINK")
_PIECES = st.sampled_from(
    [
        *(f"<{name}>" for name in _NAMES),
        *(f"</{name}>" for name in _NAMES),
        *(
            '<details type="reasoning" done="true">',
            "<summary>Thought for 3 s</summary>",
            "[q]",
            "[/q]",
        ),
        *(
            "<",
            ">",
            "> ",
            "&gt; ",
            " ",
            "\n",
            "\r\n",
            "\r",
            "x",
            "* ",
            "```\n",
            "~~~\n",
            "`",
            "<br>",
        ),
        *(LINE, READY, FORMER, MARK, LINE.rstrip(), LINE.replace("\n", "\r\n")),
    ]
)
_BEGINNING = re.compile(
    r"(?:^|[\n\r]|<[^<>\n]*>|\])(?:[ \t>*_`-]|&gt;)*(?:swap-progress: |\[swap-progress\] )"
)


@given(
    st.lists(_PIECES, max_size=14).map("".join), st.sampled_from(["content", "text", "reasoning"])
)
def test_no_line_is_left_in_a_turn_of_the_model(text: str, where: str) -> None:
    content = [{"type": "text", "text": text}] if where == "text" else text
    message = assistant("x", reasoning=text) if where == "reasoning" else assistant(content)
    for left in stripped(message):
        for value in (left["content"], left.get("reasoning", "")):
            shown = value[0]["text"] if isinstance(value, list) and value else value
            assert not shown or not _BEGINNING.search(shown), shown


_WITHOUT = st.lists(_PIECES.filter(lambda it: "swap-progress" not in it), max_size=10).map("".join)


@given(_WITHOUT, _WITHOUT, st.sampled_from(["<think>", '<a b="c">', "<A>\n<b>"]))
def test_lines_are_all_that_goes(before: str, inside: str, opening: str) -> None:
    """What else is there stays, byte for byte: between whatever it stands."""
    ends = "".join(f"</{name}>" for name in reversed(re.findall(r"<(\w+)", opening)))
    text = f"{before}\nx{opening}own\n{{}}{inside}y{ends}z"
    for role in ("user", "assistant"):
        message = {"role": role, "content": text.format(LINE + READY)}
        assert stripped(message) == [{"role": role, "content": text.format("")}]


@given(st.lists(_PIECES, max_size=14).map("".join))
def test_no_line_is_left_between_tags_of_a_user(text: str) -> None:
    found = stripped(user(f"<x>{text}</x>"))
    assert not found or not _BEGINNING.search(found[0]["content"])


@given(_WITHOUT)
def test_texts_without_a_marker_are_not_even_parsed(text: str) -> None:
    for message in (user(text), assistant(text, reasoning=text)):
        body = json.dumps({"messages": [message]}).encode()
        assert stripper.strip(body) is body


@pytest.mark.nightly
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
        "<a>",
        "</a>",
        "<a",
        "<a [b ",
        "[a]",
        "> ",
        ">\n",
        "&gt;",
        f"> {LINE}>\n",
        f"<a><b>{LINE}</b></a>",
        f"<a><b>{LINE}</a></b>",
        f"x {MARK}",
        f"<a>{LINE}<summary>x</summary>",
        "```\n",
        f"~~~\n{LINE}",
        "--- ",
        "\r",
    ],
)
def test_no_text_takes_longer_than_its_length_allows(piece: str) -> None:
    def strip(count: int) -> None:
        for text in (LINE + piece * count, piece * count + LINE, _nested(piece, count)):
            stripped(user(text), assistant(text, reasoning=text))

    assert_linear(strip, 1000)


def _nested(piece: str, count: int) -> str:
    names = re.findall(r"<(\w+)", piece)
    return piece * count + LINE + "".join(f"</{name}>" for name in reversed(names)) * count


def test_a_marker_of_signs_takes_no_longer() -> None:
    odd = Stripper(["--- "])

    def strip(count: int) -> None:
        body = json.dumps({"messages": [assistant("x" + "--- " * count)]}).encode()
        assert odd.strip(body) is body

    assert_linear(strip, 4000)
