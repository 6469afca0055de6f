"""An error in a stream of chunks, and what a delta says, for those who tell it in other words."""

from typing import Any, Final

from ...errors import UpstreamAnsweredError
from ...streams.sse_events import SseEvent

# Members of a delta. Some servers say the same reasoning under two names, for older clients.
REASONING: Final = ("reasoning_content", "reasoning")
ANSWER: Final = ("content", "refusal")


def first_text(value: dict[str, Any], names: tuple[str, ...]) -> str:
    """Return the first non-empty text under `names`; else an empty one."""
    texts = (value.get(name) for name in names)
    return next((text for text in texts if isinstance(text, str) and text), "")


def error_in(event: SseEvent, value: dict[str, Any]) -> UpstreamAnsweredError | None:
    """Return the error in an event; None without one.

    The number is llama-server's and vLLM's ``code``, or ``status`` where `code` is a word.
    """
    error = value.get("error") or (value if event.name == "error" else None)
    if not error:
        return None
    message, status = "the model's server could not go on", 502
    if isinstance(error, str):
        message = error
    elif isinstance(error, dict):
        message = first_text(error, ("message",)) or message
        numbers = (error.get("code"), error.get("status"))
        status = next((n for n in numbers if isinstance(n, int) and 400 <= n <= 599), status)
    return UpstreamAnsweredError(message, upstream_status=status, code=f"http_{status}")
