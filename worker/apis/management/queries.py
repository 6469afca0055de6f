"""Shapes of queries, and their reading; errors name what would do."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta
from msgspec.inspect import (
    DateTimeType,
    Field,
    IntType,
    LiteralType,
    Metadata,
    NoneType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
)

from arriero.protocol.control.requests import SortColumn
from arriero.protocol.records import Outcome

from ...errors import BadRequest

QueryT = TypeVar("QueryT", bound="QueryShape")

# Of a value that makes no sense, so much is shown.
_MAX_SHOWN: Final = 40


class QueryShape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of these: a member is a parameter. What is not declared is passed over."""


# Values of parameters. What the description of the routes says of them is true: whatever fits a
# pattern is taken. A day that a month does not have is one of the next month.
_DAY: Final = r"[1-9]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_CLOCK: Final = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?"
_ZONE: Final = r"(Z|[+\- ]([01]\d|2[0-3]):[0-5]\d)"

Day: TypeAlias = Annotated[str, Meta(pattern=rf"^{_DAY}$", title="a day of UTC such as 2026-11-29")]
Moment: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"^(\d{{1,11}}(\.\d{{1,9}})?|{_DAY}(T{_CLOCK}{_ZONE}?)?)$",
        title="a time such as 2026-11-29T18:00:00Z, or a Unix time",
    ),
]
Names: TypeAlias = Annotated[tuple[str, ...], Meta(max_length=100)]
RowNumber: TypeAlias = Annotated[int, Meta(ge=0, le=10**15)]


class ExportQuery(QueryShape, frozen=True, kw_only=True):
    """Which records are wanted.

    Attributes:
        limit: How many, at most; without it all of them.
        model: Of these models.
        key: Of these keys, as records say them.
        outcome: That ended so.
        status: With that status, such as 404, or 4xx.
        since: That came then or later.
        until: That came then or earlier.
        before: Before that one: `next` of an answer.
        id: With that in its id.
    """

    limit: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    model: Names = ()
    key: Names = ()
    outcome: Annotated[tuple[Outcome, ...], Meta(max_length=10)] = ()
    status: (
        Annotated[str, Meta(pattern=r"^[0-9]([0-9]{2}|xx)$", title="a status such as 404, or 4xx")]
        | None
    ) = None
    since: Moment | None = None
    until: Moment | None = None
    before: RowNumber | None = None
    id: Annotated[str, Meta(max_length=256)] = ""


class HistoryQuery(ExportQuery, frozen=True, kw_only=True):
    """What is to be added up over time; which records: see `ExportQuery`.

    Attributes:
        step: Seconds of each span; without it 48 spans, from `since` (a day ago) to `until` (now).
            Longer ones, as the answer says, where these would be more than 1,000.
    """

    step: Annotated[int, Meta(ge=1, le=366 * 86400)] | None = None


class ActivityQuery(ExportQuery, frozen=True, kw_only=True):
    """Which records are wanted; see `ExportQuery`.

    Attributes:
        limit: How many, at most.
    """

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class PerformanceQuery(QueryShape, frozen=True, kw_only=True):
    """Which samples are wanted.

    Attributes:
        after: Only younger ones than this moment.
    """

    after: Annotated[datetime, Meta(tz=True)] | None = None


class LogQuery(QueryShape, frozen=True, kw_only=True):
    """Which lines are wanted.

    Attributes:
        no_history: If it is there, with whatever value: only lines that are still to come.
    """

    no_history: str | None = msgspec.field(default=None, name="no-history")


class UsageQuery(QueryShape, frozen=True, kw_only=True):
    """What is to be added up.

    Attributes:
        by: What has a row of its own: `day`, `model`, `key`, with commas between them; nothing for
            one row of all.
        since: From that day on.
        until: Up to that day.
        model: Of these models.
        key: Of these keys, as records say them.
    """

    by: Annotated[
        str,
        Meta(pattern=r"^((day|model|key)(,(day|model|key)){0,2})?$", title="some of day,model,key"),
    ] = "day,model,key"
    since: Day | None = None
    until: Day | None = None
    model: Names = ()
    key: Names = ()


