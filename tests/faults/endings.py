"""How the answer to one client ended. Deciding: bytes and how they stopped -> one word.

The promise to clients is exactly one of: the whole answer, an error in the shape of its API, or an
unclean close that no client takes for an end. Everything else has a word here as well, so that it
is seen.
"""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Ending(Enum):
    """What a client got in the end. The value is the word in the report."""

    WHOLE = "whole"  # all that the model said
    ERROR = "error"  # an error as its API has them: a status and an object, or a last frame
    CUT = "cut"  # the connection ended before the HTTP message did, as every client notices
    HANG = "hang"  # nothing ended
    SILENT = "silent"  # a clean end of an answer that is not whole: the client takes it for whole
    ODD = "odd"  # an answer that is neither whole nor an error as the API has them


class Stop(Enum):
    """Why a client read no further."""

    END = "the HTTP message is complete"
    CUT = "closed or reset before that"
    GARBAGE = "what came is not HTTP"
    TIMEOUT = "nothing for too long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that one client read.

    Attributes:
        status: None if there was no head.
        content_type: As in the head.
        body: Without the transfer coding.
        stop: Why it ended.
    """

    status: int | None = None
    content_type: str = ""
    body: bytes = b""
    stop: Stop


def judge(answer: Answer, wanted: str | None) -> Ending:
    """Say how `answer` ended.

    Args:
        answer: What was read.
        wanted: The whole text; None if nobody can know it, then the model's own end has to do.
    """
    stream = answer.content_type.startswith("text/event-stream")
    match answer.stop:
        case Stop.TIMEOUT:
            return Ending.HANG
        case Stop.GARBAGE:
            return Ending.ODD
        case Stop.CUT:
            # Who has read the error frame raises it; what follows does not matter any more.
            told = stream and any(is_error(event) for event in events(answer.body))
            return Ending.ERROR if told else Ending.CUT
        case Stop.END:
            pass
    if answer.status is None:
        return Ending.ODD
    if answer.status >= 400:
        return Ending.ERROR if is_error(as_json(answer.body)) else Ending.ODD
    if answer.status != 200:
        return Ending.ODD
    return judge_stream(answer.body, wanted) if stream else judge_object(answer.body, wanted)


def judge_stream(body: bytes, wanted: str | None) -> Ending:
    """The same for a stream whose HTTP message is complete."""
    found = events(body)
    if any(is_error(event) for event in found):
        return Ending.ERROR
    choices = [one for event in found for one in event.get("choices", [])]
    text = "".join(one["delta"].get("content") or "" for one in choices)
    finished = any(one.get("finish_reason") for one in choices)
    done = last_data(body) == b"[DONE]"
    whole = finished and done and wanted in (None, text)
    return Ending.WHOLE if whole else Ending.SILENT


def judge_object(body: bytes, wanted: str | None) -> Ending:
    """The same for an object in a complete HTTP message."""
    found = as_json(body)
    if is_error(found):
        return Ending.ODD  # an error with the status of success
    try:
        text = found["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return Ending.SILENT
    return Ending.WHOLE if wanted in (None, text) else Ending.SILENT


def is_error(found: Any) -> bool:
    """Whether this is an error object of OpenAI's API."""
    error = found.get("error") if isinstance(found, dict) else None
    return isinstance(error, dict) and isinstance(error.get("message"), str) and "type" in error


def events(body: bytes) -> list[dict[str, Any]]:
    """The objects of a stream of events; the last frame counts only if it is whole."""
    frames = body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
    lines = [line for frame in frames for line in frame.split(b"\n")]
    found = (as_json(line[5:]) for line in lines if line.startswith(b"data:"))
    return [one for one in found if isinstance(one, dict)]


def last_data(body: bytes) -> bytes:
    """The last data of a stream."""
    lines = [line for line in body.splitlines() if line.startswith(b"data:")]
    return lines[-1][5:].strip() if lines else b""


def as_json(data: bytes) -> Any:
    """What `data` says, or None."""
    try:
        return json.loads(data)
    except ValueError:
        return None
