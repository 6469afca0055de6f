"""The text of a generated configuration.

Whatever a path, a name or an option is: the text that is written here gives it back when it is
read (`text.command_line`, `config.schema.macros`, `config.yaml.tree`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ..config.schema.model_types import is_name
from ..config.yaml.write import Lines, write_yaml
from ..text.command_line import join_command
from ..text.printable import clean

# Longest comment line. What is quoted in one comes from a file, and may be of any length.
_WIDTH: Final = 400


class Entry(msgspec.Struct, frozen=True, kw_only=True):
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
    """Return whether a model may have that id."""
    return is_name(name) and "${" not in name


def words(*values: str) -> str:
    """Return `values` as a part of a command that splits into them."""
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
    above: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return the text of a configuration.

    Args:
        entries: Its models.
        remarks: Comments at the top.
        settings: Keys of the whole configuration.
        macros: Name -> lines of commands, or a number.
        preload: Models that are loaded at the start.
        above: Comments above a key of those.
    """
    explained = above or {}
    sections: list[dict[str, object]] = []
    for key, value in (settings or {}).items():
        if key in explained or not sections:
            sections.append({})
        sections[-1][key] = value
    if macros:
        sections.append({"macros": {name: _macro(value) for name, value in macros.items()}})
    if preload:
        sections.append({"hooks": {"on_startup": {"preload": [*map(escaped, preload)]}}})
    models = "models:\n" + "".join(map(_entry, entries))
    blocks = ["".join(_comments(remarks))]
    blocks += [
        "".join(_comments(explained.get(next(iter(one)), ()))) + write_yaml(one) for one in sections
    ]
    blocks.append(models)
    return "\n".join(filter(None, blocks))


def _macro(value: Sequence[str] | int) -> object:
    return value if isinstance(value, int) else Lines("\n".join(value))


def _entry(entry: Entry) -> str:
    keys: dict[str, object] = {
        "name": escaped(entry.name),
        "description": escaped(entry.description),
        "cmd": Lines("\n".join(entry.command)),
        "aliases": [*map(escaped, entry.aliases)],
        "env": [*map(escaped, entry.env)],
        "unloadTimeout": entry.unload_timeout_s,
    }
    written = {key: value for key, value in keys.items() if value}
    model = write_yaml({"models": {entry.model: written}}).removeprefix("models:\n")
    return f"{''.join(_comments(entry.remarks, '  '))}{model}\n"


def _comments(remarks: Iterable[str], indent: str = "") -> Iterable[str]:
    for remark in remarks:
        line = " ".join(clean(remark).splitlines())  # YAML knows more ends of lines than \n
        shown = line[:_WIDTH].encode(errors="backslashreplace").decode()
        yield f"{indent}# {shown}".rstrip() + "\n"
