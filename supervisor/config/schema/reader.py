"""Reads typed values out of a tree, collecting every mistake with its place.

A `Key` is the definition of one key: what it is called, what it takes, what it means when it is
left out, and what acts on it. A `Kind` is what a key takes: in words, as a JSON schema, and how it
is read. Reading, the schema, the documentation and the example's completeness all come from these
definitions.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

from ...errors import Problem
from ...text.did_you_mean import did_you_mean
from ..yaml.tree import Node
from .macros import BrokenMacro, Macro, MacroError, Value, expand

T = TypeVar("T")

# How much of a value is quoted in a message.
_SHOWN: Final = 60

# How like a key a name is that surely was meant to be one: `model` is, `defs` is not.
_SURELY: Final = 0.8

# Bounds of one reading: mistakes that are kept, names for which similar ones are looked for, and
# characters in all values, with what macros make of them, as often as anchors repeat them.
MAX_PROBLEMS: Final = 1000
MAX_HINTS: Final = 50
MAX_EXPANDED_TOTAL: Final = 64 * 1024 * 1024


class Place:
    """Where a value stands. Not changed once it is made.

    There is one for each value, and hardly any is ever told: so the path is put together only when
    somebody asks.

    Attributes:
        reading: Who keeps the problems.
        macros: Those that hold there.
    """

    __slots__ = ("_name", "_parent", "macros", "reading")

    def __init__(
        self,
        reading: "Reading",
        macros: tuple[Macro, ...] = (),
        parent: "Place | None" = None,
        name: str = "",
    ) -> None:
        self.reading = reading
        self.macros = macros
        self._parent = parent
        self._name = name

    @property
    def path(self) -> str:
        """The names that lead here, such as ``models.qwen.ttl``; empty at the top."""
        names: list[str] = []
        place = self
        while place._parent is not None:
            name = place._name
            names.append(name[:_SHOWN] if name.isprintable() else repr(name[:_SHOWN]))
            place = place._parent
        return ".".join(reversed(names))

    @property
    def is_top(self) -> bool:
        """Whether this is the whole configuration."""
        return self._parent is None

    def under(self, name: str) -> "Place":
        """Return the place of the member `name`."""
        return Place(self.reading, self.macros, self, name)

    def with_macros(self, macros: tuple[Macro, ...]) -> "Place":
        """Return the same place with other macros."""
        return Place(self.reading, macros, self._parent, self._name)

    def problem(self, node: Node | None, message: str) -> Problem:
        """Return a mistake that was made here."""
        if node is None:
            return Problem(self.reading.source, 0, 0, self.path, message)
        source = node.source or self.reading.source
        return Problem(source, node.line, node.column, self.path, message)

    def note(self, node: Node | None, message: str) -> None:
        """Keep a mistake, and go on."""
        self.reading.keep(self.problem(node, message))

    def warn(self, node: Node | None, message: str) -> None:
        """Keep what is no mistake, but surely not what was meant."""
        self.reading.warn(self.problem(node, message))

    def hint(self, name: str, known: Iterable[str]) -> str:
        """Return ``; did you mean 'x'?``; empty if nothing is alike, or there were many already.

        Comparing a name with thousands of others takes a hundredth of a second.
        """
        self.reading.hints += 1
        return did_you_mean(name, known) if self.reading.hints <= MAX_HINTS else ""

    def mention(self, key: "Key[Any]", node: Node) -> None:
        """Remember that `key`, on which nothing acts, is used."""
        if key not in self.reading.idle:
            what = "nothing acts on it yet" if key.acts == NOT_YET else "it does nothing"
            self.reading.idle[key] = self.problem(node, f"this is read and checked, but {what}")

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
        if isinstance(node.value, (list, dict)):
            raise self.wrong(node, wanted)
        if "$" not in node.text:
            value = Value(node.text, node.value, node.is_plain)
        else:
            try:
                value = expand(node, self.macros, self.reading.environ, keep)
            except BrokenMacro as exc:
                raise Wrong(None) from exc
            except MacroError as exc:
                raise Wrong(self.problem(node, exc.discreet if is_secret else str(exc))) from exc
        if not self.reading.has_room(value.text):
            self.note(node, "anchors or macros make more of this than fits")
            raise Enough
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
        source: Name of the file; of all files, if there are several.
        environ: The environment, for ``${env.NAME}``.
        lenient: Unknown keys are no mistakes.
        problems: All mistakes so far.
        warnings: What can be used, but is surely not what was meant.
        hints: For how many names similar ones were looked for.
        idle: Keys that are used and that nothing acts on, with their first places.
    """

    def __init__(self, source: str, environ: Mapping[str, str], *, lenient: bool = False) -> None:
        self.source = source
        self.environ = environ
        self.lenient = lenient
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.hints = 0
        self.idle: dict[Key[Any], Problem] = {}
        self._expanded = 0

    def keep(self, problem: Problem) -> None:
        """Keep a mistake.

        Raises:
            Enough: There are too many of them.
        """
        self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            message = f"there are more than {MAX_PROBLEMS - 1} mistakes; these are the first"
            self.problems.append(Problem(self.source, 0, 0, "", message))
            raise Enough

    @property
    def can_warn(self) -> bool:
        """Whether another warning would be kept."""
        return len(self.warnings) < MAX_PROBLEMS

    def warn(self, problem: Problem) -> None:
        """Keep a warning, as long as there are not too many."""
        if self.can_warn:
            self.warnings.append(problem)

    def has_room(self, text: str) -> bool:
        """Count the text of a value; whether there is room for it."""
        self._expanded += len(text)
        return self._expanded <= MAX_EXPANDED_TOTAL


