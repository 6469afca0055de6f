"""One declaration for each key: a field of the class of its section.

Reading, defaults, writing, the JSON schema and the documentation are all made out of the fields::

    @immutable
    class Timeouts:
        connect_s: float = key(SECONDS, 30.0, "Longest time to connect.")

    TIMEOUTS = section(Timeouts)

A key is called as its field, but in camel case and without the unit: ``connect``. Another name is
said with it, and one with dots stands in mappings of its own: ``hooks.on_startup.preload``.

The value type is an argument and no `Annotated`: so mypy holds it against the field's type.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, fields, is_dataclass, replace
from operator import attrgetter
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, overload

from ..yaml.tree import Node
from .json_schema import Schema, fixed, not_empty, or_nothing
from .llama_swap import are_theirs
from .reader import FIRST, SHOWN, Key, Place, ValueType, Wrong

T = TypeVar("T")

# How like a key a name is that surely was meant to be one: `model` is, `defs` is not.
_SURELY: Final = 0.8

# Under which name a field's metadata has its key.
_DECLARED: Final = "key"

_TAKES: Final = "a mapping of keys"
_NO_NAMES: Final[frozenset[str]] = frozenset()


# --- declaring ----------------------------------------------------------------------------------


class Options(TypedDict, total=False):
    """What may be said of a key besides type, default and meaning: see `Key`."""

    name: str
    acts: str
    written: object
    without: str
    lacking: str
    other: str
    instead: str
    inherits: bool
    unset: object
    is_folded: bool
    is_secret: bool


@overload
def key(type_: ValueType[T], default: T, meaning: str, **options: Unpack[Options]) -> T: ...
@overload
def key(
    type_: ValueType[T], default: None, meaning: str, **options: Unpack[Options]
) -> T | None: ...
def key(
    type_: ValueType[T], default: T | None, meaning: str, **options: Unpack[Options]
) -> T | None:
    """Declare the key that a field of a dataclass is read from.

    Args:
        type_: What it takes.
        default: What holds when it is left out.
        meaning: One sentence for an operator.
        options: See `Key`.
    """
    found = Key(type_, default, meaning, **options)
    return _field(found, default, is_folded=found.is_folded, is_secret=found.is_secret)


def nested(part: "ConfigSection[T]", meaning: str, **options: Unpack[Options]) -> T:
    """Declare the key of a section within a section; see `key`."""
    return key(part.type, part.default, meaning, **options)


def inline(part: "ConfigSection[T]") -> T:
    """Declare a field whose keys stand beside those of the other fields."""
    return _field(part, part.default, is_folded=all(leaf.is_folded for leaf in part.leaves))


def _field(declared: object, default: T, *, is_folded: bool, is_secret: bool = False) -> T:
    return field(
        default_factory=lambda: default,
        repr=not (is_secret or is_folded),
        compare=not is_folded,
        metadata={_DECLARED: declared},
    )


def _key_name(name: str) -> str:
    """Return how the key of the field `name` is called."""
    first, *rest = name.removesuffix("_s").removesuffix("_bytes").split("_")
    return first + "".join(word.capitalize() for word in rest)


# --- sections -----------------------------------------------------------------------------------


class ConfigSection(Generic[T]):
    """A mapping with fixed keys, which is read as a value of one class.

    Attributes:
        type: The section as what a key takes.
        keys: As they stand in the file: those that other keys of the section hold are in them.
        leaves: Those of its fields, in whatever mapping they stand.
        within: What the mappings mean that hold them, by their dotted paths.
        defaults: What holds without any key, by fields.
    """

    def __init__(
        self,
        make: Callable[..., T],
        declared: Mapping[str, "Key | ConfigSection[Any]"],
        *,
        within: Mapping[str, str],
        named_by: str,
        takes: str,
        acts: str,
        is_folded: bool,
        either: Collection[str] = (),
    ) -> None:
        self._make = make
        self._named_by = named_by
        self._parts: dict[str, ConfigSection[Any]] = {
            name: found for name, found in declared.items() if isinstance(found, ConfigSection)
        }
        leaves: list[Key] = []
        for name, found in declared.items():
            if isinstance(found, ConfigSection):
                leaves += [replace(leaf, field=f"{name}.{leaf.field}") for leaf in found.leaves]
            else:
                *holders, last = (found.name or _key_name(name)).split(".")
                leaves.append(
                    replace(
                        found,
                        name=last,
                        within=tuple(holders),
                        field=name,
                        acts=found.acts or acts,
                        is_folded=found.is_folded or is_folded,
                    )
                )
        self.leaves: tuple[Key, ...] = tuple(leaves)
        self.defaults = {leaf.field: leaf.default for leaf in leaves}
        self._written = [(leaf, attrgetter(leaf.field)) for leaf in leaves if not leaf.is_folded]
        self._needed = [leaf for leaf in leaves if leaf.lacking]
        self._unset = [leaf for leaf in leaves if leaf.unset is not None]
        self.within: dict[str, str] = dict(within)
        for part in self._parts.values():
            self.within |= part.within
        self.keys = _tree(leaves, (), self.within)
        self._names = _Names(self.keys)
        self.type: ValueType[T] = ValueType(
            takes, _schema(self.keys, either), self.read, self.write, keys=self.keys
        )

    @property
    def default(self) -> T:
        """What the section is when it is left out."""
        return self.make(self.defaults)

    def defaults_under(self, owner: object) -> dict[str, object]:
        """Return what holds without any key in a section that inherits from `owner`."""
        inherited = {
            leaf.field: getattr(owner, leaf.field) for leaf in self.leaves if leaf.inherits
        }
        return self.defaults | inherited

    def leaf(self, name: str) -> Key:
        """Return the key of the field `name`."""
        return next(leaf for leaf in self.leaves if leaf.field == name)

    def names(self, attributes: Collection[str]) -> tuple[str, ...]:
        """Return the keys of those fields, as they begin in the file; a part has its own name."""
        first = {leaf.field: (*leaf.within, leaf.name)[0] for leaf in self.leaves}
        return tuple(sorted({first.get(name, name) for name in attributes}))

    def read(self, node: Node, place: Place) -> T:
        """Read a mapping; what is left out or wrong gets its default.

        Raises:
            Wrong: It is no mapping.
        """
        values = self.values(node, place)
        if self._named_by:
            values[self._named_by] = place.name
        return self.make(values)

    def values(
        self,
        node: Node,
        place: Place,
        defaults: Mapping[str, object] | None = None,
        skip: frozenset[str] = _NO_NAMES,
    ) -> dict[str, object]:
        """Read a mapping as `read` does, but return what `make` takes: values by fields.

        Args:
            node: The mapping.
            place: Where it stands.
            defaults: What holds without any key; None: what is declared. See `defaults_under`.
            skip: Keys that are read elsewhere.
        """
        given = self.defaults if defaults is None else defaults
        found = dict(given)
        self._names.read(node, place, found, skip)
        for leaf in self._unset:
            if found[leaf.field] == leaf.unset:
                found[leaf.field] = given[leaf.field]
        for leaf in self._needed:
            member = node.member(leaf.name)
            if member is None or member.value in (None, [], {}):
                place.under(leaf.name).note(node, leaf.lacking or "")
        return found

    def make(self, values: Mapping[str, object]) -> T:
        """Return the section out of what its fields are."""
        if not self._parts:
            return self._make(**values)
        whole = {name: found for name, found in values.items() if "." not in name}
        for name, part in self._parts.items():
            inner = {leaf.field: values[f"{name}.{leaf.field}"] for leaf in part.leaves}
            whole[name] = part.make(inner)
        return self._make(**whole)

    def write(self, value: T) -> dict[str, object]:
        """Return what would have to be written to read `value` again."""
        written: dict[str, Any] = {}
        for leaf, get in self._written:
            found = get(value)
            if found is None and leaf.default is None:
                continue  # leaving it out is how to say so
            said = leaf.type.write(found)
            if said is None:
                continue
            owner = written
            for name in leaf.within:
                owner = owner.setdefault(name, {})
            owner[leaf.name] = said
        return written


def section(
    cls: Callable[..., T],
    *,
    within: Mapping[str, str] | None = None,
    named_by: str = "",
    takes: str = _TAKES,
    acts: str = FIRST,
    is_folded: bool = False,
    either: Collection[str] = (),
    **own: Key,
) -> ConfigSection[T]:
    """Make a section out of the fields of `cls`.

    Args:
        cls: A dataclass; fields without a declaration are no keys.
        within: What the mappings mean that hold keys, by their dotted paths.
        named_by: The field that gets the name under which the section stands.
        takes: What it takes, in words.
        acts: Since when its keys act, those that do not say it themselves.
        is_folded: All of its keys are; see `Key`.
        either: Keys of which one has to be written, for editors: its reader tells that itself.
        own: Keys of fields that have no declaration, or that are declared otherwise.
    """
    declared: dict[str, Key | ConfigSection[Any]] = {}
    if is_dataclass(cls):
        for found in fields(cls):
            if _DECLARED in found.metadata:
                declared[found.name] = found.metadata[_DECLARED]
    return ConfigSection(
        cls,
        declared | own,
        within=within or {},
        named_by=named_by,
        takes=takes,
        acts=acts,
        is_folded=is_folded,
        either=either,
    )


class _Names:
    """Fixed keys of one mapping, made ready for reading one after another."""

    def __init__(self, keys: Collection[Key]) -> None:
        self._known = {name: found for found in keys for name in found.spellings}
        self._idle = {found for found in keys if found.is_idle}
        self._inner = {found.name: _Names(found.type.keys) for found in keys if not found.field}
        self._own = {name for name in self._known if not are_theirs((name,))}

    def read(
        self, node: Node, place: Place, found: dict[str, object], skip: frozenset[str] = _NO_NAMES
    ) -> None:
        """Put what the members of `node` say into `found`, by fields."""
        if node.value is None:
            return
        if not isinstance(node.value, dict):
            raise place.wrong(node, _TAKES)
        for name, (key_node, value) in node.value.items():
            known = self._known.get(name)
            if known is None:
                self._tell_unknown(name, key_node, value, place)
                continue
            if value.value is not None and name in self._own:
                place.reading.uses_own = True
            if value.value is not None and name not in skip and name == _spelling(known, node):
                at = place.under(name)
                if known in self._idle:
                    at.mention(known, key_node, "nothing acts on it yet")
                try:
                    if known.field:
                        found[known.field] = known.type.read(value, at)
                    else:
                        self._inner[name].read(value, at, found)
                except Wrong as exc:
                    at.keep(exc)

    def _tell_unknown(self, name: str, key_node: Node, value: Node, place: Place) -> None:
        if (place.is_top and value.holds_anchor) and (
            name.startswith("x-") or not _meant(name, self._known, _SURELY)
        ):
            return  # `defs:` and the like, which exist to hold anchors
        if place.reading.has_room_for_doubtful:  # looking for similar names takes its time
            refused, ignored = _unknown(name, self._known)
            place.reading.keep_doubtful(place.problem(key_node, refused), ignored)


def _spelling(found: Key, node: Node) -> str:
    """Return under which name a key counts: the other one, if the first one says nothing."""
    if found.other is None or node.member(found.other) is None:
        return found.name
    first = node.member(found.name)
    return found.other if first is None or first.value in (None, "") else found.name


def _unknown(name: str, known: Collection[str]) -> tuple[str, str]:
    """Say that there is no key `name`, and what may have been meant: as mistake and as warning."""
    said = f"unknown key {name[:SHOWN]!r}"
    if meant := _meant(name, known):
        meant_key = f"did you mean {meant[0]!r}?"
        return f"{said}; {meant_key}", f"{said}; nothing acts on it, {meant_key}"
    return f"{said}; known are: {', '.join(sorted(known))}", f"{said}; nothing acts on it"


def _meant(name: str, known: Collection[str], likeness: float = 0.6) -> list[str]:
    folded = [one for one in known if one.lower() == name.lower().replace("_", "").replace("-", "")]
    return folded or difflib.get_close_matches(name[:SHOWN], known, 1, likeness)


# --- the schema ---------------------------------------------------------------------------------


def _tree(
    leaves: Collection[Key], above: tuple[str, ...], meanings: Mapping[str, str]
) -> tuple[Key, ...]:
    """Return the keys directly under the mapping `above`, those of further mappings in them."""
    found: dict[str, Key] = {}
    for leaf in leaves:
        if leaf.within == above:
            found[leaf.name] = leaf
        elif leaf.within[: len(above)] == above and leaf.within[len(above)] not in found:
            name = leaf.within[len(above)]
            path = (*above, name)
            keys = _tree(leaves, path, meanings)
            type_ = ValueType(_TAKES, _schema(keys), _not_read, keys=keys)
            found[name] = Key(type_, None, meanings[".".join(path)], name)
    return tuple(found.values())


def _not_read(node: Node, place: Place) -> object:
    raise AssertionError("its keys are read, one by one")


def _schema(keys: Collection[Key], either: Collection[str] = ()) -> Schema:
    properties = {name: _property(found, name) for found in keys for name in found.spellings}
    required = [found.name for found in keys if found.required]
    schema = fixed(properties, required)
    if either:
        written = {"not": {"type": "null"}}
        ways = [{"required": [name], "properties": {name: written}} for name in either]
        return {**schema, "anyOf": ways}
    return schema if required else or_nothing(schema)


def _property(found: Key, name: str) -> Schema:
    """Return the schema of a key under `name`, which may be its other spelling."""
    said = found.meaning if found.without is None else f"{found.meaning} Left out: {found.without}."
    takes = (or_nothing if not found.required else not_empty)(found.type.schema)
    schema = {**takes, "description": said}
    if (default := default_of(found)) is not None:
        schema["default"] = default
    if (instead := found.name if name == found.other else found.instead) is not None:
        schema |= {"deprecated": True, "deprecationMessage": f"write {instead} instead"}
    return schema


def default_of(found: Key) -> object:
    """Return the default of a key as it would be written; None where nothing could be."""
    if found.written is not None:
        return found.written
    if found.required or found.without is not None or found.default is None:
        return None
    said = found.type.write(found.default)
    return None if isinstance(said, Mapping) else said
