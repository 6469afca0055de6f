"""One reading of a tree: the place of each value, and every mistake with its place.

A `ValueType` is what a key takes: how it is read and written, in words, and as a JSON schema.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from msgspec.structs import replace

from ...errors import Problem
from ...text.did_you_mean import did_you_mean
from ...text.redact import masked_text
from ..yaml.tree import Node
from .macros import BrokenMacro, Macro, MacroError, ScalarValue, expand

T = TypeVar("T")

UnknownKeys: TypeAlias = Literal["by file", "errors", "warnings"]
"""What unknown keys are. By file: warnings in one that llama-swap could have been given, else
errors."""

# How much of a value is quoted in a message.
SHOWN: Final = 60
_LOOKED_AT: Final = 2000  # of it, for secrets

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
            names.append(name[:SHOWN] if name.isprintable() else repr(name[:SHOWN]))
            place = place._parent
        return ".".join(reversed(names))

    @property
    def is_top(self) -> bool:
        """Whether this is the whole configuration."""
        return self._parent is None

    def under(self, name: str) -> "Place":
        """Return the place of the member `name`."""
        return Place(self.reading, self.macros, self, name)

    @property
    def name(self) -> str:
        """The last name of the path."""
        return self._name

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

    def mention(self, key: object, node: Node, why: str) -> None:
        """Remember that `key`, on which nothing acts, is used; once for each."""
        if key not in self.reading.idle:
            self.reading.idle[key] = self.problem(node, f"this is read and checked, but {why}")

    def wrong(self, node: Node, wanted: str) -> "Wrong":
        """Return the error that something else stands here than `wanted`; to be raised."""
        return Wrong(self.problem(node, f"found {describe(node)}; write {wanted}"))

    def items(self, values: tuple[T, ...]) -> Iterator[tuple[T, Node]]:
        """Give each item of a list that was read, with where it stands."""
        _, nodes = self.reading.items.get(id(values), ((), []))
        return zip(values, nodes, strict=False)

    def attempt(self, read: "Read[T]", node: Node) -> T | None:
        """Return what `read` makes of `node`; None, with the mistake kept, if it cannot."""
        try:
            return read(node, self)
        except Wrong as exc:
            self.keep(exc)
            return None

    def keep(self, wrong: "Wrong") -> None:
        """Keep the mistake that `wrong` is, and go on."""
        if wrong.problem is not None and wrong.as_warning:
            self.reading.keep_doubtful(wrong.problem, wrong.as_warning)
        elif wrong.problem is not None:
            self.reading.keep(wrong.problem)

    def scalar(
        self,
        node: Node,
        wanted: str,
        *,
        keep: frozenset[str] = frozenset(),
        is_secret: bool = False,
    ) -> ScalarValue:
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
            value = ScalarValue(node.text, node.value, node.is_plain)
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
    """A value cannot be read.

    Attributes:
        problem: Why; None if that was told already.
        as_warning: What is told in a file for llama-swap, which takes it: there it is as if it was
            left out. Empty if it is a mistake in every file.
    """

    def __init__(self, problem: Problem | None, as_warning: str = "") -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.as_warning = as_warning


class Enough(Exception):
    """There is no use in reading on."""


class Reading:
    """One reading of one source.

    Attributes:
        source: Name of the file; of all files, if there are several.
        environ: The environment, for ``${env.NAME}``.
        problems: All mistakes so far.
        warnings: What can be used, but is surely not what was meant.
        hints: For how many names similar ones were looked for.
        uses_own: There is a key that llama-swap does not have.
        idle: Keys that are used and that nothing acts on, with their first places.
        items: Lists that were read, by their `id`, with where their items stand.
    """

    def __init__(
        self, source: str, environ: Mapping[str, str], unknown: UnknownKeys = "by file"
    ) -> None:
        self.source = source
        self.environ = environ
        self.uses_own = False
        self._unknown_are = unknown
        self._doubtful: list[tuple[Problem, str]] = []  # mistakes, or warnings with another text
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.hints = 0
        self.idle: dict[object, Problem] = {}
        self.items: dict[int, tuple[object, list[Node]]] = {}
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

    def warn(self, problem: Problem) -> None:
        """Keep a warning, as long as there are not too many."""
        if len(self.warnings) < MAX_PROBLEMS:
            self.warnings.append(problem)

    @property
    def has_room_for_doubtful(self) -> bool:
        """Whether another of these would be kept."""
        return len(self._doubtful) + len(self.warnings) < MAX_PROBLEMS

    def keep_doubtful(self, problem: Problem, as_warning: str) -> None:
        """Keep what llama-swap takes, such as unknown keys, until all is read.

        Args:
            problem: What it is as a mistake.
            as_warning: What is told in a file for llama-swap.

        Raises:
            Enough: It is one mistake too many.
        """
        if self._is_strict:
            self.keep(problem)
        elif self.has_room_for_doubtful:
            self._doubtful.append((problem, as_warning))

    def judge_doubtful(self) -> None:
        """Make mistakes or warnings of it, so far.

        Raises:
            Enough: There are too many mistakes.
        """
        found, self._doubtful = self._doubtful, []
        for problem, as_warning in found:
            if self._is_strict:
                self.keep(problem)
            else:
                self.warn(replace(problem, message=as_warning))

    @property
    def _is_strict(self) -> bool:
        if self._unknown_are == "by file":
            return self.uses_own
        return self._unknown_are == "errors"

    def has_room(self, text: str) -> bool:
        """Count the text of a value; whether there is room for it."""
        self._expanded += len(text)
        return self._expanded <= MAX_EXPANDED_TOTAL


Read: TypeAlias = Callable[[Node, Place], T]
"""Reads one value, or raises `Wrong`."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueType(Generic[T]):
    """What a key takes.

    Attributes:
        takes: In words, for messages and documentation.
        schema: As a JSON schema.
        read: How it is read.
        write: How it is written, so that it is read as the same again; None where only leaving the
            key out says it.
        keys: Of a mapping with fixed keys: those, see `section`.
        each: Of a mapping with free names, or of a list: what each member is.
    """

    takes: str
    schema: Mapping[str, Any]
    read: Read[T]
    write: Callable[[T], object] = lambda value: value
    keys: "tuple[Key, ...]" = ()
    each: "ValueType[Any] | None" = None

    @property
    def has_keys(self) -> bool:
        """Whether there are keys within it."""
        return bool(self.keys) or (self.each is not None and self.each.has_keys)


