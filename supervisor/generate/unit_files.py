"""The files that operators copy, adapted to this installation.

In the repository they lie in deploy/; `data` has links to them, and what is installed has copies.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

# Name on the command line -> file, and the name that systemd wants for it.
UNITS: Final = {
    "service": ("arriero.service", "arriero.service"),
    "socket": ("arriero.socket", "arriero.socket"),
    "user": ("arriero-user.service", "arriero.service"),
    "adopt": ("adopt.conf", "adopt.conf"),
    "sysusers": ("sysusers.conf", "arriero.conf"),
}
EXAMPLE: Final = "config.example.yaml"

# Place of arriero in the shipped files.
_BIN: Final = "/opt/arriero/bin"
_PROGRAM: Final = f"{_BIN}/arriero"

_PLAIN = re.compile(r"[A-Za-z0-9_./+@:,~-]+\Z")


def shipped(name: str) -> str:
    """Return the text of a file that comes with arriero."""
    from importlib.resources import files  # a supervisor needs none of them

    return (files("arriero.supervisor") / "data" / name).read_text(encoding="utf-8")


def program_of(argv0: str, executable: str, is_program: Callable[[Path], bool]) -> tuple[str, ...]:
    """Return the command that starts this installation, without its arguments.

    Links stay as they are: where a link names the version in use, so should a service.

    Args:
        argv0: What this process was called by; the script `arriero`, or a module's file.
        executable: Its Python.
        is_program: Returns whether a path is a file that can be run.
    """
    beside = Path(executable).with_name("arriero")
    for found in (Path(os.path.abspath(argv0)), beside):
        if found.name == "arriero" and is_program(found):
            return (str(found),)
    return (executable, "-m", "arriero")


def this_program() -> tuple[str, ...]:
    """Return the same for this process."""
    return program_of(
        sys.argv[0], sys.executable, lambda path: path.is_file() and os.access(path, os.X_OK)
    )


def unit_text(text: str, program: tuple[str, ...]) -> str:
    """Return a unit file with `program` instead of the one in /opt/arriero.

    Raises:
        ValueError: A unit file cannot name this program.
    """
    if not program[0].isprintable() or set("\"'\\") & set(program[0]):
        # systemd refuses such a name ("contains special characters"), however it is quoted.
        raise ValueError("systemd starts no program with a quote, a backslash or a line end in it")
    command = " ".join(map(_quoted, program))
    folder = str(Path(program[0]).parent).replace("%", "%%")
    lines = []
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key.startswith("Exec"):
            line = f"{key}={value.replace(_PROGRAM, command)}"
        elif line.startswith("Environment=PATH="):
            line = _path_line(line, folder)
        lines.append(line)
    return "\n".join([*lines, ""])


def _path_line(line: str, folder: str) -> str:
    """Return the line with `folder` first, if it can be part of a PATH."""
    name, _, path = line.removeprefix("Environment=").partition("=")
    first, *others = path.split(":")
    assert first == _BIN, line
    places = [folder, *others] if ":" not in folder else others
    unique = ":".join(dict.fromkeys(places))
    setting = f"{name}={unique}"
    if _PLAIN.match(unique.replace("%", "")):
        return f"Environment={setting}"
    return f'Environment="{setting}"'


def _quoted(word: str) -> str:
    """Return `word` as systemd reads it back (systemd.service(5), "Command lines").

    Only for the path of a program: in its arguments `$` would have to be doubled, too.
    """
    return word if _PLAIN.match(word) else '"' + word.replace("%", "%%") + '"'
