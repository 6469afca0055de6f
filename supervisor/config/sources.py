"""The files of a configuration: which they are, and their text.

Files that were named come first, then those of the folder by name: ``*.yaml`` and ``*.yml``, not
those of its own folders. Hidden ones are left out: editors put their locks there (``.#x.yaml``, a
link to nowhere), rsync what is not whole yet, Kubernetes the older versions (``..data``).
"""

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..errors import ConfigError, Problem
from .yaml.tree import MAX_BYTES

_SUFFIXES: Final = (".yaml", ".yml")

# What is no file, in words; by its type as in `stat`.
_OTHERS: Final = {
    stat.S_IFDIR: "a folder; a folder of files is given with --config-dir",
    stat.S_IFIFO: "a pipe, which cannot be read again at a reload; write a file",
    stat.S_IFSOCK: "a socket; write a file",
    stat.S_IFCHR: "a device; write a file",
    stat.S_IFBLK: "a device; write a file",
}


def find_sources(files: Sequence[Path], directory: Path | None) -> tuple[Path, ...]:
    """Return the files of a configuration in the order in which they are merged.

    Whether the `files` can be read is not looked at.

    Args:
        files: Those that were named; they keep their order.
        directory: A folder, whose own files come after them, sorted by name.

    Raises:
        ConfigError: Nothing was named; the folder cannot be read; there is no file at all; one
            would be read twice, be it through a link; a name is not UTF-8.
    """
    if not files and directory is None:
        message = "there is no configuration; give a file here, or a folder with --config-dir"
        raise ConfigError([Problem("--config", 0, 0, "", message)])
    sources = (*files, *(_files_in(directory) if directory is not None else ()))
    if not sources:
        message = "there is no *.yaml or *.yml file in this folder; put one there, or give one"
        raise ConfigError([Problem(str(directory), 0, 0, "", f"{message} with --config")])
    if problems := (*_misnamed(sources), *_repeated(sources)):
        raise ConfigError(problems)
    return sources


def read_source(path: Path) -> str:
    """Return the text of the file at `path`, without a byte order mark.

    It never waits for another process, and never takes more than `MAX_BYTES` into memory.

    Raises:
        ConfigError: It cannot be read, is not a file, too large, or not UTF-8.
    """
    try:
        data = _read(path)
    except OSError as exc:
        raise _unreadable(path, exc.strerror or str(exc)) from exc
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = exc.object[: exc.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = "cannot read it: this is not UTF-8; save it as UTF-8"
        raise ConfigError([Problem(str(path), line, column, "", message)]) from exc


def _files_in(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if _is_source(entry))
    except OSError as exc:
        raise _unreadable(directory, exc.strerror or str(exc), "the folder") from exc
    return [directory / name for name in names]


def _is_source(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or not entry.name.endswith(_SUFFIXES):
        return False
    try:
        return not entry.is_dir()
    except OSError:  # such as links in a circle: reading it tells why
        return True


def _misnamed(sources: Iterable[Path]) -> Iterable[Problem]:
    """Give a problem for each file that cannot be named in a message or a log."""
    for path in sources:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            yield Problem(ascii(str(path)), 0, 0, "", "this name is not UTF-8; rename the file")


def _repeated(sources: Iterable[Path]) -> Iterable[Problem]:
    """Give a problem for each file that was there before."""
    seen: dict[str, Path] = {}
    for path in sources:
        real = os.path.realpath(path)
        if real in seen:
            message = f"this file is read already, as {seen[real]}; leave one of them out"
            yield Problem(str(path), 0, 0, "", message)
        seen[real] = path


def _read(path: Path) -> bytes:
    _check(path, os.stat(path))  # before it is opened: that alone may set a device going
    # Should it be a pipe by now, opening it does not wait for one who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:  # it grew, or is one of those in /proc, whose size is 0
        raise _too_large(path)
    return data


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = _OTHERS.get(stat.S_IFMT(status.st_mode), "something else; write a file")
        raise _unreadable(path, f"it is {what}")
    if status.st_size > MAX_BYTES:
        raise _too_large(path)


def _too_large(path: Path) -> ConfigError:
    return _unreadable(path, f"it is larger than {MAX_BYTES // 1024 // 1024} MB")


def _unreadable(path: Path, why: str, what: str = "it") -> ConfigError:
    return ConfigError([Problem(str(path), 0, 0, "", f"cannot read {what}: {why}")])