# Since when a key acts: a version; or this.
FIRST: Final = "0.1"
NOT_YET: Final = "not yet"


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """The definition of one key; see `sections.key`.

    Attributes:
        type: What it takes.
        default: What holds when it is left out.
        meaning: One sentence for an operator.
        name: As written in the file, without the names of the mappings that it stands in.
        within: Those names, from the mapping that its section is.
        field: The attribute that has its value; with a dot where that is in a part of the section.
            Empty for a mapping that holds keys of the section.
        acts: Version since which it changes what arriero does; `NOT_YET` if nothing acts on it so
            far; empty until its section says it.
        written: The default as it would be written, where `type` would write it otherwise.
        without: What holds when it is left out, in words, where nothing could be written.
        lacking: Of a key that cannot be left out: what is told if it is. Empty if somebody else
            tells.
        other: Another spelling, which llama-swap reads, too.
        instead: What to write instead, where this is the older place of something.
        inherits: The value of the field of that name one level up holds where it is left out.
        unset: A value that is as if it was left out; None: there is no such value.
        is_folded: Other fields have taken it up: it is not compared, shown or written.
        is_secret: It is not shown.
    """

    type: ValueType[Any]
    default: object
    meaning: str
    name: str = ""
    within: tuple[str, ...] = ()
    field: str = ""
    acts: str = ""
    written: object = None
    without: str | None = None
    lacking: str | None = None
    other: str | None = None
    instead: str | None = None
    inherits: bool = False
    unset: object = None
    is_folded: bool = False
    is_secret: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing acts on it; sections are told of by what is in them."""
        return self.acts == NOT_YET and not self.type.has_keys

    @property
    def required(self) -> bool:
        """Whether it cannot be left out."""
        return self.lacking is not None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All names by which it is read."""
        return (self.name,) if self.other is None else (self.name, self.other)


def describe(node: Node) -> str:
    """Say what `node` is, as it was written: with the names of its macros, not their values.

    What looks like a secret is hidden: this goes into logs, and to whoever asks how all stands.
    """
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
            return f"the text {masked_text(text[:_LOOKED_AT])[:SHOWN]!r}"
        case _:
            return f"the number {node.text[:SHOWN]}"
