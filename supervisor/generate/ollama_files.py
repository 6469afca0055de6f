"""What Ollama keeps: files without a name, and manifests that name them. Blocks.

``manifests/HOST/NAMESPACE/MODEL/TAG`` is JSON with the layers of a model; a layer with the digest
``sha256:ab...`` is the file ``blobs/sha256-ab...``. A manifest is read as a stranger's: it names a
file in that folder and nothing else.

Source: Ollama, server/modelpath.go, types/model/name.go and docs/import.md.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

_KIND: Final = "application/vnd.ollama.image."
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-f]{64})")
_MAX_BYTES: Final = 1024 * 1024  # of a manifest; real ones have less than 1 kB


class StoredModel(msgspec.Struct, frozen=True):
    """A model of Ollama's.

    Attributes:
        name: As its users call it, such as ``llama3.2:1b``.
        path: The file with its weights.
        projector: The one for images, if it has one of its own.
    """

    name: str
    path: Path
    projector: Path | None = None


class _Layer(msgspec.Struct, rename={"kind": "mediaType"}):
    kind: str = ""
    digest: str = ""


class _Manifest(msgspec.Struct):
    layers: list[_Layer] = []


def read_manifest(path: Path, store: Path) -> StoredModel | str | None:
    """Return the model of one manifest, why it is left out, or None if it has no weights.

    Args:
        path: The manifest.
        store: The folder with ``manifests`` and ``blobs``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            data = file.read(_MAX_BYTES + 1)
    except OSError as exc:
        return f"cannot read it: {exc.strerror}"
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "it is no manifest of Ollama's"
    layers = {kind: list(_files(manifest, kind, store)) for kind in ("model", "projector")}
    if not layers["model"]:
        return None  # it runs elsewhere, or is of another format
    if len(layers["model"]) > 1:
        return "its weights are in several files"
    if any(layer.kind == f"{_KIND}adapter" for layer in manifest.layers):
        return "it has an adapter, which Ollama applies"
    return StoredModel(
        _name(path.relative_to(store / "manifests").parts),
        layers["model"][0],
        next(iter(layers["projector"]), None),
    )


def _files(manifest: _Manifest, kind: str, store: Path) -> Iterator[Path]:
    for layer in manifest.layers:
        digest = _DIGEST.fullmatch(layer.digest)
        if layer.kind == f"{_KIND}{kind}" and digest is not None:
            yield store / "blobs" / f"sha256-{digest[1]}"


def _name(parts: tuple[str, ...]) -> str:
    """Return the name of a model, as short as Ollama's users write it."""
    *path, tag = parts
    if path[:2] == ["registry.ollama.ai", "library"]:
        path = path[2:]
    elif path[:1] == ["registry.ollama.ai"]:
        path = path[1:]
    return f"{'/'.join(path)}:{tag}"
