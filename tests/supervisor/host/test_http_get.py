"""One GET: a response, or a failure of one kind."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from arriero.supervisor.host.http_get import (
    BadUrl,
    GetFailed,
    HungUp,
    NotHttp,
    Response,
    Unreachable,
    _exchange,
    _head,
    get,
    post,
    request_to,
)
from tests.supervisor.host.file_server import answer, file_server

MAX = 1000
FULL = b"x" * MAX


OK = answer(b"ok")


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (OK, 200, b"ok"),
        (answer(b""), 200, b""),
        (answer(b"busy", "503 Service Unavailable"), 503, b"busy"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200, b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
         200, b"ab"),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK, 200, b"ok"),
    ],
)  # fmt: skip
async def test_response_is_read_whole(raw: bytes, status: int, body: bytes) -> None:
    async with file_server(raw) as server:
        response = await get(request_to(server.url, {}), MAX)

    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Server: llama.cpp\r\n", "llama.cpp"),
        ("sErVeR:  llama.cpp \r\n", "llama.cpp"),
        ("Server: \xff\r\n", "\xff"),
        ("X-Server: llama.cpp\r\n", ""),
        ("", ""),
    ],
)
async def test_headers_have_lower_case_names(field: str, value: str) -> None:
    async with file_server(OK.replace(b"\r\n", b"\r\n" + field.encode("latin-1"), 1)) as server:
        response = await get(request_to(server.url, {}), MAX)

    assert response.headers.get("server", "") == value


@pytest.mark.parametrize(
    ("raw", "max_bytes", "body", "is_cut"),
    [
        (answer(FULL), MAX, FULL, False),
        (answer(FULL + b"x"), MAX, FULL, True),
        (b"HTTP/1.0 200 OK\r\n\r\n" + FULL + b"x", MAX, FULL, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 0, b"", False),
    ],
)
async def test_body_is_cut_at_the_limit(
    raw: bytes, max_bytes: int, body: bytes, is_cut: bool
) -> None:
    async with file_server(raw) as server:
        response = await get(request_to(server.url, {}), max_bytes)

    assert (response.body, response.is_cut) == (body, is_cut)


@pytest.mark.parametrize(
    ("raw", "kind", "why"),
    [
        (b"", HungUp, "the connection was closed before an answer"),
        (b"HTTP/1.1 20", HungUp, "the connection was closed before an answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", HungUp, "the connection was closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", HungUp, "the connection was closed before an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", NotHttp, "this is not HTTP, or half of it: "),
        (b"x" * 100_000, NotHttp, "this is not HTTP, or half of it: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, NotHttp, "this is not HTTP, or half of it: "),
        (answer(b"half")[:-1], NotHttp, "this is not HTTP, or half of it: "),
    ],
)
async def test_broken_response_has_its_kind(raw: bytes, kind: type[GetFailed], why: str) -> None:
    async with file_server(raw) as server:
        with pytest.raises(kind, match=rf"^{why}"):
            await get(request_to(server.url, {}), MAX)


async def test_no_listener_is_unreachable() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match=r"^there is no connection: "):
            await get(request_to(f"http://127.0.0.1:{bound.getsockname()[1]}/", {}), MAX)


async def test_https_to_a_plain_server_breaks() -> None:
    async with file_server(OK) as server:
        with pytest.raises(HungUp, match=r"^the connection broke: "):
            await get(request_to(server.url.replace("http:", "https:"), {}), MAX)


async def test_name_without_address_is_unreachable() -> None:
    with pytest.raises(Unreachable):
        await get(request_to("http://a..b/", {}), MAX)


@pytest.mark.parametrize("url", ["", "//h/", "ftp://h/", "http://", "http://[", "http://h:0x/"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(BadUrl, match="this is no URL"):
        request_to(url, {})


@pytest.mark.parametrize("path", ["/\xff", "/a b"])
async def test_path_that_http_cannot_carry_is_refused(path: str) -> None:
    with pytest.raises(BadUrl, match="this is no URL"):
        await get(request_to(f"http://127.0.0.1:1{path}", {}), MAX)


async def test_post_sends_its_body() -> None:
    async with file_server(answer(b"done", "404 Not Found")) as server:
        response = await post(request_to(server.url, {}), b"abc", MAX)

    assert (response.status, response.body) == (404, b"done")
    (head,) = server.heads
    assert head.startswith(b"POST /api.json HTTP/1.1\r\n")
    assert b"Content-Length: 3\r\n" in head
    assert head.endswith(b"\r\n\r\nabc")


def test_only_redirects_redirect() -> None:
    assert Response(302, {"location": "/a"}).redirect == "/a"
    assert Response(201, {"location": "/a"}).redirect == ""


@given(
    st.lists(
        st.sampled_from(
            [b"HTTP/1.1 ", b"200", b" OK", b"\r\n", b"\r\n\r\n", b"Content-Length: 3", b": ",
             b"Transfer-Encoding: chunked", b"3\r\nabc\r\n", b"0\r\n\r\n", b"100 Continue"]
        )
        | st.binary(max_size=8),
        max_size=12,
    )
)  # fmt: skip
def test_any_bytes_are_a_response_or_a_failure(pieces: list[bytes]) -> None:
    async def ask() -> None:
        ours, theirs = memory_stream_pair()
        await theirs.send_all(b"".join(pieces))
        await theirs.send_eof()
        try:
            found = await _exchange(ours, _head(request_to("http://h/", {})), MAX)
        except GetFailed:
            return
        assert len(found.body) <= MAX

    trio.run(ask)
