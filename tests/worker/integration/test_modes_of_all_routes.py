"""Every route in every mode: a model that is ready is answered as if nobody were in between."""

import json
from collections.abc import Callable

import pytest
import trio
from msgspec.structs import replace

from arriero.protocol.lease import Want
from arriero.worker.apis.routes import APIS, ROUTES
from arriero.worker.http.route_declaration import FORM
from tests.worker.rig import (
    BROKEN,
    QUICK,
    OpenRig,
    Rig,
    UpstreamExchange,
    post,
    read_to_end,
    rig_options,
    sends,
    unchunk,
)

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
ANSWER = b'{"object":"whatever",\n "n": 1.0, "a":"\\u00e9<"}'
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: d\r\n"
    b"Content-Length: %d\r\n" % len(ANSWER)
)
pytestmark = rig_options(sends(HEAD, b"\r\n", ANSWER, close=False))
FORMS = {it.path.encode() for it in ROUTES.declared if it.request == FORM}
TRANSLATED = {path for api in APIS if api.is_translated for path in api.paths}
PATHS = sorted(set(ROUTES.paths) - TRANSLATED - {b"/v1/streaming_query"})


def form(name: str) -> tuple[bytes, bytes]:
    """A form with a small file, and its type."""
    body = (
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxyz\r\n--b--\r\n'
    )
    return body.encode(), b"Content-Type: multipart/form-data; boundary=b"


async def test_ready_model_responses_pass_unchanged(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        for path in PATHS:
            for mode in MODES:
                body, kind = b'{"model":"m", "x":1.0}', b"Content-Type: application/json"
                if path in FORMS:
                    body, kind = form("m")
                wish = b"X-Swap-Progress: " + mode.encode()
                answer = await rig.ask(post(body, kind, wish, path=path))

                assert answer == (
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                    b"Date: d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                    % (len(ANSWER), ANSWER)
                ), (path, mode)
                exchange = rig.upstream.exchanges[-1]
                assert exchange.body == body
                route = ROUTES.find(path)
                assert route is not None
                line = b"POST %b HTTP/1.1" % (route.forward_path or path)
                assert exchange.head.startswith(line + b"\r\n")
                assert b"Swap-Progress" not in exchange.head


# --- blanks for those who wait for JSON ----------------------------------------------------------


# A blank every twentieth of a second.
with_blanks = rig_options(limits=replace(QUICK, blank_s=0.05), nonstream_blanks=True)


async def ask_slowly(rig: Rig, request: bytes, finish: Callable[[Want], None]) -> bytes:
    rig.grants = False
    async with await rig.connect() as stream:
        await stream.send_all(request)
        want = await rig.heard(Want)
        got = b""
        with trio.fail_after(20):
            while b"\r\n1\r\n \r\n" not in got and not got.endswith(b"\r\n\r\n "):
                got += await stream.receive_some()
        finish(want)
        return got + await read_to_end(stream)


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@with_blanks
async def test_json_may_have_blanks_before_it(open_rig: OpenRig, version: bytes) -> None:
    request = post().replace(b"HTTP/1.1", b"HTTP/" + version)
    async with open_rig() as rig:
        answer = await ask_slowly(rig, request, rig.grant)
        record = await rig.record()

    body = unchunk(answer) if version == b"1.1" else answer.partition(b"\r\n\r\n")[2]
    assert b"Content-Type: application/json\r\n" in answer
    assert body.lstrip(b" ") == ANSWER
    assert body.startswith(b" ")
    assert json.loads(body)["n"] == 1.0
    assert (record.status, record.outcome) == (200, "ok")


@with_blanks
async def test_late_load_error_is_a_cut(open_rig: OpenRig) -> None:
    async with open_rig() as rig:
        answer = await ask_slowly(rig, post(), lambda want: rig.refuse(want, BROKEN))
        record = await rig.record()

    assert answer.endswith(b"<reset>")
    assert b"model_load_failed" not in answer
    assert (record.outcome, record.error_code) == ("upstream_error", "model_load_failed")


@with_blanks
async def test_late_upstream_error_is_a_cut(open_rig: OpenRig) -> None:
    async def fail(exchange: UpstreamExchange) -> None:
        await exchange.stream.send_all(
            b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )

    async with open_rig(
        fail,
    ) as rig:
        answer = await ask_slowly(rig, post(), rig.grant)

    assert answer.endswith(b"<reset>")


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/v1/rerank", b"/v1/audio/speech"])
@with_blanks
async def test_other_routes_have_no_blanks(open_rig: OpenRig, path: bytes) -> None:
    async with open_rig(nonstream_hold_s=0.3) as rig:
        rig.grants = False
        answer = await rig.ask(post(path=path))

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 2\r\n" in answer
    assert b"model_loading" in answer
