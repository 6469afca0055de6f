"""The commands that talk to a running supervisor."""

import time
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, BinaryIO, Final

import click

from arriero.protocol.control.base import Done
from arriero.protocol.control.models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    LogsLine,
    LogsReply,
    LogsRequest,
    PinRequest,
    ProfileRequest,
    ProfilesReply,
    ProfilesRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
    UnloadReply,
    UnloadRequest,
)
from arriero.protocol.control.requests import PreviewReply, PreviewRequest
from arriero.protocol.control.running import (
    MAX_WORKERS,
    PingReply,
    PingRequest,
    RestartRequest,
    ScaleRequest,
    ShutdownRequest,
    StatusReply,
    StatusRequest,
    WorkersReply,
    WorkersRequest,
)
from arriero.protocol.control.settings import ReloadReply, ReloadRequest
from arriero.protocol.events import AnyEvent, LogLine, OwnLine, ProgressMade, StateChanged

from .completing import model_names
from .event_feed import DEFAULT_TYPES, TYPES, Feed, Next
from .find_sockets import SupervisorGone, SupervisorUnreachable
from .follow import Follower, present_state, show_then_follow
from .output import clock, note, seconds, write_json
from .render.events import event_line, log_event_line, log_line
from .render.text import (
    aligned,
    changes_table,
    config_lines,
    devices_table,
    explanation,
    headline,
    held_line,
    keep_line,
    kept_table,
    models_table,
    peers_table,
    pong_line,
    profiles_table,
    reload_line,
    store_lines,
    swapped_line,
    unloaded_line,
    workers_table,
)
from .session import WORK_S, Session, client

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from .render.terminal import LiveBars

# Seconds that the last events of a swap may be later than its answer.
_LATE_S: Final = 0.2

# Seconds that a new supervisor may take to answer; it takes one or two. Between two looks whether
# it does, and for one answer.
_RESTART_S: Final = 60.0
_PAUSE_S: Final = 0.05
_LOOK_S: Final = 2.0

# States in which a swap has ended, in a good or bad way.
_ENDS: Final = frozenset({"ready", "stopped"})


@click.command(epilog="Example:  arriero ping && echo it is there")
@client()
def ping(session: Session) -> None:
    """Ask whether the supervisor is there."""
    reply = session.ask(PingRequest(), PingReply)
    session.write(reply, [pong_line(reply)])


@click.command(epilog="Example:  arriero status --json")
@client()
def status(session: Session) -> None:
    """Show the models, who waits for them, other machines, and the workers."""
    reply = session.ask(StatusRequest(), StatusReply)
    if session.on_terminal:
        from .render.terminal import draw_status  # rich takes a while to import

        draw_status(reply)
        return
    models = aligned(models_table(reply.models, reply.t))
    workers = aligned(workers_table(reply.workers))
    head = [headline(reply), *config_lines(reply.config, reply.t)]
    devices = ["", *aligned(devices_table(reply.devices))] if reply.devices else []
    kept = ["", keep_line(reply.kept)] if reply.kept else []
    if reply.kept and reply.kept.models:
        kept += aligned(kept_table(reply.kept.models))
    lost = store_lines(reply.store)
    peers = ["", *aligned(peers_table(reply.peers, reply.t))] if reply.peers else []
    session.write(reply, [*head, *lost, "", *models, *devices, *kept, *peers, "", *workers])


@click.command(epilog="Example:  arriero swap qwen --no-wait")
@click.argument("model", shell_complete=model_names)
@click.option("--wait/--no-wait", default=True, help="Wait until it is ready (default), or not.")
@client(WORK_S)
def swap(session: Session, model: str, *, wait: bool) -> None:
    """Make MODEL ready, and show how far it is.

    Others are stopped for it if they have to be. With --json every step is a line, and the last
    line is the answer.
    """
    if wait:
        reply = _swap_and_show(session, model)
    else:
        reply = session.ask(SwapRequest(model=model, wait=False), SwapReply)
    session.write(reply, [swapped_line(reply)])


