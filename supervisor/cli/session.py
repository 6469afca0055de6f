"""Options, queries and output of all commands that talk to a supervisor."""

import functools
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from arriero.protocol.control.base import ControlReply, ControlRequest, Refusal
from arriero.protocol.control.models import ExplainReply, ExplainRequest

from ..text.printable import clean
from .connection import ControlConnection, open_link
from .find_sockets import CommandRefused, socket_folder
from .output import write_json
from .place import LocalPlace, SupervisorPlace, remote_place
from .render.text import Table, aligned, refusal_line

_ReplyT = TypeVar("_ReplyT", bound=ControlReply)

# Seconds for a question that the supervisor answers from memory: plenty, even on a loaded machine.
ANSWER_S = 10.0

# Seconds for a question whose answer has to wait for models. The supervisor bounds each phase of
# a start and reports its end; this only keeps a forgotten script from waiting for ever.
WORK_S = 3600.0


class Session(msgspec.Struct, frozen=True):
    """One command on its way.

    Attributes:
        link: The way to the supervisor.
        as_json: The output is for programs.
        within_s: Longest wait in seconds for the answer.
    """

    link: ControlConnection
    as_json: bool
    within_s: float

    @property
    def on_terminal(self) -> bool:
        """True when tables and bars may be drawn."""
        return not self.as_json and sys.stdout.isatty()

    def ask(self, request: ControlRequest, kind: type[_ReplyT]) -> _ReplyT:
        """Ask and return the answer.

        Raises:
            CommandRefused: The supervisor refused; with ``--json`` its reply is written by then.
            SupervisorUnreachable: There is no supervisor, or it does not answer.
        """
        return self.accepted(self.link.ask(request, kind, within_s=self.within_s))

    def accepted(self, reply: _ReplyT | Refusal) -> _ReplyT:
        """Return `reply` unless it is a refusal.

        Raises:
            CommandRefused: It is one; with ``--json`` it is written by then.
        """
        if isinstance(reply, Refusal):
            if self.as_json:
                write_json(reply)
            raise CommandRefused(
                "\n  ".join([refusal_line(reply.error), *map(clean, reply.problems)])
            )
        return reply

    def id_of(self, model: str) -> str:
        """Return the id of the model with the name or alias `model`.

        Topics go by ids.

        Raises:
            CommandRefused: There is no such model.
        """
        return self.ask(ExplainRequest(model=model), ExplainReply).model

    def write(self, reply: ControlReply, lines: Iterable[str]) -> None:
        """Write `reply` as JSON or, for people, as `lines`."""
        if self.as_json:
            write_json(reply)
            return
        for line in lines:
            click.echo(line)

    def write_table(self, reply: ControlReply, table: Table) -> None:
        """Write `reply` as JSON or, for people, as `table`."""
        if self.on_terminal:
            from .render.terminal import draw_table  # rich takes a while to import

            draw_table(table)
        else:
            self.write(reply, aligned(table))


def client(default_timeout_s: float = ANSWER_S) -> Callable[[Callable[..., None]], Any]:
    """Turn a function that takes a `Session` into one with its options."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--socket-dir",
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIR",
            help="Folder of the supervisor's sockets. Default: $ARRIERO_SOCKET_DIR, "
            "$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/arriero, /tmp/arriero-<user id>, /run/arriero.",
        )
        @click.option(
            "--control",
            envvar="ARRIERO_CONTROL",
            metavar="tcp://KEY@HOST:PORT",
            help="The supervisor of another machine, with its public key. Default: "
            "$ARRIERO_CONTROL, else one of this machine.",
        )
        @click.option(
            "--control-key",
            type=click.Path(path_type=Path, dir_okay=False),
            envvar="ARRIERO_CONTROL_KEY",
            metavar="FILE",
            help="Your key for that, made by `arriero keygen`. Default: $ARRIERO_CONTROL_KEY.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Write JSON, one object a line.")
        @click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            default=default_timeout_s,
            show_default=True,
            help="Longest wait for the answer.",
        )
        @functools.wraps(function)
        def command(
            *,
            socket_dir: Path | None,
            control: str | None,
            control_key: Path | None,
            as_json: bool,
            timeout: float,
            **options: object,
        ) -> None:
            place: SupervisorPlace
            if control is not None and socket_dir is None:
                place = remote_place(control, control_key)
            else:
                place = LocalPlace(socket_dir or socket_folder(os.environ, _exists))
            with open_link(place) as link:
                function(Session(link, as_json, timeout), **options)

        return command

    return decorate


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # another user's: connecting reports whose
