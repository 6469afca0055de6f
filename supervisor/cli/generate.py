"""The commands that make a configuration, on stdout or as a new file."""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from ..config.load import parse_config
from ..errors import ConfigError
from ..generate.from_presets import import_presets
from ..generate.from_scan import FoundFile, Inventory, configuration, take_stock
from ..generate.gguf_files import find_files, read_files
from ..llamacpp.presets_ini import MAX_BYTES
from ..text.printable import clean
from .find_sockets import CommandFailed
from .output import note

# Files for which a bar is drawn; reading fewer is over at once.
_MANY = 20


into_file = click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write to FILE, which must not be there yet, instead of stdout.",
)


@click.group(
    "import", epilog="Example:  arriero import llama-server-presets models.ini > config.yaml"
)
def import_() -> None:
    """Make a configuration from that of another program; it is written to stdout."""


@import_.command(
    "llama-server-presets",
    epilog="Example:  arriero import llama-server-presets models.ini > config.yaml",
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@into_file
def llama_server_presets(file: Path, output: Path | None) -> None:
    """Write a configuration for FILE, which llama-server takes as --models-preset.

    What cannot be carried over is told on stderr and in comments.
    """
    imported = import_presets(_read(file))
    for remark in imported.remarks:
        note(f"{clean(str(file))}: {clean(str(remark))}")
    if not imported.models:
        raise CommandFailed(
            f"there is no model in {clean(str(file))}; write [name] and model = FILE"
        )
    _write(imported.text, output)


@click.command(epilog="Example:  arriero scan ~/models -o config.yaml && arriero serve")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@into_file
@click.option("--json", "as_json", is_flag=True, help="Write what was found as JSON instead.")
def scan(folder: Path, output: Path | None, *, as_json: bool) -> None:
    """Write a configuration for the GGUF files in DIR and its folders.

    Files that cannot be used are told on stderr and in comments.
    """
    folder = folder.absolute()
    remarks: list[str] = []
    try:
        paths = find_files(folder, remarks)
    except OSError as exc:
        raise CommandFailed(f"cannot read {clean(str(folder))}: {exc.strerror}") from exc
    found = take_stock(_with_bar(read_files(paths), len(paths)))
    found.remarks += remarks
    for remark in found.remarks:
        note(clean(remark))
    if as_json:
        put(_as_json(found) + "\n", output)
    elif found.models:
        _write(configuration(found, folder), output)
    else:
        raise CommandFailed(f"there is no model in {clean(str(folder))}; GGUF files end in .gguf")


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as exc:
        raise CommandFailed(f"cannot read {clean(str(file))}: {exc.strerror}") from exc
    if len(data) > MAX_BYTES:
        raise CommandFailed(f"{clean(str(file))} is larger than {MAX_BYTES >> 20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise CommandFailed(f"{clean(str(file))}: line {line}: this is not UTF-8") from exc


def _write(text: str, output: Path | None) -> None:
    """Write a configuration; note it if arriero would not accept it."""
    put(text, output)
    try:
        parse_config(text, environ={})
    except ConfigError as exc:
        raise CommandFailed(f"what was written needs your hand: {exc}") from exc


def put(text: str, output: Path | None) -> None:
    """Write `text` to stdout, or into a file that is not there yet.

    Raises:
        CommandFailed: It is there, or cannot be written.
    """
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        name = clean(str(output))
        raise CommandFailed(f"{name} is there already; remove it, or choose another name") from exc
    except OSError as exc:
        raise CommandFailed(f"cannot write {clean(str(output))}: {exc.strerror}") from exc
    note(f"wrote {clean(str(output))}")


def _with_bar(files: Iterator[FoundFile], count: int) -> Iterable[FoundFile]:
    if count < _MANY or not sys.stderr.isatty():
        return files
    from rich.console import Console  # takes a while to import
    from rich.progress import track

    return track(files, "reading", total=count, console=Console(stderr=True), transient=True)


def _as_json(found: Inventory) -> str:
    models = [
        {
            "model": model.model,
            "alias": model.alias or None,
            "path": str(model.path),
            "kind": model.kind.name.lower(),
            "name": model.name or None,
            "architecture": model.architecture,
            "quant": model.quant or None,
            "parameters": model.parameters,
            "size_bytes": model.size_bytes,
            "context": model.context,
            "mmproj": str(model.projector) if model.projector else None,
        }
        for model in found.models
    ]
    return json.dumps({"models": models, "remarks": found.remarks}, indent=2)
