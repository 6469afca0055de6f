"""Reads the header of a GGUF file, without its weights.

`gguf.GGUFReader` makes objects of everything it meets: for a vocabulary of 250,000 tokens with its
merges, scores and types it takes 49 s and 1 GB, and it believes every length it reads. So this
file walks over what is not needed, 0.3 s for the same. It does not map the file into memory
either: one that is cut short meanwhile would end the process.

Source: ggml, docs/gguf.md.
"""

import math
import os
import stat
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import msgspec

from .gguf_constants import QUANTIZATIONS, Quantization

Scalar: TypeAlias = str | int | float | bool

# Bounds for what a file claims. The largest real ones: vocabularies of 260,000 tokens, templates of
# 30 kB, 60 keys and 2,500 tensors.
_MAX_KEYS: Final = 10_000
_MAX_TENSORS: Final = 200_000
_MAX_ITEMS: Final = 4_000_000
_MAX_TEXTS: Final = 4_000_000  # in all lists together; each has to be walked over
_MAX_DIMENSIONS: Final = 8
_MAX_HEAD_BYTES: Final = 256 * 1024 * 1024

# Longest text that is kept. Templates are longer, and not needed here.
_KEPT: Final = 1000

# Bytes of a list of texts that are taken into memory at a time.
_CHUNK: Final = 1024 * 1024

_STRING: Final = 8
_ARRAY: Final = 9
_FORMATS: Final = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip


class GgufError(Exception):
    """A file is not a usable GGUF file; the text has the reason."""


class GgufHeader(msgspec.Struct, frozen=True):
    """The header: all before the weights.

    Attributes:
        fields: Numbers and short texts by key; no lists.
        tensors: How many there are.
        parameters: Numbers in all tensors.
        main_type: The type of most of the weights, such as ``Q4_K``; empty if there are none.
        needs_bytes: Size that the file must have.
    """

    fields: Mapping[str, Scalar]
    tensors: int
    parameters: int
    main_type: str
    needs_bytes: int


def read_head(path: Path) -> GgufHeader:
    """Read the file at `path`.

    Raises:
        GgufError: It is no GGUF file, broken, or of a version that is not read any more.
        OSError: It cannot be read.
    """
    # Should it be a pipe, opening it does not wait for one who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=_CHUNK) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise GgufError("it is no file")
        try:
            return _HeaderReader(file).head()
        except (struct.error, UnicodeDecodeError, OverflowError) as exc:
            raise GgufError("it is broken, or cut short before its weights") from exc


class _HeaderReader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        if file.read(4) != b"GGUF":
            raise GgufError("it is not a GGUF file")
        version = file.read(4)
        self._order = "<" if version[:2] != b"\0\0" else ">"
        (number,) = struct.unpack(f"{self._order}I", version)
        if number not in {2, 3}:
            raise GgufError(f"its format is of version {number}; versions 2 and 3 are read")
        self._long = struct.Struct(f"{self._order}Q")
        self._texts_left = _MAX_TEXTS

    def head(self) -> GgufHeader:
        tensors = self._count(_MAX_TENSORS, "tensors")
        keys = self._count(_MAX_KEYS, "keys")
        fields: dict[str, Scalar] = {}
        for _ in range(keys):
            key = self._text()
            value = self._value(self._number("I"))
            if key is not None and value is not None:
                fields[key] = value
        sizes: Counter[str] = Counter()
        parameters = end = 0
        for _ in range(tensors):
            elements, kind, offset = self._tensor()
            parameters += elements
            newer = Quantization(f"type {kind}", 1, 0)  # than our table
            name, block, size_bytes = QUANTIZATIONS.get(kind, newer)
            sizes[name] += elements
            end = max(end, offset + elements // block * size_bytes)
        self._check()
        alignment = fields.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
            raise GgufError("it is broken: its alignment is not a number that can be")
        start = math.ceil(self._file.tell() / alignment) * alignment
        main = sizes.most_common(1)
        return GgufHeader(fields, tensors, parameters, main[0][0] if main else "", start + end)

    def _tensor(self) -> tuple[int, int, int]:
        """Return a tensor's number of values, their type and offset."""
        self._text()
        dimensions = self._number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise GgufError(f"it is broken: it claims a tensor of {dimensions} dimensions")
        elements = math.prod(self._number("Q") for _ in range(dimensions))
        return elements, self._number("I"), self._number("Q")

    def _value(self, kind: int) -> Scalar | None:
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY:
            self._skip_list()
            return None
        if kind not in _FORMATS:
            raise GgufError(f"it is broken: it claims a value of type {kind}")
        value: Scalar = self._number(_FORMATS[kind])
        return value

    def _skip_list(self) -> None:
        kind = self._number("I")
        count = self._count(_MAX_ITEMS, "items of a list")
        if kind in _FORMATS:
            self._file.seek(count * struct.calcsize(f"={_FORMATS[kind]}"), 1)
        elif kind == _STRING:
            self._skip_texts(count)
        else:
            raise GgufError(f"it is broken: it claims a list of type {kind}")
        self._check()

    def _skip_texts(self, count: int) -> None:
        self._texts_left -= count
        if self._texts_left < 0:
            raise GgufError(f"it is broken: it claims lists of more than {_MAX_TEXTS} texts")
        file, unpack = self._file, self._long.unpack_from
        left = _MAX_HEAD_BYTES
        chunk, at = (
            b"",
            0,
        )  # its lengths are looked at in memory: to read each takes ten times as long
        for _ in range(count):
            if at + 8 > len(chunk):
                file.seek(at - len(chunk), 1)
                chunk, at = file.read(_CHUNK), 0
            (length,) = unpack(chunk, at)
            at += 8 + length
            left -= length
            if left < 0:
                raise GgufError(f"it is broken: it claims a list of {count} texts that is too long")
        file.seek(at - len(chunk), 1)

    def _text(self) -> str | None:
        """Return a text; None if it is too long to be kept."""
        length = self._number("Q")
        if length > _MAX_HEAD_BYTES:
            raise GgufError(f"it is broken: it claims a text of {length} bytes")
        if length > _KEPT:
            self._file.seek(length, 1)
            self._check()
            return None
        text = self._file.read(length)
        if len(text) < length:
            raise struct.error
        return text.decode()

    def _number(self, code: str) -> int:
        size = struct.calcsize(f"={code}")
        (value,) = struct.unpack(f"{self._order}{code}", self._file.read(size))
        return value  # type: ignore[no-any-return]

    def _count(self, most: int, what: str) -> int:
        count = self._number("Q")
        if count > most:
            raise GgufError(f"it is broken: it claims {count} {what}")
        return count

    def _check(self) -> None:
        if self._file.tell() > _MAX_HEAD_BYTES:
            raise GgufError("what it says of itself is larger than 256 MB")
