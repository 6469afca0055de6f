"""Answers of servers that behave, and that do not."""

import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from arriero.supervisor.cli.chat.display import AnswerDisplay
from arriero.supervisor.cli.chat.exchange import ExchangeBroken, ServerUnreachable, read_address
from arriero.supervisor.cli.chat.server import AskedServer
from arriero.supervisor.cli.chat.talk import ChatMessage, TalkTurn, TurnFailed, model_names, talk
from arriero.supervisor.cli.find_sockets import CommandFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HI = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@contextmanager
def serving(answer: bytes, tls: ssl.SSLContext | None = None) -> Generator[AskedServer]:
    """Give a server that answers one request with these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            try:
                conn = plain if tls is None else tls.wrap_socket(plain, server_side=True)
            except OSError:
                return
            with conn:
                while b"\r\n\r\n" not in conn.recv(65536):
                    pass
                conn.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        scheme = "http" if tls is None else "https"
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield AskedServer(read_address(url), None)
        finally:
            thread.join(20)


def ask(server: AskedServer, turn: TalkTurn) -> None:
    display = AnswerDisplay(thinking=False, answers=False, environ={})
    talk(server, turn, [ChatMessage("user", "x")], display)


GOOD = CHUNKED + chunk(HI) + chunk(END) + b"0\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\n"
UNASKED = b"HTTP/1.1 401 No\r\n"


@pytest.mark.parametrize(
    ("answer", "error", "said", "content"),
    [
        (CHUNKED + chunk(HI), ExchangeBroken, "cut off", "hi"),
        (CHUNKED + chunk(HI) + b"0\r\n\r\n", TurnFailed, "cut off before its end", "hi"),
        (CHUNKED + chunk(b"data: {\n\n"), TurnFailed, "cannot read the answer", ""),
        (CHUNKED + chunk(b'data: {"error":{"message":"a\x1b[2Jb"}}\n\n'), TurnFailed, "JSON", ""),
        (CHUNKED + chunk(b'data: {"error":{"message":"gone"}}\n\n'), TurnFailed, "gone", ""),
        (whole(b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\n", b"x"), TurnFailed, "no stream", ""),
        (whole(BUSY, b'{"error":{"message":"b\\u001b[2Jusy"}}'), TurnFailed, "busy", ""),
        (whole(BUSY, b"<html>"), TurnFailed, "status 503", ""),
        (whole(UNASKED, b"{}"), TurnFailed, "ARRIERO_API_KEY", ""),
        (b"", ExchangeBroken, "", ""),
        (b"SSH-2.0-x\r\n\r\n", ExchangeBroken, "not HTTP", ""),
    ],
)  # fmt: skip
def test_an_answer_without_a_good_end_is_told(
    answer: bytes, error: type[CommandFailed], said: str, content: str
) -> None:
    turn = TalkTurn("m")
    with serving(answer) as server, pytest.raises(error) as failure:
        ask(server, turn)

    assert said in str(failure.value)
    assert str(failure.value).isprintable()
    assert turn.content == content


def test_tls_is_spoken_with_who_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with serving(GOOD, context) as server, pytest.raises(ServerUnreachable, match="certificate"):
        ask(server, TalkTurn("m"))

    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca"))
    turn = TalkTurn("m")
    with serving(GOOD, context) as server:
        ask(server, turn)
    assert (turn.content, turn.finish_reason) == ("hi", "stop")


def test_names_of_models_are_read_or_left() -> None:
    json = b"HTTP/1.1 200 OK\r\n"
    for body, names in (
        (b'{"data":[{"id":"a"},{"id":3},7]}', ["a"]),
        (
            b'{"data":[{"id":"a","meta":{"llamaswap":{"aliases":["x",3,"b"]}}},{"id":"b"}]}',
            ["a", "b", "x"],
        ),
        (
            b'{"data":[{"id":"a","meta":{"llamaswap":{"aliases":3}}},{"id":"b","meta":[]}]}',
            ["a", "b"],
        ),
        (b"[]", []),
        (b'{"data":3}', []),
        (b"[" * 5000, []),
        (b"{", []),
    ):
        with serving(whole(json, body)) as server:
            assert model_names(server) == names