Read: TypeAlias = Callable[[Node, Place], T]
"""Reads one value, or raises `Wrong`."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[T]):
    """What a key takes.

    Attributes:
        takes: In words, for messages and documentation.
        schema: As a JSON schema.
        read: How it is read.
        keys: Of a mapping with fixed keys: those.
        each: Of a mapping with free names, or of a list: what each member is.
    """

    takes: str
    schema: Mapping[str, Any]
    read: Read[T]
    keys: "tuple[Key[Any], ...]" = ()
    each: "Kind[Any] | None" = None

    @property
    def is_nest(self) -> bool:
        """Whether there are keys within it."""
        return bool(self.keys) or (self.each is not None and self.each.is_nest)


# Since when a key acts: a version; or one of these.
NOT_YET: Final = "not yet"
NEVER: Final = "never"


@dataclass(frozen=True, slots=True, eq=False)
class Key(Generic[T]):
    """The definition of one key.

    Attributes:
        name: As written in the file.
        kind: What it takes.
        default: What holds when it is left out.
        meaning: One sentence for an operator.
        acts: Version since which it changes what arriero does; `NOT_YET` if nothing acts on it so
            far, `NEVER` if it is read for llama-swap's sake only.
        field: The attribute by which code reads its value; with the name of what has it, where
            others have one of that name: ``route.name``.
        written: The default as it would be written, where `default` is something else.
        without: What holds when it is left out, in words, where nothing could be written.
        required: It cannot be left out.
        other: Another spelling, which llama-swap reads, too.
        instead: What to write instead, where this is the older place of something.
    """

    name: str
    kind: Kind[T]
    default: T | None
    meaning: str
    acts: str = NOT_YET
    field: str = ""
    written: Any = None
    without: str | None = None
    required: bool = False
    other: str | None = None
    instead: str | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing acts on it; sections are told of by what is in them."""
        return self.acts in {NOT_YET, NEVER} and not self.kind.is_nest

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names by which it is read."""
        return (self.name,) if self.other is None else (self.name, self.other)


class Keys:
    """Fixed keys, made ready for reading one mapping after another.

    Attributes:
        known: The keys by all their spellings.
        idle: Those on which nothing acts.
        defaults: What holds if none of them is there.
    """

    __slots__ = ("defaults", "idle", "known")

    def __init__(self, keys: Iterable[Key[Any]]) -> None:
        self.known = {name: key for key in keys for name in key.spellings}
        self.idle = frozenset(key for key in self.known.values() if key.is_idle)
        self.defaults = {key.name: key.default for key in self.known.values()}


def read_mapping(
    node: Node, place: Place, keys: Keys, skip: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Read a mapping with fixed keys; what is left out or wrong gets its default.

    Args:
        node: The mapping.
        place: Where it stands.
        keys: The keys.
        skip: Keys that are read elsewhere.

    Raises:
        Wrong: It is no mapping.
    """
    found: dict[str, Any] = keys.defaults.copy()
    if node.value is None:
        return found
    if not isinstance(node.value, dict):
        raise place.wrong(node, "a mapping of keys")
    for name, (key_node, value) in node.value.items():
        key = keys.known.get(name)
        if key is None:
            if place.is_top and value.holds_anchor and not _meant(name, keys.known, _SURELY):
                continue  # `defs:` and the like, which exist to hold anchors
            if not place.reading.lenient:
                place.note(key_node, unknown(name, keys.known))
            elif place.reading.can_warn:
                place.warn(key_node, unknown(name, keys.known))
        elif value.value is None or name in skip:
            continue
        elif name == _spelling(key, node):
            at = place.under(name)
            if key in keys.idle:
                at.mention(key, key_node)
            read = at.attempt(key.kind.read, value)
            found[key.name] = key.default if read is None else read
    return found


def _spelling(key: Key[Any], node: Node) -> str:
    """Return under which name `key` counts: the other one, if the first one says nothing."""
    if key.other is None or node.member(key.other) is None:
        return key.name
    first = node.member(key.name)
    return key.other if first is None or first.value in (None, "") else key.name


def unknown(name: str, known: Collection[str]) -> str:
    """Say that there is no key `name`, and what it may have been meant to be."""
    if meant := _meant(name, known):
        return f"unknown key {name[:_SHOWN]!r}; did you mean {meant[0]!r}?"
    return f"unknown key {name[:_SHOWN]!r}; known are: {', '.join(sorted(known))}"


def _meant(name: str, known: Collection[str], likeness: float = 0.6) -> list[str]:
    folded = [one for one in known if one.lower() == name.lower().replace("_", "").replace("-", "")]
    return folded or difflib.get_close_matches(name[:_SHOWN], known, 1, likeness)


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
