"""The commands about single requests: their records, their totals, and cancelling."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar, get_args

import click
from msgspec.structs import astuple, replace

from arriero.protocol.codec import encode
from arriero.protocol.control.requests import (
    ActivityReply,
    ActivityRequest,
    CancelReply,
    CancelRequest,
    UsageKey,
    UsageReply,
    UsageRequest,
)
from arriero.protocol.events import AnyEvent, RequestEnded
from arriero.protocol.records import (
    ALL_RECORDS,
    CSV_HEAD,
    Outcome,
    RecordFilter,
    RequestRecord,
    UsageRow,
    csv_line,
    csv_record,
)

from .event_feed import Feed
from .follow import show_then_follow
from .output import clock, moment, note, short_clock, write_json
from .render.events import event_line
from .render.requests import activity_table, cancelled_line, usage_table
from .session import Session, client

# Most records of one answer; see `store.answers`.
MAX_RECORDS: Final = 1000

_KEYS: Final[tuple[UsageKey, ...]] = get_args(UsageKey)


@click.command(epilog="Example:  arriero cancel req-5f2c8d9a")
@click.argument("request_id", metavar="ID")
@client()
def cancel(session: Session, request_id: str) -> None:
    """End the running request ID, whoever's it is.

    The id stands in the field X-Request-Id of the answer.
    """
    reply = session.ask(CancelRequest(request_id=request_id), CancelReply)
    session.write(reply, [cancelled_line(reply)])


_F = TypeVar("_F", bound=Callable[..., None])


def _chosen(function: _F) -> _F:
    """Add the options by which requests are chosen."""
    for option in (
        click.option("--model", "models", multiple=True, metavar="ID", help="Of that model."),
        click.option("--key", "keys", multiple=True, metavar="NAME", help="Of that key."),
        click.option(
            "--outcome",
            "outcomes",
            type=click.Choice(get_args(Outcome)),
            multiple=True,
            help="That ended so.",
        ),
        click.option("--status", metavar="STATUS", help="With that status: 404, or 4xx."),
        click.option(
            "--since", metavar="TIME", help="That came then or later: 24h (ago), or a time."
        ),
        click.option("--until", metavar="TIME", help="That came then or earlier."),
    ):
        function = option(function)
    return function


@click.command(
    epilog="Example:  arriero activity --limit 20 --follow\n\n"
    "Example:  arriero activity --all --since 24h --status 5xx --csv > failed.csv"
)
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, MAX_RECORDS),
    default=100,
    show_default=True,
    help="How many of the last requests.",
)
@click.option("--all", "wants_all", is_flag=True, help="All of them, with --json or --csv.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")
@click.option("--follow", is_flag=True, help="Go on with each request that ends.")
@_chosen
@client()
def activity(
    session: Session,
    limit: int,
    *,
    wants_all: bool,
    as_csv: bool,
    follow: bool,
    models: tuple[str, ...],
    keys: tuple[str, ...],
    outcomes: tuple[Outcome, ...],
    status: str | None,
    since: str | None,
    until: str | None,
) -> None:
    """Show what became of the last requests: tokens, times, cost.

    With --all the newest come first, one a line.
    """
    least, most = (0, None) if status is None else _statuses(status)
    now = time.time()
    where = RecordFilter(
        models=models,
        keys=keys,
        outcomes=outcomes,
        least_status=least,
        most_status=most,
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
    )
    if follow and (wants_all or as_csv or where != ALL_RECORDS):
        raise click.UsageError("--follow shows all requests as they end: it goes with --json only")
    if wants_all and not (as_csv or session.as_json):
        raise click.UsageError("--all is for programs: add --json or --csv")
    request = ActivityRequest(limit=MAX_RECORDS if wants_all else limit, where=where)
    if as_csv:
        click.echo(csv_line(CSV_HEAD), nl=False)
    if wants_all:
        _write_all(session, request, as_csv=as_csv)
        return
    if not follow:
        reply = session.ask(request, ActivityReply)
        if as_csv:
            click.echo("".join(map(csv_record, reply.records)), nl=False)
            return
        when = short_clock if session.on_terminal else clock
        session.write_table(reply, activity_table(reply.records, when))
        return
    feed = Feed(("usage",))

    def show(event: AnyEvent) -> None:
        if isinstance(event, RequestEnded):
            _write_record(session, event.record)

    def past() -> None:
        reply = session.ask(request, ActivityReply)
        feed.shown("usage", reply.seq)
        for record in reply.records:
            _write_record(session, record)

    show_then_follow(session, feed, show, past)


def _write_all(session: Session, request: ActivityRequest, *, as_csv: bool) -> None:
    while True:
        reply = session.ask(request, ActivityReply)
        for record in reversed(reply.records):
            click.echo(csv_record(record) if as_csv else encode(record), nl=not as_csv)
        if reply.next is None:
            return
        request = replace(request, where=replace(request.where, most_id=reply.next))


def _statuses(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d)(\d\d|xx)", text, re.ASCII)
    if match is None:
        raise click.BadParameter(f"found {text!r}; write a status such as 404, or 4xx")
    if match[2] == "xx":
        return int(match[1]) * 100, int(match[1]) * 100 + 99
    return int(text), int(text)


@click.command(epilog="Example:  arriero usage --by model --since 2026-11-01")
@click.option(
    "--by",
    default="day,model,key",
    show_default=True,
    metavar="WORDS",
    help="What has a row of its own: day, model, key, or some of these.",
)
@click.option("--since", metavar="DAY", help="From that day on: 2026-11-29, or 7d (ago); of UTC.")
@click.option("--until", metavar="DAY", help="Up to that day.")
@click.option("--model", "models", multiple=True, metavar="ID", help="Of that model.")
@click.option("--key", "keys", multiple=True, metavar="NAME", help="Of that key.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV.")
@client()
def usage(
    session: Session,
    *,
    by: str,
    since: str | None,
    until: str | None,
    models: tuple[str, ...],
    keys: tuple[str, ...],
    as_csv: bool,
) -> None:
    """Show tokens and cost by day, model and key, for as long as three years."""
    words = {word.strip() for word in by.split(",") if word.strip()}
    if not words <= set(_KEYS):
        raise click.BadParameter(f"found {by!r}; write some of {','.join(_KEYS)}")
    now = time.time()
    request = UsageRequest(
        by=tuple(key for key in _KEYS if key in words),
        since=None if since is None else _day(since, now),
        until=None if until is None else _day(until, now),
        models=models,
        keys=keys,
    )
    reply = session.ask(request, UsageReply)
    if as_csv:
        click.echo(csv_line(UsageRow.__struct_fields__), nl=False)
        for row in reply.rows:
            click.echo(csv_line(astuple(row)), nl=False)
        return
    session.write_table(reply, usage_table(reply, request.by))
    if reply.is_cut and not session.as_json:
        note(f"there are more than {len(reply.rows)} rows; ask for less")


def _day(text: str, now: float) -> str:
    return datetime.fromtimestamp(moment(text, now, UTC), UTC).date().isoformat()


def _write_record(session: Session, record: RequestRecord) -> None:
    if session.as_json:
        write_json(record)
        return
    click.echo(event_line(RequestEnded(model=record.model, record=record), clock(record.t)))
