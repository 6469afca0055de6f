"""Notices that a server has become ready, by asking it again and again.

For servers that do not report it themselves. Early on the questions come fast, so that a short
load is noticed at once; a long load is asked more rarely, so that asking costs next to nothing.
"""

import math
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import h11
import trio

from ..errors import SupervisorError

# The pause between two questions is this share of the time that has passed, within these limits
# (seconds). So readiness is noticed half a per cent of the load's duration late on average, and
# never more than 50 ms; a question costs less than a millisecond of one core, so the fastest pace
# of a long load costs 2 % of it, for as long as it loads.
PAUSE_SHARE = 0.01
FIRST_PAUSE_S = 0.005
LAST_PAUSE_S = 0.05

# Seconds until another question is asked beside one that is not answered, doubling from one to the
# next: a slow answer is waited for, and a server that has swallowed a question (it hung, or was
# started again behind its wrapper) does not keep us from noticing that it became ready.
PATIENCE_S = 2.0

# Questions that are open at the same time: with the doubling, the last is asked after two minutes.
MOST_OPEN: Final = 7

# As Go's client, on which checks of other proxies stand.
MOST_REDIRECTS: Final = 10

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

# What may stand in a path and a query; anything else is made fit for a request.
_AS_IT_IS: Final = "/%:@!$&'()*+,;=~?[]"

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
        location: The field ``Location``; empty without one.
    """

    status: int
    server: str = ""
    body: bytes = b""
    location: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it says that all is well."""
        return 200 <= self.status < 300


# Why there is no answer: nobody listens; who listens hangs up, or speaks something else.
Failure: TypeAlias = Literal["unreachable", "hung up", "not http"]

# Why an answer that redirects was the last one.
NotFollowed: TypeAlias = Literal["", "elsewhere", "too often"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question.

    Attributes:
        said: The answer; or why there is none.
        not_followed: If it redirects: why that was not followed.
    """

    said: Answer | Failure
    not_followed: NotFollowed = ""


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


async def wait_until_healthy(
    url: str,
    *,
    started_at: float,
    access: Access = PLAIN,
    note: Callable[[Outcome | None], None] = lambda _: None,
) -> Answer:
    """Return the first answer to a GET of `url` with a status of 200 to 299, without its body.

    There is no timeout argument: how long is too long is the caller's to say. Whether the one
    that answers is the one that was started is the caller's to check as well (`port_owner`).
    Redirects on the same host are followed.

    Args:
        url: ``http://host:port/path`` or ``https://...``.
        started_at: When the process was started, as `trio.current_time` counts.
        access: How it is reached.
        note: Called with what came of each question, but for the last; None: it is still open.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    target = _parse(url, access)
    places = trio.CapacityLimiter(MOST_OPEN)
    good: list[Answer] = []

    async def ask(ended: trio.Event) -> None:
        async with places:
            outcome = await _follow(target)
            if isinstance(outcome.said, Answer) and outcome.said.is_good:
                good.append(outcome.said)
                nursery.cancel_scope.cancel()
                return
        note(outcome)
        ended.set()

    async def keep_asking() -> None:
        patience_s = PATIENCE_S
        while True:
            ended = trio.Event()
            nursery.start_soon(ask, ended)
            with trio.move_on_after(patience_s) as waiting:
                await ended.wait()
            if waiting.cancelled_caught:
                note(None)
                patience_s *= 2
            else:
                patience_s = PATIENCE_S
            await trio.sleep(pause_s(trio.current_time() - started_at))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking)
    return good[0]


async def wait_until_listening(
    url: str,
    *,
    started_at: float,
    access: Access = PLAIN,
    note: Callable[[Outcome | None], None] = lambda _: None,
) -> None:
    """Return once somebody accepts a connection at `url`. As for `wait_until_healthy`."""
    target = _parse(url, access)
    while True:
        with trio.move_on_after(PATIENCE_S):
            try:
                await trio.aclose_forcefully(await _connect(target))
            except (OSError, RuntimeError):
                note(Outcome("unreachable"))
            else:
                return
        await trio.sleep(pause_s(trio.current_time() - started_at))


async def probe(url: str, *, with_body: bool = False, access: Access = PLAIN) -> Answer | None:
    """GET `url` once and return the answer; None when there was none, or half of one.

    There is no time limit but the caller's.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    said = await _ask(_parse(url, access), with_body=with_body)
    return said if isinstance(said, Answer) else None


async def _follow(target: _Target) -> Outcome:
    """Ask, and ask where the answer redirects to, on the same host."""
    followed = 0
    while True:
        said = await _ask(target, with_body=False)
        if not isinstance(said, Answer) or said.status not in _REDIRECTS or not said.location:
            return Outcome(said)
        if followed == MOST_REDIRECTS:
            return Outcome(said, "too often")
        following = _redirected(target, said.location)
        if following is None:
            return Outcome(said, "elsewhere")
        target = following
        followed += 1


async def _ask(target: _Target, *, with_body: bool) -> Answer | Failure:
    try:
        stream = await _connect(target)
    except (OSError, RuntimeError):  # the latter: a name to look up, and no thread for that
        return "unreachable"  # whether it died is noticed by whoever runs it
    try:
        if target.tls is not None:
            stream = trio.SSLStream(
                stream, target.tls, server_hostname=target.host, https_compatible=True
            )
        return await _exchange(stream, target, with_body=with_body)
    except trio.BrokenResourceError:
        return "hung up"
    except h11.RemoteProtocolError:
        return "not http"
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(target: _Target) -> trio.abc.Stream:
    if target.access.socket is not None:
        return await trio.open_unix_socket(target.access.socket)
    return await trio.open_tcp_stream(target.host, target.port, happy_eyeballs_delay=math.inf)


async def _exchange(
    stream: trio.abc.Stream, target: _Target, *, with_body: bool
) -> Answer | Failure:
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
            fields = {name: value.decode("latin-1") for name, value in event.headers}
            answer = Answer(
                event.status_code, fields.get(b"server", ""), b"", fields.get(b"location", "")
            )
            if not with_body:
                return answer
        elif isinstance(event, h11.Data) and len(body) < MOST_BODY_BYTES:
            body += event.data
        elif answer is not None:  # the end, or more than is read
            return replace(answer, body=body[:MOST_BODY_BYTES])
        elif not isinstance(event, h11.InformationalResponse):
            return "hung up"  # before an answer


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
    path = quote(path, safe=_AS_IT_IS)
    return _Target(
        host=host,
        port=port or (443 if tls else 80),
        path=path,
        authority=parts.netloc.rpartition("@")[2],
        tls=tls,
        access=access,
    )


def _redirected(target: _Target, location: str) -> _Target | None:
    """Return what to ask next; None if that is on another host, or nothing that can be asked."""
    scheme = "http" if target.tls is None else "https"
    try:
        following = _parse(
            urljoin(f"{scheme}://{target.authority}{target.path}", location), target.access
        )
    except (ValueError, SupervisorError):
        return None
    if following.host != target.host:
        return None
    is_same = (following.port, following.tls is None) == (target.port, target.tls is None)
    if not is_same and target.access.socket is not None:
        return None
    return following if is_same else replace(following, access=PLAIN)  # its key is for it alone
