"""The command `man`: pages for man(1), made of what `--help` says.

Source of the format: groff_man(7), man-pages(7).
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ...host.own_version import own_version
from ...text.printable import clean
from ..find_sockets import CommandFailed
from ..output import note

_STATUSES: Final = (
    ("0", "Done."),
    ("1", "It was refused, or has failed."),
    ("2", "It was not called as it can be."),
    ("3", "No supervisor can be reached."),
    ("130", "It was ended with Ctrl-C."),
)


@click.command("man", epilog="Example:  arriero man serve | man -l -")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write all pages into DIR, such as ~/.local/share/man/man1; it is made if need be.",
)
@click.pass_context
def manual(ctx: click.Context, words: tuple[str, ...], output: Path | None) -> None:
    """Print the page of a COMMAND for man(1), or of arriero itself."""
    pages = dict(pages_of(ctx.find_root(), ("arriero",)))
    if output is None:
        wanted = "-".join(("arriero", *words))
        if wanted not in pages:
            raise click.UsageError(f"there is no command {clean(' '.join(words))!r}")
        click.echo(pages[wanted], nl=False)
        return
    if words:
        raise click.UsageError("--output writes all pages; leave the COMMAND out")
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (output / f"{name}.1").write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CommandFailed(f"cannot write {clean(str(exc.filename))}: {exc.strerror}") from exc
    note(f"wrote {len(pages)} pages into {clean(str(output))}")


def pages_of(ctx: click.Context, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Give name and text of the page of a command, and of those below it."""
    command = ctx.command
    below: dict[str, click.Command] = {}
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            if found is not None and not found.hidden:
                below[name] = found
    yield "-".join(path), "\n".join([*_lines(command, ctx, path, below), ""])
    for name, found in below.items():
        yield from pages_of(click.Context(found, ctx, name), (*path, name))


def _lines(
    command: click.Command,
    ctx: click.Context,
    path: tuple[str, ...],
    below: dict[str, click.Command],
) -> Iterator[str]:
    name = "-".join(path)
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    first, _, _ = text.partition("\n\n")
    yield f'.TH "{_text(name.upper())}" 1 "" "arriero {_text(own_version())}" "arriero"'
    yield from (".SH NAME", f"{_text(name)} \\- {_text(' '.join(first.split()).rstrip('.'))}")
    usage = " ".join(command.collect_usage_pieces(ctx))
    yield from (".SH SYNOPSIS", f".B {_text(' '.join(path))}", _line(usage))
    yield from (".SH DESCRIPTION", *_paragraphs(text))
    if below:
        yield ".SH COMMANDS"
        for called, one in below.items():
            yield from (".TP", f".BR {_text('-'.join((*path, called)))} (1)")
            yield _line(one.get_short_help_str(1000))
    options = [
        record
        for one in command.get_params(ctx)
        if isinstance(one, click.Option) and (record := one.get_help_record(ctx)) is not None
    ]
    if options:
        yield ".SH OPTIONS"
        for written, meaning in options:
            yield from (".TP", f"\\fB{_text(written)}\\fR", _line(meaning))
    if command.epilog:
        shown = re.sub(r"^Example: +", "", inspect.cleandoc(command.epilog.replace("\b", "")))
        yield from (".SH EXAMPLES", ".nf", *map(_line, shown.strip().splitlines()), ".fi")
    if len(path) == 1:
        yield ".SH EXIT STATUS"
        for status, meaning in _STATUSES:
            yield from (".TP", f".B {status}", meaning)
    else:
        yield from (".SH SEE ALSO", f".BR {_text('-'.join(path[:-1]))} (1)")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield from (".nf", *map(_line, paragraph.splitlines()[1:]), ".fi")
        else:
            yield _line(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """Return a text as it stands within a line of roff."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq")


def _line(text: str) -> str:
    """Return a text as a line of its own, which is no request to roff."""
    written = _text(text)
    return f"\\&{written}" if written[:1] in {".", "'"} else written
