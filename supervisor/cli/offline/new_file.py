"""Output into a file that was not there, or to stdout."""

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
        raise CommandFailed(f"cannot write {clean(str(output))}: {exc.strerror}") from exc
    note(f"wrote {clean(str(output))}")
