"""Requests that have ended, and what they have used, as tables and lines. No I/O."""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import get_args

from arriero.protocol.control.requests import CancelReply, UsageKey, UsageReply
from arriero.protocol.records import RequestRecord, UsageRow

from ...text.printable import clean
from .text import NOTHING, Table, duration


def activity_table(records: Iterable[RequestRecord], clock: Callable[[float], str]) -> Table:
    """Return ended requests, one a row.

    Args:
        records: In the order of the rows.
        clock: Unix time -> local date and time.
    """
    head = ("came", "model", "end", "in", "out", "waited", "first", "took", "out/s", "cost", "id")
    return Table(
        head,
        tuple(
            (
                clock(record.t),
                _model(record),
                _end(record),
                str(record.input_tokens),
                str(record.output_tokens),
                _time(record.queue_ms + record.load_ms),
                _time(record.ttft_ms),
                _time(record.duration_ms),
                NOTHING if record.output_per_s is None else f"{record.output_per_s:.1f}",
                _money(record.cost_usd),
                clean(record.request_id),
            )
            for record in records
        ),
        frozenset({"in", "out", "waited", "first", "took", "out/s", "cost"}),
        spare=("out/s", "first", "cost", "waited"),
        least=10,
    )


def usage_table(reply: UsageReply, by: Sequence[UsageKey]) -> Table:
    """Return totals, one a row, and all of them together in the last one.

    Args:
        reply: The totals.
        by: What they are told apart by.
    """
    named = [key for key in get_args(UsageKey) if key in by]
    rows = [*reply.rows, reply.total] if named and len(reply.rows) != 1 else list(reply.rows)
    return Table(
        (*named, "requests", "failed", "in", "cached", "out", "cost"),
        tuple((*_named(row, named), *_sums(row)) for row in rows),
        frozenset({"requests", "failed", "in", "cached", "out", "cost"}),
        spare=("cached", "failed"),
    )


def _named(row: UsageRow, named: Sequence[UsageKey]) -> list[str]:
    if row.day is row.model is row.key is None:
        return ["all", *[""] * (len(named) - 1)] if named else []
    texts = {"day": row.day, "model": row.model, "key": row.key}
    return [clean(texts[key] or NOTHING) for key in named]


def _sums(row: UsageRow) -> tuple[str, ...]:
    counts = (row.requests, row.failed, row.input_tokens, row.cached_tokens, row.output_tokens)
    has_cost = row.cost_usd or not row.unpriced
    return (*map(str, counts), _money(row.cost_usd) if has_cost else NOTHING)


def ended_text(record: RequestRecord) -> str:
    """Return the outcome of one request, without its model."""
    cached = f" ({record.cached_tokens} cached)" if record.cached_tokens else ""
    parts = [
        _end(record),
        f"{record.input_tokens} tokens in{cached}",
        f"{record.output_tokens} out",
        _time(record.duration_ms),
    ]
    if record.output_per_s is not None:
        parts.append(f"{record.output_per_s:.1f} tokens/s")
    if record.cost_usd is not None:
        parts.append(_money(record.cost_usd))
    return f"{', '.join(parts)}: {clean(record.request_id)}"


def cancelled_line(reply: CancelReply) -> str:
    """Return the outcome of a cancellation."""
    request = clean(reply.request_id)
    if reply.result == "finished":
        return f"{request} had ended before"
    return f"{request} is cancelled"


def _model(record: RequestRecord) -> str:
    return clean(record.model or record.asked) or NOTHING


def _end(record: RequestRecord) -> str:
    """Return the client's status, and the reason if that is not ``ok``."""
    if record.outcome == "ok":
        return str(record.status or NOTHING)
    why = record.error_code or record.outcome
    if why in {str(record.status), f"http_{record.status}"}:
        why = "of the model"
    elif why.isdecimal():  # in the middle of an answer that had begun with another status
        why = f"then error {why}"
    return clean(f"{record.status or NOTHING} {why}")


def _time(ms: float | None) -> str:
    if not ms:
        return NOTHING
    return f"{ms:.0f} ms" if ms < 1000 else duration(ms / 1000)


def _money(dollars: Decimal | None) -> str:
    return NOTHING if dollars is None else f"${dollars.normalize():f}"
