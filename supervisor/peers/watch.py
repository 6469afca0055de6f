"""Asks one peer for its models, and follows how they stand. Contained: it ends nothing of others.

A list is asked for at intervals; of an arriero its feed is followed in between, and gone on with
where it ended. Of what a peer sends so much is read in a second, and no more: who floods waits in
its own socket. No redirect is followed, since the key would go along. Questions that fail are
repeated with the pauses of the peer's circuit.
"""

import logging
import math
import random
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import msgspec
import trio

from arriero.protocol.flood_log import FloodLog

from ..config.names import PeerConfig
from ..host.http_get import (
    Access,
    GetFailed,
    Request,
    ResponseStream,
    Unreachable,
    opened,
    request_to,
)
from ..text.addresses import unix_path
from .state import PeerStates
from .told import (
    MAX_LIST_BYTES,
    BadList,
    FeedSplitter,
    FollowedModels,
    ToldList,
    clean_words,
    read_list,
)

log = logging.getLogger(__name__)

# Read at once. A chunk of a body may have one byte, and takes h11 30 us: these are 20 ms.
_RECEIVE_BYTES: Final = 4 * 1024

# Of a list: an honest one comes in hundreds.
_MAX_PIECES: Final = 5000

# Bytes that a piece of a feed counts for, besides its own.
_PER_PIECE: Final = 64

_FEED: Final = "text/event-stream"
_FEED_PARTS: Final = "models,queue,catalog,host"

# At the end of a URL: it stands for the beginning of the paths.
_VERSION: Final = re.compile(r"v\d+(?:alpha|beta)?\d*")

# Share by which pauses differ; how often one doubles.
_SPREAD: Final = 0.2
_MOST_DOUBLED: Final = 10

# Statuses of those in front of a peer that cannot reach it.
_NOT_THERE: Final = frozenset({502, 503, 504})
_KEY_REFUSED: Final = frozenset({401, 403})


class WatchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, but for the bytes.

    Attributes:
        answer_s: For a whole list, or the head of the feed.
        silence_s: Longest silence of the feed; it says something every 15 s. Then the list is
            asked for, which is quickly told by who lives.
        poll_s: Between two lists of one that tells how its models stand in them.
        plain_poll_s: The same of one that does not.
        followed_poll_s: The same of one that is followed.
        soon_s: The same if its feed says that the list is another one by now.
        again_s: Until the feed is tried again that ended, or was refused.
        refused_s: The same if it is not for this key, or there is none.
        least_s: Shortest pause between two questions.
        bytes_per_s: What is read of one peer.
        burst_bytes: And at first: of a thousand models.
    """

    answer_s: float = 15.0
    silence_s: float = 20.0
    poll_s: float = 10.0
    plain_poll_s: float = 60.0
    followed_poll_s: float = 300.0
    soon_s: float = 5.0
    again_s: float = 2.0
    refused_s: float = 600.0
    least_s: float = 0.5
    bytes_per_s: float = 128 * 1024
    burst_bytes: float = 1024 * 1024


WATCH_LIMITS: Final = WatchLimits()


class ReadAllowance:
    """How much may be read of one peer, over time. Pure."""

    def __init__(self, limits: WatchLimits) -> None:
        self._per_s = limits.bytes_per_s
        self._most = limits.burst_bytes
        self._left = limits.burst_bytes
        self._at = -math.inf

    def take(self, count: int, now: float) -> float:
        """Note that so many bytes were read; return the seconds until the next may be."""
        if now > self._at:
            self._left = min(self._most, self._left + (now - self._at) * self._per_s)
            self._at = now
        self._left -= count
        return max(0.0, -self._left / self._per_s)


class PeerWatch:
    """Watches one peer.

    Args:
        peer: Who it is.
        states: What is known is kept there.
        changed: Called when it has other models than before.
        unix_now: Gives the Unix time.
        own_epoch: Of this supervisor: a feed that has it is our own.
        limits: Its times.
        lost: Called when it has not answered a question.
    """

    def __init__(
        self,
        peer: PeerConfig,
        states: PeerStates,
        changed: Callable[[], None],
        unix_now: Callable[[], float],
        own_epoch: str,
        limits: WatchLimits = WATCH_LIMITS,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.peer = peer
        self._states = states
        self._changed = changed
        self._lost = lost
        self._unix_now = unix_now
        self._own_epoch = own_epoch
        self._limits = limits
        self._woken = trio.Event()
        self._allowance = ReadAllowance(limits)
        self._flood = FloodLog(log)
        self._told = ""  # the last that the log has
        self._models = FollowedModels()
        self._resume_at = ""  # in the feed
        self._names: frozenset[str] | None = None  # of the feed, when the list was read
        self._short_feeds = 0  # in a row
        self._follow_after = -math.inf
        self._following: trio.CancelScope | None = None

    def wake(self) -> None:
        """Ask again as soon as the circuit's pause is over: a request has failed."""
        self._woken.set()
        if self._following is not None:
            self._following.cancel()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._woken = trio.Event()
            try:
                pause_s = await self._look()
            except Exception as exc:  # noqa: BLE001  it ends this look, and nothing else
                self._flood.exception("peer.bug", exc=exc)
                pause_s = self._limits.plain_poll_s
            await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        """Wait; less if a request fails meanwhile, but until the circuit's pause is over."""
        now = trio.current_time()
        until = now + max(pause_s, self._limits.least_s)
        while now < until:
            with trio.move_on_at(until):
                await self._woken.wait()
                self._woken = trio.Event()
                if (state := self._states.find(self.peer.peer)) is not None:
                    until = min(until, max(state.circuit.until, now + self._limits.least_s))
            now = trio.current_time()

    async def _look(self) -> float:
        """Ask for the list, and follow; return the seconds until the next look."""
        name, limits = self.peer.peer, self._limits
        began = trio.current_time()
        try:
            told = await self._ask_for_list()
        except GetFailed as exc:
            self._lose(str(exc))
            state = self._states.find(name)
            return limits.poll_s if state is None else state.circuit.until - trio.current_time()
        except BadList as exc:
            self._say(str(exc))
            self._states.unlisted(name, str(exc), trio.current_time())
            return limits.plain_poll_s * _spread()
        self._say("")
        if self._states.listed(name, told, trio.current_time(), self._unix_now()):
            log.info("peer.listed peer=%s models=%d", name, len(told.models))
            self._changed()
        self._names = self._models.names
        if told.is_arriero and trio.current_time() >= self._follow_after:
            return await self._follow(began)
        tells = any(it.state != "ready" for it in told.models.values())
        return (limits.poll_s if tells else limits.plain_poll_s) * _spread()

    def _lose(self, why: str) -> None:
        why = clean_words(why)
        self._say(why)
        self._states.is_away(self.peer.peer, why, trio.current_time())
        self._lost()

    def _say(self, why: str) -> None:
        """Write why the peer has no list, or that it has one again, if that is news."""
        if why and not self._told:
            log.warning("peer.away peer=%s reason=%r", self.peer.peer, why)
        elif self._told and not why:
            log.info("peer.back peer=%s", self.peer.peer)
        self._told = why

    # --- its list -------------------------------------------------------------------------------

    async def _ask_for_list(self) -> ToldList:
        """Return the list.

        Raises:
            GetFailed: It does not answer, or not in time.
            BadList: It answers with something else.
        """
        limit_s = self._limits.answer_s
        with trio.move_on_after(limit_s):
            return await self._list()
        raise Unreachable(f"its list took longer than {limit_s:g} s")

    async def _list(self) -> ToldList:
        async with opened(self._request("/v1/models", "application/json"), _RECEIVE_BYTES) as came:
            if came.status in _NOT_THERE:
                raise Unreachable(f"it answered with status {came.status}")
            if came.status in _KEY_REFUSED:
                raise BadList(f"it refuses the apiKey, with status {came.status}")
            if 300 <= came.status < 400:
                raise BadList("its list is somewhere else (a redirect); write that URL as proxy")
            if came.status != 200:
                raise BadList(f"it answered with status {came.status} in the place of a list")
            _refuse_compressed(came)
            body = bytearray()
            pieces = 0
            while data := await came.receive():
                body += data
                pieces += 1
                if pieces > _MAX_PIECES:
                    raise BadList("its list of models comes in too many pieces")
                if len(body) > MAX_LIST_BYTES:
                    raise BadList(f"its list of models is larger than {MAX_LIST_BYTES} bytes")
        return read_list(bytes(body))

    def _request(self, path: str, accept: str) -> Request:
        url, key = self.peer.url, self.peer.api_key
        socket = unix_path(url)
        base = "http://localhost" if socket is not None else url.partition("?")[0].rstrip("/")
        root, _, version = base.rpartition("/")
        if _VERSION.fullmatch(version):
            base, path = root, path.replace("/v1/", f"/{version}/", 1)
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "arriero"}
        if key:
            headers["x-api-key"] = key
        return request_to(base + path, headers, Access(key=key, socket=socket))

    # --- how its models stand -------------------------------------------------------------------

    async def _follow(self, began: float) -> float:
        """Follow its feed until the list is due again; return the seconds until the next look.

        Args:
            began: When the list was asked for.
        """
        limits, since, why = self._limits, trio.current_time(), ""
        with trio.CancelScope(deadline=began + limits.followed_poll_s * _spread()) as scope:
            self._following = scope
            try:
                await self._read_feed(began, scope)
            except (GetFailed, BadList) as exc:
                why = clean_words(str(exc))
            finally:
                self._following = None
                if (state := self._states.find(self.peer.peer)) is not None:
                    state.is_followed = False
                    state.unfollowed = why
        if scope.cancelled_caught:
            return 0.0
        if trio.current_time() < self._follow_after:  # it will not be there in a moment
            return limits.poll_s * _spread()
        is_short = trio.current_time() - since < limits.silence_s
        self._short_feeds = self._short_feeds + 1 if is_short else 0
        doubled_s = limits.again_s * 2.0 ** min(self._short_feeds, _MOST_DOUBLED)
        return min(limits.plain_poll_s, doubled_s) * _spread()

    async def _read_feed(self, began: float, due: trio.CancelScope) -> None:
        """Read its feed until it ends.

        Args:
            began: When the list was asked for.
            due: Ends this when the list is due: sooner, if the feed says that there is another.

        Raises:
            GetFailed: There is none, or no more.
            BadList: It cannot be read.
        """
        limits = self._limits
        place = f"/api/live?parts={_FEED_PARTS}&after={quote(self._resume_at)}"
        with trio.CancelScope(deadline=trio.current_time() + limits.answer_s) as patience:
            async with opened(self._request(place, _FEED), _RECEIVE_BYTES) as came:
                self._check_feed(came)
                splitter = FeedSplitter()
                while data := await self._next_bytes(came, patience):
                    messages = splitter.split(data)
                    self._resume_at = splitter.last_id or self._resume_at
                    if self._resume_at.partition(".")[0] == self._own_epoch:
                        await self._meet_self(patience)
                    for message in messages:
                        if not self._models.take(message):
                            raise BadList("a message of its feed cannot be read")
                    if self._models.names is not None:  # else it goes on before its beginning
                        self._publish()
                    if self._names is None:
                        self._names = self._models.names
                    elif self._models.names != self._names:
                        due.deadline = min(due.deadline, began + limits.soon_s)
        if patience.cancelled_caught:
            raise Unreachable("its feed said nothing for too long")

    def _publish(self) -> None:
        if (state := self._states.find(self.peer.peer)) is not None:
            state.follow(self._models.models, self._models.instance)

    async def _next_bytes(self, came: ResponseStream, patience: trio.CancelScope) -> bytes:
        patience.deadline = trio.current_time() + self._limits.silence_s
        data = await came.receive()
        pause_s = self._allowance.take(len(data) + _PER_PIECE, trio.current_time())
        patience.deadline = math.inf
        await trio.sleep(pause_s)
        return data

    def _check_feed(self, came: ResponseStream) -> None:
        if came.status in {401, 403, 404}:
            self._follow_after = trio.current_time() + self._limits.refused_s
            if came.status == 404:
                raise BadList("it does not tell how its models stand: it is an older one")
            raise BadList(
                "its apiKey may not see how models stand: it lacks the scope 'read', or is for "
                "some models only"
            )
        if came.status != 200 or not came.headers.get("content-type", "").startswith(_FEED):
            raise BadList(f"it answered with status {came.status} in the place of its feed")
        _refuse_compressed(came)

    async def _meet_self(self, patience: trio.CancelScope) -> None:
        """Have no models by this peer, ever: it is this program."""
        why = "this is this arriero itself; remove it"
        self._say(why)
        self._states.has_none(self.peer.peer, why)
        self._changed()
        patience.deadline = math.inf
        if self._following is not None:
            self._following.deadline = math.inf
        await trio.sleep_forever()


def _refuse_compressed(came: ResponseStream) -> None:
    if came.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}:
        raise BadList("it came compressed, which was not asked for")


def _spread() -> float:
    """Return a factor for a pause, so that many who watch one peer do not ask all at once."""
    return 1 + _SPREAD * (random.random() - 0.5)  # noqa: S311
