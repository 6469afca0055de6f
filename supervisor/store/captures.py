"""What workers capture -> what is kept of it. Pure."""

import re
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from arriero.protocol.records import KeptCapture, RawCapture

# Bytes of the longest capture as it is read: twice the longest that a configuration allows.
_MAX_BYTES: Final = 8 * 1024**2

# Media types of what can be read; of anything else only the head is kept.
_TEXT: Final = re.compile(r"\s*(?:text/|application/(?:[\w.+-]*json|x-ndjson|xml))", re.IGNORECASE)

# Fields of responses that let somebody in.
_SECRET: Final = frozenset({"set-cookie", "proxy-authenticate", "www-authenticate"})
_HIDDEN: Final = "[REDACTED]"

_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})\r\n")

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(KeptCapture)


def packed(raw: RawCapture) -> bytes:
    """Return what is kept of `raw`, compressed."""
    return zlib.compress(_encoder.encode(kept_of(raw)), 1)


def unpacked(data: object) -> KeptCapture | None:
    """Return the capture in `data`; None if somebody else has written it."""
    if not isinstance(data, bytes):
        return None
    try:
        return _decoder.decode(zlib.decompressobj().decompress(data, _MAX_BYTES))
    except (zlib.error, msgspec.DecodeError):
        return None


def size_of(raw: RawCapture) -> int:
    """Return about how many bytes it takes in memory."""
    return len(raw.request_body) + len(raw.response) + 4096


def kept_of(raw: RawCapture) -> KeptCapture:
    """Return what is kept of `raw`."""
    head, body = _parted(raw.response)
    fields = tuple(_fields(head))
    said = dict(fields)
    if not _TEXT.match(said.get("content-type", "text/")):
        body = b""
    elif said.get("transfer-encoding", "").lower() == "chunked":
        body = b"".join(_chunks(body))
    return KeptCapture(
        path=raw.path,
        request_fields=raw.request_fields,
        request_body=raw.request_body[: raw.most_bytes],
        response_fields=fields,
        response_body=body[: raw.most_bytes],
        is_cut=raw.is_cut or max(len(body), len(raw.request_body)) > raw.most_bytes,
    )


def _parted(response: bytes) -> tuple[bytes, bytes]:
    """Return head and body; what was said before them, such as `100 Continue`, is left out."""
    head, _, body = response.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 1") and body:
        head, _, body = body.partition(b"\r\n\r\n")
    return head, body


def _fields(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            name = name.strip().lower()
            yield name, _HIDDEN if name in _SECRET else value.strip()


def _chunks(body: bytes) -> Iterator[bytes]:
    """Give the content of chunks, up to where they are cut."""
    at = 0
    while (found := _CHUNK.match(body, at)) is not None and (size := int(found[1], 16)):
        yield body[found.end() : found.end() + size]
        at = found.end() + size + 2
