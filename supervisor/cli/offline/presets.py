"""The command `import`: a configuration from that of another program."""

from pathlib import Path

import click

from ...config.load import parse_config
from ...errors import ConfigError
from ...generate.from_presets import import_presets
from ...llamacpp.presets_ini import MAX_BYTES
from ...text.printable import clean
from ..find_sockets import CommandFailed
from ..output import note
from .new_file import into_file, put


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
