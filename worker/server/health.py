"""The answer to ``/health``, given at the door: it comes while all else waits."""

from typing import Final

from arriero.protocol.worker_config import WorkerConfig

from ..accounting.usage_headers import request_id_field
from ..http.cors import answer_fields
from ..http.request_head import RequestHead
from ..http.tracing import start_trace

CONTENT_TYPE: Final = "text/plain; charset=utf-8"
BODY: Final = "OK"

_PATHS: Final = frozenset({b"/health", b"/wol-health"})
_METHODS: Final = frozenset({b"GET", b"HEAD"})


def asks_for_health(head: RequestHead) -> bool:
    """Whether this is the answer to a request. One with a body has to be read as all others."""
    return head.path in _PATHS and head.method in _METHODS and head.length == 0


def health_answer(head: RequestHead, config: WorkerConfig, random: bytes, *, close: bool) -> bytes:
    """Return a whole HTTP answer.

    Args:
        head: Of a request that `asks_for_health`, and may ask.
        config: In force.
        random: See `start_trace`.
        close: No other request will be read from this connection.
    """
    fields = answer_fields(head.origin, config.cors)
    return b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b%b\r\n%b" % (
        CONTENT_TYPE.encode(),
        len(BODY),
        request_id_field(start_trace(head.own, random).request_id),
        b"".join(b"%b: %b\r\n" % field for field in fields),
        b"Connection: close\r\n" if close else b"",
        b"" if head.method == b"HEAD" else BODY.encode(),
    )
