"""`keygen`: keys for connections between machines."""

from pathlib import Path

import click

from arriero.protocol.remote.curve import new_keys, to_hex

from ...host.curve_key_file import read_keys, write_keys
from ...text.printable import clean
from ..find_sockets import CommandFailed
from ..output import note
from .new_file import cannot_write


@click.command(epilog="Example:  arriero keygen ~/.config/arriero/control.key")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--public", is_flag=True, help="Show the public key of FILE, and make none.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there: its key is lost.")
def keygen(file: Path, *, public: bool, force: bool) -> None:
    """Write a new secret key to FILE, and show its public key.

    FILE stays on this machine; only you can read it. The public key goes into the configuration of
    the other side (control.clients), or into the address of this one
    (--control tcp://KEY@HOST:PORT).
    """
    if public:
        click.echo(to_hex(read_keys(file).public))
        return
    keys, name = new_keys(), clean(str(file))
    try:
        write_keys(file, keys, replace=force)
    except FileExistsError as exc:
        raise CommandFailed(
            f"{name} is there already; see its public key with --public, or replace it with --force"
        ) from exc
    except OSError as exc:
        raise cannot_write(file, exc) from exc
    note(f"wrote the secret key to {name}; this is its public key:")
    click.echo(to_hex(keys.public))
