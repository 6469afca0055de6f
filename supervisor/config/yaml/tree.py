"""YAML text -> a tree in which every value knows its line and column. Total, and bounded.

PyYAML's events are read directly: its own composer recurses (deep nesting is a crash) and its
constructor loses the marks that make a mistake easy to find.

``${name}`` is text wherever it stands. What it is replaced by later is never read as YAML.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from .braces import Braces

Scalar: TypeAlias = str | int | float | bool | None

# A configuration of 10,000 models is about 2 MB and 200,000 values.
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 1_000_000
MAX_DEPTH: Final = 64

# Keys that stand twice in one document, and are told together.
MAX_REPEATED: Final = 20

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What an unquoted text means. YAML 1.1, which PyYAML follows, would make a truth value of `on`, 90
# of `1:30` and 1.1 of the name `1.10`; readers of YAML 1.2, llama-swap's among them, do not.
_INTEGER: Final = re.compile(
    r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|(?P<octal>0[0-7_]+)|0|[1-9][0-9_]*)"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[dict[str, Scalar]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
    ".inf": math.inf, "-.inf": -math.inf, ".nan": math.nan,
}  # fmt: skip

# More digits than a number that anybody means; Python itself refuses 4,300.
_MAX_DIGITS: Final = 64

_TOO_DEEP: Final = f"values are nested deeper than {MAX_DEPTH}"

_CORE: Final = "tag:yaml.org,2002:"
_COLLECTIONS: Final = frozenset(f"{_CORE}{kind}" for kind in ("map", "seq"))
_PLAIN: Final = frozenset(f"{_CORE}{kind}" for kind in ("int", "float", "bool", "null"))


class YamlError(Exception):
    """The text is not a tree. Line and column count from 1; 0 where there is none."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class Node(NamedTuple):
    """One value and where it stands. A tuple, because a frozen dataclass takes thrice the time.

    Attributes:
        value: A scalar, a list of nodes, or a mapping from key to (node of the key, node).
        line: From 1.
        column: From 1.
        text: A scalar as it was written: ``1.10`` is 1.1 as a number and ``1.10`` as a name.
        is_plain: A scalar without quotes: its type was found by looking at the text.
        size: How many values are in it, itself included, aliases as often as they are used.
        source: The file.
        holds_anchor: It, or something that is written in it, has an anchor (``&name``).
    """

    value: "Scalar | list[Node] | dict[str, tuple[Node, Node]]"
    line: int
    column: int
    text: str = ""
    is_plain: bool = False
    size: int = 1
    source: str = ""
    holds_anchor: bool = False

    def items(self) -> "Iterator[tuple[str, Node, Node]]":
        """Give key, node of the key and node of the value, if this is a mapping."""
        if isinstance(self.value, dict):
            for name, (key, node) in self.value.items():
                yield name, key, node

    def member(self, name: str) -> "Node | None":
        """Return the value under the key `name`, if this is a mapping that has it."""
        found = self.value.get(name) if isinstance(self.value, dict) else None
        return found[1] if found else None


def typed(text: str) -> Scalar:
    """Return what an unquoted `text` means: a number, a truth value, nothing, or text.

    Source: YAML 1.2.2, section 10.3.2 (core schema), and 0755, 0b1 and 1_000 as in YAML 1.1.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or len(text) > _MAX_DIGITS:
        return text
    try:
        if (match := _INTEGER.fullmatch(text)) is not None:
            return int(text.replace("_", ""), 8 if match["octal"] else 0)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    except ValueError:  # 0x_
        pass
    return text


def parse_yaml(text: str, source: str = "", repeated: list[YamlError] | None = None) -> Node | None:
    """Read one YAML document; None when there is nothing in it.

    Args:
        text: The document.
        source: The file that it comes from; every node gets it.
        repeated: Gets the mistakes of keys that stand twice, up to `MAX_REPEATED`: the first of
            each counts, so that what else is wrong can be found. Without it they are raised.

    Raises:
        YamlError: It is not YAML, too large, too deep, has a key twice, or more than one document.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES // 1024 // 1024} MB")
    braces = Braces(text)
    hidden = braces.hide(text)
    try:
        return _build(hidden, source, braces, repeated)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        if mark:
            _refuse_depth(hidden[: mark.index], source, braces)
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        problem = braces.show_quoted(exc.problem or exc.context or "")
        raise YamlError(f"this is not YAML: {problem}", line, column) from exc
    except (yaml.YAMLError, ValueError, OverflowError) as exc:  # characters that do not exist
        problem = braces.show_quoted(" ".join(str(exc).split()))
        raise YamlError(f"this is not YAML: {problem}") from exc


