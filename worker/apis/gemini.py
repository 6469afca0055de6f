"""Google's Gemini: the ends of a stream that only a peer can have begun.

Source: Google's API design guide, "Errors"; Gemini API reference, "GenerateContentResponse".
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..accounting.tokens import Usage
from ..errors import RelayError, UpstreamAnsweredError
from ..http.routes import Form
from ..streams.sse_frames import EndWatcher
from .silent import SilentDialect

# Google's names by HTTP status.
_STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiDialect(SilentDialect):
    """Says only how a stream ends."""

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return the error object alone in its chunk."""
        return _chunk(gemini_error(error))

    def interrupted(self, heard: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return a chunk that ends the candidate; the counts are in each chunk before it."""
        watcher = EndWatcher(Form.GEMINI)
        watcher.look(heard)
        if watcher.seen:
            return b""
        content = {"parts": [{"text": ""}], "role": "model"}
        return _chunk({"candidates": [{"content": content, "finishReason": "STOP", "index": 0}]})


def gemini_error(error: RelayError) -> dict[str, Any]:
    """Return `error` as the object that Google's APIs send, in a body and in a frame alike.

    They have no 502: a server that went away is unavailable.
    """
    status = error.upstream_status if isinstance(error, UpstreamAnsweredError) else error.status
    code = 503 if status == 502 else status
    other = "INVALID_ARGUMENT" if 400 <= code < 500 else "INTERNAL"
    return {
        "error": {
            "code": code,
            "message": error.message,
            "status": _STATUSES.get(code, other),
        }
    }


def _chunk(value: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(value)
