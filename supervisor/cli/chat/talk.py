"""One question, and its answer."""

import itertools
import json
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from arriero.protocol.read_json import UNREADABLE

from ...text.printable import clean
from ..find_sockets import CommandFailed
from .answer import AnswerReader, Thought, TurnEnd, TurnFailure, TurnUsage, Words, failure_in
from .attachments import Content
from .display import AnswerDisplay
from .exchange import ExchangeBroken, HttpAnswer, exchange
from .server import AskedServer

_PATH: Final = "/v1/chat/completions"


class TurnFailed(CommandFailed):
    """The question was refused, or its answer has no good end."""


class ChatMessage(msgspec.Struct, frozen=True):
    """A message of a chat, as the API has it."""

    role: str
    content: Content


class TalkTurn(msgspec.Struct):
    """What came of a question so far.

    Attributes:
        model: Who was asked.
        content: The answer.
        reasoning: Of the model.
        finish_reason: Why it stopped; empty: it did not come to its end.
        prompt_tokens, output_tokens: 0 where nobody has told.
        request_id: By which arriero knows it.
        took_s: Seconds from question to end.
    """

    model: str
    content: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    request_id: str = ""
    took_s: float = 0.0


def talk(
    server: AskedServer,
    turn: TalkTurn,
    messages: Sequence[ChatMessage],
    display: AnswerDisplay,
    *,
    max_tokens: int | None = None,
) -> None:
    """Ask, and show the answer as it comes. Ctrl-C ends the request.

    Args:
        server: Who is asked.
        turn: Is filled in, also when the answer does not come to its end.
        messages: All of the chat.
        display: Shows it.
        max_tokens: Of the answer; None: as the server has it.

    Raises:
        TurnFailed: It was refused, or has no good end.
        CommandFailed: The server cannot be reached, or the answer was cut off.
    """
    body: dict[str, object] = {
        "model": turn.model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    fields = [
        *server.fields(),
        ("Content-Type", "application/json"),
        ("X-Swap-Progress", "reasoning"),
        ("X-Prefill-Progress", "chunk"),
    ]
    began = time.monotonic()
    display.begin(turn.model)
    try:
        encoded = msgspec.json.encode(body)
        with exchange(server.address, "POST", _PATH, fields, encoded, tick=display.tick) as answer:
            turn.request_id = answer.fields.get("x-request-id", "")
            _read(answer, turn, display, server)
    finally:
        turn.took_s = round(time.monotonic() - began, 3)
        display.end()


def _read(answer: HttpAnswer, turn: TalkTurn, display: AnswerDisplay, server: AskedServer) -> None:
    if answer.status != 200:
        raise TurnFailed(_refusal(answer, server))
    if "event-stream" not in answer.fields.get("content-type", ""):
        raise TurnFailed(f"{server.address.url} answers with no stream: is that arriero?")
    reader = AnswerReader(turn.model)
    content: list[str] = []
    reasoning: list[str] = []
    try:
        for data in answer.pieces():
            for piece in reader.feed(data):
                match piece:
                    case Words(text=text):
                        content.append(text)
                    case Thought(text=text):
                        reasoning.append(text)
                    case TurnEnd(reason=reason):
                        turn.finish_reason = reason
                    case TurnUsage(prompt=prompt, written=written):
                        turn.prompt_tokens, turn.output_tokens = prompt, written
                    case TurnFailure(message=message):
                        raise TurnFailed(clean(message))
                    case _:
                        pass
                display.show(piece)
    except ValueError as exc:
        raise TurnFailed(f"cannot read the answer of {server.address.url}: {exc}") from exc
    finally:
        turn.content, turn.reasoning = "".join(content), "".join(reasoning)
    if not turn.finish_reason:
        raise TurnFailed("the answer was cut off before its end")


def _refusal(answer: HttpAnswer, server: AskedServer) -> str:
    body = answer.body()
    if answer.status == 401 and server.key is None:
        return "arriero asks for a key: put it into $ARRIERO_API_KEY, or give it with --key"
    try:
        failure = failure_in(msgspec.json.decode(body))
    except UNREADABLE:
        return f"{server.address.url} answers with status {answer.status}: is that arriero?"
    return clean(failure.message)


def model_names(server: AskedServer) -> list[str]:
    """Return the names that the server lists, ids before aliases; none if it does not say.

    Raises:
        ServerUnreachable: Nobody answers there.
    """
    try:
        with exchange(server.address, "GET", "/v1/models", server.fields()) as answer:
            value = json.loads(answer.body()) if answer.status == 200 else {}
    except (ExchangeBroken, ValueError, RecursionError):
        return []
    return listed_names(value)


def listed_names(value: object) -> list[str]:
    """Return the names in a list of models as it was decoded, ids before aliases."""
    models = _items(_member(value, "data"))
    aliases = (
        _items(_member(_member(_member(one, "meta"), "llamaswap"), "aliases")) for one in models
    )
    names = [*(_member(one, "id") for one in models), *itertools.chain.from_iterable(aliases)]
    return list(dict.fromkeys(name for name in names if isinstance(name, str)))


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
