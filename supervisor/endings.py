"""Why a model's process went away, in words that may be shown to a client."""

import re

from arriero.protocol.values import ErrorInfo

from .process import Exit

# What a line of a log looks like that gives a reason. The last such line is taken: llama-server
# logs the cause first, and then what it gave up because of it, ever closer to what was attempted.
_REASON = re.compile(
    r"(?i)\b(errors?|fail(ed|ure)?|cannot|unable|invalid|not found|no such|out of memory|"
    r"unknown|unsupported|refused|denied)\b"
)

# What does not belong into an answer: paths (they tell of users and disks), and whatever follows
# an option, for it may be a key.
_PATH = re.compile(r"(?<![\w.])(~?/[^\s'\":,;)]+/)")
_OPTION = re.compile(r"(--?[a-z][\w-]*)([= ])(\S+)")

_LONGEST = 200


def load_failed(model: str, why: str) -> ErrorInfo:
    """Return what to tell whoever waited for a model that cannot be started."""
    return ErrorInfo(code="model_load_failed", message=f"model {model} failed to load: {why}")


def why_it_failed(model: str, end: Exit, *, was_ready: bool) -> ErrorInfo:
    """Return what to tell whoever waited for `model` or used it.

    Args:
        model: Its id.
        end: How its process ended.
        was_ready: Whether it served before that.
    """
    if end.asked:
        return ErrorInfo(
            code="model_unavailable", message=f"model {model} was stopped", transient=True
        )
    reason = _reason(end.tail)
    told = f"its server {end}" + (f"; its last word: {reason}" if reason else "")
    if was_ready:
        return ErrorInfo(
            code="model_unavailable", message=f"model {model} went away: {told}", transient=True
        )
    return load_failed(model, told)


def _reason(tail: tuple[str, ...]) -> str:
    """Return the line that most likely gives the reason, fit to be shown, or nothing."""
    for line in reversed(tail):
        if _REASON.search(line):
            shown = _OPTION.sub(r"\1\2...", _PATH.sub("", line))
            return "".join(char for char in shown if char.isprintable()).strip()[:_LONGEST]
    return ""
