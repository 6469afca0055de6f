"""The line of each request in the log, where `logRequests` asks for it."""

import logging
import re
from typing import Any

import msgspec
import pytest
import trio

from arriero.protocol.lease import Report, Welcome
from tests.worker.http2_client import Http2Client
from tests.worker.integration.test_keys import MODELS, key
from tests.worker.rig import OpenRig, hangs_after, post, read_until
from tests.worker.sse import SSE_HEAD

EMBED = b'{"model":"tiny","input":"x"}'


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, str]]:
    """The lines so far, as mappings."""
    lines = [it.getMessage() for it in caplog.records if "http.request" in it.getMessage()]
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines]


def get(path: str, *more: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", "X-Api-Key: k-key", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_each_request_has_one_line(
    open_rig: OpenRig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shown = b"X-Api-Key: k-key"
    options: dict[str, Any] = {
        "models": MODELS,
        "client_keys": (key("k"),),
        "log_requests": True,
        "capture_body_bytes": 100,  # which looks at what is sent, too
    }
    async with open_rig(**options) as rig:
        async with await rig.connect() as stream:  # three on one connection
            for _ in range(2):
                await stream.send_all(post(EMBED, shown, path=b"/v1/embeddings", close=False))
                await read_until(stream, b"}")
            await stream.send_all(get("/health", "Connection: close"))
            await read_until(stream, b"OK")
        for request in (
            get("/v1/models"),
            get("/nothing%20here", "Connection: close"),
            post(EMBED, b"X-Api-Key: wrong", path=b"/v1/embeddings"),
            b"GET / HTTP/1.1\r\nno field\r\n\r\n",
        ):
            await rig.ask(request)
        http2 = Http2Client(await rig.connect())
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/running")]
        await http2.exchange([*fields, (":authority", "x"), ("x-api-key", "k-key")], ends=True)
        await http2.stream.aclose()
        with trio.fail_after(20):
            while len(told(caplog)) < 8:  # noqa: ASYNC110  a log tells nobody
                await trio.sleep(0.02)
    lines = told(caplog)
    assert [(it["method"], it["path"], it["status"]) for it in lines[:3]] == [
        ("POST", "/v1/embeddings", "200"),
        ("POST", "/v1/embeddings", "200"),
        ("GET", "/health", "200"),
    ]
    assert lines[0]["model"] == "'small'"
    assert sorted((it["method"], it["path"], it["status"], it["key"]) for it in lines[3:]) == [
        ("-", "-", "400", "-"),
        ("GET", "/nothing%20here", "404", "k"),
        ("GET", "/running", "200", "k"),
        ("GET", "/v1/models", "200", "k"),
        ("POST", "/v1/embeddings", "401", "-"),
    ]
    ids = [it["id"] for it in lines if it["status"] != "400"]
    assert len(set(ids)) == len(ids)
    assert all(int(it["bytes"]) > 20 and it["end"] == "whole" for it in lines)
    assert "k-key" not in caplog.text


async def test_who_leaves_has_a_line_and_nobody_where_it_is_off(
    open_rig: OpenRig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    handler = hangs_after(SSE_HEAD + b"data: {}\n\n")
    options: dict[str, Any] = {"models": MODELS, "log_requests": True}
    async with open_rig(handler, **options) as rig:
        async with await rig.connect() as stream:
            await stream.send_all(post(b'{"model":"small","stream":true}', close=False))
            await read_until(stream, b"data: {}")
        with trio.fail_after(20):
            while not told(caplog):  # noqa: ASYNC110
                await trio.sleep(0.02)
        (line,) = told(caplog)
        assert (line["status"], line["end"], line["key"]) == ("200", "gone", "-")
        config = msgspec.structs.replace(rig.config, generation=2, log_requests=False)
        rig.say(Welcome(config=config, snapshot=rig.snapshot))
        while (await rig.heard(Report, rig.count(Report) + 1)).generation != 2:
            pass
        await rig.ask(get("/v1/models"))
    assert len(told(caplog)) == 1
