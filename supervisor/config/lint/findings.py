"""Collects what is found in a configuration that can be used, with its place."""

from typing import TypeAlias

from ...errors import Problem
from ..yaml.tree import Node

# Keys, and the numbers of items of lists.
Path: TypeAlias = tuple[str | int, ...]

# How much of a key is shown.
_SHOWN = 60


class Findings:
    """What was found so far.

    Attributes:
        warnings: What is surely not meant.
        notes: What is worth to be known, and may well be meant.
    """

    def __init__(self, root: Node) -> None:
        """Begin.

        Args:
            root: The tree out of which the configuration was read: it knows where everything is.
        """
        self._root = root
        self.warnings: list[Problem] = []
        self.notes: list[Problem] = []

    def warn(self, path: Path, message: str) -> None:
        """Keep a warning on what stands at `path`."""
        self.warnings.append(self._problem(path, message))

    def note(self, path: Path, message: str) -> None:
        """Keep a note on what stands at `path`."""
        self.notes.append(self._problem(path, message))

    def routing(self, name: str) -> Path:
        """Return the path of ``groups`` or ``matrix``: there are an old and a new place."""
        routing = self._root.member("routing")
        is_new = routing is not None and routing.value
        return ("routing", "router", "settings", name) if is_new else (name,)

    def _problem(self, path: Path, message: str) -> Problem:
        node = self._node(path)
        names = [name[:_SHOWN] for name in path if isinstance(name, str)]
        dotted = ".".join(name if name.isprintable() else repr(name) for name in names)
        return Problem(node.source, node.line, node.column, dotted, message)

    def _node(self, path: Path) -> Node:
        """Return what stands at `path`; of a mapping, its key; or the nearest that there is."""
        key = value = self._root
        for part in path:
            if isinstance(part, int):
                if not isinstance(value.value, list):
                    return key
                key = value = value.value[part]
            elif isinstance(value.value, dict) and part in value.value:
                key, value = value.value[part]
            else:
                return key
        return key if value.value is None or isinstance(value.value, dict) else value
