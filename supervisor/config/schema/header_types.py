"""What changes header fields; and markers of lines of progress."""

import re
from typing import Final

from arriero.protocol.worker_config import HeaderRules

from ..yaml.tree import Node
from .json_schema import TEXT, text_like
from .macros import escaped
from .reader import Key, Place, ValueType, Wrong
from .sections import ConfigSection, section
from .types import listed, named, read_text, text


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
    ValueType("a name", text_like(f"^{_TOKEN}$", "the name of a header field"), _name, escaped),
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
    ValueType("a text", TEXT, _value, escaped), "a mapping of names to values", names=f"^{_TOKEN}$"
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


SET_FIELDS: Final[ValueType[tuple[tuple[str, str], ...]]] = ValueType(
    _SET_BY_NAME.takes, _SET_BY_NAME.schema, _set, lambda found: _SET_BY_NAME.write(dict(found))
)


def rules(owner: str) -> ConfigSection[HeaderRules]:
    """Return the section of what is changed in the header fields of `owner`."""
    return section(
        HeaderRules,
        set=Key(
            SET_FIELDS,
            (),
            f"Fields that {owner} gets, after the removing; one that is there is replaced.",
            without="none",
        ),
        remove=Key(_REMOVE, (), f"Fields that {owner} loses."),
    )
