"""Records <-> rows of the table `requests`. Pure.

A column is a field of `RequestRecord`, by its name. So a field that is added to records becomes a
column of files that are there, without a version of its own; see `open_file`.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.records import LoadStage, RequestRecord

MAX_CHARS: Final = 400
"""Longest text of a record that is kept, in characters.

With it every answer is below `codec.MAX_MESSAGE_BYTES`, whatever clients ask for.
"""
_MAX_TYPE_CHARS: Final = 100  # of a media type

Cell: TypeAlias = str | float | int | bytes | None
"""What SQLite stores."""

_TRACE, _STAGES = map(RequestRecord.__struct_fields__.index, ("trace", "load_stages"))
assert _STAGES == _TRACE + 1

# Of a record but its trace, which is for those who export it. Stages stand in JSON, in the last.
COLUMNS: Final = (
    *(it for it in RequestRecord.__struct_fields__ if it not in {"trace", "load_stages"}),
    "load_stages",
)

SUMS: Final = (
    "requests",
    "failed",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "nano_usd",
    "unpriced",
)
"""Columns of totals, in the table `usage`."""

DAY_S: Final = 86400

_read_stages: Final = msgspec.json.Decoder(tuple[LoadStage, ...])
_COST: Final = COLUMNS.index("cost_usd")
_values_of: Final = msgspec.structs.astuple

# The greatest count that is believed. A model's server may say anything; the sum of all records'
# counts has to be a number of 64 bits.
_MAX_COUNT: Final = 1 << 40
_MAX_USD: Final = Decimal(1 << 50).scaleb(-9)


def cells_of(record: RequestRecord) -> tuple[Cell, ...]:
    """Return a row."""
    values = _values_of(record)
    stages = values[_STAGES]
    cells = (
        *values[:_TRACE],
        *values[_STAGES + 1 :],
        msgspec.json.encode(stages).decode() if stages else None,
    )
    if (cost := cells[_COST]) is None:
        return cells
    return (*cells[:_COST], f"{cost:f}", *cells[_COST + 1 :])


def clipped(record: RequestRecord) -> RequestRecord:
    """Return `record` with texts of at most `MAX_CHARS`."""
    if (
        len(record.request_id) <= MAX_CHARS
        and len(record.path) <= MAX_CHARS
        and len(record.asked) <= MAX_CHARS
        and (record.served_as is None or len(record.served_as) <= MAX_CHARS)
        and (record.error_code is None or len(record.error_code) <= MAX_CHARS)
        and len(record.content_type) <= _MAX_TYPE_CHARS
    ):
        return record
    return msgspec.structs.replace(
        record,
        request_id=record.request_id[:MAX_CHARS],
        path=record.path[:MAX_CHARS],
        asked=record.asked[:MAX_CHARS],
        served_as=record.served_as and record.served_as[:MAX_CHARS],
        error_code=record.error_code and record.error_code[:MAX_CHARS],
        content_type=record.content_type[:_MAX_TYPE_CHARS],
    )


def totals_of(records: Iterable[RequestRecord]) -> list[tuple[Cell, ...]]:
    """Return rows of the table `usage`: what `records` come to, by day, model and key."""
    totals: dict[tuple[int, str, str], list[int]] = {}
    for record in records:
        group = int(record.t // DAY_S), record.model, record.key
        sums = totals.get(group)
        if sums is None:
            sums = totals[group] = [0] * len(SUMS)
        sums[0] += 1
        sums[1] += record.outcome != "ok"
        sums[2] += _believed(record.input_tokens)
        sums[3] += _believed(record.cached_tokens)
        sums[4] += _believed(record.output_tokens)
        sums[5] += _believed(record.reasoning_tokens)
        if record.cost_usd is not None:
            sums[6] += _nano_usd(record.cost_usd)
        elif record.input_tokens + record.output_tokens > 0:
            sums[7] += 1
    return [(*group, *sums) for group, sums in totals.items()]


def _believed(count: int) -> int:
    return count if 0 <= count <= _MAX_COUNT else max(-_MAX_COUNT, min(count, _MAX_COUNT))


def _nano_usd(cost: Decimal) -> int:
    if not cost.is_finite():
        return 0
    found = min(cost, _MAX_USD).scaleb(9)  # a greater one may have no such power
    return int(found.to_integral_value(ROUND_HALF_UP))


def tame(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return a row with nothing that SQLite refuses: endless numbers, halves of characters."""
    return tuple(map(_tame, cells))


def _tame(cell: Cell) -> Cell:
    if isinstance(cell, int):
        return _believed(int(cell))
    if isinstance(cell, str):
        return cell.encode(errors="replace").decode()
    return cell


def record_of(cells: Sequence[Cell]) -> RequestRecord | None:
    """Return the record of a row; None if somebody else has written nonsense into it."""
    fields: dict[str, Cell | tuple[LoadStage, ...]] = {
        name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell is not None
    }
    try:
        if isinstance(stages := fields.get("load_stages"), str):
            fields["load_stages"] = _read_stages.decode(stages)
        return msgspec.convert(fields, RequestRecord, strict=False)
    except (msgspec.DecodeError, ArithmeticError):
        return None


def cost_of(nano_usd: object) -> Decimal:
    """Return the dollars of so many billionths."""
    found = Decimal(int(nano_usd) if isinstance(nano_usd, int | float) else 0)
    return found.scaleb(-9).normalize() + 0
