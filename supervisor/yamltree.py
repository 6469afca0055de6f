"""YAML text -> a tree in which every value knows its line and column. Total, and bounded.

PyYAML's events are read directly: its own composer recurses (deep nesting is a crash) and its
constructor loses the marks that make a mistake easy to find.
"""

import math
import re
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

_CORE: Final = "tag:yaml.org,2002:"


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
        text: A scalar as it was written: ``1.10`` is 1.1 as a number and ``1.10`` as a name.
        is_plain: A scalar without quotes: its type was found by looking at the text.
        size: How many values are in it, itself included, aliases as often as they are used.
    """

    value: "Scalar | list[Node] | dict[str, tuple[Node, Node]]"
    line: int
    column: int
    text: str = ""
    is_plain: bool = False
    size: int = 1

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
    if len(text) > _MAX_DIGITS:
        return text
    try:
        if (match := _INTEGER.fullmatch(text)) is not None:
            return int(text.replace("_", ""), 8 if match["octal"] else 0)
        if _FLOAT.fullmatch(text):
            return float(text.replace("_", ""))
    except ValueError:  # 0x_
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
    except (yaml.YAMLError, ValueError, OverflowError) as exc:  # characters that do not exist
        raise YamlError(f"this is not YAML: {' '.join(str(exc).split())}") from exc
    return builder.root


class _Open:
    """A list or mapping that is being read."""

    __slots__ = ("anchor", "column", "items", "key", "line", "merges", "pairs", "size")

    def __init__(self, event: yaml.Event, *, is_mapping: bool) -> None:
        self.line, self.column = _place(event)
        self.anchor: str | None = event.anchor  # type: ignore[attr-defined]
        self.items: list[Node] = []
        self.pairs: dict[str, tuple[Node, Node]] | None = {} if is_mapping else None
        self.merges: list[Node] = []
        self.key: Node | None = None
        self.size = 1

    def close(self) -> Node:
        if self.pairs is None:
            return Node(self.items, self.line, self.column, size=self.size)
        for merged in self.merges:  # what stands in the mapping itself is stronger
            sources = merged.value if isinstance(merged.value, list) else [merged]
            for source in sources:
                if not isinstance(source.value, dict):
                    raise YamlError("<< wants a mapping", source.line, source.column)
                for name, pair in source.value.items():
                    self.pairs.setdefault(name, pair)
        return Node(self.pairs, self.line, self.column, size=self.size)


class _Builder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._values = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._error(event, "there is more than one document (---)")
            case yaml.ScalarEvent():
                self._add(event, self._scalar(event), event.anchor)
            case yaml.AliasEvent():
                if event.anchor not in self._anchors:
                    raise self._error(event, f"there is no anchor &{event.anchor} before this")
                self._add(event, self._anchors[event.anchor], None)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if not event.implicit and event.tag not in {f"{_CORE}map", f"{_CORE}seq"}:
                    raise self._error(event, f"the tag {event.tag} means nothing here; remove it")
                if len(self._open) >= MAX_DEPTH:
                    raise self._error(event, f"values are nested deeper than {MAX_DEPTH}")
                opened = _Open(event, is_mapping=isinstance(event, yaml.MappingStartEvent))
                self._open.append(opened)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self._open.pop()
                self._add(event, closed.close(), closed.anchor)
            case _:
                pass

    def _error(self, event: yaml.Event, message: str) -> YamlError:
        return YamlError(message, *_place(event))

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        tag: str | None = event.tag
        is_plain = False
        if tag is None or tag == "!":
            is_plain = event.implicit[0] and not event.style
        elif tag in {f"{_CORE}{kind}" for kind in ("int", "float", "bool", "null")}:
            is_plain = True  # !!int "7"
        elif tag != f"{_CORE}str":
            raise self._error(event, f"the tag {tag} means nothing here; remove it")
        value = typed(event.value) if is_plain else event.value
        return Node(value, *_place(event), event.value, is_plain)

    def _add(self, event: yaml.Event, node: Node, anchor: str | None) -> None:
        # What is closed here was counted piece by piece; an alias adds all that it stands for.
        self._values += node.size if isinstance(event, yaml.AliasEvent) else 1
        if self._values > MAX_VALUES:  # aliases count as often as they are used
            raise self._error(event, f"there are more than {MAX_VALUES} values in it")
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = None if node.value is None else node
            return
        top = self._open[-1]
        top.size += node.size
        if top.pairs is None:
            top.items.append(node)
        elif top.key is None:
            if isinstance(node.value, list | dict):
                raise self._error(event, "a key has to be a single value")
            top.key = node
        else:
            key, top.key = top.key, None
            name = key.text
            if name == "<<" and key.is_plain:
                top.merges.append(node)
            elif name in top.pairs:
                first = top.pairs[name][0].line
                raise YamlError(
                    f"the key {name[:60]!r} stands here a second time (first in line {first})",
                    key.line,
                    key.column,
                )
            else:
                top.pairs[name] = (key, node)


def _place(event: yaml.Event) -> tuple[int, int]:
    """Return line and column, from 1."""
    mark = event.start_mark
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)
