"""Output into a file that was not there, or to stdout."""

import shlex
from pathlib import Path

import click

from ...host.atomic_file import create_file
from ...text.printable import clean
from ..find_sockets import CommandFailed
from ..output import note

into_file = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, which must not be there yet, instead of stdout.",
)


def put(text: str, output: Path | None, *, force: bool = False) -> None:
    """Write `text` to stdout, or into a file.

    Args:
        text: What is written.
        output: The file; None: stdout.
        force: One that is there is replaced.

    Raises:
        CommandFailed: It is there, or cannot be written.
    """
    if output is None:
        click.echo(text.encode(), nl=False)  # UTF-8, as in a file, whatever the terminal has
        return
    try:
        create_file(output, text.encode(), replace=force)
    except FileExistsError as exc:
        name = clean(str(output))
        raise CommandFailed(f"{name} is there already; remove it, or choose another name") from exc
    except OSError as exc:
        raise cannot_write(output, exc) from exc
    note(f"wrote {clean(str(output))}")


def cannot_write(path: Path, failure: OSError) -> CommandFailed:
    """Return what to say of a file that cannot be made, with the remedy where that is known."""
    name = clean(str(path))
    if isinstance(failure, FileNotFoundError):
        folder = clean(shlex.quote(str(path.parent)))
        return CommandFailed(f"cannot write {name}: its folder does not exist; mkdir -p {folder}")
    return CommandFailed(f"cannot write {name}: {failure.strerror}")
