"""Records <-> rows of the table `requests`. Pure.

A column is a field of `RequestRecord`, by its name. So a field that is added to records becomes a
column of files that are there, without a version of its own; see `open_file`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.records import RequestRecord

Cell: TypeAlias = str | float | int | bytes | None
"""What SQLite stores."""

_TRACE: Final = RequestRecord.__struct_fields__.index("trace")

# Of a record but its trace, which is for those who export it.
COLUMNS: Final = tuple(name for name in RequestRecord.__struct_fields__ if name != "trace")

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

_COST: Final = COLUMNS.index("cost_usd")
_values_of: Final = msgspec.structs.astuple

# The greatest count that is believed. A model's server may say anything; the sum of all records'
# counts has to be a number of 64 bits.
_MAX_COUNT: Final = 1 << 40


def cells_of(record: RequestRecord) -> tuple[Cell, ...]:
    """Return a row."""
    values = _values_of(record)
    cells = values[:_TRACE] + values[_TRACE + 1 :]
    if (cost := cells[_COST]) is None:
        return cells
    return (*cells[:_COST], f"{cost:f}", *cells[_COST + 1 :])


def tame(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Return a row with nothing that SQLite refuses: endless numbers, halves of characters."""
    return tuple(map(_tame, cells))


def _tame(cell: Cell) -> Cell:
    if isinstance(cell, int):
        return max(-_MAX_COUNT, min(int(cell), _MAX_COUNT))
    if isinstance(cell, str):
        return cell.encode(errors="replace").decode()
    return cell


def record_of(cells: Sequence[Cell]) -> RequestRecord | None:
    """Return the record of a row; None if somebody else has written nonsense into it."""
    fields = {name: cell for name, cell in zip(COLUMNS, cells, strict=True) if cell is not None}
    try:
        return msgspec.convert(fields, RequestRecord, strict=False)
    except (msgspec.ValidationError, ArithmeticError):
        return None


def cost_of(nano_usd: object) -> Decimal:
    """Return the dollars of so many billionths."""
    found = Decimal(int(nano_usd) if isinstance(nano_usd, int | float) else 0)
    return found.scaleb(-9).normalize() + 0
