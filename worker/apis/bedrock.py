"""Amazon's Bedrock, Converse: the ends of a stream that only a peer can have begun.

Source: Amazon Bedrock API reference, "ConverseStream" and "Common errors".
"""

from collections.abc import Mapping
from typing import Any, Final

from ..accounting.tokens import Usage
from ..errors import RelayError
from ..http.routes import Form
from ..streams.aws_event_stream import event_message, exception_message
from ..streams.sse_frames import EndWatcher
from .silent import SilentDialect

# The service's exceptions by HTTP status.
_EXCEPTIONS: Final[Mapping[int, str]] = {
    400: "ValidationException",
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}


class BedrockDialect(SilentDialect):
    """Says only how a stream ends."""

    def failure(self, error: RelayError, heard: bytes = b"") -> bytes:
        """Return an exception; nothing that is open needs an end."""
        return exception_message(error.message)

    def interrupted(self, heard: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        """Return the message that ends the answer."""
        watcher = EndWatcher(Form.BEDROCK)
        watcher.look(heard)
        return b"" if watcher.seen else event_message("messageStop", {"stopReason": "end_turn"})


def bedrock_error(error: RelayError) -> tuple[tuple[bytes, bytes], dict[str, Any]]:
    """Return `error` as a header field and an object, as the service sends it in a body."""
    name = _EXCEPTIONS.get(error.status)
    if name is None:
        name = "ValidationException" if 400 <= error.status < 500 else "InternalServerException"
    return (b"x-amzn-ErrorType", name.encode()), {"message": error.message}
