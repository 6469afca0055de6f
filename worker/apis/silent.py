"""What peers' own APIs have in common: nothing is said but how a stream ends.

Nobody waits for a peer to load, so there is nothing to tell; and none of their streams has a frame
that says nothing. Gemini's are server-sent events, but google-genai takes any line that is not
``data: `` for JSON, comments too, and fails at it (`HttpResponse._iter_response_stream`).
"""

from ..progress.dialect import Dialect, ProgressNumbers


class SilentDialect(Dialect):
    """Says nothing before the end; the base of the others."""

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        """Return nothing."""
        return b""

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        """Return nothing."""
        return b""

    def event(self, numbers: ProgressNumbers) -> bytes:
        """Return nothing."""
        return b""

    def midway_heartbeat(self, after_id: bool) -> bytes:
        """Return nothing."""
        return b""
