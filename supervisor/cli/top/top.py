"""`arriero top`: the live view, or one look."""

import os
import sys
import time
from shutil import get_terminal_size
from typing import Final

import click
import msgspec

from arriero.protocol.control.models import LogsLine, LogsReply, LogsRequest
from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import InflightChanged
from arriero.protocol.records import InflightRequest

from ..connection import Subscription
from ..event_feed import Feed
from ..find_sockets import CommandFailed
from ..follow import present_state
from ..output import note, write_json
from ..render.glyphs import glyphs_for
from ..session import Session, client
from .picture import snapshot_rows
from .train_view import TrainView

# Lines of the log in one look, and seconds for all workers to say what runs there.
_LINES: Final = 10
_REPORTS_S: Final = 1.0

_WIDTH: Final = 120


class TopSnapshot(msgspec.Struct, frozen=True):
    """What is there at one moment.

    Attributes:
        status: As `arriero status` has it.
        requests: Those that run, the oldest first.
        log: The last lines of all models.
    """

    status: StatusReply
    requests: tuple[InflightRequest, ...]
    log: tuple[LogsLine, ...]


@click.command(epilog="Example:  arriero top\n\nExample:  arriero top --json | head -c 300")
@client()
def top(session: Session) -> None:
    """Watch models, memory, requests and logs, and load, unload and cancel by keys.

    ? shows the keys. With --json, or where there is no terminal, it shows once what is there.
    """
    if session.as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        _show_once(session)
        return
    try:
        from .live import FOLLOWED, LiveTrain, woken_by_signals
        from .painter import open_painter
    except ImportError as exc:
        raise CommandFailed(
            f"this Python cannot draw on a terminal ({exc}); see `arriero status`, or "
            "`arriero top | cat` for one look"
        ) from exc
    feed = Feed(FOLLOWED)
    glyphs = glyphs_for(os.environ)
    with (
        session.link.subscribe(feed.topics()) as subscription,
        woken_by_signals() as signals,
        open_painter(os.environ) as painter,
    ):
        LiveTrain(painter, subscription, feed, session.link.place, glyphs, signals).run()


def _show_once(session: Session) -> None:
    view = TrainView()
    feed = Feed(("inflight",))
    with session.link.subscribe(feed.topics()) as subscription:
        status = present_state(session.link, session.within_s)
        view.take_status(status)
        _hear_workers(view, subscription, status)
    log = session.ask(LogsRequest(lines=_LINES), LogsReply).lines
    if session.as_json:
        write_json(TopSnapshot(status, tuple(view.requests()), log))
        return
    view.log = log
    width = get_terminal_size((_WIDTH, 24)).columns
    for one in snapshot_rows(view, status.t, width, glyphs_for(os.environ)):
        click.echo(one.text.rstrip())
    if not sys.stdout.isatty():
        return
    note("this is one look: without a terminal as standard input there are no keys")


def _hear_workers(view: TrainView, subscription: Subscription, status: StatusReply) -> None:
    """Wait until all workers that serve have said what runs there, or a moment has passed."""
    missing = sum(worker.state == "serving" for worker in status.workers)
    until = time.monotonic() + _REPORTS_S
    heard: set[str] = set()
    while len(heard) < missing and (left_s := until - time.monotonic()) > 0:
        subscription.wait(left_s)
        for event in subscription.take():
            if isinstance(event, InflightChanged):
                view.take(event)
                heard.add(event.worker)
