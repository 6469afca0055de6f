"""Polls a server until it is ready.

For servers that do not report it themselves. Early on the questions come fast, so that a short
load is noticed at once; a long load is asked more rarely, so that asking costs next to nothing.
"""

import math
from collections.abc import Callable
from typing import Final, Literal, TypeAlias
from urllib.parse import quote, urljoin

import msgspec
import trio
from msgspec.structs import replace

from ...errors import SupervisorError
from ...host.http_get import (
    PLAIN,
    Access,
    BadUrl,
    HungUp,
    NobodyListens,
    NotHttp,
    Request,
    Response,
    Unreachable,
    connect,
    get,
    request_to,
)

# The pause between two queries is this share of the time that has passed, within these limits
# (seconds). So readiness is noticed half a per cent of the load's duration late on average, and
# never more than 50 ms; a query costs less than a millisecond of one core, so the fastest pace
# of a long load costs 2 % of it, for as long as it loads.
PAUSE_SHARE = 0.01
FIRST_PAUSE_S = 0.005
LAST_PAUSE_S = 0.05

# Share of a pause that passes whatever the server writes. It doubles from one pause that is cut
# short to the next: one that writes all the time is soon asked no more often than a silent one.
_LEAST_SHARE: Final = 0.25

# Seconds until another query is sent beside one without a response, doubling from one to the next:
# a slow response is waited for, and a server that has swallowed a query (it hung, or was started
# again behind its wrapper) does not keep us from noticing that it became ready.
PATIENCE_S = 2.0

# Queries that are open at the same time: with the doubling, the last is sent after two minutes.
MAX_OPEN: Final = 7

# As Go's client, on which checks of other proxies stand.
MAX_REDIRECTS: Final = 10

# Characters that may stand in a path and a query; others are escaped.
_AS_IT_IS: Final = "/%:@!$&'()*+,;=~?[]"

# Most of a body that is read; what we ask for has a hundred bytes.
MAX_BODY_BYTES: Final = 64 * 1024

# Why there is no response: nothing listens; the listener hangs up, or does not speak HTTP.
Failure: TypeAlias = Literal["unreachable", "hung up", "not http"]

# Why a redirect was not followed.
NotFollowed: TypeAlias = Literal["", "elsewhere", "too often"]


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of one query.

    Attributes:
        result: The response; or why there is none.
        not_followed: If it redirects: why that was not followed.
    """

    result: Response | Failure
    not_followed: NotFollowed = ""


def pause_s(elapsed_s: float) -> float:
    """Return the seconds to the next query, `elapsed_s` after the start."""
    return min(max(elapsed_s * PAUSE_SHARE, FIRST_PAUSE_S), LAST_PAUSE_S)


class Signs:
    """Signs that a server has got further: what it writes, mostly. They cut a pause short."""

    def __init__(self) -> None:
        self._seen = trio.Event()
        self._share = _LEAST_SHARE

    def note(self) -> None:
        """Note one."""
        self._seen.set()

    async def pause(self, seconds: float) -> None:
        """Sleep that long; or until there is a sign, after a quarter of it at the least."""
        await trio.sleep(seconds * self._share)
        with trio.move_on_after(seconds * (1 - self._share)):
            await self._seen.wait()
        self._share = min(1.0, 2 * self._share) if self._seen.is_set() else _LEAST_SHARE
        self._seen = trio.Event()


async def wait_until_healthy(
    url: str,
    *,
    started_at: float,
    signs: Signs | None = None,
    access: Access = PLAIN,
    note: Callable[[Outcome | None], None] = lambda _: None,
) -> Response:
    """Return the first successful response to a GET of `url`.

    That is a status of 200 to 299; the body is not read.

    The deadline is the caller's, and so is the check that it comes from the process that was
    started (`port_owner`). Redirects on the same host are followed.

    Args:
        url: ``http://host:port/path`` or ``https://...``.
        started_at: When the process was started, as `trio.current_time` counts.
        signs: Of the server; they make the next query come earlier.
        access: How it is reached.
        note: Called with the outcome of each query but the last; None: it is still open.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    request, signs = _request(url, access), signs or Signs()
    places = trio.CapacityLimiter(MAX_OPEN)
    good: list[Response] = []

    async def ask(ended: trio.Event) -> None:
        async with places:
            outcome = await _follow(request)
            if isinstance(outcome.result, Response) and outcome.result.is_success:
                good.append(outcome.result)
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
            await signs.pause(pause_s(trio.current_time() - started_at))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_asking)
    return good[0]


