"""A file over HTTP: all of it, or one reason why not."""

import pytest

from arriero.supervisor.host.http_get import GetFailed
from arriero.supervisor.pricing.fetch import FetchFailed, _redirected, fetch
from tests.supervisor.host.file_server import answer, file_server

MOST = 1000
FULL = b"x" * MOST


def moved(location: str, status: str = "302 Found") -> bytes:
    return answer(b"gone", status, f"Location: {location}\r\n")


@pytest.mark.parametrize(
    ("answers", "body"),
    [
        ([answer(b"[1]")], b"[1]"),
        ([answer(FULL)], FULL),
        ([answer(b"x", fields="Content-Encoding: identity\r\n")], b"x"),
        ([moved("/other"), answer(b"x")], b"x"),
        ([moved("other", "308 Permanent Redirect"), moved("?again"), answer(b"x")], b"x"),
    ],
)
async def test_a_file_is_fetched_whole(answers: list[bytes], body: bytes) -> None:
    async with file_server(*answers) as server:
        assert await fetch(server.url, MOST) == body


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([answer(b"x", "500 Internal Server Error")], "it answered with status 500"),
        ([answer(b"x", "206 Partial Content")], "it answered with status 206"),
        ([answer(b"x", "304 Not Modified")], "it answered with status 304"),
        ([answer(b"x", "302 Found")], "it answered with status 302"),
        ([answer(FULL + b"x")], "it is larger than 1000 bytes"),
        ([answer(b"x", fields="Content-Encoding: gzip\r\n")], "it came compressed"),
        ([answer(b"half")[:-1]], "this is not HTTP, or half of it: "),
        ([b""], "the connection was closed before an answer"),
        ([moved("/a"), moved("/b"), moved("/c"), answer(b"x")], "it was moved more than 2 times"),
        ([moved("ftp://127.0.0.1/")], "this is no URL of http or https"),
        ([moved("http://[")], "it was moved to what is no URL"),
        ([moved("http://127.0.0.1:0x/")], "this is no URL"),
        ([moved("/\xff")], "this is no URL"),
        ([moved("http://\xff/")], "this is no URL"),
        ([moved("http://a..b/")], "there is no connection: "),
    ],
)
async def test_any_other_response_is_a_reason(answers: list[bytes], why: str) -> None:
    async with file_server(*answers) as server:
        with pytest.raises(GetFailed) as caught:
            await fetch(server.url, MOST)
    assert str(caught.value).startswith(why)


async def test_request_has_path_and_identity() -> None:
    async with file_server(answer(b"x")) as server:
        await fetch(f"http://127.0.0.1:{server.port}?a=1", MOST)
    head = f"GET /?a=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
    assert server.heads[0].startswith(head.encode())
    assert b"\r\nAccept-Encoding: identity\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("url", "location", "found"),
    [
        ("http://a/b/c", "d", "http://a/b/d"),
        ("http://a/b", "https://c/", "https://c/"),
        ("http://a/b", "//c/d", "http://c/d"),
        ("https://a/b", "/d", "https://a/d"),
        ("https://a/b", "https://c/", "https://c/"),
    ],
)
def test_a_redirect_leads_to_another_place(url: str, location: str, found: str) -> None:
    assert _redirected(url, location) == found


@pytest.mark.parametrize("location", ["http://a/", "HTTP://a/", "ftp://a/", "file:///x"])
def test_no_redirect_leads_out_of_https(location: str) -> None:
    with pytest.raises(FetchFailed, match="from https to something else"):
        _redirected("https://a/b", location)
