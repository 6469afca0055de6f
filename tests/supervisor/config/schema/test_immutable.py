"""Classes made by `immutable` are what those of `dataclass` are: held against them."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from arriero.supervisor.config.schema.immutable import immutable

usual = dataclass(frozen=True, slots=True, kw_only=True)


def make(decorate: Callable[[type], Any]) -> Any:
    class Pack:
        name: str
        load: int = 3
        straps: tuple[str, ...] = field(default_factory=tuple, repr=False)
        weight: float = field(default=1.5, compare=False)
        total: float = field(init=False, compare=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "total", self.load * self.weight)

    return decorate(Pack)


OURS, THEIRS = make(immutable), make(usual)

VALUES = (
    {"name": "a"},
    {"name": "a", "weight": 2.0},
    {"name": "a", "load": 4},
    {"name": "b", "straps": ("left", "right")},
)


@pytest.mark.parametrize("values", VALUES)
def test_values_are_the_same(values: dict[str, object]) -> None:
    ours, theirs = OURS(**values), THEIRS(**values)
    assert repr(ours) == repr(theirs)
    assert hash(ours) == hash(theirs)
    for found in fields(THEIRS):
        assert getattr(ours, found.name) == getattr(theirs, found.name)
    changed = replace(ours, load=7)
    assert repr(changed) == repr(replace(theirs, load=7))
    assert (changed.total, ours.total) == (7 * ours.weight, ours.load * ours.weight)


@pytest.mark.parametrize("one", VALUES)
@pytest.mark.parametrize("other", VALUES)
def test_equality_is_the_same(one: dict[str, object], other: dict[str, object]) -> None:
    assert (OURS(**one) == OURS(**other)) is (THEIRS(**one) == THEIRS(**other))


def test_other_classes_are_never_equal() -> None:
    assert OURS(name="a") != THEIRS(name="a")
    assert OURS(name="a") != "a"


@pytest.mark.parametrize("cls", [OURS, THEIRS])
def test_nothing_can_be_changed(cls: Any) -> None:
    value = cls(name="a")
    with pytest.raises(FrozenInstanceError):
        value.name = "b"
    with pytest.raises(FrozenInstanceError):
        del value.name
    with pytest.raises((FrozenInstanceError, TypeError)):  # its slots leave no room
        value.colour = "red"


@pytest.mark.parametrize("cls", [OURS, THEIRS])
@pytest.mark.parametrize(
    "values", [{}, {"load": 1}, {"name": "a", "colour": 1}, {"name": "a", "total": 1.0}]
)
def test_wrong_fields_are_refused(cls: Any, values: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        cls(**values)


def test_missing_field_is_named() -> None:
    with pytest.raises(TypeError, match=r"missing: name$"):
        OURS(load=1)