def _swap_and_show(session: Session, name: str) -> SwapReply:
    model = session.id_of(name)
    feed = Feed(("state", "progress"), model)
    with session.link.subscribe(feed.topics()) as subscription, _bars(session, keep=True) as bars:
        is_over = False

        def show(event: AnyEvent) -> None:
            nonlocal is_over
            is_over = isinstance(event, StateChanged) and event.state in _ENDS
            if bars is not None:
                bars.show(event, None)
            else:
                _write_event(session, event)

        def show_news(event: AnyEvent) -> None:
            if feed.judge(event) is Next.SHOW:
                show(event)

        # A start that is under way already is shown from where it stands.
        for event in feed.present(present_state(session.link, session.within_s)):
            if isinstance(event, ProgressMade):
                show(event)
            elif isinstance(event, StateChanged):
                is_over = event.state == "ready"
        try:
            reply = session.link.ask(
                SwapRequest(model=name),
                SwapReply,
                within_s=session.within_s,
                meanwhile=(subscription, show_news),
            )
        except KeyboardInterrupt:
            note(f"the supervisor goes on with it; `arriero unload {model}` would stop it")
            raise
        # The answer comes on another socket: it may have overtaken the last events.
        until = time.monotonic() + _LATE_S
        while not is_over and (left_s := until - time.monotonic()) > 0:
            if subscription.wait(left_s):
                for event in subscription.take():
                    show_news(event)
        if bars is not None and isinstance(reply, SwapReply):
            bars.show(StateChanged(model=model, state="ready", swap=0), None)
    return session.accepted(reply)


@click.command(epilog="Example:  arriero unload qwen --now")
@click.argument("model", required=False, shell_complete=model_names)
@click.option("--now", is_flag=True, help="Cut running requests instead of letting them finish.")
@client(WORK_S)
def unload(session: Session, model: str | None, *, now: bool) -> None:
    """Stop MODEL, or all models."""
    reply = session.ask(UnloadRequest(model=model, mode="now" if now else "drain"), UnloadReply)
    session.write(reply, [unloaded_line(reply)])


@click.command(epilog="Example:  arriero events --type state --type progress --json")
@click.option(
    "--follow/--no-follow",
    default=True,
    help="Go on with what happens (default), or end after the present state.",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=model_names,
    help="Only events of this model.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    type=click.Choice(TYPES),
    help="Only events of this type; may be given more than once. "
    "Default: all but usage, log, own, inflight, heartbeat.",
)
@client()
def events(session: Session, model: str | None, types: tuple[str, ...], *, follow: bool) -> None:
    """Show the present state as events, then what happens."""
    feed = Feed(types or DEFAULT_TYPES, None if model is None else session.id_of(model))
    if feed.shows_nothing:
        raise click.UsageError(f"no event of type {' or '.join(types)} concerns a single model")
    if not follow:
        for event in feed.present(present_state(session.link, session.within_s)):
            _write_event(session, event)
        return
    with session.link.subscribe(feed.topics()) as subscription, _bars(session, keep=False) as bars:

        def show(event: AnyEvent) -> None:
            if bars is not None:
                bars.show(event, event_line(event, clock(event.t)))
            else:
                _write_event(session, event)

        follower = Follower(session.link, feed, show=show, note=note, within_s=session.within_s)
        follower.show_present()
        follower.follow(subscription)


@click.command(epilog="Example:  arriero logs qwen -n 20 --follow")
@click.argument("model", required=False, shell_complete=model_names)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many of the last lines.",
)
@click.option("--follow", is_flag=True, help="Go on with new lines.")
@click.option("--own", is_flag=True, help="The log of arriero itself.")
@client()
def logs(session: Session, model: str | None, lines: int, *, follow: bool, own: bool) -> None:
    """Show what the process of MODEL, or of all models, wrote."""
    if own and model is not None:
        raise click.UsageError("give a MODEL or --own, not both")
    request = LogsRequest(model=model, lines=lines, own=own)
    kind = "own" if own else "log"
    if not follow:
        reply = session.ask(request, LogsReply)
        session.write(reply, (log_line(line, clock(line.t)) for line in reply.lines))
        return
    feed = Feed((kind,), None if model is None else session.id_of(model))

    def show(event: AnyEvent) -> None:
        if isinstance(event, LogLine | OwnLine):
            _write_log_line(session, log_event_line(event))

    def past() -> None:
        reply = session.ask(request, LogsReply)
        feed.shown(kind, reply.seq)
        for line in reply.lines:
            _write_log_line(session, line)

    show_then_follow(session, feed, show, past)


