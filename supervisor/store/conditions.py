"""Filters and orders -> SQL. Pure: every value of a client is a parameter."""

from typing import Final, NamedTuple

import msgspec

from arriero.protocol.control.requests import SortColumn
from arriero.protocol.records import RecordFilter, Viewer

from .columns import Cell

SORTED_BY: Final[dict[SortColumn, str]] = {
    "id": "id",
    "time": "t",
    "model": "model",
    "req_path": "path",
    "resp_status_code": "status",
    "resp_content_type": "content_type",
    "cached": "cached_tokens",
    "prompt": "input_tokens",
    "generated": "output_tokens",
    "drafted": "draft_tokens",
    "prompt_speed": "prompt_per_s",
    "gen_speed": "output_per_s",
    "duration": "duration_ms",
}
"""Column of the table for each of the words."""

# Names in one filter; SQLite takes some thousand parameters.
MAX_NAMES: Final = 100


class Condition(NamedTuple):
    """A condition and its parameters.

    Attributes:
        sql: The condition; without any, ``1``.
        values: In the order of their places.
    """

    sql: str
    values: tuple[Cell, ...]


def condition_of(
    where: RecordFilter, request_id: str | None = None, *, of_totals: bool = False
) -> Condition:
    """Return the condition that holds for the records that are meant.

    Args:
        where: Which.
        request_id: Only those with this id; None for all.
        of_totals: It is for rows of totals, which do not say what was asked for.
    """
    parts: list[str] = []
    values: list[Cell] = []
    if names := where.models:
        among = f"IN ({','.join('?' * len(names))})"
        if of_totals:
            parts.append(f"model {among}")
            values += names
        else:  # what was refused before it had a model has the name that was asked for
            parts.append(f"(model {among} OR (model = '' AND asked {among}))")
            values += names * 2
    for column, names in (("key", where.keys), ("outcome", where.outcomes)):
        if names:
            parts.append(f"{column} IN ({','.join('?' * len(names))})")
            values += names
    bounds: tuple[tuple[str, Cell], ...] = (
        ("status >= ?", where.least_status or None),
        ("status <= ?", where.most_status),
        ("t >= ?", where.since),
        ("t <= ?", where.until),
        ("id >= ?", where.least_id),
        ("id <= ?", where.most_id),
        ("instr(request_id, ?)", where.text or None),
        ("request_id = ?", request_id),
    )
    for sql, value in bounds:
        if value is not None:
            parts.append(sql)
            values.append(value)
    if where.viewer is not None:
        seen, sql = seen_by(where.viewer)
        parts.append(sql)
        values += seen
    return Condition(" AND ".join(parts) or "1", tuple(values))


def seen_by(viewer: Viewer) -> tuple[tuple[Cell, ...], str]:
    """Return parameters and condition of what somebody may see."""
    models = msgspec.json.encode(viewer.models).decode()
    sql = "(model IN (SELECT value FROM json_each(?)) OR (key = ? AND key <> ''))"
    return (models, viewer.key), sql


def has_too_many_names(where: RecordFilter) -> bool:
    """Whether the lists of `where` are longer than anybody needs."""
    return max(len(where.models), len(where.keys), len(where.outcomes)) > MAX_NAMES
