"""Compressed bodies: read in short steps, and never longer than they may become."""

import gzip
import sys
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest, TooLarge, UnsupportedCoding
from arriero.worker.http.content_coding import decoded
from arriero.worker.json.spans import finish
from tests.examples import examples

MIB = 1024**2


def deflate(data: bytes) -> bytes:
    raw = zlib.compressobj(wbits=-15)
    return raw.compress(data) + raw.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:3]) + gzip.compress(data[3:]),
    "deflate": zlib.compress,
    "deflate, raw": deflate,
    "zstd": zstandard.compress,
    "zstd, several": lambda data: zstandard.compress(data[:3]) + zstandard.compress(data[3:]),
}


def read(name: str, body: bytes) -> bytes:
    grown: list[int] = []
    coding = name.partition(",")[0].encode()
    found = finish(decoded(body, coding, MIB, grown.append))
    assert sum(grown) == len(found)
    return found


@pytest.mark.parametrize("name", ENCODERS)
@settings(max_examples=examples(10, 200))
@given(data=st.binary(max_size=3000))
def test_what_was_compressed_comes_back(name: str, data: bytes) -> None:
    assert read(name, ENCODERS[name](data)) == data


@pytest.mark.parametrize("name", ENCODERS)
def test_what_is_not_whole_or_something_else_is_refused(name: str) -> None:
    whole = ENCODERS[name](b"some text that is long enough" * 20)
    for body in (whole[:-5], whole[:9], b"{}", whole + b"more"):
        with pytest.raises(BadRequest, match="Content-Encoding"):
            read(name, body)


@pytest.mark.parametrize(
    ("name", "encode"),
    [
        ("gzip", lambda data: gzip.compress(data, 1)),
        ("deflate", lambda data: zlib.compress(data, 1)),
        ("zstd", zstandard.compress),
    ],
)
def test_a_bomb_is_refused_in_short_steps(name: str, encode: Callable[[bytes], bytes]) -> None:
    body = encode(bytes(20 * MIB))
    made: list[int] = []
    taken = 0
    steps = decoded(body, name.encode(), 16 * MIB, made.append)

    with pytest.raises(TooLarge, match="decompressed"):  # noqa: PT012
        while True:
            next(steps)
            taken += 1

    assert sum(made) <= 16 * MIB
    assert len(made) == taken  # one piece a step, and none of more than takes milliseconds
    assert max(made) <= (8 * MIB if name == "zstd" else 64 * 1024)


def test_a_frame_that_wants_much_memory_is_refused() -> None:
    long = zstandard.ZstdCompressionParameters(window_log=27)
    frames = zstandard.ZstdCompressor(compression_params=long).compressobj()
    body = frames.compress(b"x" * 100) + frames.flush()
    with pytest.raises(BadRequest):
        read("zstd", body)


@pytest.mark.parametrize("coding", [b"br", b"gzip, gzip", b"compress", b"\xff"])
def test_another_coding_is_a_415_that_says_which_would_do(coding: bytes) -> None:
    with pytest.raises(UnsupportedCoding) as caught:
        finish(decoded(b"x", coding, MIB, lambda _: None))
    assert caught.value.status == 415
    assert dict(caught.value.fields)[b"Accept-Encoding"] == b"gzip, deflate"


def test_without_the_library_zstd_is_another_coding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UnsupportedCoding, match=r"arriero\[zstd\]"):
        read("zstd", b"x")
