"""Files of the page, by names that change with their content.

All of them are under one folder, named by a hash of them all: modules import each other by their
relative names, and a browser may keep each for ever. The wheel has them compressed by brotli and
gzip (see ``setup.py``). A checkout has not: there they are compressed by gzip when first asked for,
and read anew when one has changed. Nothing is read before a browser comes.
"""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

FOLDER: Final = Path(__file__).parent / "static"
PREFIX: Final = "/ui/static/"

_TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Suffix of a file that was compressed, by its content coding; the best first.
_CODINGS: Final = {"br": ".br", "gzip": ".gz"}

# Bytes below which it is not worth while.
_LEAST_BYTES: Final = 256

_REFUSED: Final = re.compile(r"q=0(?:\.0{0,3})?$")

_FIELDS: Final = (
    ("Cache-Control", "public, max-age=31536000, immutable"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
)


class AssetAnswer(NamedTuple):
    """A file as it goes out.

    Attributes:
        fields: Names and values of its head, without its length.
    """

    fields: tuple[tuple[str, str], ...]
    body: bytes


class _Asset(msgspec.Struct):
    media_type: str
    plain: bytes
    coded: dict[str, bytes]


class Assets:
    """The files of one folder, read when they are first needed.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._files: dict[str, _Asset] = {}
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self._tree = ""

    @property
    def tree(self) -> str:
        """Name of the folder under which they are, which changes with any of them."""
        if not self._tree:
            self.refresh()
        return self._tree

    @property
    def names(self) -> list[str]:
        """Names of all files, with slashes."""
        if not self._files:
            self.refresh()
        return sorted(self._files)

    def url(self, name: str) -> str:
        """Return the path of a file."""
        return f"{PREFIX}{self.tree}/{name}"

    def refresh(self) -> None:
        """Read the files if they are other than before; takes a few milliseconds."""
        paths = sorted(path for path in self._folder.rglob("*") if path.suffix in _TYPES)
        stats = [(path, path.stat()) for path in paths]
        stamp = tuple((str(path), it.st_mtime_ns, it.st_size) for path, it in stats)
        if stamp == self._stamp:
            return
        files: dict[str, _Asset] = {}
        digest = hashlib.sha256()
        for path in paths:
            name = path.relative_to(self._folder).as_posix()
            plain = path.read_bytes()
            digest.update(b"%b\0%d\0%b" % (name.encode(), len(plain), plain))
            coded = {
                coding: with_suffix.read_bytes()
                for coding, suffix in _CODINGS.items()
                if (with_suffix := path.with_name(path.name + suffix)).exists()
            }
            files[name] = _Asset(_TYPES[path.suffix], plain, coded)
        self._files, self._stamp, self._tree = files, stamp, digest.hexdigest()[:12]

    def find(self, path: str, accept_encoding: str) -> AssetAnswer | None:
        """Return the file at a path; None if there is none, or it was another one.

        Args:
            path: That of `url`, without `PREFIX`.
            accept_encoding: What the client takes, as its field says.
        """
        tree, _, name = path.partition("/")
        if tree != self.tree:  # another worker may have seen newer files
            self.refresh()
        asset = self._files.get(name) if tree == self.tree else None
        if asset is None:
            return None
        fields = (("Content-Type", asset.media_type), *_FIELDS)
        if len(asset.plain) < _LEAST_BYTES:
            return AssetAnswer(fields, asset.plain)
        if not asset.coded:
            asset.coded["gzip"] = gzip.compress(asset.plain, 9, mtime=0)
        taken = _codings(accept_encoding)
        for coding in _CODINGS:
            if coding in taken and coding in asset.coded:
                return AssetAnswer((*fields, ("Content-Encoding", coding)), asset.coded[coding])
        return AssetAnswer(fields, asset.plain)


def _codings(accept_encoding: str) -> set[str]:
    """Return the content codings that a client takes, by their names."""
    found = set()
    for part in accept_encoding[:1000].lower().split(","):
        name, _, quality = part.partition(";")
        if not _REFUSED.match(quality.replace(" ", "")):
            found.add(name.strip())
    return found


ASSETS: Final = Assets()
"""Those of the page."""
