"""A configuration as text, for those who begin with one that was made for them.

Whatever a path, a name or an option is: the text that is written here gives it back when it is
read (`text.command_line`, `config.schema.macros`, `config.yaml.tree`).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from ..config.schema.model_keys import is_name
from ..text.command_line import join_command
from ..text.printable import clean

# What YAML reads in a block as it stands; U+2028 and U+0085 are line ends for it, others errors.
_PLAIN: Final = re.compile(r"[ -~\xa0-\u1fff\u2030-\ud7ff\n]*")

# Longest comment line. What is quoted in one comes from a file, and may be of any length.
_WIDTH: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model, as it is written.

    Attributes:
        model: Its id.
        command: Lines of its command: words that were put together with `words`, or macros.
        name, description: Left out if empty.
        aliases, env: Left out if empty.
        unload_timeout_s: Left out if 0.
        remarks: Comments above it.
    """

    model: str
    command: Sequence[str]
    name: str = ""
    description: str = ""
    aliases: Sequence[str] = ()
    env: Sequence[str] = ()
    unload_timeout_s: int = 0
    remarks: Sequence[str] = ()


def can_be_id(name: str) -> bool:
    """Whether a model may have that id."""
    return is_name(name) and "${" not in name


def words(*values: str) -> str:
    """Return `values` as a part of a command that is split into just these again."""
    return escaped(join_command(values))


def escaped(text: str) -> str:
    """Return `text` such that no macro is found in it."""
    return text.replace("${", "$${")


def document(
    entries: Iterable[Entry],
    *,
    remarks: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    macros: Mapping[str, Sequence[str] | int] | None = None,
    preload: Sequence[str] = (),
) -> str:
    """Return the text of a configuration.

    Args:
        entries: Its models.
        remarks: Comments at the top.
        settings: Keys of the whole configuration.
        macros: Name -> lines of commands, or a number.
        preload: Models that are loaded at the start.
    """
    lines = list(_comments(remarks))
    if settings:
        lines += ["", *(f"{_scalar(key)}: {_scalar(text)}" for key, text in settings.items())]
    if macros:
        lines += ["", "macros:"]
        for name, value in macros.items():
            shown = str(value) if isinstance(value, int) else _command(value, "  ")
            lines.append(f"  {_scalar(name)}: {shown}")
    if preload:
        lines += ["", "hooks:", "  on_startup:", "    preload:"]
        lines += [f"      - {_scalar(escaped(model))}" for model in preload]
    lines += ["", "models:"]
    for entry in entries:
        lines += _entry(entry)
    return "\n".join(lines).lstrip("\n") + "\n"


def _entry(entry: Entry) -> Iterable[str]:
    yield from _comments(entry.remarks, "  ")
    yield f"  {_scalar(entry.model)}:"
    for key, text in (("name", entry.name), ("description", entry.description)):
        if text:
            yield f"    {key}: {_scalar(escaped(text))}"
    yield f"    cmd: {_command(entry.command, '    ')}"
    for key, listed in (("aliases", entry.aliases), ("env", entry.env)):
        if listed:
            yield f"    {key}:"
            yield from (f"      - {_scalar(escaped(item))}" for item in listed)
    if entry.unload_timeout_s:
        yield f"    unloadTimeout: {entry.unload_timeout_s}"
    yield ""


def _comments(remarks: Iterable[str], indent: str = "") -> Iterable[str]:
    for remark in remarks:
        line = " ".join(clean(remark).splitlines())  # YAML knows more ends of lines than \n
        shown = line[:_WIDTH].encode(errors="backslashreplace").decode()
        yield f"{indent}# {shown}".rstrip()


def _command(lines: Sequence[str], indent: str) -> str:
    text = "\n".join(lines)
    if not _PLAIN.fullmatch(text):
        return _quoted(text)
    return "|-\n" + "\n".join(f"{indent}  {line}" for line in text.split("\n"))


def _scalar(text: str) -> str:
    """Return `text` in the plainest form that YAML reads as this very text."""
    shown: str = yaml.safe_dump(text, allow_unicode=True, width=math.inf)
    return shown.removesuffix("\n").removesuffix("\n...")


def _quoted(text: str) -> str:
    shown: str = yaml.safe_dump(text, allow_unicode=True, width=math.inf, default_style='"')
    return shown.removesuffix("\n")