class RowsQuery(QueryShape, frozen=True, kw_only=True):
    """Which page of the table is wanted, in llama-swap's words.

    Attributes:
        model: Of these models.
        start: That came in that second or later.
        end: That came in that second or earlier.
        min_id: The lowest number.
        max_id: The highest number.
        limit: Rows of a page.
        page: Which page.
        sort: By which column.
        order: The greatest first (desc), or last (asc).
    """

    model: Names = ()
    start: Moment | None = None
    end: Moment | None = None
    min_id: RowNumber | None = None
    max_id: RowNumber | None = None
    limit: Annotated[int, Meta(ge=1, le=999)] = 25
    page: Annotated[int, Meta(ge=1, le=10**9)] = 1
    sort: SortColumn = "id"
    order: Literal["asc", "desc"] = "desc"


class StatsQuery(QueryShape, frozen=True, kw_only=True):
    """Of which requests totals are wanted.

    Attributes:
        model: Of these models.
    """

    model: Names = ()


class CapturesQuery(QueryShape, frozen=True, kw_only=True):
    """Which captures are wanted.

    Attributes:
        limit: How many, at most.
        before: Before that one: `next` of an answer.
        request: Of the request with that id.
    """

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    before: RowNumber | None = None
    request: Annotated[str, Meta(max_length=256)] | None = None


def read_query(shape: type[QueryT], given: Iterable[tuple[str, str]]) -> QueryT:
    """Return what a query says.

    Args:
        shape: What may be in it.
        given: Names and values; of two by one name the first one counts.

    Raises:
        BadRequest: A value makes no sense, or one is missing.
    """
    many = _repeated(shape)
    found: dict[str, str | list[str]] = {}
    for name, value in given:
        if name in many:
            found.setdefault(name, [])
            values = found[name]
            assert isinstance(values, list)
            values.append(value)
        else:
            found.setdefault(name, value)
    try:
        read = msgspec.convert(found, shape, strict=False)
        for field in msgspec.structs.fields(shape):
            if field.encode_name not in found:
                continue
            # the word null is read as if nothing was said, and a number as a Unix time
            value, text = getattr(read, field.name), found[field.encode_name]
            if value is None or (isinstance(value, datetime) and ":" not in text):
                raise msgspec.ValidationError(f"null - at `$.{field.encode_name}`")
        return read
    except msgspec.ValidationError as exc:
        raise BadRequest(f"cannot read the query: {_explained(shape, found, exc)}") from None


@cache
def _repeated(shape: type[QueryShape]) -> frozenset[str]:
    """Return the parameters that may come several times."""
    return frozenset(
        field.encode_name
        for field in _fields(shape)
        if isinstance(_plain(field.type), VarTupleType)
    )


def _explained(
    shape: type[QueryShape], found: Mapping[str, str | list[str]], error: Exception
) -> str:
    """Return which member is wrong, and what it may be."""
    for field in _fields(shape):
        name = field.encode_name
        if re.search(rf"`\$\.{name}(\[\.*\d*\])?`$", str(error)):
            return f"'{name}' is {_wanted(field.type)}, not {str(found[name])[:_MAX_SHOWN]!a}"
    return str(error)


def _fields(shape: type[QueryShape]) -> tuple[Field, ...]:
    info = msgspec.inspect.type_info(shape)
    assert isinstance(info, StructType)
    return info.fields


def _plain(kind: Type) -> Type:
    """Return what is asked for where something is asked for: not None, and without its title."""
    match kind:
        case UnionType(types=types):
            return _plain(next(it for it in types if not isinstance(it, NoneType)))
        case Metadata(type=inner):
            return _plain(inner)
        case _:
            return kind


def _wanted(kind: Type) -> str:
    match kind:
        case UnionType(types=types):
            return _wanted(next(it for it in types if not isinstance(it, NoneType)))
        case Metadata(extra_json_schema={"title": str(title)}):
            return title
        case IntType(ge=int(least), le=int(most)):
            return f"a number from {least} to {most}"
        case LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case DateTimeType():
            return "a time as in RFC 3339, such as 2026-01-31T12:00:00Z"
        case VarTupleType(item_type=LiteralType(values=values)):
            return f"one of {', '.join(map(str, values))}"
        case VarTupleType(max_length=int(most)):
            return f"there {most} times at most"
        case _:
            return "of another kind"