async def wait_until_listening(
    url: str,
    *,
    started_at: float,
    signs: Signs | None = None,
    access: Access = PLAIN,
    note: Callable[[Outcome | None], None] = lambda _: None,
) -> None:
    """Return once `url` accepts a connection. As for `wait_until_healthy`."""
    request, signs = _request(url, access), signs or Signs()
    while True:
        with trio.move_on_after(PATIENCE_S):
            if await _knock(request) == "open":
                return
            note(Outcome("unreachable"))
        await signs.pause(pause_s(trio.current_time() - started_at))


async def probe(url: str, *, with_body: bool = False, access: Access = PLAIN) -> Response | None:
    """GET `url` once; return the response, or None.

    Half a response is none.

    There is no time limit but the caller's.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    result = await _ask(_request(url, access), with_body=with_body)
    return result if isinstance(result, Response) else None


async def is_refused(url: str, *, access: Access = PLAIN) -> bool:
    """Connect to `url` once; return whether nothing listens there.

    There is no time limit but the caller's.

    Raises:
        SupervisorError: `url` cannot be understood.
    """
    return await _knock(_request(url, access)) == "refused"


async def _knock(request: Request) -> Literal["open", "refused", "unreachable"]:
    """Connect, and hang up."""
    try:
        await trio.aclose_forcefully(await connect(request))
    except NobodyListens:
        return "refused"
    except Unreachable:
        return "unreachable"
    return "open"


async def _follow(request: Request) -> Outcome:
    """Query, and follow redirects on the same host."""
    followed = 0
    while True:
        result = await _ask(request, with_body=False)
        if not isinstance(result, Response) or not result.redirect:
            return Outcome(result)
        if followed == MAX_REDIRECTS:
            return Outcome(result, "too often")
        following = _redirected(request, result.redirect)
        if following is None:
            return Outcome(result, "elsewhere")
        request = following
        followed += 1


async def _ask(request: Request, *, with_body: bool) -> Response | Failure:
    try:
        return await get(request, MAX_BODY_BYTES if with_body else 0)
    except Unreachable:
        return "unreachable"  # the task that runs it notices if it died
    except HungUp:
        return "hung up"
    except NotHttp:
        return "not http"


def _request(url: str, access: Access) -> Request:
    try:
        request = request_to(url, {"Accept": "*/*"}, access)
    except BadUrl as exc:
        raise SupervisorError(
            f"cannot check the health at {url!r}: {exc}; write http://host:port/path or https://..."
        ) from exc
    # Addresses of a name are tried in turn, never two connections at a time: it is one question.
    target = quote(request.target, safe=_AS_IT_IS)
    return replace(request, target=target, happy_eyeballs_delay_s=math.inf)


def _redirected(request: Request, location: str) -> Request | None:
    """Return the request that a redirect leads to.

    None if that is on another host, or is none that can be sent.
    """
    scheme = "http" if request.tls is None else "https"
    try:
        base = f"{scheme}://{request.authority}{request.target}"
        following = _request(urljoin(base, location), request.access)
    except (ValueError, SupervisorError):
        return None
    if following.host != request.host:
        return None
    is_same = (following.port, following.tls is None) == (request.port, request.tls is None)
    if not is_same and request.access.socket is not None:
        return None
    return following if is_same else replace(following, access=PLAIN)  # its key is for it alone
