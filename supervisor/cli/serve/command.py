"""The command `arriero serve`: its options."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from arriero.protocol.control.running import MAX_WORKERS

from ..config_options import unknown_keys
from ..find_sockets import DEFAULT_CONFIG
from .options import ServeOptions

if TYPE_CHECKING:
    from ...config.schema.reader import UnknownKeys
    from ...config.values import LogLevel
    from ...host.log import LogForm


@click.command(
    epilog="Example:  arriero serve ~/models, or  "
    "arriero serve --config config.yaml --listen 127.0.0.1:8080"
)
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--config",
    "config_paths",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration, YAML. Several are merged, in this order. Default: config.yaml in "
    "this folder, unless FOLDERs are given.",
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
@unknown_keys
@click.option("--listen", metavar="ADDR", help="Address for clients, such as 127.0.0.1:8080.")
@click.option(
    "--tls-cert-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Clients speak TLS, and are shown this certificate (PEM, the chain in it). When the file "
    "changes it is read again.",
)
@click.option(
    "--tls-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Its key (PEM, without a password).",
)
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
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines for people, or one JSON object a line.",
)
@click.pass_obj
def serve(
    instead: Callable[[ServeOptions], int] | None,
    folders: tuple[Path, ...],
    config_paths: tuple[Path, ...],
    config_dir: Path | None,
    listen: str | None,
    workers: int | None,
    socket_dir: Path | None,
    log_level: "LogLevel | None",
    log_format: "LogForm",
    tls_cert_file: Path | None,
    tls_key_file: Path | None,
    *,
    watch_config: bool,
    unknown: "UnknownKeys",
) -> int:
    """Run the supervisor and its workers until SIGTERM or Ctrl-C.

    With FOLDERs it serves the GGUF files in them. Without, and without a configuration, it serves
    those of the usual places, as `arriero init --help` names them. Nothing is written.

    SIGHUP, and `arriero reload`, read the configuration again, or look for files again.
    """
    is_named = bool(config_paths) or config_dir is not None
    for path in folders:
        if not path.is_dir():
            how = f"--config {path}" if path.suffix in {".yaml", ".yml"} else "a folder"
            raise click.UsageError(f"there is no folder {path}; give {how}")
    if folders and is_named:
        raise click.UsageError("give FOLDERs or a configuration, not both")
    searches = bool(folders) or not (is_named or DEFAULT_CONFIG.exists())
    if searches and watch_config:
        raise click.UsageError("there is no configuration to watch: arriero init writes one")
    if not searches and not is_named:
        config_paths = (DEFAULT_CONFIG,)
    options = ServeOptions(
        folders=tuple(map(str, folders)),
        files=tuple(map(str, config_paths)),
        directory=_text(config_dir),
        unknown=unknown,
        watches=watch_config,
        listen=listen,
        workers=workers,
        log_level=log_level,
        log_format=log_format,
        socket_dir=_text(socket_dir),
        tls_cert=_text(tls_cert_file),
        tls_key=_text(tls_key_file),
    )
    if instead is not None:
        return instead(options)
    from .serving import serve as run  # here: who only reads the options needs nothing of it

    return run(options)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
