"""Notices that a server has become ready, by asking it again and again.

For servers that do not report it themselves. Early on the questions come fast, so that a short
load is noticed at once; a long load is asked more rarely, so that asking costs next to nothing.
"""

import math
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import h11
import trio

from .errors import SupervisorError

# The pause between two questions is this share of the time that has passed, within these limits
# (seconds). So readiness is noticed half a per cent of the load's duration late on average, and
# never more than 50 ms; a question costs less than a millisecond of one core, so the fastest pace
# of a long load costs 2 % of it, for as long as it loads.
PAUSE_SHARE = 0.01
FIRST_PAUSE_S = 0.005
LAST_PAUSE_S = 0.05

# Seconds for one question. A server that accepts and never answers (it loads in its only thread,
# or hangs) must not keep us from noticing that it became ready.
PROBE_LIMIT_S = 2.0

_RECEIVE_BYTES = 4096

# Most of a body that is read; what we ask for has a hundred bytes.
MOST_BODY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to one GET.

    Attributes:
        status: HTTP status.
        server: The field ``Server``, as it was written; empty without one.
        body: Its first `MOST_BODY_BYTES`; empty unless it was asked for.
    """

    status: int
    server: str = ""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Access:
    """How a server is reached, beyond what a URL says.

    Attributes:
        key: Shown to it; empty for none.
        socket: Path of the unix socket on which it listens; None: where the URL says.
    """

    key: str = field(default="", repr=False)
    socket: str | None = None


PLAIN: Final = Access()


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    path: str
    authority: str
    tls: ssl.SSLContext | None
    access: Access


def pause_s(elapsed_s: float) -> float:
    """Return how long to wait until the next question, `elapsed_s` after the start."""
    return min(max(elapsed_s * PAUSE_SHARE, FIRST_PAUSE_S), LAST_PAUSE_S)


async def wait_until_healthy(url: str, *, started_at: float, access: Access = PLAIN) -> Answer:
    """Return the first answer to a GET of `url` with a status of 200 to 299, without its body.

    There is no timeout argument: how long is too long is the caller's to say. Whether the one
    that answers is the one that was started is the caller's to check as well (`port_owner`).

    Args:
        url: ``http://host:port/path`` or ``https://...``.
        started_at: When the process was started, as `trio.current_time` counts.
        access: How it is reached.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    target = _parse(url, access)
    while True:
        with trio.move_on_after(PROBE_LIMIT_S):
            answer = await _ask(target, with_body=False)
            if answer is not None and 200 <= answer.status < 300:
                return answer
        await trio.sleep(pause_s(trio.current_time() - started_at))


async def probe(url: str, *, with_body: bool = False, access: Access = PLAIN) -> Answer | None:
    """GET `url` once and return the answer; None when there was none, or half of one.

    There is no time limit but the caller's.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    return await _ask(_parse(url, access), with_body=with_body)


async def _ask(target: _Target, *, with_body: bool) -> Answer | None:
    try:
        stream = await _connect(target)
    except (OSError, RuntimeError):  # the latter: a name to look up, and no thread for that
        return None  # not listening yet; whether it died is noticed by whoever runs it
    try:
        if target.tls is not None:
            stream = trio.SSLStream(
                stream, target.tls, server_hostname=target.host, https_compatible=True
            )
        return await _exchange(stream, target, with_body=with_body)
    except (trio.BrokenResourceError, h11.RemoteProtocolError):
        return None  # it hung up, or speaks something else
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(target: _Target) -> trio.abc.Stream:
    if target.access.socket is not None:
        return await trio.open_unix_socket(target.access.socket)
    return await trio.open_tcp_stream(target.host, target.port, happy_eyeballs_delay=math.inf)


async def _exchange(stream: trio.abc.Stream, target: _Target, *, with_body: bool) -> Answer | None:
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", target.authority), ("Connection", "close"), ("Accept", "*/*")]
    if target.access.key:
        headers.append(("Authorization", f"Bearer {target.access.key}"))
    request = h11.Request(method="GET", target=target.path, headers=headers)
    await stream.send_all(http.send(request) + http.send(h11.EndOfMessage()))
    answer: Answer | None = None
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
        elif isinstance(event, h11.Response):
            server = dict(event.headers).get(b"server", b"").decode("latin-1")
            answer = Answer(event.status_code, server)
            if not with_body:
                return answer
        elif isinstance(event, h11.Data) and len(body) < MOST_BODY_BYTES:
            body += event.data
        elif answer is not None:  # the end, or more than is read
            return Answer(answer.status, answer.server, body[:MOST_BODY_BYTES])
        elif not isinstance(event, h11.InformationalResponse):
            return None  # the connection was closed before an answer


def _parse(url: str, access: Access) -> _Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise SupervisorError(f"cannot check the health at {url!r}: {exc}") from exc
    if parts.scheme not in {"http", "https"} or not host:
        raise SupervisorError(
            f"cannot check the health at {url!r}: write http://host:port/path or https://..."
        )
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Target(
        host=host,
        port=port or (443 if tls else 80),
        path=path,
        authority=parts.netloc.rpartition("@")[2],
        tls=tls,
        access=access,
    )