@click.command("reload", epilog="Example:  arriero reload --dry-run")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--drain",
    is_flag=True,
    help="End models that run with an older command, after their running requests.",
)
@client(WORK_S)
def reload_(session: Session, *, dry_run: bool, drain: bool) -> None:
    """Read the configuration again, and put in force what changed.

    Models that did not change go on undisturbed. A configuration with mistakes changes nothing.
    """
    request = ReloadRequest(dry_run=dry_run, drain=drain)
    reply = session.ask(request, ReloadReply)
    table = changes_table(reply.changes, drain=drain)
    if session.as_json or not table.rows:
        session.write(reply, [reload_line(reply)])
        return
    session.write_table(reply, table)
    session.write(reply, [reload_line(reply)])


@click.command(epilog="Example:  arriero workers")
@client()
def workers(session: Session) -> None:
    """Show the worker processes."""
    reply = session.ask(WorkersRequest(), WorkersReply)
    session.write_table(reply, workers_table(reply.workers))


@click.command(epilog="Example:  arriero scale 4")
@click.argument("count", type=click.IntRange(1, MAX_WORKERS), metavar="N")
@client()
def scale(session: Session, count: int) -> None:
    """Run N workers (1 to 64) from now on."""
    session.write(session.ask(ScaleRequest(workers=count), Done), [f"workers from now on: {count}"])


@click.command(epilog="Example:  arriero hold gpu0 --for 2h")
@click.argument("device", required=False)
@click.option(
    "--for",
    "for_",
    metavar="TIME",
    help="Until then, such as 90s, 30m or 2h; without it until `arriero release`.",
)
@click.option("--wait/--no-wait", default=True, help="Wait until it is free (default), or not.")
@client(WORK_S)
def hold(session: Session, device: str | None, for_: str | None, *, wait: bool) -> None:
    """Keep DEVICE (ram, gpu0, ...), or all, free of models.

    Those that are loaded there finish what they have, and end. Requests for them wait, or whatever
    onBlocked says.
    """
    for_s = None if for_ is None else _seconds(for_)
    reply = session.ask(HoldRequest(device=device, for_s=for_s, wait=wait), HoldReply)
    session.write(reply, [held_line(reply, for_s)])


@click.command(epilog="Example:  arriero release gpu0")
@click.argument("device", required=False)
@client()
def release(session: Session, device: str | None) -> None:
    """Let models use DEVICE, or all, again."""
    reply = session.ask(ReleaseRequest(device=device), HoldReply)
    session.write(reply, [f"models may use {', '.join(reply.devices)} again"])


@click.command(epilog="Example:  arriero pin qwen")
@click.argument("model", shell_complete=model_names)
@client()
def pin(session: Session, model: str) -> None:
    """Have MODEL stay while it is loaded.

    It does not go for others then, and not when it is idle. This holds until `arriero unpin`, or
    until arriero is started anew; `pin` in the configuration holds in any case.
    """
    reply = session.ask(PinRequest(model=model), Done)
    session.write(reply, [f"{model} stays while it is loaded"])


@click.command(epilog="Example:  arriero unpin qwen")
@click.argument("model", shell_complete=model_names)
@client()
def unpin(session: Session, model: str) -> None:
    """Let MODEL be as the configuration says again."""
    reply = session.ask(PinRequest(model=model, pinned=False), Done)
    session.write(reply, [f"{model} is as the configuration says again"])


def _seconds(text: str) -> float:
    found_s = seconds(text)
    if not found_s:
        raise click.BadParameter(f"{text!r} is no time; write 90s, 30m or 2h", param_hint="--for")
    return found_s


