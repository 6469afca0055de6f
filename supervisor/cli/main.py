"""The commands of `arriero`: table of commands, and exit statuses.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no supervisor to be reached,
130 interrupted with Ctrl-C, 141 the reader of the output went away (as if by SIGPIPE).
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import click
from click.shell_completion import CompletionItem, add_completion_class

from arriero.protocol.errors import ProtocolError

from ..errors import SupervisorError
from ..host.collector import no_collection
from .config_options import as_command
from .exits import EXIT_BROKEN_PIPE, EXIT_FAILED, EXIT_INTERRUPTED, show_any_text
from .find_sockets import CommandFailed
from .output import note

# Each command and where it is: it is imported when it is asked for, with all that it takes.
COMMANDS: Final = {
    "activity": "requests.activity",
    "ask": "chat.ask.ask",
    "cancel": "requests.cancel",
    "chat": "chat.chat.chat",
    "check": "check.check",
    "completion": "offline.completion.completion",
    "events": "commands.events",
    "example": "offline.files.example",
    "explain": "commands.explain",
    "hold": "commands.hold",
    "import": "offline.presets.import_",
    "init": "offline.init.init",
    "key": "keys.key",
    "keygen": "offline.keygen.keygen",
    "logs": "commands.logs",
    "man": "offline.manual.manual",
    "pin": "commands.pin",
    "ping": "commands.ping",
    "profile": "commands.profile",
    "release": "commands.release",
    "reload": "commands.reload_",
    "restart": "commands.restart",
    "scale": "commands.scale",
    "schema": "offline.files.schema",
    "serve": "serve.command.serve",
    "shutdown": "commands.shutdown",
    "status": "commands.status",
    "swap": "commands.swap",
    "top": "top.top.top",
    "unit": "offline.files.unit",
    "unload": "commands.unload",
    "unpin": "commands.unpin",
    "usage": "requests.usage",
    "workers": "commands.workers",
}


class _Program(click.Group):
    """Commands that are imported one by one.

    Quiet when the reader of their output went away.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].rpartition(".")
        with no_collection():
            command: click.Command = getattr(import_module(f".{module}", __package__), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return what begins so; click would import all commands for their help."""
        from .completing import SUMMARIES

        names = [
            CompletionItem(name, help=SUMMARIES.get(name))
            for name in COMMANDS
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python would complain once more when it flushes stdout at exit.
            # Source: docs.python.org, library/signal, "Note on SIGPIPE".
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return EXIT_BROKEN_PIPE


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example:  arriero serve --config config.yaml",
)
@click.version_option(package_name="arriero", prog_name="arriero")
def arriero() -> None:
    """Drive a train of llama-servers: start the model that a request names."""


def main(args: Sequence[str] | None = None, serve: Callable[[Any], int] | None = None) -> int:
    """Run the command that `args` (default: those of this process) ask for.

    Args:
        args: What stands behind the name of this program.
        serve: Called in the place of serving, with its `ServeOptions`; returns the exit status.

    Returns:
        The exit status. Errors stand on stderr by then.
    """
    show_any_text()
    if "_ARRIERO_COMPLETE" in os.environ:
        from .completing import BashCompletion

        add_completion_class(BashCompletion)
    try:
        status = arriero.main(
            as_command(sys.argv[1:] if args is None else args),
            prog_name="arriero",
            standalone_mode=False,
            obj=serve,
        )
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    except CommandFailed as exc:
        note(str(exc))
        return exc.exit_status
    except (SupervisorError, ProtocolError) as exc:
        note(str(exc))
        return EXIT_FAILED
    return status or 0
