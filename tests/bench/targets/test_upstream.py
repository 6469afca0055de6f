"""The trivial upstream answers whole requests, and forgets uploads."""

import socket

from ..steps.transfer import read_h2load
from .load import is_whole
from .upstream import HEAD, PIECES, SMALL, UPLOAD_BYTES, Client


def post(body: bytes, length: int | None = None) -> bytes:
    """Return a request with `body`, which says that it has `length` bytes."""
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (length or len(body), body)


def heard(*data: bytes, only_small: bool = False) -> Client:
    """Return a connection that has heard `data`."""
    with socket.socket() as sock:
        client = Client(sock)
    for one in data:
        client.take(one, only_small=only_small)
    return client


def test_a_stream_is_200_writes() -> None:
    client = heard(post(b"{}"))

    assert client.owed[::-1] == [HEAD + PIECES[0], *PIECES[1:]]


def test_in_bulk_it_is_one_write() -> None:
    assert heard(post(b'{"bulk":true}')).owed == [HEAD + b"".join(PIECES)]


def test_a_request_may_come_in_pieces() -> None:
    whole = post(b"{}")

    assert not heard(whole[:-1]).owed
    assert heard(whole[:-1], whole[-1:]).owed


def test_an_upload_is_forgotten_and_answered_at_its_end() -> None:
    begun = heard(post(b"a" * 10, length=UPLOAD_BYTES * 2))
    assert (begun.heard, begun.owed) == (b"", [])

    begun.take(bytes(UPLOAD_BYTES * 2 - 11), only_small=False)
    assert not begun.owed
    begun.take(b"z", only_small=False)
    assert begun.owed == [SMALL]
    assert is_whole(SMALL)


def test_small_is_always_small() -> None:
    assert heard(post(b"{}"), only_small=True).owed == [SMALL]


def test_what_h2load_says_is_read() -> None:
    text = """
finished in 1.00s, 8123.40 req/s, 3.21MB/s
requests: 8123 total, 8187 started, 8123 done, 8120 succeeded, 2 failed, 1 errored, 0 timeout
"""

    assert read_h2load(text) == (8123.4, 8120, 3)
    assert read_h2load("nothing") == (0.0, 0, 0)