def _build(
    hidden: str, source: str, braces: Braces, repeated: list[YamlError] | None = None
) -> Node | None:
    """Return the tree of a text whose braces are hidden; raises what the parser raises, too."""
    builder = _Builder(source, braces, repeated)
    takes = builder.takes
    loader = _Loader(hidden)
    while (event := loader.get_event()) is not None:
        takes[type(event)](event)
    return builder.root


def _refuse_depth(hidden: str, source: str, braces: Braces) -> None:
    """Say so if what the parser has taken, before it gave up, is nested too deeply for us.

    The parser looks up to 1,024 characters ahead of what it gives (that long a key may be), and
    since PyYAML 6.0.4 has a limit of its own: with ``[[[[...`` it meets that one before we get to
    see the first bracket. So the part that it could read is read again.
    """
    try:
        _build(hidden, source, braces)
    except YamlError as exc:
        if str(exc) == _TOO_DEEP:
            raise
    except (yaml.YAMLError, ValueError, OverflowError):
        pass  # the first mistake is the one to tell


class _Open:
    """A list or mapping that is being read.

    Attributes:
        height: How many levels there are in what it holds, aliases followed.
        merges: What stands under ``<<``, each with its height.
    """

    __slots__ = (
        "anchor", "column", "height", "holds_anchor", "items", "key", "line", "merges", "pairs",
        "size",
    )  # fmt: skip

    def __init__(self, event: yaml.CollectionStartEvent, *, is_mapping: bool) -> None:
        self.line, self.column = _place(event)
        self.anchor: str | None = event.anchor
        self.holds_anchor = event.anchor is not None
        self.items: list[Node] = []
        self.pairs: dict[str, tuple[Node, Node]] | None = {} if is_mapping else None
        self.merges: list[tuple[Node, int]] = []
        self.key: Node | None = None
        self.size = 1
        self.height = 0

    def close(self, source: str) -> Node:
        for merged, height in self.merges:  # what stands in the mapping itself is stronger
            self._take_in(merged, height)
        value = self.items if self.pairs is None else self.pairs
        return Node(value, self.line, self.column, "", False, self.size, source, self.holds_anchor)

    def _take_in(self, merged: Node, height: int) -> None:
        assert self.pairs is not None
        is_list = isinstance(merged.value, list)
        for mapping in merged.value if isinstance(merged.value, list) else [merged]:
            if not isinstance(mapping.value, dict):
                raise YamlError("<< wants a mapping", mapping.line, mapping.column)
            for name, pair in mapping.value.items():
                self.pairs.setdefault(name, pair)
        self.height = max(self.height, height - 1 - is_list)  # its members are members here


