"""The command `arriero`: exit statuses, and the command that serves. The others are in their file.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no supervisor to be reached,
130 interrupted with Ctrl-C, 141 the reader of the output went away (as if by SIGPIPE).
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from arriero.protocol.control import MAX_WORKERS
from arriero.protocol.errors import ProtocolError

from . import __version__
from .cli_commands import COMMANDS
from .cli_place import CommandFailed
from .cli_session import note
from .errors import SupervisorError

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class _Program(click.Group):
    """A group of commands that ends quietly when nobody reads its output any more."""

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
@click.version_option(__version__, prog_name="arriero")
def arriero() -> None:
    """Drive a train of llama-servers: start the model that a request names."""


@arriero.command(epilog="Example:  arriero serve --config config.yaml --listen 127.0.0.1:8080")
@click.option(
    "--config",
    "config_path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration, YAML.",
)
@click.option("--listen", metavar="ADDR", help="Address for clients, such as 127.0.0.1:8080.")
@click.option(
    "--workers", type=click.IntRange(1, MAX_WORKERS), metavar="N", help="Worker processes."
)
@click.option(
    "--socket-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ARRIERO_SOCKET_DIR",
    metavar="DIR",
    help="Private folder for the events, control and lease sockets. Default: "
    "$ARRIERO_SOCKET_DIR, $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/arriero, "
    "else /tmp/arriero-<user id>.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Least important log lines that are written to stderr.",
)
def serve(
    config_path: Path,
    listen: str | None,
    workers: int | None,
    socket_dir: Path | None,
    log_level: str,
) -> int:
    """Run the supervisor and its workers until SIGTERM or Ctrl-C."""
    from .app import serve as run  # what serves is not loaded by commands that only ask

    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    return run(config_path, listen=listen, workers=workers, socket_dir=socket_dir)


for _command in COMMANDS:
    arriero.add_command(_command)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that `args` (default: those of this process) ask for.

    Returns:
        The exit status. Errors have been told on stderr by then.
    """
    try:
        status = arriero.main(args, prog_name="arriero", standalone_mode=False)
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
