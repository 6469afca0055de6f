"""A line of the log for each request, where the configuration asks for that (`logRequests`).

What is told of the answer is read off the bytes that are sent: so there is one place for all doors,
for what is refused before it reaches one, and for streams of HTTP/2, each of which is served as a
connection of its own.
"""

import logging
import re
from typing import Final

import trio

from ..connections.connection import Connection
from ..http.request_head import RequestHead

log = logging.getLogger(__name__)

# Of a path, and of a model's name: they are a stranger's words.
_MAX_CHARS: Final = 200

# Heads that come before the answer's own one (100 Continue), but for that of a WebSocket.
_INTERIM: Final = frozenset({b"100", b"102", b"103"})

_ID: Final = re.compile(rb"\r\nx-request-id: ([!-~]{1,200})\r\n", re.IGNORECASE)


class AccessLine:
    """What will be told of one request; gets what is sent to its client, as `Connection.tee`.

    Args:
        conn: Where it came from.
        head: Of the request; None if it could not be read.
    """

    def __init__(self, conn: Connection, head: RequestHead | None) -> None:
        self._conn = conn
        self._head = head
        self._began_at = self._sent_at = trio.current_time()
        self._sent_bytes = 0
        self._status = self._id = b"-"
        self._model = ""
        conn.tee = self

    def __call__(self, data: bytes) -> None:
        """Note what is sent now."""
        if self._status == b"-" and data[9:12] not in _INTERIM:
            self._status = data[9:12]
            found = _ID.search(data)
            self._id = self._id if found is None else found[1]
            account = self._conn.account
            self._model = "" if account is None else account.model or account.asked
        self._sent_bytes += len(data)
        self._sent_at = trio.current_time()

    def end(self, how: str = "whole") -> None:
        """Write the line: the request is over."""
        conn, head = self._conn, self._head
        conn.tee = None
        log.info(
            "http.request peer=%s key=%s method=%s path=%s status=%s bytes=%d ms=%.0f end=%s "
            "model=%r id=%s",
            conn.peer.decode("ascii") or "-",
            conn.caller.name or "-",
            "-" if head is None else _text(head.method),
            "-" if head is None else _text(head.path),
            self._status.decode("ascii", "replace"),
            self._sent_bytes,
            (self._sent_at - self._began_at) * 1000,
            how,
            self._model[:_MAX_CHARS],
            self._id.decode("ascii"),
        )


def _text(data: bytes) -> str:
    return data[:_MAX_CHARS].decode("ascii", "backslashreplace")
