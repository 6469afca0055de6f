"""Removes and sets members of a JSON body, as the configuration says; the rest keeps its bytes.

Names are paths: ``a.b`` is b within a, and ``a.0`` the first item of a. What is set replaces what
is there as a whole; what is to be set within something that is not there makes that an object.

Source: llama-swap, `filters` (`stripParams`, `setParams`, `setParamsByID`), which uses sjson.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ..errors import BadRequest
from .spans import Steps, find_items, find_members, finish, joined

# Items of one list that a path may lead into.
_MAX_ITEMS: Final = 10_000


class _Change(msgspec.Struct):
    """What becomes of one value.

    Attributes:
        is_removed: What is there does not count.
        value: What it is set to.
        default: What it is set to if nothing is there.
        within: What becomes of its members, after that.
    """

    is_removed: bool = False
    value: bytes | None = None
    default: bytes | None = None
    within: dict[str, "_Change"] = msgspec.field(default_factory=dict)

    def at(self, path: str) -> "_Change":
        """Return the change of what is at `path`."""
        found = self
        for name in path.split("."):
            found = found.within.setdefault(name, _Change())
        return found


class BodyChanges:
    """Changes to one body; made once and used for many."""

    def __init__(
        self,
        removed: Iterable[str],
        *settings: Mapping[str, msgspec.Raw],
        defaults: Mapping[str, msgspec.Raw] | None = None,
    ) -> None:
        """Read them.

        Args:
            removed: Paths of what is removed.
            settings: Paths, and the JSON texts that they are set to after that; the later ones
                count more.
            defaults: The same, for what is not there after the removing.
        """
        self._root = _Change()
        for path in removed:
            _replace(self._root.at(path), None)
        for path, value in (defaults or {}).items():
            self._root.at(path).default = bytes(value)
        for setting in settings:
            for path, value in setting.items():
                _replace(self._root.at(path), bytes(value))

    def __bool__(self) -> bool:
        return bool(self._root.within)

    def apply(self, body: bytes) -> Steps[bytes]:
        """Return `body`, a JSON object, with the changes; the same object if there are none.

        Raises:
            BadRequest: It is no JSON object, or has something in the place of an object or a list.
        """
        changed = yield from _changed(self._root, body, "")
        return body if changed is None else changed

    def apply_at_once(self, body: bytes) -> bytes:
        """Do the same for a body that is short."""
        return finish(self.apply(body))


def _replace(change: _Change, value: bytes | None) -> None:
    change.is_removed, change.value, change.default = value is None, value, None
    change.within.clear()


def _changed(change: _Change, there: bytes | None, path: str) -> Steps[bytes | None]:
    """Return what becomes of a value; None of one that is not there."""
    if change.is_removed:
        there = None
    elif change.value is not None:
        there = change.value
    if there is None:
        there = change.default
    if not change.within:
        return there
    opening = b"" if there is None else there.lstrip(b" \t\r\n")[:1]
    if opening == b"{":
        assert there is not None
        return (yield from _changed_object(change.within, there, path))
    if opening == b"[":
        assert there is not None
        return (yield from _changed_list(change.within, there, path))
    made = yield from _added(change.within, path)
    if not made:
        return there  # nothing to be removed
    if there is not None and there != b"null":
        raise BadRequest(
            f"cannot set what the configuration wants within '{path[1:]}': the body has no object "
            "there; send one, or leave it out"
        )
    return b"{" + made + b"}"


def _changed_object(changes: Mapping[str, _Change], there: bytes, path: str) -> Steps[bytes]:
    members = yield from find_members(there)
    if not members:
        return b"{" + (yield from _added(changes, path)) + b"}"
    missing = dict(changes)
    parts: list[bytes | memoryview] = []
    view = memoryview(there)
    end_before = there.index(b"{") + 1
    parts.append(view[:end_before])
    is_first = is_same = True
    for number, (name, start, end) in enumerate(members):
        change = changes.get(name)
        value: bytes | memoryview | None = view[start:end]
        if change is not None:
            missing.pop(name, None)
            old = there[start:end]
            value = yield from _changed(change, old, f"{path}.{name}")
            is_same = is_same and value == old
        if value is not None:
            key = there[end_before:start]
            if is_first and number:
                key = key.lstrip(b" \t\r\n").removeprefix(b",")
            parts += (key, value)
            is_first = False
        end_before = end
    added = yield from _added(missing, path)
    if is_same and not added:
        return there
    if added:
        parts += (b"" if is_first else b",", added)
    parts.append(view[end_before:])
    return (yield from joined(parts))


def _added(changes: Mapping[str, _Change], path: str) -> Steps[bytes]:
    made: list[bytes] = []
    for name, change in changes.items():
        value = yield from _changed(change, None, f"{path}.{name}")
        if value is not None:
            made.append(msgspec.json.encode(name) + b":" + value)
    return b",".join(made)


def _changed_list(changes: Mapping[str, _Change], there: bytes, path: str) -> Steps[bytes]:
    items = yield from find_items(there, there.index(b"["), _MAX_ITEMS)
    wanted = {int(name): change for name, change in changes.items() if _is_index(name)}
    if items is None or len(wanted) < len(changes):
        raise BadRequest(
            f"cannot change '{path[1:]}' as the configuration wants: it is a list, with another "
            "form than is expected there"
        )
    kept: list[bytes] = []
    for number, (start, end) in enumerate(items):
        change = wanted.get(number)
        item: bytes | None = there[start:end]
        if change is not None:
            item = yield from _changed(change, item, f"{path}.{number}")
        if item is not None:
            kept.append(item)
    for number in sorted(wanted):
        if number >= len(items):
            item = yield from _changed(wanted[number], None, f"{path}.{number}")
            if item is not None:
                kept.append(item)
    return (yield from joined(_with_commas(kept)))


def _with_commas(items: Sequence[bytes]) -> list[bytes | memoryview]:
    parts: list[bytes | memoryview] = [b"["]
    for number, item in enumerate(items):
        parts += (b"," if number else b"", item)
    parts.append(b"]")
    return parts


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= len(str(_MAX_ITEMS))
