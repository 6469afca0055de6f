"""Bytes of a chat stream -> what they say; what is shown; what is typed."""

import base64
import json
from pathlib import Path

import click
import pytest

from arriero.supervisor.cli.chat.answer import (
    AnswerReader,
    Piece,
    Thought,
    TurnEnd,
    TurnFailure,
    TurnUsage,
    WaitStep,
    Words,
    failure_in,
)
from arriero.supervisor.cli.chat.attachments import content_of, read_text
from arriero.supervisor.cli.chat.display import aged, harmless, status_text
from arriero.supervisor.cli.chat.exchange import read_address
from arriero.supervisor.cli.chat.words import WORDS, ChatWord, help_lines, read_word
from arriero.supervisor.cli.render.glyphs import ASCII, UNICODE


def chunk(delta: object, **more: object) -> bytes:
    value = {"id": "x", "choices": [{"delta": delta, "finish_reason": None}]} | more
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def progress(line: str, percent: int | None = None) -> bytes:
    numbers = {"phase": "loading", "percent": percent, "elapsed_s": 1.0, "queue_position": None}
    delta = {"reasoning_content": f"mark: m: {line}\n"}
    return chunk(delta, id="chatcmpl-swap-1", swap_progress=numbers)


USAGE = {"prompt_tokens": 7, "completion_tokens": 5}
STREAMS: list[tuple[bytes, list[Piece]]] = [
    (chunk({"content": "hi"}), [Words("hi")]),
    (chunk({"role": "assistant", "content": ""}), []),
    (chunk({"reasoning_content": "so"}), [Thought("so")]),
    (chunk({"reasoning": "so"}), [Thought("so")]),
    (progress("loading 42% (12 s)", 42), [WaitStep("loading 42% (12 s)", 0.42)]),
    (progress("queued (2 ahead)"), [WaitStep("queued (2 ahead)")]),
    (progress("prefill 50%", 100), [WaitStep("prefill 50%", 0.5)]),
    (progress("loading 999%"), [WaitStep("loading 999%", 1.0)]),
    (chunk({}, id="chatcmpl-swap-1"), []),
    (chunk({}, choices=[{"delta": {}, "finish_reason": "stop"}]), [TurnEnd("stop")]),
    (chunk({}, choices=[], usage=USAGE), [TurnUsage(7, 5)]),
    (
        chunk({}, prompt_progress={"total": 10, "processed": 5, "cache": 0}),
        [WaitStep("reading the prompt, 5 of 10 tokens", 0.5)],
    ),
    (chunk({}, prompt_progress={"total": 0}), []),
    (b'data: {"error":{"message":"no","code":"c"}}\n\n', [TurnFailure("no", "c")]),
    (b"data: [DONE]\n\n: comment\n\nevent: x\ndata: [1]\n\ndata: 3\n\n", []),
    (b'data: {"choices":\r\ndata: [7]}\r\n\r\n', []),
    (chunk(None, choices=[None]) + chunk([], usage=3, prompt_progress=[]), []),
]


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_stream_says_what_its_chunks_say(step: int) -> None:
    whole = b"".join(data for data, _ in STREAMS)
    reader = AnswerReader("m")
    pieces = [
        piece
        for begin in range(0, len(whole), step)
        for piece in reader.feed(whole[begin : begin + step])
    ]

    assert pieces == [piece for _, expected in STREAMS for piece in expected]


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: \xff\n\n", b"x" * (17 * 1024 * 1024)])
def test_what_is_no_stream_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^an event"):
        list(AnswerReader("m").feed(data))


def test_every_error_has_words() -> None:
    wordless: list[object] = [None, [], {}, {"error": {}}, {"error": 3}]
    for value in wordless:
        assert failure_in(value).message == "no reason was given"
    assert failure_in({"error": "it"}).message == "it"
    assert failure_in({"error": {"message": "m", "type": "t"}}) == TurnFailure("m", "t")


