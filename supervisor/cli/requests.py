"""The commands about single requests: their records, and cancelling."""

import click

from arriero.protocol.control import ActivityReply, ActivityRequest, CancelReply, CancelRequest
from arriero.protocol.events import AnyEvent, RequestEnded
from arriero.protocol.records import RequestRecord

from .event_feed import Feed
from .follow import show_then_follow
from .output import clock, short_clock, write_json
from .render.events import event_line
from .render.requests import activity_table, cancelled_line
from .session import Session, client


@click.command(epilog="Example:  arriero cancel req-5f2c8d9a")
@click.argument("request_id", metavar="ID")
@client()
def cancel(session: Session, request_id: str) -> None:
    """End the running request ID, whoever's it is.

    The id stands in the field X-Request-Id of the answer.
    """
    reply = session.ask(CancelRequest(request_id=request_id), CancelReply)
    session.write(reply, [cancelled_line(reply)])


@click.command(epilog="Example:  arriero activity --limit 20 --follow")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="How many of the last requests.",
)
@click.option("--follow", is_flag=True, help="Go on with each request that ends.")
@client()
def activity(session: Session, limit: int, *, follow: bool) -> None:
    """Show what became of the last requests: tokens, times, cost."""
    request = ActivityRequest(limit=limit)
    if not follow:
        reply = session.ask(request, ActivityReply)
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


def _write_record(session: Session, record: RequestRecord) -> None:
    if session.as_json:
        write_json(record)
        return
    click.echo(event_line(RequestEnded(model=record.model, record=record), clock(record.t)))
