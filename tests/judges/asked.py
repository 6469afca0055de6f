"""What a judge is asked and what it has seen: the same words for every client and every API.

The judges are processes of their own, which read an `Asked` from each line of stdin and write a
`Seen` to stdout; both are JSON with a member ``number`` besides, because answers overtake.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

Json = dict[str, Any]
Talks = dict[str, list[Any]]

# Seconds that a client waits for anything: all of them have to be waiting before a load goes on.
PATIENCE_S = 60.0

# The number of the line that says that a judge is ready; the rest of it means nothing.
READY = -1

KEY = "none"  # of the API; the clients refuse to do without

# What a model may call. One word is allowed, so that a random model says something that is valid.
CALLABLE: Json = {
    "name": "pack",
    "description": "Packs.",
    "parameters": {
        "type": "object",
        "properties": {"what": {"type": "string", "enum": ["wool"]}},
        "required": ["what"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question.

    Attributes:
        judge: Which client, and how it is used.
        url: Base of the server, without ``/v1``.
        model: Name of the model.
        headers: Sent along.
        say: The user's words; empty if only `result` is said.
        result: What the tool gave that the model called in its last answer.
        talk: Name of a talk that this judge goes on with; empty for a question without one.
        tools: Whether `CALLABLE` is offered.
        must_call: The model has to call it.
        tokens: Longest answer.
        retries: Of the client; None leaves it to the client.
        chunk_timeout_s: Longest silence that langchain allows; None leaves it to langchain.
    """

    judge: str
    url: str
    model: str
    headers: dict[str, str] = field(default_factory=dict)
    say: str = "Who drives a train of llamas?"
    result: str = ""
    talk: str = ""
    tools: bool = False
    must_call: bool = False
    tokens: int = 8
    retries: int | None = 0
    chunk_timeout_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a client has at the end.

    Attributes:
        role: Of the answer; empty where the API has none.
        text: All that is for the user.
        calls: Name and arguments of each tool that was called.
        input_tokens: As counted by the model, cached ones included.
        output_tokens: The same of the answer.
        finish: Why it ended, in the words of the API.
        told: All that came as reasoning.
        odd: What the judge itself holds against the stream.
        error: What the client raised; empty if it raised nothing.
        kind: Class of what was raised.
        status: HTTP status of what was raised; 0 if it has none.
    """

    role: str = ""
    text: str = ""
    calls: list[tuple[str, Json]] = field(default_factory=list)
    input_tokens: int = 0
    output_tokens: int = 0
    finish: str = ""
    told: str = ""
    odd: list[str] = field(default_factory=list)
    error: str = ""
    kind: str = ""
    status: int = 0

    def answer(self) -> tuple[object, ...]:
        """What has to be the same with and without a proxy."""
        calls = [(name, arguments) for name, arguments in self.calls]
        counted = (self.input_tokens, self.output_tokens)
        return (self.role, self.text, calls, *counted, self.finish, self.odd, self.error)


def raised(exc: BaseException) -> Seen:
    """Return what a client has whose call raised `exc`."""
    status = getattr(exc, "status_code", None)
    return Seen(error=str(exc) or repr(exc), kind=type(exc).__name__, status=status or 0)


def dumps(number: int, words: Asked | Seen) -> bytes:
    """Return a line; a question tells what can be called to those that are not Python, too."""
    more = {"callable": CALLABLE} if isinstance(words, Asked) else {}
    return json.dumps({"number": number} | more | asdict(words)).encode() + b"\n"


def loads_asked(line: bytes) -> tuple[int, Asked]:
    """Read a line of stdin."""
    words = json.loads(line)
    del words["callable"]
    return words.pop("number"), Asked(**words)


def loads_seen(line: bytes) -> tuple[int, Seen]:
    """Read a line of stdout."""
    words = json.loads(line)
    words["calls"] = [(name, arguments) for name, arguments in words.get("calls", [])]
    return words.pop("number"), Seen(**words)