def test_a_caption_grows_old() -> None:
    assert aged("loading 42% (12 s, 16 s left)", 5.9) == "loading 42% (17 s, 11 s left)"
    assert aged("loading 42% (12 s, 3 s left)", 9.0) == "loading 42% (21 s, 1 s left)"
    assert aged("waiting for b to finish (1 request, 12 s)", 1.0).endswith("(1 request, 13 s)")


@pytest.mark.parametrize(
    ("step", "width", "text"),
    [
        (None, 80, "m | waiting (0 s)"),
        (WaitStep("loading 42% (1 s)", 0.42), 80, "m ████████░░░░░░░░░░░░ loading 42% (1 s)"),
        (WaitStep("loading 42% (1 s)", 0.42), 24, "m ██░░░░ loading 42% (…"),
        (WaitStep("queued (2 ahead)"), 80, "m | queued (2 ahead)"),
        (WaitStep("\x1b[2Jx\r\n", 1.0), 60, "m ███████████████ x\\x0d\\x0a"),
    ],
)
def test_what_is_waited_for_is_one_line(step: WaitStep | None, width: int, text: str) -> None:
    assert status_text("m", step, 0.0, UNICODE, width) == text
    assert status_text("é", step, 0.0, ASCII, width).isascii()


def test_an_answer_cannot_drive_the_terminal() -> None:
    assert harmless("a\tb\r\n\x1b[31mc\x1b]0;x\x07\x9b") == "a\tb\nc\\x1b]0;x\\x07\\x9b"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("hello", None),
        (" /clear", None),
        ("/clear", ChatWord("clear", "")),
        ("/model  q w ", ChatWord("model", "q w")),
        ("/quit", ChatWord("exit", "")),
        ("/?", ChatWord("help", "")),
        ("/save a.md", ChatWord("save", "a.md")),
    ],
)
def test_a_line_is_a_word_or_a_question(line: str, word: ChatWord | None) -> None:
    assert read_word(line) == word


@pytest.mark.parametrize(
    ("line", "said"),
    [("/clera", "mean 'clear'"), ("/clear now", "nothing"), ("/save", "into which"), ("/", "no /")],
)
def test_a_mistyped_word_is_explained(line: str, said: str) -> None:
    found = read_word(line)
    assert isinstance(found, str)
    assert said in found
    assert len(help_lines()) == len(WORDS) + 1


def test_a_question_takes_text_and_images_along(tmp_path: Path) -> None:
    image = tmp_path / "x.png"
    image.write_bytes(data := b"\x89PNG\r\n\x1a\n1234")
    url = "data:image/png;base64," + base64.b64encode(data).decode()

    assert content_of("a b", "\nc\n", ()) == "a b\n\nc"
    assert content_of("", "c", ()) == "c"
    assert content_of("a", "", (image,)) == [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def test_what_cannot_be_asked_is_wrong_usage(tmp_path: Path) -> None:
    text, binary = tmp_path / "t", tmp_path / "b"
    text.write_text("no image")
    binary.write_bytes(b"ab\xff")
    for images in ((text,), (tmp_path / "none",), (tmp_path,)):
        with pytest.raises(click.UsageError):
            content_of("a", "", images)
    with pytest.raises(click.UsageError, match="nothing to ask"):
        content_of(" ", "\n", ())
    with binary.open("rb") as file, pytest.raises(click.UsageError, match="byte 2"):
        read_text(file.fileno())
    assert read_text(987_654) == ""  # closed


def test_addresses_are_read() -> None:
    found = [
        (address.host, address.port, address.is_tls, address.path)
        for address in map(read_address, ("a:81", "http://a/", "https://a/b/v1", "http://[::1]:9"))
    ]

    assert found == [
        ("a", 81, False, ""),
        ("a", 80, False, ""),
        ("a", 443, True, "/b"),
        ("::1", 9, False, ""),
    ]
    for wrong in ("", "ftp://a", "http://", "http://a:x"):
        with pytest.raises(ValueError, match=r"(?i)URL|port"):
            read_address(wrong)
