"""The keys that say how requests are passed on: limits, header fields, trailers."""

import re
from typing import Any, Final

from arriero.protocol.worker_config import HeaderRules

from ..yaml.tree import Node
from .json_schema import TEXT, text_like
from .reader import Key, Kind, Place, Wrong
from .types import (
    BOOLEAN,
    choice,
    duration,
    listed,
    named,
    nested,
    read_text,
    size,
    text,
)


def _is_marker(found: str) -> bool:
    return 4 <= len(found) <= 32 and found.endswith(" ") and all(" " <= c <= "~" for c in found)


MARKER: Final = text(
    "4 to 32 printable ASCII characters that end with a blank",
    _is_marker,
    pattern="^[ -~]{3,31} $",
)

# --- header fields ------------------------------------------------------------------------------

# Source: RFC 9110, section 5.6.2.
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}"  # noqa: S105  no secret, a pattern
_VALUE: Final = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")

# Whose meaning ends with the connection, or that say where a message goes or how long it is.
# Sources: RFC 9110, sections 7.2, 7.6.1, 8.6 and 6.6.2; RFC 9112, section 6.1.
_OWN: Final = {
    **dict.fromkeys(
        (
            "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
            "http2-settings", "proxy-authenticate", "proxy-authorization",
        ),
        "it belongs to one connection",
    ),
    "content-length": "it says how long a body is",
    "host": "it is that of the server that is asked",
    "trailer": "it names the trailers, which arriero writes",
    "expect": "arriero answers it",
}  # fmt: skip


def _name_problem(name: str) -> str | None:
    """Return why the field `name` cannot be changed; None if it can."""
    if re.fullmatch(_TOKEN, name) is None:
        return f"{name[:60]!r} cannot be the name of a header field; write one such as X-Team"
    if why := _OWN.get(name.lower()):
        return f"{name} cannot be changed: {why}; leave it out"
    return None


def _name(node: Node, place: Place) -> str:
    found = read_text(node, place, "the name of a header field")
    if problem := _name_problem(found):
        raise Wrong(place.problem(node, problem))
    return found


_REMOVE: Final = listed(
    Kind("a name", text_like(f"^{_TOKEN}$", "the name of a header field"), _name),
    "names of header fields",
)


def _value(node: Node, place: Place) -> str:
    """A value is never shown in a message: many are keys."""
    found = read_text(node, place, "a text", is_secret=True)
    if not _VALUE.fullmatch(found):
        message = "this holds a character that no header can, or a blank at an end; remove it"
        raise Wrong(place.problem(node, message))
    return found


_SET_BY_NAME: Final = named(
    Kind("a text", TEXT, _value), "a mapping of names to values", names=f"^{_TOKEN}$"
)


def _set(node: Node, place: Place) -> tuple[tuple[str, str], ...]:
    found = _SET_BY_NAME.read(node, place)
    seen: set[str] = set()
    for name, key, _ in node.items():
        problem = _name_problem(name)
        if problem is None and name.lower() in seen:
            problem = f"{name[:60]!r} stands here a second time: fields have no case"
        if problem is not None:
            place.under(name).note(key, problem)
        seen.add(name.lower())
    return tuple(found.items())


_SET: Final = Kind(_SET_BY_NAME.takes, _SET_BY_NAME.schema, _set)


def _rules(field: str, meaning: str) -> tuple[Key[Any], ...]:
    return (
        Key(
            "set",
            _SET,
            (),
            f"Fields that {meaning} gets, after the removing; one that is there is replaced.",
            acts="0.1",
            field=field,
            without="none",
        ),
        Key("remove", _REMOVE, (), f"Fields that {meaning} loses.", acts="0.1", field=field),
    )


_HEADER_KEYS: Final = (
    nested("request", _rules("request_headers", "a request"), "On the way to a server."),
    nested("response", _rules("response_headers", "an answer"), "On the way to a client."),
)


def header_rules(found: dict[str, Any]) -> HeaderRules:
    """Return the rules that a section of `headers` gives."""
    return HeaderRules(remove=tuple(name for name, _ in found["remove"]), set=found["set"])


# --- the keys -----------------------------------------------------------------------------------

_DAY_S: Final = 24 * 3600
_MIB: Final = 1024**2

# Those that are about progress stand beside its other keys.
OLD_MARKERS: Final = Key(
    "progressMarkersOld",
    listed(MARKER, "markers"),
    (),
    "What lines began with before the marker was changed: they are taken out of requests, too.",
    acts="0.1",
    field="old_markers",
)

STREAM_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "nonstreamHold",
        duration(1, 3600),
        240.0,
        "Longest wait of a request that does not stream, for its model; after that 503.",
        acts="0.1",
        field="nonstream_hold_s",
        written="4m",
    ),
    Key(
        "nonstreamKeepalive",
        choice({"off": "off", "whitespace": "whitespace"}, {"false": "off", "no": "off"}),
        "off",
        "whitespace: a request that does not stream gets 200 early, and a blank now and then, "
        "which JSON allows. Its errors have that status, too.",
        acts="0.1",
        field="nonstream_blanks",
    ),
    Key(
        "upstreamIdle",
        duration(1, _DAY_S),
        3600.0,
        "Longest silence of a server that answers.",
        acts="0.1",
        field="upstream_idle_s",
        written="1h",
    ),
    Key(
        "upstreamStall",
        duration(1, _DAY_S),
        3600.0,
        "The same, its comments and heartbeats not counted.",
        acts="0.1",
        field="upstream_stall_s",
        written="1h",
    ),
    Key(
        "maxRetryWait",
        duration(0, 3600),
        20.0,
        "Longest Retry-After of a server that is waited for; 0 never waits.",
        acts="0.1",
        field="max_retry_wait_s",
        written="20s",
    ),
    Key(
        "maxBody",
        size(_MIB // 16, 1024 * _MIB),
        64 * _MIB,
        "Longest body of a request; forms with files, passed on as they come, may be longer.",
        acts="0.1",
        field="max_body_bytes",
        written="64MiB",
    ),
    Key(
        "bodyMemory",
        size(_MIB, 1024 * 1024 * _MIB),
        512 * _MIB,
        "What the bodies of all requests of a worker may take together; over it 503.",
        acts="0.1",
        field="body_memory_bytes",
        written="512MiB",
    ),
    Key(
        "trailers",
        BOOLEAN,
        True,
        "Streams end with trailers: tokens, cost and outcome.",
        acts="0.1",
        field="config.trailers",
    ),
    nested("headers", _HEADER_KEYS, "Header fields that are changed on their way."),
)
