"""Reads typed values out of a tree, collecting every mistake with its place. Deciding only.

A `Key` is the definition of one key: what it is called, what it takes, what it means when it is
left out, and how it is read. Unknown keys, the example file's completeness and (later) schema and
documentation all come from the same definitions.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from .config_macros import MacroError, Macros, expand
from .errors import Problem
from .yamltree import Node, Scalar

T = TypeVar("T")

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")

# How much of a value is quoted in a message.
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: its path, the macros that hold there, and who keeps the problems."""

    path: str
    reading: "Reading"
    macros: Macros

    def under(self, name: str) -> "Place":
        """Return the place of the member `name`."""
        path = f"{self.path}.{name}" if self.path else name
        return Place(path, self.reading, self.macros)

    def with_macros(self, macros: Macros) -> "Place":
        """Return the same place with other macros."""
        return Place(self.path, self.reading, macros)

    def problem(self, node: Node | None, message: str) -> Problem:
        """Return a mistake that was made here."""
        line, column = (node.line, node.column) if node is not None else (0, 0)
        return Problem(self.reading.source, line, column, self.path, message)

    def note(self, node: Node | None, message: str) -> None:
        """Keep a mistake, and go on."""
        self.reading.problems.append(self.problem(node, message))

    def wrong(self, node: Node, wanted: str) -> "Wrong":
        """Return the error that something else stands here than `wanted`; to be raised."""
        return Wrong(self.problem(node, f"found {describe(node)}; write {wanted}"))

    def attempt(self, read: "Read[T]", node: Node) -> T | None:
        """Return what `read` makes of `node`; None, with the mistake kept, if it cannot."""
        try:
            return read(node, self)
        except Wrong as exc:
            self.reading.problems.append(exc.problem)
            return None

    def scalar(self, node: Node, wanted: str) -> Scalar:
        """Return the value of a scalar, with its macros replaced.

        Raises:
            Wrong: It is a list or a mapping, or uses a macro that there is not.
        """
        if isinstance(node.value, list | dict):
            raise self.wrong(node, wanted)
        try:
            return expand(node, self.macros, self.reading.environ)
        except MacroError as exc:
            raise Wrong(self.problem(node, str(exc))) from exc


class Wrong(Exception):
    """A value cannot be read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Reading:
    """One reading of one source.

    Attributes:
        source: Name of the file.
        environ: The environment, for ``${env.NAME}``.
        problems: All mistakes so far.
    """

    def __init__(self, source: str, environ: Mapping[str, str]) -> None:
        self.source = source
        self.environ = environ
        self.problems: list[Problem] = []


Read: TypeAlias = Callable[[Node, Place], T]
"""Reads one value, or raises `Wrong`."""


@dataclass(frozen=True, slots=True)
class Key(Generic[T]):
    """The definition of one key.

    Attributes:
        name: As written in the file.
        takes: What it takes, in words, for messages and documentation.
        read: How it is read.
        default: What holds when it is left out.
        meaning: One sentence for an operator.
    """

    name: str
    takes: str
    read: Read[T]
    default: T | None
    meaning: str


def read_mapping(node: Node, place: Place, keys: Sequence[Key[Any]]) -> dict[str, Any]:
    """Read a mapping with fixed keys; what is left out or wrong gets its default."""
    found: dict[str, Any] = {key.name: key.default for key in keys}
    if node.value is None:
        return found
    if not isinstance(node.value, dict):
        raise place.wrong(node, "a mapping of keys")
    known = {key.name: key for key in keys}
    for name, key_node, value in node.items():
        key = known.get(name)
        if key is None:
            place.note(key_node, unknown(name, known))
        elif value.value is not None:
            read = place.under(name).attempt(key.read, value)
            found[name] = key.default if read is None else read
    return found


def unknown(name: str, known: Iterable[str]) -> str:
    """Say that there is no key `name`, and what it may have been meant to be."""
    close = difflib.get_close_matches(name, known, 1, 0.6)
    folded = [one for one in known if one.lower() == name.lower().replace("_", "").replace("-", "")]
    if meant := folded or close:
        return f"unknown key {name[:_SHOWN]!r}; did you mean {meant[0]!r}?"
    return f"unknown key {name[:_SHOWN]!r}; known are: {', '.join(sorted(known))}"


def describe(node: Node) -> str:
    """Say what `node` is, short and without a secret's end."""
    match node.value:
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case None:
            return "nothing"
        case bool():
            return f"the truth value {str(node.value).lower()}"
        case str(text):
            return f"the text {text[:_SHOWN]!r}"
        case number:
            return f"the number {number}"


# --- readers ------------------------------------------------------------------------------------


def text(node: Node, place: Place) -> str:
    """Any single value, as text: ``8`` is ``"8"``."""
    value = place.scalar(node, "a text")
    if isinstance(value, bool):
        raise place.wrong(node, "a text (in quotes, if that is what is meant)")
    return "" if value is None else str(value)


def integer(least: int, most: int) -> Read[int]:
    """A whole number within limits."""
    takes = f"a whole number from {least} to {most}"

    def read(node: Node, place: Place) -> int:
        value = place.scalar(node, takes)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise place.wrong(node, takes)
        return value

    return read


def boolean(node: Node, place: Place) -> bool:
    """A truth value; YAML's yes, no, on and off are truth values too."""
    value = place.scalar(node, "true or false")
    if not isinstance(value, bool):
        raise place.wrong(node, "true or false")
    return value


def choice(*words: str, true: str | None = None, false: str | None = None) -> Read[str]:
    """One of some words; YAML turns an unquoted ``off`` into false, which is undone here."""
    takes = f"one of {', '.join(words)}"

    def read(node: Node, place: Place) -> str:
        value = place.scalar(node, takes)
        if isinstance(value, bool):
            value = true if value else false
        if isinstance(value, str) and value in words:
            return value
        close = difflib.get_close_matches(str(value)[:_SHOWN], words, 1)
        raise place.wrong(node, takes + (f" (did you mean {close[0]!r}?)" if close else ""))

    return read


def duration(least_s: float, most_s: float) -> Read[float]:
    """Seconds from ``250ms``, ``1.5s``, ``2m``, ``1h`` or 0. Another bare number has no unit."""
    takes = f"a duration from {least_s:g}s to {most_s:g}s, such as 250ms or 1.5s"

    def read(node: Node, place: Place) -> float:
        value = place.scalar(node, takes)
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        seconds = None
        if match is not None:
            seconds = float(match[1]) * _UNITS_S[match[2]]
        elif value == 0 and not isinstance(value, bool):
            seconds = 0.0
        if seconds is None or not least_s <= seconds <= most_s:
            raise place.wrong(node, takes)
        return seconds

    return read


def texts(node: Node, place: Place) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(node.value, list):
        raise place.wrong(node, "a list of texts")
    found = [place.under(str(number)).attempt(text, item) for number, item in enumerate(node.value)]
    return tuple(item for item in found if item)


def variables(node: Node, place: Place) -> tuple[tuple[str, str], ...]:
    """A list of ``NAME=value``; a value is never shown in a message."""
    if not isinstance(node.value, list):
        raise place.wrong(node, "a list of NAME=value")
    found = [
        place.under(str(number)).attempt(_variable, item) for number, item in enumerate(node.value)
    ]
    return tuple(item for item in found if item)


def _variable(node: Node, place: Place) -> tuple[str, str]:
    name, equals, value = text(node, place).partition("=")
    if not name or not equals or "\0" in name + value:
        raise Wrong(place.problem(node, "this is not NAME=value"))
    return name, value
