"""Bodies of requests that come compressed -> as they were. In steps: see `spans`.

Each step makes a bounded piece, and all pieces together are no longer than a body may be: a small
body that would become a huge one is refused as soon as it has become too long.

Sources: RFC 9110, section 8.4.1 (the codings); RFC 8878, section 3.1.1.1.2 (windows of Zstandard).
"""

import io
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Final

from ..errors import BadRequest, TooLarge, UnsupportedCoding

# Bytes that one step makes: less than a millisecond of work.
_STEP_BYTES: Final = 64 * 1024

# What a Zstandard frame may want to remember; all encoders stay below it unless they are told.
_WINDOW_BYTES: Final = 8 * 1024 * 1024

# What a decompressor is given that has no bound for what it makes: a block of four bytes is 128 KiB
# at the most, so that these are 8 MiB, and some milliseconds.
_FED_BYTES: Final = 256

# How `zlib` is told which of its formats comes.
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15


def decoded(
    body: bytes, coding: bytes, limit_bytes: int, grow: Callable[[int], None]
) -> Generator[None, None, bytes]:
    """Return `body` as it was before it was compressed.

    Args:
        body: All of it.
        coding: Value of Content-Encoding, in small letters.
        limit_bytes: So long may it become.
        grow: Called with the bytes of each piece before it is kept.

    Raises:
        BadRequest: It is not compressed like that, or not whole.
        TooLarge: It becomes longer than the limit.
        UnsupportedCoding: Nobody here knows that coding.
    """
    with io.BytesIO() as whole:
        pieces = _pieces(body, coding)
        while True:
            try:
                piece = next(pieces, None)
            except (zlib.error, EOFError) as exc:
                raise BadRequest(
                    f"cannot read the body: it is not what its Content-Encoding says, "
                    f"{coding.decode('latin-1')}, or not whole"
                ) from exc
            if piece is None:
                return whole.getvalue()
            if whole.tell() + len(piece) > limit_bytes:
                raise TooLarge(f"cannot take a body of more than {limit_bytes} bytes, decompressed")
            grow(len(piece))
            whole.write(piece)
            yield


def _pieces(body: bytes, coding: bytes) -> Iterator[bytes]:
    if coding in {b"gzip", b"x-gzip"}:
        return _inflated(body, _GZIP)
    if coding == b"deflate":  # with the head of zlib, or, as many programs have it, without
        has_head = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
        return _inflated(body, _ZLIB if has_head else _RAW)
    if coding == b"zstd":
        return _of_zstd(body)
    raise UnsupportedCoding(
        f"cannot read a body with the Content-Encoding {coding[:40].decode('latin-1')!r}; "
        "send gzip or deflate, or none"
    )


def _inflated(body: bytes, format_: int) -> Iterator[bytes]:
    rest: bytes = body
    while rest:  # of gzip there may be several, one after the other
        inflater = zlib.decompressobj(format_)
        while True:
            piece = inflater.decompress(rest, _STEP_BYTES)
            rest = inflater.unconsumed_tail
            yield piece
            if inflater.eof:
                break
            if not piece and not rest:
                raise EOFError
        rest = inflater.unused_data
        if format_ != _GZIP and len(rest) > 0:
            raise EOFError


def _of_zstd(body: bytes) -> Iterator[bytes]:
    try:
        import zstandard  # takes 10 ms and 2 MB, and few clients have it
    except ImportError:
        raise UnsupportedCoding(
            "cannot read a body in zstd: the program was installed without it (arriero[zstd]); "
            "send gzip or deflate, or none"
        ) from None
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    at = 0
    while at < len(body):  # there may be several frames
        inflater = decompressor.decompressobj(write_size=_STEP_BYTES)
        while not inflater.eof:
            if at >= len(body):
                raise EOFError
            fed = body[at : at + _FED_BYTES]
            at += len(fed)
            try:
                piece = inflater.decompress(fed)
            except zstandard.ZstdError as exc:
                raise EOFError from exc
            yield piece
        at -= len(inflater.unused_data)
