"""What Hypercorn gets: one request, whole, of which nothing leads to another protocol."""

import h11
import pytest

from arriero.worker.server.hypercorn_request import page_request


@pytest.mark.parametrize(
    "lines",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
        b"UPGRADE : h2c\r\n",
        b"Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\n",
        b"TE: trailers\r\nTrailer: a\r\nKeep-Alive: 5\r\n",
    ],
)
def test_how_it_came_is_not_passed_on_and_what_was_asked_is(lines: bytes) -> None:
    raw = b"POST /x?y HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer k\r\n" + lines + b"A:b\r\n\r\n"

    server = h11.Connection(h11.SERVER)
    server.receive_data(page_request(raw, b"{} ", length=3))
    request, body, end = server.next_event(), server.next_event(), server.next_event()

    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/x?y")
    assert list(request.headers) == [
        (b"host", b"h"),
        (b"authorization", b"Bearer k"),
        (b"a", b"b"),
        (b"content-length", b"3"),
        (b"connection", b"close"),
    ]
    assert isinstance(body, h11.Data)
    assert bytes(body.data) == b"{} "
    assert isinstance(end, h11.EndOfMessage)


def test_without_a_body_none_is_announced() -> None:
    raw = b"GET / HTTP/1.0\r\n\r\n"

    assert page_request(raw, b"", length=0) == b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n"
