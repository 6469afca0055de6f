"""What ties one request together across programs: its id and its trace.

Source: Trace Context (W3C Recommendation), sections 3.2 and 3.3. Nothing is exported from here:
the ids go upstream, to the client and into the log and the account of the request, out of which
the supervisor's `telemetry` makes spans.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from arriero.protocol.records import TraceIds

# The fields that are read here, and that go upstream only as `Trace.upstream_lines`.
TRACE_FIELDS: Final = frozenset({b"traceparent", b"tracestate", b"x-request-id"})

# Bytes of randomness for one request: an id of a trace and an id of a span.
RANDOM_BYTES: Final = 16 + 8

_PARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)

# Flags of version 00 and of its successor that may be passed on: "sampled" and "random".
_KNOWN_FLAGS: Final = 0b11

# A trace that begins here is sampled: 0 would switch off the tracing of servers that follow the
# one who asks, and all of theirs would be missing.
_SAMPLED: Final = 0b01


_STATE: Final = re.compile(rb"[ -~\t]+")
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")


class Trace(msgspec.Struct, frozen=True):
    """How one request is called.

    Attributes:
        request_id: In ``X-Request-Id``, the log, the account: the client's, else the trace's id.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits: what happens upstream.
        upstream_lines: Header lines for the upstream, each with its line end.
        parent_id: 16 hexadecimal digits: what happens at the client; empty if it does not say.
        is_sampled: Whoever follows the trace wants to know of this, too.
    """

    request_id: str
    trace_id: str
    span_id: str
    upstream_lines: bytes
    parent_id: str = ""
    is_sampled: bool = True

    def ids(self) -> TraceIds | UnsetType:
        """Return what the record of the request says of it."""
        if not self.is_sampled:
            return UNSET
        return TraceIds(trace_id=self.trace_id, span_id=self.span_id, parent_id=self.parent_id)


def start_trace(fields: Iterable[tuple[bytes, bytes]], random: bytes) -> Trace:
    """Return how a request is called: as its client says, else in a new way.

    Args:
        fields: Those in `TRACE_FIELDS`: lower-case name and value; others are passed over. One
            that may be there only once counts as missing when it is there more often.
        random: `RANDOM_BYTES` of them, new for each request.
    """
    digits = random.hex()
    new_id, span_id = digits[:32], digits[32:48]
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        if name in TRACE_FIELDS:
            found.setdefault(name, []).append(value.strip(b" \t"))
    if not found:  # nearly always
        lines = f"traceparent: 00-{new_id}-{span_id}-{_SAMPLED:02x}\r\nX-Request-Id: {new_id}\r\n"
        return Trace(new_id, new_id, span_id, lines.encode("ascii"))
    parent = _read_parent(found.get(b"traceparent", []))
    trace_id, parent_id, flags = parent or (new_id, "", _SAMPLED)
    upstream_lines = f"traceparent: 00-{trace_id}-{span_id}-{flags:02x}\r\n".encode()
    state = b",".join(value for value in found.get(b"tracestate", ()) if value)
    if parent is not None and _STATE.fullmatch(state):
        upstream_lines += b"tracestate: %b\r\n" % state
    request_id = _read_request_id(found.get(b"x-request-id", [])) or trace_id
    upstream_lines += b"X-Request-Id: %b\r\n" % request_id.encode()
    is_sampled = bool(flags & _SAMPLED)
    return Trace(request_id, trace_id, span_id, upstream_lines, parent_id, is_sampled)


def _read_parent(values: list[bytes]) -> tuple[str, str, int] | None:
    """Return the id of the trace, that of the span in it, and its flags."""
    if len(values) != 1 or (match := _PARENT.fullmatch(values[0])) is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"00" and more is not None:
        return None  # only later versions may have more
    return trace_id.decode(), span_id.decode(), int(flags, 16) & _KNOWN_FLAGS


def _read_request_id(values: list[bytes]) -> str | None:
    if len(values) != 1 or _REQUEST_ID.fullmatch(values[0]) is None:
        return None
    return values[0].decode()
