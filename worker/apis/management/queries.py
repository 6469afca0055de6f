"""Shapes of queries, and their reading; errors name what would do."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta
from msgspec.inspect import DateTimeType, Field, IntType, LiteralType, StructType, UnionType

from ...errors import BadRequest

_Query = TypeVar("_Query", bound="QueryShape")

# Of a value that makes no sense, so much is shown.
_MAX_SHOWN: Final = 40


class QueryShape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of these: a member is a parameter. What is not declared is passed over."""


class ActivityQuery(QueryShape, frozen=True, kw_only=True):
    """Which records are wanted.

    Attributes:
        limit: How many, at most.
    """

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class PerformanceQuery(QueryShape, frozen=True, kw_only=True):
    """Which samples are wanted.

    Attributes:
        after: Only younger ones than this moment.
    """

    after: datetime | None = None


class LogQuery(QueryShape, frozen=True, kw_only=True):
    """Which lines are wanted.

    Attributes:
        no_history: If it is there, with whatever value: only lines that are still to come.
    """

    no_history: str | None = msgspec.field(default=None, name="no-history")


def read_query(shape: type[_Query], given: Iterable[tuple[str, str]]) -> _Query:
    """Return what a query says.

    Args:
        shape: What may be in it.
        given: Names and values; of two by one name the first one counts.

    Raises:
        BadRequest: A value makes no sense, or one is missing.
    """
    found: dict[str, str] = {}
    for name, value in given:
        found.setdefault(name, value)
    try:
        return msgspec.convert(found, shape, strict=False)
    except msgspec.ValidationError as exc:
        raise BadRequest(f"cannot read the query: {_explained(shape, found, exc)}") from None


def _explained(shape: type[QueryShape], found: dict[str, str], error: Exception) -> str:
    """Return which member is wrong, and what it may be."""
    info = msgspec.inspect.type_info(shape)
    assert isinstance(info, StructType)
    for field in info.fields:
        name = field.encode_name
        if str(error).endswith(f"`$.{name}`"):
            return f"'{name}' is {_wanted(field)}, not {found[name][:_MAX_SHOWN]!a}"
    return str(error)


def _wanted(field: Field) -> str:
    match field.type:
        case IntType(ge=int(least), le=int(most)):
            return f"a number from {least} to {most}"
        case LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case UnionType(types=(DateTimeType(), *_)):
            return "a time as in RFC 3339, such as 2026-01-31T12:00:00Z"
        case _:
            return "of another kind"
