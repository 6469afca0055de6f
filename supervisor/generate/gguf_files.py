"""Finds GGUF files and reads their headers, within limits. Blocks.

`from_scan` decides what they are.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from ..llamacpp.gguf import GgufError, GgufHeader, read_head
from .from_scan import FileIdentity, FoundFile
from .ollama_files import StoredModel, read_manifest
from .places import Layout, SearchPlace

_MAX_DEPTH: Final = 16  # deeper than any collection

# What programs put behind the name of a file that is on its way: huggingface_hub, llama.cpp, LM
# Studio, aria2, browsers.
_UNFINISHED: Final = tuple(
    f".gguf{end}"
    for end in (".incomplete", ".downloadinprogress", ".part", ".aria2", ".crdownload", ".tmp")
)

# Headers that were read, or why that failed; by file, its size and its last change.
HeaderCache: TypeAlias = dict[tuple[FileIdentity, int, int], GgufHeader | str]


class SearchLimits(msgspec.Struct, frozen=True):
    """How far a search goes; what is beyond is told.

    Attributes:
        seconds: In all. One call that hangs, on a file server that is gone, is not ended by this.
        files: GGUF files.
        entries: Files and folders that are looked at.
    """

    seconds: float = 20.0
    files: int = 5_000
    entries: int = 1_000_000


class _LimitReached(Exception):
    pass


class SeenFile(msgspec.Struct, frozen=True):
    """A GGUF file whose header was not read yet.

    Attributes:
        path: Of the file.
        status: What the system says of it.
        model: What Ollama says of it.
    """

    path: Path
    status: os.stat_result
    model: StoredModel | None = None


class FileSearch:
    """One search: walks through places, then reads the headers.

    Attributes:
        remarks: What was not looked at, and why.
    """

    def __init__(self, limits: SearchLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.remarks: list[str] = []
        self._limits = limits
        self._clock = clock
        self._until = clock() + limits.seconds
        self._entries = 0
        self._folders: set[FileIdentity] = set()

    def find(self, places: Iterable[SearchPlace]) -> list[SeenFile]:
        """Return the GGUF files in `places`; one that lies at two places comes twice.

        Links are followed, to files and to folders; a folder is never entered twice.

        Raises:
            OSError: A place that was named cannot be read.
        """
        found: dict[tuple[Path, str], SeenFile] = {}
        for place in places:
            if place.is_named:
                os.scandir(place.folder).close()
            elif not _is_folder(place.folder):
                continue
            try:
                for file in self._in(place):
                    if len(found) >= self._limits.files:
                        raise _LimitReached(f"more than {self._limits.files:,} GGUF files")
                    found.setdefault((file.path, file.model.name if file.model else ""), file)
            except _LimitReached as exc:
                self.remarks.append(f"{place.folder}: the rest of it was left: {exc}")
                if self._is_over():
                    break
        return list(found.values())

    def read(
        self, files: Iterable[SeenFile], heads: HeaderCache, before: HeaderCache | None = None
    ) -> Iterator[FoundFile]:
        """Give the header of each of `files`, or why it cannot be read.

        Args:
            files: From `find`.
            heads: Gets what is read.
            before: What an earlier search has read.
        """
        known = before or {}
        for file in files:
            status = file.status
            identity = (status.st_dev, status.st_ino)
            key = (identity, status.st_size, status.st_mtime_ns)
            head = heads.get(key) or known.get(key)
            if head is None and self._is_over():
                head = f"{self._limits.seconds:g} s were over before it was read"
            else:
                head = heads[key] = head or _head(file.path)
            model = file.model
            yield FoundFile(
                path=file.path,
                size_bytes=status.st_size,
                head=None if isinstance(head, str) else head,
                error=head if isinstance(head, str) else "",
                changed_ns=status.st_mtime_ns,
                identity=identity,
                called=model.name if model else "",
                projector=model.projector if model else None,
            )

    def _in(self, place: SearchPlace) -> Iterator[SeenFile]:
        if place.layout is Layout.OLLAMA:
            yield from self._of_ollama(place.folder)
            return
        for path, status in self._walk(place.folder, 0, is_flat=place.layout is Layout.FLAT):
            name = path.name.lower()
            if not stat.S_ISREG(status.st_mode):
                continue
            if name.endswith(".gguf"):
                try:
                    str(path).encode()
                except UnicodeEncodeError:
                    self.remarks.append(f"{str(path)!a}: its name is not UTF-8; rename it")
                    continue
                yield SeenFile(path, status)
            elif name.endswith(_UNFINISHED):
                self.remarks.append(f"{path}: it is still on its way")

    def _of_ollama(self, store: Path) -> Iterator[SeenFile]:
        manifests = store / "manifests"
        if not _is_folder(manifests):
            return
        for path, status in self._walk(manifests, 0):
            if not stat.S_ISREG(status.st_mode) or path.name.startswith("."):
                continue
            found = read_manifest(path, store)
            if isinstance(found, str):
                self.remarks.append(f"{path}: {found}")
            elif found is not None:
                try:
                    found.name.encode()
                    yield SeenFile(found.path, found.path.stat(), found)
                except UnicodeEncodeError:
                    self.remarks.append(f"{str(path)!a}: its name is not UTF-8; rename it")
                except OSError as exc:
                    self.remarks.append(f"{found.path}: cannot read it: {exc.strerror}")

    def _walk(
        self, folder: Path, depth: int, *, is_flat: bool = False
    ) -> Iterator[tuple[Path, os.stat_result]]:
        """Give all paths under `folder`, in the order of names.

        Raises:
            _LimitReached: That is too much.
        """
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if not is_flat:  # otherwise it may be entered once more, with all that is in it
                if identity in self._folders:
                    return
                self._folders.add(identity)
            with os.scandir(folder) as entries:
                most = self._limits.entries - self._entries
                names = sorted(entry.name for entry in islice(entries, most + 1))
        except OSError as exc:
            self.remarks.append(f"{folder}: cannot read it: {exc.strerror}")
            return
        for name in names:
            self._count()
            path = folder / name
            try:
                status = path.stat()
            except OSError as exc:  # such as a link to nowhere
                if path.suffix.lower() == ".gguf":
                    self.remarks.append(f"{path}: cannot read it: {exc.strerror}")
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield path, status
            elif is_flat:
                continue
            elif depth < _MAX_DEPTH:
                yield from self._walk(path, depth + 1)
            else:
                self.remarks.append(f"{path}: it lies too deep, and was not looked at")

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise _LimitReached(f"it has more than {self._limits.entries:,} entries")
        if self._is_over():
            raise _LimitReached(f"{self._limits.seconds:g} s are over")

    def _is_over(self) -> bool:
        return self._clock() >= self._until


def _head(path: Path) -> GgufHeader | str:
    try:
        return read_head(path)
    except GgufError as exc:
        return str(exc)
    except OSError as exc:
        return f"cannot read it: {exc.strerror}"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
