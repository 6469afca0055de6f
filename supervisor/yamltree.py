"""YAML text -> a tree in which every value knows its line and column. Total, and bounded.

PyYAML's events are read directly: its own composer recurses (deep nesting is a crash) and its
constructor loses the marks that make a mistake easy to find.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import yaml

Scalar: TypeAlias = str | int | float | bool | None

# A configuration of 10,000 models is about 2 MB and 200,000 values.
MAX_BYTES: Final = 8 * 1024 * 1024
MAX_VALUES: Final = 1_000_000
MAX_DEPTH: Final = 64

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_resolver = yaml.SafeLoader("")
_TYPED: Final = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null")}


class YamlError(Exception):
    """The text is not a tree. Line and column count from 1; 0 where there is none."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Node:
    """One value and where it stands.

    Attributes:
        value: A scalar, a list of nodes, or a mapping from key to (node of the key, node).
        line: From 1.
        column: From 1.
        is_plain: A scalar without quotes: its type was found by looking at the text.
    """

    value: "Scalar | list[Node] | dict[str, tuple[Node, Node]]"
    line: int
    column: int
    is_plain: bool = False

    def items(self) -> "Iterator[tuple[str, Node, Node]]":
        """Give key, node of the key and node of the value, if this is a mapping."""
        if isinstance(self.value, dict):
            for name, (key, node) in self.value.items():
                yield name, key, node


def typed(text: str) -> Scalar:
    """Return what an unquoted `text` means in YAML: a number, a truth value, nothing, or text."""
    try:
        tag = _resolver.resolve(  # type: ignore[no-untyped-call]
            yaml.ScalarNode, text, (True, False)
        )
        if tag in _TYPED:
            value: Scalar = _resolver.construct_object(yaml.ScalarNode(tag, text))
            return value
    except (ValueError, OverflowError):  # looks like a number and is none, such as 0b or 0x_
        pass
    return text


def parse_yaml(text: str) -> Node | None:
    """Read one YAML document; None when there is nothing in it.

    Raises:
        YamlError: It is not YAML, too large, too deep, has a key twice, or more than one document.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES // 1024 // 1024} MB")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_Loader):
            builder.take(event)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise YamlError(f"this is not YAML: {exc.problem or exc.context}", line, column) from exc
    except (yaml.YAMLError, UnicodeError) as exc:  # characters that YAML does not allow
        raise YamlError(f"this is not YAML: {' '.join(str(exc).split())}") from exc
    return builder.root


class _Open:
    """A list or mapping that is being read."""

    __slots__ = ("anchor", "column", "items", "key", "line", "merges", "pairs")

    def __init__(self, event: yaml.Event, *, is_mapping: bool) -> None:
        self.line, self.column = _place(event)
        self.anchor: str | None = event.anchor  # type: ignore[attr-defined]
        self.items: list[Node] = []
        self.pairs: dict[str, tuple[Node, Node]] | None = {} if is_mapping else None
        self.merges: list[Node] = []
        self.key: Node | None = None

    def close(self) -> Node:
        if self.pairs is None:
            return Node(self.items, self.line, self.column)
        for merged in self.merges:  # what stands in the mapping itself is stronger
            sources = merged.value if isinstance(merged.value, list) else [merged]
            for source in sources:
                if not isinstance(source.value, dict):
                    raise YamlError("<< wants a mapping", source.line, source.column)
                for name, pair in source.value.items():
                    self.pairs.setdefault(name, pair)
        return Node(self.pairs, self.line, self.column)


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0
        self._values = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._error(event, "there is more than one document (---)")
            case yaml.ScalarEvent():
                plain = event.implicit[0] and not event.style
                value = typed(event.value) if plain else event.value
                node = Node(value, *_place(event), plain)
                self._add(event, node, event.anchor, 1)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise self._error(event, f"there is no anchor &{event.anchor} before this")
                node, size = self._anchors[event.anchor]
                self._add(event, node, None, size)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(self._open) >= MAX_DEPTH:
                    raise self._error(event, f"values are nested deeper than {MAX_DEPTH}")
                opened = _Open(event, is_mapping=isinstance(event, yaml.MappingStartEvent))
                self._open.append(opened)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self._open.pop()
                self._add(event, closed.close(), closed.anchor, 1)
            case _:
                pass

    def _error(self, event: yaml.Event, message: str) -> YamlError:
        return YamlError(message, *_place(event))

    def _add(self, event: yaml.Event, node: Node, anchor: str | None, size: int) -> None:
        self._values += size
        if self._values > MAX_VALUES:  # aliases count as often as they are used
            raise self._error(event, f"there are more than {MAX_VALUES} values in it")
        if anchor is not None:
            self._anchors[anchor] = (node, _size(node))
        if not self._open:
            self.root = None if node.value is None else node
            return
        top = self._open[-1]
        if top.pairs is None:
            top.items.append(node)
        elif top.key is None:
            if isinstance(node.value, list | dict):
                raise self._error(event, "a key has to be a single value")
            top.key = node
        else:
            key, top.key = top.key, None
            name = _name(key)
            if name == "<<" and key.is_plain:
                top.merges.append(node)
            elif name in top.pairs:
                first = top.pairs[name][0].line
                raise YamlError(
                    f"the key {name!r} stands here a second time (first in line {first})",
                    key.line,
                    key.column,
                )
            else:
                top.pairs[name] = (key, node)


def _place(event: yaml.Event) -> tuple[int, int]:
    """Return line and column, from 1."""
    mark = event.start_mark
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)


def _name(key: Node) -> str:
    """Return a key as text: ``1:`` and ``yes:`` are names like any other."""
    match key.value:
        case str(text):
            return text
        case True | False | None:
            return {True: "true", False: "false", None: "null"}[key.value]
        case other:
            return str(other)


def _size(node: Node) -> int:
    """Count the values in `node`, aliases as often as they are used, up to the limit."""
    total, todo = 0, [node]
    while todo and total <= MAX_VALUES:
        value = todo.pop().value
        total += 1
        if isinstance(value, list):
            todo += value
        elif isinstance(value, dict):
            todo += [child for _, child in value.values()]
    return total
