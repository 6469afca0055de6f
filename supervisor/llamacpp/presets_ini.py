"""Reads the file that ``llama-server --models-preset`` reads.

Source of the rules: llama.cpp, common/preset.cpp. A ``;`` or ``#`` begins a comment wherever it
stands, there are no quotes, and a section that comes twice counts as it is written last. New here:
a line may be indented, and a mistake does not hide the rest.
"""

import re
from typing import Final

import msgspec

# More than a person writes by hand; a preset of a hundred models has a thousand lines.
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_LINES: Final = 50_000

# Longest line. Linux takes 128 KiB for one argument of a program.
MAX_LINE: Final = 64 * 1024

_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_SECTION: Final = re.compile(r"\[([^\]]+)\](.*)", re.DOTALL)
_ENTRY: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=(.*)", re.DOTALL)
_COMMENT: Final = re.compile(r"[ \t]*[;#]")


class PresetRemark(msgspec.Struct, frozen=True, order=True):
    """A remark for the user; `line` is from 1, or 0 for the whole file."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class Setting(msgspec.Struct, frozen=True):
    """One ``key = value``."""

    key: str
    value: str
    line: int


class Section(msgspec.Struct):
    """The settings under one ``[name]``, in the order of the file."""

    name: str
    line: int
    settings: list[Setting] = msgspec.field(default_factory=list)


def read_ini(text: str) -> tuple[list[Section], list[PresetRemark]]:
    """Return the sections of `text`, and its mistakes. Never fails."""
    sections: dict[str, Section] = {}
    remarks: list[PresetRemark] = []
    current: Section | None = None
    lines = _LINE_END.split(text.removeprefix("\ufeff"))
    if len(lines) > MAX_LINES:
        remarks.append(
            PresetRemark(MAX_LINES, "nothing is read from here on: the file is too long")
        )
    for number, line in enumerate(lines[:MAX_LINES], 1):
        stripped = line.strip(" \t")
        if not stripped or stripped[0] in ";#":
            continue
        if len(stripped) > MAX_LINE or "\0" in stripped:
            what = "it is longer than 64 KiB" if len(stripped) > MAX_LINE else "it holds a NUL"
            remarks.append(PresetRemark(number, f"this line was left out: {what}"))
            continue
        if (found := _SECTION.fullmatch(stripped)) and _ends(found[2]):
            name = found[1].strip()
            if name in sections:
                text = (
                    f"section [{name}] was there in line {sections[name].line}; "
                    "llama-server forgets what it said there"
                )
                remarks.append(PresetRemark(number, text))
            current = sections[name] = Section(name, number)
        elif found := _ENTRY.fullmatch(stripped):
            setting = Setting(found[1], _value(found[2], number, remarks), number)
            if current is not None:
                current.settings.append(setting)
            elif setting.key != "version":
                text = (
                    f"{setting.key} stands above all sections, where it is for no model; "
                    "write it under [*] if it is for all"
                )
                remarks.append(PresetRemark(number, text))
        else:
            remarks.append(
                PresetRemark(number, "cannot read this line; write [name] or key = value")
            )
    return list(sections.values()), remarks


def _ends(rest: str) -> bool:
    """Return whether only a comment follows a section's name."""
    return not rest.strip(" \t") or _COMMENT.match(rest) is not None


def _value(text: str, line: int, remarks: list[PresetRemark]) -> str:
    comment = _COMMENT.search(text)
    if comment is None:
        return text.strip(" \t")
    value = text[: comment.start()].strip(" \t")
    if value and comment[0] in ";#":  # no blank before it: hardly meant as a comment
        remark = (
            f"what follows the {comment[0]!r} was left out, as llama-server does: "
            "it begins a comment, also within a value"
        )
        remarks.append(PresetRemark(line, remark))
    return value
