"""HTTP/2 and WebSockets cost a worker nothing until somebody speaks them."""

import subprocess
import sys

import pytest

from arriero.worker.server import late_protocols
from tests.worker.rig import Rig, post

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
UPGRADE = (
    b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def modules_after(code: str) -> set[str]:
    printing = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", printing], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_starting_worker_imports_no_protocol_code() -> None:
    loaded = modules_after("import arriero.worker.__main__")
    assert "arriero.worker.server.http1" in loaded
    assert not {"h2", "hpack", "hyperframe", "wsproto", "h11"} & loaded
    assert not {"_ssl", "_hashlib", "argparse", "email.utils", "html.entities"} & loaded


def test_starting_supervisor_imports_no_http_client() -> None:
    loaded = modules_after("import arriero.supervisor.app")
    assert "arriero.supervisor.host.http_get" in loaded
    assert not {"h11", "_ssl", "_hashlib", "secrets", "importlib.resources"} & loaded


@pytest.mark.parametrize("first", [PREFACE, UPGRADE])
@pytest.mark.parametrize("failure", [ImportError("no such module"), RuntimeError("no thread")])
async def test_unloadable_protocol_is_refused(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    first: bytes,
    failure: Exception,
) -> None:
    def fail(name: str) -> object:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(late_protocols, "import_module", fail)
        broken.setattr(late_protocols, "_imported", set())
        answer = await rig.ask(first)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"protocol_unavailable" in answer
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")

    assert str(failure) in caplog.text
