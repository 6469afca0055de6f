"""The commands that write shipped files: an example, systemd units, the JSON schema."""

from pathlib import Path

import click

from ...generate.unit_files import EXAMPLE, UNITS, shipped, this_program, unit_text
from ..find_sockets import CommandFailed
from .new_file import into_file, put


@click.command(epilog="Example:  arriero example -o config.yaml")
@into_file
def example(output: Path | None) -> None:
    """Print a configuration that shows every key, to take from what is needed."""
    put(shipped(EXAMPLE), output)


@click.command(epilog="Example:  arriero unit user -o ~/.config/systemd/user/arriero.service")
@click.argument(
    "which",
    type=click.Choice(["service", "socket", "user", "adopt", "sysusers"]),
    default="service",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write to FILE, which must not be there yet, or into a folder under the file's own name.",
)
def unit(which: str, output: Path | None) -> None:
    """Print a file for systemd, with the path of this installation.

    `service` (the default) is for the whole machine and goes to /etc/systemd/system, `socket` is
    its port, kept open over restarts, `adopt` what `adopt: true` needs, in arriero.service.d
    there, and `sysusers` its user, in /etc/sysusers.d. `user` is a service of your own, in
    ~/.config/systemd/user.
    """
    source, name = UNITS[which]
    try:
        text = unit_text(shipped(source), this_program())
    except ValueError as exc:
        raise CommandFailed(f"{exc}: install arriero into a venv elsewhere") from exc
    if output is not None and output.is_dir():
        output /= name
    put(text, output)


@click.command(
    epilog="""\b
Example:  arriero schema > config.schema.json
An editor with the YAML language server then completes, explains and checks
the keys of a configuration that begins with this line:
# yaml-language-server: $schema=config.schema.json
"""
)
def schema() -> None:
    """Print the JSON schema of the configuration, for editors."""
    from ...config.document import schema_text  # all keys: other commands need none of them

    click.echo(schema_text(), nl=False)
