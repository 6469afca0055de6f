"""The command `arriero check`: reads a configuration and reports its mistakes."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from ..config.dump import dump
from ..config.lint.lint import advise
from ..config.lint.real_disk import RealDisk
from ..config.load import load_with_tree
from ..config.schema.reader import UnknownKeys
from ..config.values import Config
from ..errors import ConfigError
from .config_options import unknown_keys
from .find_sockets import DEFAULT_CONFIG
from .output import write_json
from .render.check import CheckReport, accepted, last_line, refused, remark_line, tables
from .render.text import aligned

_EXAMPLE: Final = "arriero check config.yaml"

# Remarks below the tables, and their style on a terminal.
_KINDS: Final = (("notes", "dim"), ("warnings", "yellow"), ("errors", "red"))


@click.command(epilog=f"Example:  {_EXAMPLE} --json")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="A folder: its *.yaml and *.yml files are merged after the FILEs.",
)
@unknown_keys
@click.option(
    "--resolved",
    is_flag=True,
    help="Write the configuration as it is meant instead: one file, macros replaced. Secrets, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def check(
    files: tuple[Path, ...],
    config_dir: Path | None,
    *,
    unknown: UnknownKeys,
    resolved: bool,
    as_json: bool,
) -> int:
    """Tell what a configuration says, and what is wrong with it.

    All FILEs together are one configuration, as for `serve`; without any, config.yaml in this
    folder is taken. Nothing is started or written. Commands are shown as they are run, but with
    secrets hidden.

    Exit status: 0 nothing is wrong, 1 there are warnings, 2 there are errors. Notes do not count.
    """
    if not files and config_dir is None:
        if not DEFAULT_CONFIG.exists():
            raise click.UsageError(
                f"there is no {DEFAULT_CONFIG} in this folder; say which file, such as: {_EXAMPLE}"
            )
        files = (DEFAULT_CONFIG,)
    config = None
    try:
        config, root = load_with_tree(
            *files, directory=config_dir, environ=os.environ, unknown=unknown
        )
        advice = advise(config, root, RealDisk())
        report = accepted(config, advice, with_models=not resolved)
    except ConfigError as exc:
        report = refused(exc)
    if resolved and config is not None:
        click.echo(dump(config), nl=False)
    elif as_json:
        write_json(report)
    else:
        _show(report, config)
    return report.exit_status


def _show(report: CheckReport, config: Config | None) -> None:
    """Write tables, remarks and a last line to stdout."""
    found = [] if config is None else tables(report, config)
    sections = [
        (name, style, [remark_line(remark) for remark in getattr(report, name)])
        for name, style in _KINDS
    ]
    if sys.stdout.isatty():
        from rich.console import Console  # takes a while to import
        from rich.text import Text

        from .render.terminal import draw_table

        console = Console()
        for table in found:
            draw_table(table)
        for name, style, lines in sections:
            for line in (name, *lines, "") if lines else ():
                # Not folded: a terminal makes a link of a place in one line.
                console.print(Text(line, style=style), soft_wrap=True)
        console.print(Text(last_line(report), style="bold"))
        return
    for table in found:
        click.echo("\n".join((*aligned(table), "")))
    for name, _, lines in sections:
        if lines:
            click.echo("\n".join((f"{name}:", *lines, "")))
    click.echo(last_line(report))