class _Builder:
    """Builds the tree, event by event: each goes to what `takes` has for its class."""

    def __init__(self, source: str, braces: Braces, repeated: list[YamlError] | None) -> None:
        self.root: Node | None = None
        self._repeated = repeated
        self._source = source
        self._hidden = braces.opening
        self._show = braces.show
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0
        self._values = 0
        # What takes an event of a class: 10,000 models are 300,000 events, and `match` would ask
        # for one class after the other.
        self.takes: dict[type[yaml.Event], Callable[[Any], None]] = {
            yaml.ScalarEvent: self._take_scalar,
            yaml.MappingStartEvent: self._take_start,
            yaml.MappingEndEvent: self._take_end,
            yaml.SequenceStartEvent: self._take_start,
            yaml.SequenceEndEvent: self._take_end,
            yaml.AliasEvent: self._take_alias,
            yaml.DocumentStartEvent: self._take_document,
            yaml.DocumentEndEvent: _skip,
            yaml.StreamStartEvent: _skip,
            yaml.StreamEndEvent: _skip,
        }

    def _take_document(self, event: yaml.DocumentStartEvent) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _error(event, "there is more than one document (---)")

    def _take_scalar(self, event: yaml.ScalarEvent) -> None:
        text, tag, anchor = event.value, event.tag, event.anchor
        if self._hidden and self._hidden in text:
            text = self._show(text)
        if tag is None or tag == "!":
            is_plain = not event.style
        elif tag in _PLAIN:  # !!int "7"
            is_plain = True
        elif tag == f"{_CORE}str":
            is_plain = False
        else:
            raise _error(event, f"the tag {tag} means nothing here; remove it")
        mark: Any = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        value = typed(text) if is_plain else text
        node = Node(value, line, column, text, is_plain, 1, self._source, anchor is not None)
        self._add(event, node, anchor, 0, 1)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _error(event, f"there is no anchor &{event.anchor} before this")
        node, height = self._anchors[event.anchor]
        # Who only uses an anchor holds none. All that the alias stands for counts.
        self._add(event, node._replace(holds_anchor=False), None, height, node.size)

    def _take_start(self, event: yaml.CollectionStartEvent) -> None:
        if not event.implicit and event.tag not in _COLLECTIONS:
            raise _error(event, f"the tag {event.tag} means nothing here; remove it")
        if len(self._open) >= MAX_DEPTH:
            raise _error(event, _TOO_DEEP)
        self._open.append(_Open(event, is_mapping=type(event) is yaml.MappingStartEvent))

    def _take_end(self, event: yaml.CollectionEndEvent) -> None:
        closed = self._open.pop()
        node = closed.close(self._source)
        if len(self._open) + closed.height >= MAX_DEPTH:  # an alias brings its own levels
            raise YamlError(_TOO_DEEP, closed.line, closed.column)
        self._add(event, node, closed.anchor, closed.height + 1, 1)

    def _add(
        self, event: yaml.Event, node: Node, anchor: str | None, height: int, values: int
    ) -> None:
        self._values += values
        if self._values > MAX_VALUES:  # aliases count as often as they are used
            raise _error(event, f"there are more than {MAX_VALUES} values in it")
        if anchor is not None:
            self._anchors[anchor] = (node, height)
        if not self._open:
            self.root = None if node.value is None else node
            return
        top = self._open[-1]
        top.size += node.size
        if node.holds_anchor:
            top.holds_anchor = True
        if top.pairs is None:
            top.items.append(node)
        elif (key := top.key) is None:
            if isinstance(node.value, list | dict):
                raise _error(event, "a key has to be a single value")
            top.key = node
        else:
            top.key = None
            name = key.text
            if name == "<<" and key.is_plain:
                top.merges.append((node, height))
                return
            if name in top.pairs:
                self._refuse_second(name, key, top.pairs[name][0].line)
            else:
                top.pairs[name] = (key, node)
        if height > top.height:
            top.height = height

    def _refuse_second(self, name: str, key: Node, first: int) -> None:
        error = YamlError(
            f"the key {name[:60]!r} stands here a second time (first in line {first})",
            key.line,
            key.column,
        )
        if self._repeated is None or len(self._repeated) >= MAX_REPEATED:
            raise error
        self._repeated.append(error)


def _skip(event: yaml.Event) -> None:
    """Do nothing: it says nothing about the tree."""


def _error(event: yaml.Event, message: str) -> YamlError:
    return YamlError(message, *_place(event))


def _place(event: yaml.Event) -> tuple[int, int]:
    """Return line and column, from 1."""
    mark = event.start_mark
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)
