"""Every route in every mode: a model that is ready is answered as if nobody were in between."""

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from arriero.protocol.lease import Refuse, Want
from arriero.protocol.values import ErrorInfo
from arriero.worker.http.routes import MODEL_ROUTES
from arriero.worker.relay import exchange as call

Opener = Callable[..., AbstractAsyncContextManager[Any]]

MODES = ["off", "comment", "heartbeat", "reasoning", "event"]
ANSWER = b'{"object":"whatever",\n "n": 1.0, "a":"\\u00e9<"}'
FORMS = {b"/v1/audio/transcriptions", b"/v1/images/edits"}
PATHS = sorted(set(MODEL_ROUTES) - {b"/v1/streaming_query"})


@pytest.fixture
def opened(tmp_path: Path, kit: Any) -> Opener:
    async def answer(exchange: Any) -> None:
        await exchange.stream.send_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: d\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
        )

    def open_it(handler: Any = answer, **options: Any) -> Any:
        return kit.open_rig(tmp_path, handler, **options)

    return open_it


def form(name: str) -> tuple[bytes, bytes]:
    """A form with a small file, and its type."""
    body = (
        f'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n{name}\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxyz\r\n--b--\r\n'
    )
    return body.encode(), b"Content-Type: multipart/form-data; boundary=b"


async def test_answers_of_a_model_that_is_ready_pass_byte_for_byte(
    opened: Opener, kit: Any
) -> None:
    async with opened() as rig:
        for path in PATHS:
            for mode in MODES:
                body, kind = b'{"model":"m", "x":1.0}', b"Content-Type: application/json"
                if path in FORMS:
                    body, kind = form("m")
                wish = b"X-Swap-Progress: " + mode.encode()
                answer = await rig.ask(kit.post(body, kind, wish, path=path))

                assert answer == (
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                    b"Date: d\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
                    % (len(ANSWER), ANSWER)
                ), (path, mode)
                exchange = rig.upstream.exchanges[-1]
                assert exchange.body == body
                assert b"Swap-Progress" not in exchange.head


# --- blanks for those who wait for JSON ----------------------------------------------------------


@pytest.fixture
def patient(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """The same with a blank every twentieth of a second, and models that take their time."""
    monkeypatch.setattr(call, "_BLANK_S", 0.05)

    def open_it(*arguments: Any, **options: Any) -> Any:
        return opened(*arguments, **{"nonstream_blanks": True} | options)

    return open_it


async def ask_slowly(rig: Any, request: bytes, finish: Callable[[Want], None], kit: Any) -> bytes:
    rig.grants = False
    async with await rig.connect() as stream:
        await stream.send_all(request)
        want = await rig.heard(Want)
        got = b""
        with trio.fail_after(5):
            while b"\r\n1\r\n \r\n" not in got and not got.endswith(b"\r\n\r\n "):
                got += await stream.receive_some()
        finish(want)
        return got + bytes(await kit.read_to_end(stream))


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_json_may_have_blanks_before_it(patient: Opener, kit: Any, version: bytes) -> None:
    request = kit.post().replace(b"HTTP/1.1", b"HTTP/" + version)
    async with patient() as rig:
        answer = await ask_slowly(rig, request, rig.grant, kit)
        record = await rig.record()

    body = kit.unchunk(answer) if version == b"1.1" else answer.partition(b"\r\n\r\n")[2]
    assert b"Content-Type: application/json\r\n" in answer
    assert body.lstrip(b" ") == ANSWER
    assert body.startswith(b" ")
    assert json.loads(body)["n"] == 1.0
    assert (record.status, record.outcome) == (200, "ok")


async def test_after_a_blank_an_error_can_only_be_told_by_a_cut(patient: Opener, kit: Any) -> None:
    broken = ErrorInfo(code="model_load_failed", message="no")
    async with patient() as rig:

        def refuse(want: Want) -> None:
            rig.say(Refuse(request=want.request, model="m", error=broken))

        answer = await ask_slowly(rig, kit.post(), refuse, kit)
        record = await rig.record()

    assert answer.endswith(b"<reset>")
    assert b"model_load_failed" not in answer
    assert (record.outcome, record.error_code) == ("upstream_error", "model_load_failed")


async def test_an_upstreams_error_after_a_blank_is_a_cut_as_well(patient: Opener, kit: Any) -> None:
    async def fail(exchange: Any) -> None:
        await exchange.stream.send_all(
            b"HTTP/1.1 400 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        )

    async with patient(fail) as rig:
        answer = await ask_slowly(rig, kit.post(), rig.grant, kit)

    assert answer.endswith(b"<reset>")


@pytest.mark.parametrize("path", [b"/v1/embeddings", b"/v1/rerank", b"/v1/audio/speech"])
async def test_other_routes_have_no_blanks(patient: Opener, kit: Any, path: bytes) -> None:
    async with patient(nonstream_hold_s=0.3) as rig:
        rig.grants = False
        answer = await rig.ask(kit.post(path=path))

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 2\r\n" in answer
    assert b"model_loading" in answer
