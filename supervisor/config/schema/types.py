"""What the keys of a configuration take: texts, numbers, lists, mappings.

Each `Kind` reads a value, says in words what it takes, and says so as a JSON schema.
"""

import difflib
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

from ..yaml.tree import Node
from .json_schema import (
    TEXT,
    Schema,
    array,
    fixed,
    mapping,
    not_empty,
    one_of,
    or_macro,
    or_nothing,
    text_like,
)
from .macros import PER_START
from .reader import Key, Keys, Kind, Place, Wrong, read_mapping

T = TypeVar("T")

Data: TypeAlias = "str | int | float | bool | tuple[Data, ...] | Mapping[str, Data] | None"
"""What JSON can say, unchangeable."""

_UNITS_S: Final = {
    "ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3,
    "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)

_UNITS_BYTES: Final = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SIZE: Final = re.compile(r"(\d{1,9})(KiB|MiB|GiB)", re.ASCII)

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")

# How much of a value is quoted in a message.
_SHOWN: Final = 60

_YES: Final = frozenset({"y", "yes", "on"})
_NO: Final = frozenset({"n", "no", "off"})

# Stay as they are where a value is used only when a server starts, or stops.
PORT_STAYS: Final = frozenset({"PORT"})
KEY_STAYS: Final = frozenset({PER_START})
PORT_AND_KEY_STAY: Final = PORT_STAYS | KEY_STAYS
ALL_STAY: Final = PORT_AND_KEY_STAY | {"PID"}


def is_storable(text: str) -> bool:
    """Whether `text` can be handed to a program: no zero bytes, no lone surrogates."""
    return _UNSTORABLE.search(text) is None


# --- single values ------------------------------------------------------------------------------


def read_text(
    node: Node,
    place: Place,
    wanted: str = "a text",
    *,
    keep: frozenset[str] = frozenset(),
    is_secret: bool = False,
) -> str:
    """Return any single value as text: ``8`` is ``"8"``.

    Args:
        node: Where it stands.
        place: Its place.
        wanted: What should stand there.
        keep: Reserved macros that stay.
        is_secret: Nothing of it may be told.

    Raises:
        Wrong: It is none, or cannot be handed to a program.
    """
    if node.value is None:  # of a list: where a key says nothing, its default holds
        raise place.wrong(node, wanted)
    found = place.scalar(node, wanted, keep=keep, is_secret=is_secret).text
    if not is_storable(found):
        # Not quoted: commands hold keys at times.
        raise Wrong(place.problem(node, "this holds a zero byte or half a character; remove it"))
    return found


def text(
    takes: str = "a text",
    holds: Callable[[str], bool] = lambda _: True,
    *,
    strip: bool = False,
    keep: frozenset[str] = frozenset(),
    pattern: str | None = None,
) -> Kind[str]:
    """Any single value, as text.

    Args:
        takes: What it takes, in words.
        holds: Says whether a text will do.
        pattern: The same for editors, as far as a regular expression can say it.
        strip: Blanks around it do not count.
        keep: Reserved macros that stay.
    """

    def read(node: Node, place: Place) -> str:
        found = read_text(node, place, takes, keep=keep)
        if strip:
            found = found.strip()
        if not holds(found):
            raise place.wrong(node, takes)
        return found

    return Kind(takes, TEXT if pattern is None else text_like(pattern, takes), read)


def read_key(node: Node, place: Place, keep: frozenset[str] = frozenset()) -> str:
    """Return a key that is sent to a server; empty: there is none. It is never told.

    Raises:
        Wrong: No header can carry it.
    """
    found = place.scalar(node, "a key", keep=keep, is_secret=True).text
    if not found.isprintable() or not found.isascii():
        message = "this key holds a character that no header can; remove it"
        raise Wrong(place.problem(node, message))
    return found


def integer(least: int, most: int, takes: str = "a whole number") -> Kind[int]:
    """A whole number within limits; 300.0 is one."""
    wanted = f"a whole number from {least} to {most}"

    def read(node: Node, place: Place) -> int:
        value = place.scalar(node, wanted).typed
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise place.wrong(node, wanted)
        return value

    schema = or_macro({"type": "integer", "minimum": least, "maximum": most})
    return Kind(takes, schema, read)


def seconds(least: int = 0) -> Kind[int]:
    """A number of seconds, up to a year, as llama-swap writes times; or a duration, as we do."""
    most = 366 * 24 * 3600
    bare = integer(least, most, "seconds")
    takes = f"a whole number from {least} to {most}, in seconds, or a duration such as 5m"

    def read(node: Node, place: Place) -> int:
        value = place.scalar(node, takes).typed
        found_s = _in_seconds(value) if isinstance(value, str) else None
        if found_s is None:
            try:
                return bare.read(node, place)
            except Wrong:
                raise place.wrong(node, takes) from None
        if not found_s.is_integer() or not least <= found_s <= most:
            raise place.wrong(node, takes)
        return int(found_s)

    as_duration = text_like(f"^(?:{_DURATION.pattern})$", takes, ["string"])
    return Kind("seconds", {"anyOf": [bare.schema, as_duration]}, read)


def _in_seconds(text: str) -> float | None:
    """Return how long ``1m30s`` is; None if that is no duration with units."""
    if len(text) > _SHOWN or not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _read_boolean(node: Node, place: Place) -> bool:
    value = place.scalar(node, "true or false").typed
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _YES | _NO:
        return value.lower() in _YES
    raise place.wrong(node, "true or false")


# The words yes, no, on and off are truth values in llama-swap.
BOOLEAN: Final = Kind(
    "true or false",
    one_of(["true", "false"], sorted(_YES | _NO), "true or false"),
    _read_boolean,
)


def choice(
    meanings: Mapping[str, str], also: Mapping[str, str] = MappingProxyType({})
) -> Kind[str]:
    """One of some words, in any case.

    Args:
        meanings: What each word means; these are named in messages.
        also: Words that are understood, too.
    """
    takes = f"one of {', '.join(meanings)}"
    all_meanings = {**also, **meanings}

    def read(node: Node, place: Place) -> str:
        word = place.scalar(node, takes).text.strip().lower()
        if word in all_meanings:
            return all_meanings[word]
        close = difflib.get_close_matches(word[:_SHOWN], meanings, 1)
        raise place.wrong(node, takes + (f" (did you mean {close[0]!r}?)" if close else ""))

    return Kind(takes, one_of(meanings, also, takes), read)


def duration(least_s: float, most_s: float, *, or_none: bool = False) -> Kind[float]:
    """Seconds from ``250ms``, ``1.5s``, ``1m30s`` or 0. Another bare number has no unit.

    Args:
        least_s: Shortest.
        most_s: Longest.
        or_none: 0 is taken as well, and means never.
    """
    takes = f"a duration from {least_s:g}s to {most_s:g}s, such as 250ms or 1m30s"
    if or_none:
        takes = f"0 or {takes}"

    def read(node: Node, place: Place) -> float:
        value = place.scalar(node, takes).typed
        found = _in_seconds(value) if isinstance(value, str) else None
        if value == 0 and not isinstance(value, bool):
            found = 0.0
        if found == 0 and or_none:
            return found
        if found is None or not least_s <= found <= most_s:
            raise place.wrong(node, takes)
        return found

    schema = text_like(f"^(?:{_DURATION.pattern})$", takes, ["string"])
    if least_s == 0 or or_none:
        schema = {"anyOf": [schema, {"const": 0}]}
    return Kind(takes, schema, read)


def size(least_bytes: int, most_bytes: int) -> Kind[int]:
    """Bytes from ``512KiB``, ``64MiB`` or ``1GiB``. A bare number has no unit.

    Args:
        least_bytes: Smallest.
        most_bytes: Largest.
    """
    takes = f"a size from {size_text(least_bytes)} to {size_text(most_bytes)}, such as 64MiB"

    def read(node: Node, place: Place) -> int:
        value = place.scalar(node, takes).typed
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise place.wrong(node, takes)
        found = int(match[1]) * _UNITS_BYTES[match[2]]
        if not least_bytes <= found <= most_bytes:
            raise place.wrong(node, takes)
        return found

    return Kind(takes, text_like(f"^(?:{_SIZE.pattern})$", takes, ["string"]), read)


def size_text(count: int) -> str:
    """Return so many bytes as they are written; they are whole KiB."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB") if count % _UNITS_BYTES[unit] == 0)
    return f"{count // _UNITS_BYTES[unit]}{unit}"


# --- values of values ---------------------------------------------------------------------------


def listed(kind: Kind[T], takes: str) -> Kind[tuple[tuple[T, Node], ...]]:
    """A list; each item with the place where it stands."""

    def read(node: Node, place: Place) -> tuple[tuple[T, Node], ...]:
        if not isinstance(node.value, list):
            # Not quoted: it may be a key.
            raise Wrong(place.problem(node, f"this is not a list; write a list of {takes}"))
        found = []
        for number, item in enumerate(node.value):
            if (value := place.under(str(number)).attempt(kind.read, item)) is not None:
                found.append((value, item))
        return tuple(found)

    return Kind(f"a list of {takes}", array(kind.schema), read, each=kind)


def section(keys: Sequence[Key[Any]], takes: str = "a mapping of keys") -> Kind[dict[str, Any]]:
    """A mapping with fixed keys."""
    ready = Keys(keys)

    def read(node: Node, place: Place) -> dict[str, Any]:
        return read_mapping(node, place, ready)

    properties = {name: _property(key, name) for name, key in ready.known.items()}
    required = [key.name for key in keys if key.required]
    schema = fixed(properties, required)
    if not required:
        schema = or_nothing(schema)
    return Kind(takes, schema, read, keys=tuple(keys))


def _property(key: Key[Any], name: str) -> Schema:
    """Return the schema of `key` under `name`, which may be its other spelling."""
    said = key.meaning if key.without is None else f"{key.meaning} Left out: {key.without}."
    takes = not_empty(key.kind.schema) if key.required else or_nothing(key.kind.schema)
    schema = {**takes, "description": said}
    if (default := default_of(key)) is not None:
        schema["default"] = default
    if (instead := key.name if name == key.other else key.instead) is not None:
        schema |= {"deprecated": True, "deprecationMessage": f"write {instead} instead"}
    return schema


def default_of(key: Key[Any]) -> object:
    """Return the default of `key` as it would be written; None where nothing could be."""
    if key.written is not None:
        return key.written
    if key.required or key.without is not None:
        return None
    if key.default == ():
        return []
    return key.default if isinstance(key.default, str | int | float) else None


def defaults(keys: Sequence[Key[Any]]) -> dict[str, Any]:
    """Return what a section with `keys` is when it is left out."""
    return {key.name: key.default for key in keys}


def nested(name: str, keys: Sequence[Key[Any]], meaning: str) -> Key[dict[str, Any]]:
    """Return the definition of a key that holds further keys."""
    return Key(name, section(keys), defaults(keys), meaning)


def named(
    kind: Kind[T], takes: str, *, expand_names: bool = False, names: str | None = None
) -> Kind[dict[str, T]]:
    """A mapping with names of the user's choice.

    Args:
        kind: What each of them takes.
        takes: What it takes, in words.
        expand_names: Macros in the names are replaced; elsewhere they are left alone.
        names: For editors: a pattern of the names.
    """

    def read(node: Node, place: Place) -> dict[str, T]:
        if not isinstance(node.value, dict):
            raise place.wrong(node, takes)
        found: dict[str, T] = {}
        for written, key, value in node.items():
            name = place.attempt(read_text, key) if expand_names else written
            if name is None:
                continue
            if name in found:
                place.note(key, f"{name[:_SHOWN]!r} stands here a second time, by its macros")
                continue
            read_value = place.under(name).attempt(kind.read, value)
            if read_value is not None:
                found[name] = read_value
        return found

    return Kind(takes, mapping(kind.schema, names), read, each=kind)


def _read_data(node: Node, place: Place) -> Data:
    match node.value:
        case list(members):
            return tuple(
                place.under(str(number)).attempt(_read_data, item)
                for number, item in enumerate(members)
            )
        case dict():
            return MappingProxyType(
                {
                    name: place.under(name).attempt(_read_data, value)
                    for name, _, value in node.items()
                }
            )
        case None:
            return None
        case _:
            value = place.scalar(node, "a value").typed
            if isinstance(value, float) and not math.isfinite(value):
                raise Wrong(place.problem(node, f"JSON has no number {node.text}; write another"))
            if isinstance(value, str) and not is_storable(value):
                raise Wrong(place.problem(node, "this holds half a character; remove it"))
            return value


DATA: Final[Kind[Data]] = Kind("any value", {}, _read_data)


def _read_object(node: Node, place: Place) -> Data:
    if node.value is None:
        return MappingProxyType({})
    if not isinstance(node.value, dict):
        raise place.wrong(node, "a mapping of names to values")
    return _read_data(node, place)


OBJECT: Final[Kind[Data]] = Kind(
    "a mapping of names to values", or_nothing({"type": "object"}), _read_object
)


def pattern_of(node: Node, place: Place) -> str:
    """Return a regular expression that Python can use.

    Raises:
        Wrong: It cannot.
    """
    found = read_text(node, place, "a regular expression")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of [[:alpha:]], which is something else in Python
            re.compile(found)
    except (re.error, RecursionError, OverflowError, Warning) as exc:
        raise Wrong(
            place.problem(node, f"this is no regular expression: {exc}; found {found[:_SHOWN]!r}")
        ) from exc
    return found


# Without `"format": "regex"`, which is JavaScript's.
PATTERN: Final = Kind("a regular expression", TEXT, pattern_of)