@click.command(epilog="Example:  arriero profile coding")
@click.argument("name", required=False)
@click.option("--none", "is_none", is_flag=True, help="Choose none: all names mean themselves.")
@client()
def profile(session: Session, name: str | None, *, is_none: bool) -> None:
    """Choose the profile NAME, or show all profiles.

    It holds for all workers at once, from the next request on; requests that run go on. It stays
    chosen over reloads, and not over a restart.
    """
    if name and is_none:
        raise click.UsageError("NAME and --none exclude each other")
    if name is None and not is_none:
        reply = session.ask(ProfilesRequest(), ProfilesReply)
        session.write_table(reply, profiles_table(reply))
        return
    reply = session.ask(ProfileRequest(profile=name), ProfilesReply)
    session.write(reply, [f"profile: {reply.active or 'none'}"])


@click.command(epilog="Example:  arriero explain qwen")
@click.argument("model", required=False, shell_complete=model_names)
@click.option(
    "--request",
    "body",
    type=click.File("rb", lazy=True),
    metavar="FILE",
    help="The body of a request, JSON (- for stdin): show what would go upstream for it.",
)
@click.option(
    "--path",
    default="/v1/chat/completions",
    show_default=True,
    metavar="PATH",
    help="With --request: to which path.",
)
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="With --request: a field of its head.",
)
@client()
def explain(
    session: Session,
    model: str | None,
    body: BinaryIO | None,
    path: str,
    headers: tuple[str, ...],
) -> None:
    """Show what a request for MODEL would meet, without doing it.

    With --request, show what its model would be sent: after the filters and rules of the
    configuration.
    """
    if body is None:
        if model is None:
            raise click.UsageError("say which MODEL, or give a body with --request FILE")
        reply = session.ask(ExplainRequest(model=model), ExplainReply)
        session.write(reply, explanation(reply))
        return
    fields = tuple(_field(one) for one in headers)
    text = body.read().decode(errors="replace")
    shown = session.ask(PreviewRequest(body=text, path=path, headers=fields), PreviewReply)
    session.write(shown, [f"POST {shown.path} to {shown.model}", shown.body])


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is no header; write 'X-Team: red'")
    return name.strip(), value.strip()


@click.command(epilog="Example:  arriero shutdown")
@client()
def shutdown(session: Session) -> None:
    """End the supervisor in good order, with all models and workers."""
    try:
        reply = session.ask(ShutdownRequest(), Done)
    except SupervisorGone:
        reply = Done()  # it was quicker to end than to answer
    session.write(reply, ["the supervisor is shutting down"])


@click.command(epilog="Example:  arriero restart")
@client(_RESTART_S)
def restart(session: Session) -> None:
    """Replace the supervisor, by another version too; models and running requests go on.

    Needs `adopt: true` in the configuration. Workers are replaced as they finish what they have.
    """
    before = session.ask(PingRequest(), PingReply)
    until = time.monotonic() + session.within_s
    with suppress(SupervisorGone):  # it was quicker to go than to answer
        session.ask(RestartRequest(), Done)
    while True:
        try:
            reply = session.link.ask(PingRequest(), PingReply, within_s=_LOOK_S)
        except SupervisorUnreachable:
            if time.monotonic() > until:
                raise
        else:
            if isinstance(reply, PingReply) and reply.epoch != before.epoch:
                session.write(reply, [pong_line(reply)])
                return
        time.sleep(_PAUSE_S)


def _bars(session: Session, *, keep: bool) -> "AbstractContextManager[LiveBars | None]":
    if not session.on_terminal:
        return nullcontext()
    from .render.terminal import live_bars  # rich takes a while to import

    return live_bars(keep=keep)


def _write_event(session: Session, event: AnyEvent) -> None:
    if session.as_json:
        write_json(event)
    else:
        click.echo(event_line(event, clock(event.t)))


def _write_log_line(session: Session, line: LogsLine) -> None:
    if session.as_json:
        write_json(line)
    else:
        click.echo(log_line(line, clock(line.t)))
