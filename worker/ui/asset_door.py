"""Files of the page, given at the door: a browser asks for thirty of them at once.

On a connection that is kept, without a web framework: a tenth of the time, and a worker whose page
nobody has seen yet has them as soon as one that is warm.
"""

from typing import Final

from arriero.protocol.worker_config import WorkerConfig

from ..accounting.usage_headers import request_id_field
from ..http.cors import answer_fields
from ..http.request_head import RequestHead
from ..http.tracing import start_trace
from .assets import ASSETS, PREFIX

ASSET_PREFIX: Final = PREFIX.encode()
_METHODS: Final = frozenset({b"GET", b"HEAD"})


def asset_answer(
    head: RequestHead, config: WorkerConfig, random: bytes, *, close: bool
) -> bytes | None:
    """Return a whole HTTP answer; None if this asks for no file that there is.

    Args:
        head: Of a request that may ask.
        config: In force.
        random: See `start_trace`.
        close: No other request will be read from this connection.
    """
    if not head.path.startswith(ASSET_PREFIX) or head.method not in _METHODS or head.length != 0:
        return None
    accepted = b",".join(line.partition(b":")[2].strip() for line in head.accepts)
    path = head.path.removeprefix(ASSET_PREFIX).decode("latin-1")
    found = ASSETS.find(path, accepted.decode("latin-1"))
    if found is None:
        return None
    names = {name.lower().encode() for name, _ in found.fields}
    fields = [*((name.encode(), value.encode()) for name, value in found.fields)]
    fields += answer_fields(head.origin, config.cors, names)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n%b%b\r\n%b" % (
        b"".join(b"%b: %b\r\n" % field for field in fields),
        len(found.body),
        request_id_field(start_trace(head.own, random).request_id),
        b"Connection: close\r\n" if close else b"",
        b"" if head.method == b"HEAD" else found.body,
    )
