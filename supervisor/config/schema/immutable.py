"""Classes of immutable values: frozen dataclasses that share what their methods do.

`dataclasses.dataclass` writes six methods for each class, as source, and compiles them. For the
classes of the configuration that was a tenth of all that the supervisor does until it has been
imported. These are dataclasses as well: `fields` and `replace` take them.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields, is_dataclass
from typing import Never, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """Make a dataclass, as ``dataclass(frozen=True, slots=True, kw_only=True)`` does.

    Its values are neither pickled nor copied by `copy`; a field that `init` leaves out has no
    default.
    """
    made = dataclass(init=False, repr=False, eq=False, slots=True, kw_only=True)(cls)
    for method in _methods(made):
        setattr(made, method.__name__, method)
    return made


def _methods(cls: type[T]) -> tuple[Callable[..., object], ...]:
    assert is_dataclass(cls)
    whole: tuple[Field[object], ...] = fields(cls)
    taken = {found.name for found in whole if found.init}
    defaults = [(found.name, _default(found)) for found in whole if found.init]
    optional = [(name, default) for name, default in defaults if default is not None]
    shown = [found.name for found in whole if found.repr]
    compared = [found.name for found in whole if found.compare]
    settle = getattr(cls, "__post_init__", None)
    put = object.__setattr__

    def compared_of(value: object) -> tuple[object, ...]:
        return tuple([getattr(value, name) for name in compared])

    def __init__(self: object, /, **values: object) -> None:
        if len(values) < len(taken):
            for name, default in optional:
                if name not in values:
                    values[name] = default()
        if values.keys() != taken:
            odd = ", ".join(sorted(values.keys() ^ taken))
            raise TypeError(f"{cls.__qualname__}: there is one too many, or one is missing: {odd}")
        for name, value in values.items():
            put(self, name, value)
        if settle is not None:
            settle(self)

    def __repr__(self: object) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{cls.__qualname__}({values})"

    def __eq__(self: object, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return compared_of(self) == compared_of(other)

    def __hash__(self: object) -> int:
        return hash(compared_of(self))

    def __setattr__(self: object, name: str, value: object) -> Never:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: object, name: str) -> Never:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    return __init__, __repr__, __eq__, __hash__, __setattr__, __delattr__


def _default(found: Field[object]) -> Callable[[], object] | None:
    if found.default is not MISSING:
        value = found.default
        return lambda: value
    return None if found.default_factory is MISSING else found.default_factory
