"""Odd but harmless input, through a real worker: it is taken as llama-server takes it."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable

import pytest
import trio
import zstandard

from arriero.protocol.worker_config import ModelRoute
from tests.worker.rig import Handler, OpenRig, Rig, UpstreamExchange, post, unchunk
from tests.worker.sse import CHAT, chunk

TWO = (ModelRoute(model="m"), ModelRoute(model="n"))
BODY = json.dumps({"model": "m", "messages": [], "text": "x" * 300}).encode()
BOM = b"\xef\xbb\xbf"
AS_QUERY = b"Content-Type: application/x-www-form-urlencoded"


def sent(rig: Rig) -> bytes:
    return rig.upstream.exchanges[-1].body


@pytest.mark.parametrize(
    ("coding", "encode"),
    [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"zstd", zstandard.compress)],
)
async def test_a_compressed_body_arrives_as_it_was(
    open_rig: OpenRig, coding: bytes, encode: Callable[[bytes], bytes]
) -> None:
    async with open_rig(models=TWO) as rig:
        for body in (BODY, BOM + BODY):
            got = await rig.ask(post(encode(body), b"Content-Encoding: " + coding))
            assert got.startswith(b"HTTP/1.1 200 ")
            assert sent(rig) == BODY
        assert b"content-encoding" not in rig.upstream.exchanges[-1].head.lower()


async def test_what_cannot_be_decompressed_says_why(open_rig: OpenRig) -> None:
    packed = b"Content-Encoding: gzip"
    form = b"Content-Type: multipart/form-data; boundary=B"
    async with open_rig(models=TWO, max_body_bytes=65536) as rig:
        for body, fields, status, words in (
            (b"x", (b"Content-Encoding: br",), b"415", b"Accept-Encoding: gzip, deflate"),
            (b"x", (packed, form), b"415", b"compressed as a whole"),
            (b"x", (packed,), b"400", b"not what its Content-Encoding says"),
            (gzip.compress(bytes(99999)), (packed,), b"413", b"decompressed"),
        ):
            got = await rig.ask(post(body, *fields))
            assert got.startswith(b"HTTP/1.1 %b " % status)
            assert words in got
        got = await rig.ask(post(BODY, b"Content-Encoding: identity"))
        assert got.startswith(b"HTTP/1.1 200 ")


async def test_a_byte_order_mark_is_passed_over(open_rig: OpenRig) -> None:
    async with open_rig(models=TWO) as rig:
        for fields in ((), (AS_QUERY,)):
            got = await rig.ask(post(BOM + BODY, *fields))
            assert got.startswith(b"HTTP/1.1 200 ")
            assert sent(rig) == BODY


async def test_the_only_model_is_meant_by_who_names_none(open_rig: OpenRig) -> None:
    asked: tuple[tuple[bytes, tuple[bytes, ...]], ...] = (
        (b'{"messages":[]}', ()),
        (b"language=en", (AS_QUERY,)),
    )
    async with open_rig() as rig:
        for body, fields in asked:
            got = await rig.ask(post(body, *fields))
            assert got.startswith(b"HTTP/1.1 200 ")
            assert sent(rig) == body
    async with open_rig(models=TWO) as rig:
        for body, fields in asked:
            got = await rig.ask(post(body, *fields))
            assert got.startswith(b"HTTP/1.1 400 ")
            assert b"has no 'model'" in got


async def test_a_form_may_name_its_model_in_the_query(open_rig: OpenRig) -> None:
    kind = b"Content-Type: multipart/form-data; boundary=*#~[x]"
    part = b'--*#~[x]\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    end = b"--*#~[x]--\r\n"
    path = b"/v1/audio/transcriptions?model=n"
    async with open_rig(models=TWO) as rig:
        for count, (body, model) in enumerate(
            (
                (part % (b"language", b"en") + end, "n"),
                (b"a preamble\r\n" + part % (b"model", b"m") + end, "m"),
            ),
            1,
        ):
            got = await rig.ask(post(body, kind, path=path))
            assert got.startswith(b"HTTP/1.1 200 "), got
            assert sent(rig) == body
            assert (await rig.record(count)).model == model


@pytest.mark.parametrize("path", [CHAT, b"/nowhere", b"/v1/audio/transcriptions"])
async def test_a_refusal_reaches_who_is_still_sending(open_rig: OpenRig, path: bytes) -> None:
    """A client that writes all before it reads finds the answer, never a broken pipe."""
    kind = b"Content-Type: multipart/form-data; boundary=B\r\n" if b"audio" in path else b""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n%b\r\n" % (path, kind)

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            client.sendall(head)
            for _ in range(8):
                client.sendall(bytes(1_000_000))
            return client.recv(65536)

    async with open_rig(models=TWO, max_body_bytes=65536) as rig:
        for _ in range(2):
            got = await trio.to_thread.run_sync(ask, rig.port)
            assert got.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), got


SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SAID = chunk({"content": "a"}) + chunk({}, "stop")
ASKED = b'{"model":"m","stream":true}'


def stream_of(said: bytes, *, ends: bool = True) -> Handler:
    async def handler(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(SSE + b"%x\r\n%b\r\n" % (len(said), said))
        if not ends:
            await trio.sleep_forever()
        await exchange.stream.send_all(b"0\r\n\r\n")

    return handler


@pytest.mark.parametrize("last", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"])
async def test_the_last_event_of_a_stream_gets_its_blank_line(
    open_rig: OpenRig, last: bytes
) -> None:
    async with open_rig(stream_of(SAID + last)) as rig:
        got = unchunk(await rig.ask(post(ASKED)))
        assert got.startswith(SAID + last)
        assert got[len(SAID + last) :].strip() == b""
        assert got.endswith((b"\n\n", b"\r\n\n"))
        assert (await rig.record()).outcome == "ok"


async def test_a_stream_that_has_said_why_it_ends_is_ended(open_rig: OpenRig) -> None:
    async with open_rig(stream_of(SAID, ends=False), end_silence_s=0.2) as rig:
        with trio.fail_after(20):
            got = unchunk(await rig.ask(post(ASKED)))
        assert got == SAID + b"data: [DONE]\n\n"
        record = await rig.record()
        assert (record.outcome, record.finish_reason) == ("ok", "stop")
