"""Several files -> one tree, as if it had been one file.

Rule 1: what stands in one file only is kept.
Rule 2: mappings are merged key by key, lists are joined, in the order of the files.
Rule 3: what is left empty (``models:``) yields to what is not; a ``null`` or ``~`` is a value.
Rule 4: two single values have to be the same, and a mapping does not go with a list.
Rule 5: whatever has a name of its own, such as a model, is in one file, even if both say the same.

Source of the rules: llama-swap, `-config-dir`.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from ..errors import Problem
from .schema.reader import MAX_PROBLEMS
from .yaml.tree import MAX_VALUES, Node

_Path: TypeAlias = tuple[str, ...]

# Mappings whose keys are names that are given once (rule 5).
_GIVEN_ONCE: Final[frozenset[_Path]] = frozenset(
    {
        ("models",),
        ("groups",),
        ("matrix",),
        ("profiles",),
        ("selectors",),
        ("peers",),
        ("routing", "router", "settings", "groups"),
        ("routing", "router", "settings", "matrix"),
    }
)

_MAPPING: Final = "a mapping"
_LIST: Final = "a list"
_SINGLE: Final = "a single value"

# How much of a key is quoted in a message.
_SHOWN: Final = 60


def merge(trees: Sequence[Node]) -> tuple[Node | None, tuple[Problem, ...]]:
    """Make one tree of `trees`.

    Values are never told: what two files disagree about may be a secret.

    Args:
        trees: One for each file that is not empty, in the order of the files. They are left as
            they are; the result may share parts with them.

    Returns:
        The tree, None if there are no `trees`; and every conflict, up to a bound. Where there is
        one, the tree has what stands in the earlier file, so that it can be read for more mistakes.
    """
    if not trees:
        return None, ()
    values = 0
    for tree in trees:
        values += tree.size
        if values > MAX_VALUES:
            message = f"with this file there are more than {MAX_VALUES} values in all"
            return trees[0], (Problem(tree.source, 0, 0, "", message),)
    merging = _Merging()
    root = merging.merged((), trees)
    return root, tuple(merging.problems)


class _Merging:
    """One merge, and the conflicts that were found so far."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def merged(self, path: _Path, nodes: Sequence[Node]) -> Node:
        """Return what `nodes`, all of them at `path`, are together.

        Calls itself for what is in them, so as deep as the files are nested: `MAX_DEPTH`.
        """
        first, *others = [node for node in nodes if not _is_empty(node)] or nodes[:1]
        kind = _kind(first)
        alike = [first]
        for other in others:
            if _kind(other) != kind:
                found = f"found {_kind(other)}, but {_place(first)} has {kind}"
                self._note(path, other, f"{found}; keep one of them")
            elif path in _GIVEN_ONCE and kind != _MAPPING:
                self._note(path, other, f"found {kind}; write a mapping, here and elsewhere")
            elif kind == _SINGLE and not _is_same(first, other):
                found = f"found another value than in {_place(first)}"
                self._note(path, other, f"{found}; keep one of them")
            else:
                alike.append(other)
        if len(alike) == 1 or kind == _SINGLE:
            return first
        return self._mapping(path, alike) if kind == _MAPPING else _joined(alike)

    def _mapping(self, path: _Path, nodes: Sequence[Node]) -> Node:
        found: dict[str, list[tuple[Node, Node]]] = {}
        for node in nodes:
            for name, key, value in node.items():
                found.setdefault(name, []).append((key, value))
        pairs: dict[str, tuple[Node, Node]] = {}
        for name, given in found.items():
            key, value = given[0]
            if path in _GIVEN_ONCE:
                for again, _ in given[1:]:
                    message = f"{name[:_SHOWN]!r} is in {_place(key)} already; {_once(path)}"
                    self._note((*path, name), again, message)
            elif len(given) > 1:
                value = self.merged((*path, name), [node for _, node in given])
            pairs[name] = (key, value)
        size = 1 + sum(1 + value.size for _, value in pairs.values())
        return _together(nodes, pairs, size)

    def _note(self, path: _Path, node: Node, message: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            problem = Problem(node.source, node.line, node.column, _dotted(path), message)
            self.problems.append(problem)


def _joined(nodes: Sequence[Node]) -> Node:
    items = [item for node in nodes if isinstance(node.value, list) for item in node.value]
    return _together(nodes, items, 1 + sum(item.size for item in items))


def _together(
    nodes: Sequence[Node], value: list[Node] | dict[str, tuple[Node, Node]], size: int
) -> Node:
    """Return a node with `value`, at the place of the first of `nodes`."""
    return nodes[0]._replace(
        value=value, size=size, holds_anchor=any(node.holds_anchor for node in nodes)
    )


def _is_empty(node: Node) -> bool:
    """Whether nothing is written there: neither a value nor ``null``."""
    return node.value is None and not node.text


def _is_same(one: Node, other: Node) -> bool:
    """Whether two single values are the same, as a text and as a number: 1.10 is not 1.1."""
    return type(one.value) is type(other.value) and one.text == other.text


def _kind(node: Node) -> str:
    if isinstance(node.value, dict):
        return _MAPPING
    return _LIST if isinstance(node.value, list) else _SINGLE


def _place(node: Node) -> str:
    return f"{node.source}:{node.line}"


def _once(path: _Path) -> str:
    return f"what {_dotted(path)!r} names is written in one file; remove or rename one of them"


def _dotted(path: _Path) -> str:
    return ".".join(name[:_SHOWN] if name.isprintable() else repr(name[:_SHOWN]) for name in path)
