"""What the keys of a configuration take: texts, numbers, lists, mappings.

Each `ValueType` reads and writes a value, and says what it takes, in words and as a JSON schema.
"""

import difflib
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar

from ..yaml.tree import Node, Scalar
from .json_schema import (
    TEXT,
    array,
    mapping,
    one_of,
    or_macro,
    or_nothing,
    text_like,
)
from .macros import PER_START, escaped
from .reader import SHOWN, Place, ValueType, Wrong

S = TypeVar("S")
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

_YES: Final = frozenset({"y", "yes", "on"})
_NO: Final = frozenset({"n", "no", "off"})

# What a mapping with free names is without any.
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

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
) -> ValueType[str]:
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

    schema = TEXT if pattern is None else text_like(pattern, takes)
    return ValueType(takes, schema, read, lambda found: escaped(found, keep))


FILE: Final = text("the path of a file", lambda path: bool(path.strip()), pattern=r"\S")


def key_for_server(keep: frozenset[str] = frozenset()) -> ValueType[str]:
    """A key that is sent to a server; empty: there is none. It is never told."""

    def read(node: Node, place: Place) -> str:
        found = place.scalar(node, "a key", keep=keep, is_secret=True).text
        if not found.isprintable() or not found.isascii():
            message = "this key holds a character that no header can; remove it"
            raise Wrong(place.problem(node, message))
        return found

    return ValueType("a key", TEXT, read, lambda found: escaped(found, keep))


