"""The command `arriero`: exit statuses, and the command that serves. The others are in their file.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no supervisor to be reached,
130 interrupted with Ctrl-C, 141 the reader of the output went away (as if by SIGPIPE).
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arriero.protocol.control import MAX_WORKERS
from arriero.protocol.errors import ProtocolError

from . import __version__
from .cli_check import check
from .cli_commands import COMMANDS
from .cli_files import example, unit
from .cli_make import import_, scan
from .cli_place import DEFAULT_CONFIG, CommandFailed
from .cli_schema import schema
from .cli_session import note
from .errors import SupervisorError

if TYPE_CHECKING:
    from .config_values import LogLevel

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
    "config_paths",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration, YAML. Several are merged, in this order. Default: config.yaml in "
    "this folder.",
)
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A folder: its *.yaml and *.yml files are merged after those given with --config.",
)
@click.option(
    "--watch-config", is_flag=True, help="Follow changes of these files, as SIGHUP does once."
)
@click.option("--lenient", is_flag=True, help="Unknown keys are warnings, not errors.")
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
    help="Least important log lines that are written to stderr. Default: logLevel of the "
    "configuration, else info.",
)
def serve(
    config_paths: tuple[Path, ...],
    config_dir: Path | None,
    listen: str | None,
    workers: int | None,
    socket_dir: Path | None,
    log_level: "LogLevel | None",
    *,
    watch_config: bool,
    lenient: bool,
) -> int:
    """Run the supervisor and its workers until SIGTERM or Ctrl-C.

    SIGHUP, and `arriero reload`, read the configuration again.
    """
    if not config_paths and config_dir is None:
        if not DEFAULT_CONFIG.exists():
            raise click.UsageError(
                f"there is no {DEFAULT_CONFIG} in this folder; give --config FILE or --config-dir "
                f"DIR, or make one: arriero scan ~/models -o {DEFAULT_CONFIG}"
            )
        config_paths = (DEFAULT_CONFIG,)
    from .app import Order  # what serves is not loaded by commands that only ask
    from .app import serve as run
    from .own_log import begin_log

    begin_log(log_level)
    return run(
        Order(
            files=config_paths,
            directory=config_dir,
            lenient=lenient,
            watches=watch_config,
            listen=listen,
            workers=workers,
            log_level=log_level,
            socket_dir=socket_dir,
        )
    )


for _command in COMMANDS:
    arriero.add_command(_command)
arriero.add_command(check)
arriero.add_command(schema)
arriero.add_command(import_)
arriero.add_command(scan)
arriero.add_command(example)
arriero.add_command(unit)


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
