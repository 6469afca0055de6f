"""Reads typed values out of a tree, collecting every mistake with its place. Deciding only.

A `Key` is the definition of one key: what it is called, what it takes, what it means when it is
left out, and how it is read. Unknown keys, the example file's completeness and (later) schema and
documentation all come from the same definitions.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeAlias, TypeVar

from .config_macros import BrokenMacro, Macro, MacroError, Value, expand
from .errors import Problem
from .yamltree import Node

T = TypeVar("T")

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")

# How much of a value is quoted in a message.
_SHOWN: Final = 60

# Bounds of one reading: mistakes that are kept, and characters that macros may make in all.
MAX_PROBLEMS: Final = 1000
MAX_EXPANDED_TOTAL: Final = 16 * 1024 * 1024

_YES: Final = frozenset({"y", "yes", "on"})
_NO: Final = frozenset({"n", "no", "off"})

# Stays as it is where a value is used only when a server starts.
PORT_STAYS: Final = frozenset({"PORT"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: its path, the macros that hold there, and who keeps the problems."""

    path: str
    reading: "Reading"
    macros: tuple[Macro, ...]

    def under(self, name: str) -> "Place":
        """Return the place of the member `name`."""
        name = name[:_SHOWN] if name.isprintable() else repr(name[:_SHOWN])
        path = f"{self.path}.{name}" if self.path else name
        return Place(path, self.reading, self.macros)

    def with_macros(self, macros: tuple[Macro, ...]) -> "Place":
        """Return the same place with other macros."""
        return Place(self.path, self.reading, macros)

    def problem(self, node: Node | None, message: str) -> Problem:
        """Return a mistake that was made here."""
        line, column = (node.line, node.column) if node is not None else (0, 0)
        return Problem(self.reading.source, line, column, self.path, message)

    def note(self, node: Node | None, message: str) -> None:
        """Keep a mistake, and go on."""
        self.reading.keep(self.problem(node, message))

    def wrong(self, node: Node, wanted: str) -> "Wrong":
        """Return the error that something else stands here than `wanted`; to be raised."""
        return Wrong(self.problem(node, f"found {describe(node)}; write {wanted}"))

    def attempt(self, read: "Read[T]", node: Node) -> T | None:
        """Return what `read` makes of `node`; None, with the mistake kept, if it cannot."""
        try:
            return read(node, self)
        except Wrong as exc:
            if exc.problem is not None:
                self.reading.keep(exc.problem)
            return None

    def scalar(
        self,
        node: Node,
        wanted: str,
        *,
        keep: frozenset[str] = frozenset(),
        is_secret: bool = False,
    ) -> Value:
        """Return the value of a scalar, with its macros replaced.

        Args:
            node: Where it stands.
            wanted: What should stand there.
            keep: Reserved macros that stay.
            is_secret: Nothing of it may be told.

        Raises:
            Wrong: It is a list or a mapping, or uses a macro that there is not.
            Enough: Macros made too much of all this.
        """
        if isinstance(node.value, list | dict):
            raise self.wrong(node, wanted)
        try:
            value = expand(node, self.macros, self.reading.environ, keep)
        except BrokenMacro as exc:
            raise Wrong(None) from exc
        except MacroError as exc:
            raise Wrong(self.problem(node, exc.discreet if is_secret else str(exc))) from exc
        if value.text is not node.text:
            self.reading.spend(self.problem(node, "macros make more of this than fits"), value.text)
        return value


class Wrong(Exception):
    """A value cannot be read; `problem` says why, and is None if that was told already."""

    def __init__(self, problem: Problem | None) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Enough(Exception):
    """There is no use in reading on."""


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
        self._expanded = 0

    def keep(self, problem: Problem) -> None:
        """Keep a mistake.

        Raises:
            Enough: There are too many of them.
        """
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise Enough

    def spend(self, problem: Problem, text: str) -> None:
        """Count a text that macros made.

        Raises:
            Enough: They made too much; `problem` is kept.
        """
        self._expanded += len(text)
        if self._expanded > MAX_EXPANDED_TOTAL:
            self.problems.append(problem)
            raise Enough


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
    close = difflib.get_close_matches(name[:_SHOWN], known, 1, 0.6)
    folded = [one for one in known if one.lower() == name.lower().replace("_", "").replace("-", "")]
    if meant := folded or close:
        return f"unknown key {name[:_SHOWN]!r}; did you mean {meant[0]!r}?"
    return f"unknown key {name[:_SHOWN]!r}; known are: {', '.join(sorted(known))}"


def describe(node: Node) -> str:
    """Say what `node` is, as it was written: with the names of its macros, not their values."""
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
        case _:
            return f"the number {node.text[:_SHOWN]}"


# --- readers ------------------------------------------------------------------------------------


def text(node: Node, place: Place) -> str:
    """Any single value, as text: ``8`` is ``"8"``."""
    return _text(node, place, frozenset())


def template(node: Node, place: Place) -> str:
    """A text in which ``${PORT}`` may stand, and stays."""
    return _text(node, place, PORT_STAYS)


def _text(node: Node, place: Place, keep: frozenset[str]) -> str:
    found = place.scalar(node, "a text", keep=keep).text
    if not is_storable(found):
        # Not quoted: commands hold keys at times.
        raise Wrong(place.problem(node, "this holds a zero byte or half a character; remove it"))
    return found


def is_storable(text: str) -> bool:
    """Whether `text` can be handed to a program: no zero bytes, no lone surrogates."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def integer(least: int, most: int) -> Read[int]:
    """A whole number within limits; 300.0 is one."""
    takes = f"a whole number from {least} to {most}"

    def read(node: Node, place: Place) -> int:
        value = place.scalar(node, takes).typed
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise place.wrong(node, takes)
        return value

    return read


def boolean(node: Node, place: Place) -> bool:
    """A truth value, or one of the words yes, no, on and off, as in llama-swap."""
    value = place.scalar(node, "true or false").typed
    if isinstance(value, bool):
        return value
    if value in _YES:
        return True
    if value in _NO:
        return False
    raise place.wrong(node, "true or false")


def choice(
    meanings: Mapping[str, str], also: Mapping[str, str] = MappingProxyType({})
) -> Read[str]:
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

    return read


def duration(least_s: float, most_s: float) -> Read[float]:
    """Seconds from ``250ms``, ``1.5s``, ``2m``, ``1h`` or 0. Another bare number has no unit."""
    takes = f"a duration from {least_s:g}s to {most_s:g}s, such as 250ms or 1.5s"

    def read(node: Node, place: Place) -> float:
        value = place.scalar(node, takes).typed
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


def items(read: Read[T], takes: str) -> Read[tuple[tuple[T, Node], ...]]:
    """A list; each item with the place where it stands."""

    def read_all(node: Node, place: Place) -> tuple[tuple[T, Node], ...]:
        if not isinstance(node.value, list):
            raise Wrong(place.problem(node, f"this is not a list; write a list of {takes}"))
        found = []
        for number, item in enumerate(node.value):
            if (value := place.under(str(number)).attempt(read, item)) is not None:
                found.append((value, item))
        return tuple(found)

    return read_all
