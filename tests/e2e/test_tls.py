"""Clients that speak TLS, with whatever protocol in it; and who does without, beside them."""

import hashlib
import re
import socket
import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from trains import PATIENCE_S, Train, eventually

from arriero.worker.apis.management.answers import OLLAMA_VERSION

# A train of its own. By day test_moving_over.py speaks TLS, and pages refuse administrators.
pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


class Secured:
    """A train with a certificate, an address for Ollama's clients, and a socket for its owner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.trusted = ssl.create_default_context()
        self.authority.configure_trust(self.trusted)
        self.admin = folder / "admin.sock"
        self.renew()

    def renew(self) -> None:
        made = self.authority.issue_cert("127.0.0.1")
        for name, data in (
            ("key.pem", made.private_key_pem.bytes()),
            ("cert.pem", b"".join(one.bytes() for one in made.cert_chain_pems)),
        ):
            new = self.folder / f"{name}.new"
            new.write_bytes(data)
            new.rename(self.folder / name)

    def begin(self, start: Callable[..., Train], config: dict[str, Any]) -> "Secured":
        files = [f"--tls-{it}-file={self.folder / it}.pem" for it in ("cert", "key")]
        self.train = start(config | {"adminListen": f"unix:{self.admin}"}, *files)
        self.train.url = self.train.url.replace("http:", "https:")
        return self

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.train.url.removeprefix("https://").partition(":")
        return host, int(port)

    def client(self, *, http2: bool = True) -> httpx.Client:
        return httpx.Client(
            http2=http2, verify=self.trusted, base_url=self.train.url, timeout=PATIENCE_S
        )

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(self.address, PATIENCE_S)
        return self.trusted.wrap_socket(plain, server_hostname=self.address[0])


@pytest.fixture(scope="module")
def secured(
    start_shared_train: Callable[..., Train],
    scripted: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Secured:
    config = {
        "progress": "reasoning",
        "progressDelay": "0s",
        "ollamaListen": "127.0.0.1:0",
        "models": {"a": {"cmd": scripted("--load-s", "0.3")}},
    }
    return Secured(tmp_path_factory.mktemp("secured")).begin(start_shared_train, config)


def test_many_streams_share_one_connection(secured: Secured) -> None:
    """All of them wait for the model, are told of its progress, and get the whole answer."""
    body = {"model": "a", "messages": [], "stream": True, "script": "chunks=20"}
    with secured.client() as client:
        assert client.get("/health").http_version == "HTTP/2"

        def chat(_: int) -> tuple[str, str]:
            answer = client.post("/v1/chat/completions", json=body)
            return answer.http_version, answer.text

        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(chat, range(40)))
        pool_of_client = client._transport._pool  # type: ignore[attr-defined]
        assert len(pool_of_client.connections) == 1
    assert {version for version, _ in answers} == {"HTTP/2"}
    assert all(text.rstrip().endswith("data: [DONE]") for _, text in answers)
    assert all('"reasoning_content"' in text for _, text in answers)


def test_large_bodies_arrive_whole(secured: Secured) -> None:
    body = b'{"model":"a","script":"echo","messages":[{"content":"%b"}]}' % (b"x" * 20 * 1024**2)
    for http2 in (True, False):
        with secured.client(http2=http2) as client:
            told = client.post("/v1/chat/completions", content=body).json()
        assert told["sha256"] == hashlib.sha256(body).hexdigest()


def test_websockets_pass_over_tls(secured: Secured) -> None:
    lines = (
        "GET /v1/realtime?model=a HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    with secured.connect() as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(4096)
        assert data.startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"\x81\x85\0\0\0\0hello")  # RFC 6455, section 5.7: masked by zeros
        data = data.partition(b"\r\n\r\n")[2]
        while len(data) < 7:
            data += sock.recv(4096)
        assert data == b"\x81\x05hello"


def test_a_renewed_certificate_is_shown_soon(secured: Secured) -> None:
    def shown() -> bytes | None:
        with secured.connect() as sock:
            return sock.getpeercert(binary_form=True)

    before = shown()
    with secured.client() as client:
        client.get("/health")
        secured.renew()
        eventually(lambda: shown() != before, what="another certificate")
        assert client.get("/health").status_code == 200  # on the connection from before


def test_ollamas_tools_speak_plain_http(secured: Secured) -> None:
    found = re.search(r"listens_for_ollama address=(\S+)", secured.train.log.read_text())
    assert found is not None

    told = httpx.get(f"http://{found[1]}/api/version").json()
    assert told["version"] == OLLAMA_VERSION
    refused = httpx.get(f"http://127.0.0.1:{secured.address[1]}/api/version")
    assert (refused.status_code, "speaks TLS" in refused.text) == (400, True)


def test_administrators_are_answered_on_their_socket_only(secured: Secured) -> None:
    assert stat.S_IMODE(secured.admin.stat().st_mode) == 0o600
    for http2 in (True, False):
        with secured.client(http2=http2) as client:
            for method, path in (
                ("GET", "/unload"),
                ("POST", "/api/models/unload/a"),
                ("POST", "/props?model=a"),
                ("GET", "/upstream/a/anything"),
            ):
                refused = client.request(method, path)
                assert refused.status_code == 403
                assert refused.json()["error"]["code"] == "not_on_this_listener"
            assert client.get("/v1/models").status_code == 200
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(secured.admin)),
        base_url="http://localhost",
        timeout=PATIENCE_S,
    ) as owner:
        assert owner.get("/unload").text == "OK"
        eventually(lambda: owner.get("/running").json() == {"running": []}, what="no model")
