"""The command `init`: looks for models, and writes a configuration for them."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click
import msgspec

from ...config.lint.lint import advise
from ...config.lint.real_disk import RealDisk
from ...config.load import parse_with_tree
from ...errors import ConfigError
from ...generate.from_scan import FoundFile, FoundModel, Inventory
from ...generate.gguf_files import SearchLimits
from ...generate.places import GET_SERVER
from ...generate.search import ModelSearch, llama_server
from ...text.printable import clean
from ..find_sockets import DEFAULT_CONFIG, CommandFailed
from ..output import note, write_json
from ..render.check import CheckReport, Remark, accepted, refused, remark_line
from ..render.text import Table
from .new_file import put

# Files for which a bar is drawn; reading fewer is over at once.
_MANY: Final = 20

# Lines of remarks on a terminal.
_SHOWN: Final = 20

# Minutes rather than the seconds of `serve`: somebody is looking on, and can end it.
_LIMITS: Final = SearchLimits(seconds=300.0, files=20_000)

_STDOUT: Final = Path("-")


class ListedModel(msgspec.Struct, frozen=True):
    """A model that was found, for programs.

    Attributes:
        model: Its id.
        aliases: Other names.
        path: Its file, the first one if it is split.
        kind: ``text``, ``embedding`` or ``reranker``.
        name: As it calls itself.
        architecture, quant: Such as ``qwen3``, ``Q4_K_M``.
        parameters: How many.
        size_bytes: Of all of its files.
        context: Longest context in tokens.
        mmproj: The file for images or sound.
    """

    model: str
    aliases: tuple[str, ...]
    path: str
    kind: str
    name: str | None
    architecture: str
    quant: str | None
    parameters: int
    size_bytes: int
    context: int | None
    mmproj: str | None


class InitReport(msgspec.Struct, frozen=True):
    """What `init --json` writes.

    Attributes:
        written: The file; None: none was written.
        llama_server: How it is called; None: it was not found.
        places: Where was looked.
        models: What was found.
        remarks: What was left out, and why.
        warnings: What `arriero check` says of the configuration.
    """

    written: str | None
    llama_server: str | None
    places: tuple[str, ...]
    models: tuple[ListedModel, ...]
    remarks: tuple[str, ...]
    warnings: tuple[Remark, ...]


@click.command(epilog="Example:  arriero init ~/models && arriero serve")
@click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="Write to FILE; - is stdout.",
)
@click.option("--force", is_flag=True, help="Replace a FILE that is there.")
@click.option("--dry-run", is_flag=True, help="Write to stdout and into no file.")
@click.option("--json", "as_json", is_flag=True, help="Tell what was found and done as JSON.")
def init(
    folders: tuple[Path, ...], output: Path, *, force: bool, dry_run: bool, as_json: bool
) -> None:
    """Look for models (GGUF files), and write a configuration for them.

    Without FOLDERs it looks into this folder (not into those in it), into ~/models, and where
    Hugging Face, llama.cpp, LM Studio and Ollama keep theirs; on a terminal it asks for more.
    Nothing is started, and nothing is asked of the network.
    """
    for folder in folders:
        if not folder.is_dir():
            raise click.UsageError(f"there is no folder {clean(str(folder))}")
    if dry_run:
        output = _STDOUT
    writes = output != _STDOUT
    if writes and not force and os.path.lexists(output):
        raise CommandFailed(f"{clean(str(output))} is there already; --force replaces it")
    search = ModelSearch(folders, _LIMITS)
    found = search.run(_with_bar)
    asks = writes and not as_json and not folders and sys.stdin.isatty() and sys.stdout.isatty()
    if asks:
        search, found = _ask(search, found)
    if not as_json:
        _tell_remarks(found.remarks)
    if not found.models and not as_json:
        raise CommandFailed(search.none_found())
    server = llama_server()
    text = search.text(found)
    report = _checked(text, str(output))
    if not report.ok:
        raise CommandFailed("\n  ".join(["this is a bug:", *map(remark_line, report.errors)]))
    writes = writes and bool(found.models)
    if writes:
        put(text, output, force=force)
    elif not as_json:
        put(text, None)
    if as_json:
        write_json(
            InitReport(
                written=str(output) if writes else None,
                llama_server=server,
                places=tuple(map(str, search.existing())),
                models=tuple(map(_listed, found.models)),
                remarks=tuple(found.remarks),
                warnings=report.warnings,
            )
        )
        return
    if server is None:
        note(GET_SERVER)
    for warning in report.warnings if server is not None else ():
        note(remark_line(warning))
    if writes:
        if not asks:
            _show(found.models)
        named = "" if output == DEFAULT_CONFIG else f" --config {output}"
        note(f"{'next' if server is not None else 'then'}: arriero serve{clean(named)}")


def _ask(search: ModelSearch, found: Inventory) -> tuple[ModelSearch, Inventory]:
    """Show what was found, and ask where there is more."""
    places = [str(place.folder) for place in search.existing()]
    click.echo("Looked into " + ", ".join(map(clean, places)))
    folders: list[Path] = []
    while True:
        _show(found.models)
        word = "Another folder" if found.models else "A folder"
        answer = click.prompt(
            f"{word} with GGUF files (Enter: none)", default="", show_default=False
        )
        if not answer.strip():
            return search, found
        folder = Path(answer.strip()).expanduser()
        if not folder.is_dir():
            note(f"there is no folder {clean(str(folder))}")
            continue
        folders.append(folder)
        search = search.with_also(folder)
        found = search.run(_with_bar)


def found_table(models: Sequence[FoundModel]) -> Table:
    """Return what was found, for a terminal."""
    return Table(
        ("MODEL", "WHAT", "FOLDER"),
        tuple((clean(one.model), one.description, clean(str(one.path.parent))) for one in models),
        spare=("FOLDER",),
    )


def _show(models: Sequence[FoundModel]) -> None:
    """Draw a table of them, if somebody looks on."""
    if models and sys.stdout.isatty():
        from ..render.terminal import draw_table  # rich takes a while to import

        draw_table(found_table(models))


def _checked(text: str, source: str) -> CheckReport:
    """Judge a configuration as `arriero check` does."""
    try:
        config, root = parse_with_tree(text, source, environ=os.environ)
        return accepted(config, advise(config, root, RealDisk()))
    except ConfigError as exc:
        return refused(exc)


def _tell_remarks(remarks: Sequence[str]) -> None:
    for remark in remarks[:_SHOWN]:
        note(clean(remark))
    if (more := len(remarks) - _SHOWN) > 0:
        note(f"and {more:,} more were left out; --json tells all")


def _with_bar(files: Iterable[FoundFile], count: int) -> Iterable[FoundFile]:
    if count < _MANY or not sys.stderr.isatty():
        return files
    from rich.console import Console  # takes a while to import
    from rich.progress import track

    return track(files, "reading", total=count, console=Console(stderr=True), transient=True)


def _listed(model: FoundModel) -> ListedModel:
    return ListedModel(
        model=model.model,
        aliases=model.aliases,
        path=str(model.path),
        kind=model.kind.name.lower(),
        name=model.name or None,
        architecture=model.architecture,
        quant=model.quant or None,
        parameters=model.parameters,
        size_bytes=model.size_bytes,
        context=model.context,
        mmproj=str(model.projector) if model.projector else None,
    )