def _whole(value: Scalar) -> int | None:
    """Return the whole number that `value` is, as 300.0 is one; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def integer(least: int, most: int, takes: str = "a whole number") -> ValueType[int]:
    """A whole number within limits."""
    wanted = f"a whole number from {least} to {most}"

    def read(node: Node, place: Place) -> int:
        found = _whole(place.scalar(node, wanted).typed)
        if found is None or not least <= found <= most:
            raise place.wrong(node, wanted)
        return found

    return ValueType(takes, or_macro({"type": "integer", "minimum": least, "maximum": most}), read)


def seconds(least_s: int = 0) -> ValueType[float]:
    """A number of seconds, up to a year, as llama-swap writes times; or a duration, as we do."""
    most_s = 366 * 24 * 3600
    takes = f"a whole number from {least_s} to {most_s}, in seconds, or a duration such as 5m"

    def read(node: Node, place: Place) -> float:
        value = place.scalar(node, takes).typed
        found_s = _in_seconds(value) if isinstance(value, str) else _whole(value)
        if found_s is None or not least_s <= found_s <= most_s or found_s % 1:
            raise place.wrong(node, takes)
        return float(found_s)

    bare = integer(least_s, most_s).schema
    as_duration = text_like(f"^(?:{_DURATION.pattern})$", takes, ["string"])
    return ValueType("seconds", {"anyOf": [bare, as_duration]}, read, int)


SECONDS: Final = seconds()


def _in_seconds(text: str) -> float | None:
    """Return how long ``1m30s`` is; None if that is no duration with units."""
    if len(text) > SHOWN or not _DURATION.fullmatch(text):
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
BOOLEAN: Final = ValueType(
    "true or false",
    one_of(["true", "false"], sorted(_YES | _NO), "true or false"),
    _read_boolean,
)


def choice(meanings: Mapping[str, T], also: Mapping[str, T] = MappingProxyType({})) -> ValueType[T]:
    """One of some words, in any case.

    Args:
        meanings: What each word means; these are named in messages.
        also: Words that are understood, too.
    """
    takes = f"one of {', '.join(meanings)}"
    all_meanings = {**also, **meanings}
    truths = {"true": True, "false": False}
    words = {meant: truths.get(word, word) for word, meant in meanings.items()}

    def read(node: Node, place: Place) -> T:
        word = place.scalar(node, takes).text.strip().lower()
        if word in all_meanings:
            return all_meanings[word]
        close = difflib.get_close_matches(word[:SHOWN], meanings, 1)
        raise place.wrong(node, takes + (f" (did you mean {close[0]!r}?)" if close else ""))

    return ValueType(takes, one_of(meanings, also, takes), read, words.get)


def lax(kind: ValueType[T]) -> ValueType[T]:
    """The same; but another text is a mistake only where llama-swap could not have been given it.

    It takes any, and means the default.
    """

    def read(node: Node, place: Place) -> T:
        try:
            return kind.read(node, place)
        except Wrong as exc:
            if exc.problem is not None and isinstance(node.value, str):
                raise Wrong(exc.problem, f"{exc.problem.message}; it is ignored") from exc
            raise

    return replace(kind, read=read)


def words(*allowed: T) -> ValueType[T]:
    """One of `allowed`, which are texts and mean themselves."""
    return choice({str(word): word for word in allowed})


def duration(least_s: float, most_s: float, *, or_none: bool = False) -> ValueType[float]:
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
    return ValueType(takes, schema, read, _duration_text)


def _duration_text(found_s: float) -> str:
    # 1e-09 is no duration, 0.000000001s is.
    return f"{Decimal(repr(found_s)).normalize():f}s"


def size(least_bytes: int, most_bytes: int) -> ValueType[int]:
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

    return ValueType(takes, text_like(f"^(?:{_SIZE.pattern})$", takes, ["string"]), read, size_text)


def size_text(count: int) -> str:
    """Return so many bytes as they are written; they are whole KiB."""
    unit = next(unit for unit in ("GiB", "MiB", "KiB") if count % _UNITS_BYTES[unit] == 0)
    return f"{count // _UNITS_BYTES[unit]}{unit}"


# --- values of values ---------------------------------------------------------------------------


def converted(kind: ValueType[S], to: Callable[[S], T], back: Callable[[T], S]) -> ValueType[T]:
    """`kind`, but what is read is something else to us.

    Args:
        kind: What the key takes.
        to: Makes ours out of what is read.
        back: Makes what is written out of ours.
    """

    def read(node: Node, place: Place) -> T:
        return to(kind.read(node, place))

    def write(found: T) -> object:
        return kind.write(back(found))

    return ValueType(kind.takes, kind.schema, read, write, kind.keys, kind.each)


def adjusted(kind: ValueType[T], to: Callable[[T], T]) -> ValueType[T]:
    """`kind`, but `to` says what counts of what is read."""
    return converted(kind, to, lambda found: found)


def unless_empty(kind: ValueType[T]) -> ValueType[T]:
    """`kind`, but leaving the key out is how an empty value is written."""
    return replace(kind, write=lambda found: kind.write(found) or None)


def listed(kind: ValueType[T], takes: str) -> ValueType[tuple[T, ...]]:
    """A list. `Place.items` knows where its items stand."""

    def read(node: Node, place: Place) -> tuple[T, ...]:
        if not isinstance(node.value, list):
            # Not quoted: it may be a key.
            raise Wrong(place.problem(node, f"this is not a list; write a list of {takes}"))
        found: list[T] = []
        nodes = []
        for number, item in enumerate(node.value):
            try:
                found.append(kind.read(item, place.under(str(number))))
            except Wrong as exc:
                place.keep(exc)
            else:
                nodes.append(item)
        values = tuple(found)
        place.reading.items[id(values)] = (values, nodes)
        return values

    def write(values: tuple[T, ...]) -> list[object]:
        return [kind.write(value) for value in values]

    return ValueType(f"a list of {takes}", array(kind.schema), read, write, each=kind)


def named(
    kind: ValueType[T], takes: str, *, expand_names: bool = False, names: str | None = None
) -> ValueType[Mapping[str, T]]:
    """A mapping with names of the user's choice.

    Args:
        kind: What each of them takes.
        takes: What it takes, in words.
        expand_names: Macros in the names are replaced; elsewhere they are left alone.
        names: For editors: a pattern of the names.
    """

    def read(node: Node, place: Place) -> Mapping[str, T]:
        if not isinstance(node.value, dict):
            raise place.wrong(node, takes)
        found: dict[str, T] = {}
        for written, key, value in node.items():
            name = place.attempt(read_text, key) if expand_names else written
            if name is None:
                continue
            if name in found:
                place.note(key, f"{name[:SHOWN]!r} stands here a second time, by its macros")
                continue
            if kind.keys and value.value is None:  # what it lacks is told where it is named
                value = key._replace(value=None)
            at = place.under(name)
            try:
                found[name] = kind.read(value, at)
            except Wrong as exc:
                place.keep(exc)
        return MappingProxyType(found)

    def write(members: Mapping[str, T]) -> dict[str, object]:
        return {
            escaped(name) if expand_names else name: kind.write(member)
            for name, member in members.items()
        }

    return ValueType(takes, mapping(kind.schema, names), read, write, each=kind)


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


def _written_data(data: Data) -> object:
    match data:
        case str():
            return escaped(data)
        case tuple():
            return [_written_data(item) for item in data]
        case Mapping():
            return {name: _written_data(value) for name, value in data.items()}
        case _:
            return data


def _read_object(node: Node, place: Place) -> Mapping[str, Data]:
    if node.value is None:
        return NOTHING
    found = _read_data(node, place) if isinstance(node.value, dict) else None
    if not isinstance(found, Mapping):
        raise place.wrong(node, "a mapping of names to values")
    return found


OBJECT: Final[ValueType[Mapping[str, Data]]] = ValueType(
    "a mapping of names to values", or_nothing({"type": "object"}), _read_object, _written_data
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
        hint = next((told for of_go, told in _INSTEAD if re.search(of_go, found)), "")
        raise Wrong(
            place.problem(
                node, f"this is no regular expression: {exc}; found {found[:SHOWN]!r}{hint}"
            )
        ) from exc
    return found


# What Go's expressions (RE2) have, and Python's have not, and what says the same in both.
_INSTEAD: Final = (
    (r"\\z", r"; \z is Go's: write $"),
    (
        r"\[\[:\^?\w+:\]",
        "; [[:alpha:]] is Go's: write [A-Za-z], [0-9] or [A-Za-z0-9]",
    ),
    (r"\\[pP](?:\w|\{)", r"; \p is Go's: write the characters, or \w for letters of all scripts"),
    (r"\\[QE]", r"; \Q and \E are Go's: write \ before each character that means more"),
    (r".\(\?[a-zA-Z]+\)", "; write flags such as (?i) at the very beginning"),
    (r"\(\?[a-z]*U", "; the flag U is Go's: write *? and +? in the place of * and +"),
)


# Without `"format": "regex"`, which is JavaScript's.
PATTERN: Final = ValueType("a regular expression", TEXT, pattern_of, escaped)
