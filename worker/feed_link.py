"""Logs and events for those who follow them over HTTP: one line to the supervisor for all.

Subscribed only while somebody follows, and a little longer. Each reader first gets what was, then
what comes: the subscription is there before the past is asked for, so nothing is missed between
them, and numbers tell what was said already.
"""

import itertools
import os
import time
from collections.abc import AsyncGenerator, Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio
import zmq

from arriero.protocol.codec import decode_event
from arriero.protocol.control.models import LogsLine, LogsReply, LogsRequest
from arriero.protocol.control.requests import ActivityReply, ActivityRequest
from arriero.protocol.control.running import (
    DecisionsReply,
    DecisionsRequest,
    StatusReply,
    StatusRequest,
)
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.lease import InflightReport, InflightWish
from arriero.protocol.records import InflightRequest, RequestPhase
from arriero.protocol.transport import FrameSocket, connected

from .accounting.account import Account
from .accounting.response_reader import written_so_far
from .connections.connection import Connection, Wakeup
from .errors import RelayError
from .feeds.feed_reader import log_message
from .feeds.hub import FeedHub, FollowerLink, WantedLines
from .feeds.inflight import shown_fields
from .feeds.line_reader import LineReader
from .feeds.live_state import LivePosition, LiveReader
from .model_status import WorkerFacts
from .relay.context import AsksSupervisor, RelayContext

# What was, at the most: bytes of text for each log. Source: llama-swap.
HISTORY_BYTES: Final = 100 * 1024
_HISTORY_LINES: Final = 10_000

# Seconds for what the supervisor has in memory.
_ASK_S: Final = 10.0
_QUESTIONS: Final = 8

# Seconds until the subscription is there; it takes milliseconds.
_SURE_S: Final = 5.0

# Seconds for which it is kept when nobody follows any more: clients that poll come again.
_LINGER_S: Final = 10.0

# Seconds between two messages to one reader: what comes meanwhile goes together.
_PAUSE_S: Final = 0.05
_PAUSE_OF_EACH_S: Final = 0.003

# The same for one who watches all: the more often a page draws, the more it has to do. What happens
# is on its screen within 0.2 s all the same.
_LIVE_PAUSE_S: Final = 0.13

# Seconds of silence after which a reader of events gets a comment: who has gone is noticed.
_COMMENT_S: Final = 15.0
_COMMENT: Final = b":\n\n"

# Seconds between two reports of the requests that run; bytes of one, as JSON.
_REPORT_S: Final = 0.25
_REPORT_BYTES: Final = 512 * 1024

# Bytes of responses that are read for one report: of more, the count of the last report stands.
_READ_BYTES: Final = 1024 * 1024

_TOPICS: Final = (
    b"own/", b"log/", b"usage/", b"inflight/",
    b"state/", b"progress/", b"queue/", b"evicted/", b"worker/", b"config/", b"heartbeat/",
)  # fmt: skip

# Seconds between two questions for the whole state, while somebody watches; and at least.
_STATUS_S: Final = 1.0
_LEAST_STATUS_S: Final = 0.05

# Seconds after which a supervisor that does not answer is said to be away.
_STATUS_LOST_S: Final = 3.0


class FeedLink:
    """Serves those who follow.

    Args:
        context: The zmq context.
        folder: Of the supervisor's sockets.
        service: What is known of models and requests.
        ask: Asks the supervisor.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        folder: Path,
        service: RelayContext,
        ask: AsksSupervisor,
    ) -> None:
        self._context = context
        self._path = folder / "events.sock"
        self._service = service
        self._ask = ask
        self._asking = trio.Semaphore(_QUESTIONS)  # others have questions as well
        self._some = trio.Event()
        self._numbers = itertools.count(1)
        self._wished = False
        self._ordered = Wakeup()
        self._orders = 0
        self._reports = False
        self._is_new = False
        self.facts = WorkerFacts(service)
        self.hub: FeedHub = service.feeds
        self.hub.on_first = self._follow
        self.hub.on_order = self._order_reports
        self.hub.on_another_supervisor = self._meet
        service.read_logs = self

    def _follow(self) -> None:
        self._some.set()

    async def run(self) -> None:
        """Follow while others do, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._report)
            while True:
                await self._some.wait()
                topic = b"echo/%d-%d" % (os.getpid(), next(self._numbers))
                with connected(
                    self._context, zmq.SUB, self._path, topics=(*_TOPICS, topic)
                ) as socket:
                    async with trio.open_nursery() as following:
                        following.start_soon(self._receive, socket)
                        following.start_soon(self._ask_how_all_stands)
                        await self._until_nobody_follows()
                        following.cancel_scope.cancel()
                self.hub.begin_anew()

    async def _until_nobody_follows(self) -> None:
        idle_since = trio.current_time()
        while trio.current_time() - idle_since < _LINGER_S:
            if self.hub.followers:
                idle_since = trio.current_time()
            self._wish()
            await trio.sleep(_REPORT_S)
        self._some = trio.Event()
        if self.hub.followers:  # in this very moment
            self._some.set()

    def _wish(self) -> None:
        """Have the supervisor say which requests run, if somebody wants to know."""
        wanted = self.hub.follows_events
        if wanted != self._wished or (wanted and self._is_new):
            self._wished, self._is_new = wanted, False
            self._service.say(InflightWish(wanted=wanted))

    def _meet(self) -> None:
        """Tell another supervisor what the one before it knew."""
        self._is_new = True
        self._order_reports(False)
        self.hub.inflight.clear()
        self.hub.is_stale.set()

    async def _receive(self, socket: FrameSocket) -> None:
        while True:
            frames = await socket.receive()
            try:
                self.hub.take(decode_event(frames))
            except RemoteProtocolError:
                continue  # of another version

    async def _ask_how_all_stands(self) -> None:
        """Keep `hub.live` up to date with what no event tells, while somebody watches."""
        hub = self.hub
        while True:
            if hub.is_watched:
                hub.is_stale = trio.Event()
                await self._ask_once()
                hub.live_changed()
                await trio.sleep(_LEAST_STATUS_S)
                with trio.move_on_after(_STATUS_S):
                    await hub.is_stale.wait()
            else:
                await hub.is_stale.wait()
                if not hub.is_watched:
                    hub.is_stale = trio.Event()

    async def _ask_once(self) -> None:
        live = self.hub.live
        try:
            with trio.move_on_after(_SURE_S):
                await self.hub.is_sure.wait()
            status = await self._ask(StatusRequest(), StatusReply, within_s=_STATUS_LOST_S)
            if not live.is_known or status.epoch != live.position.epoch:
                last = await self._ask(
                    ActivityRequest(limit=1), ActivityReply, within_s=_STATUS_LOST_S
                )
                past = await self._ask(DecisionsRequest(), DecisionsReply, within_s=_STATUS_LOST_S)
                live.begin(status, last.seq, past.decisions)
            elif not live.update(status):
                self.hub.is_stale.set()  # events have overtaken it
            live.say("catalog", self.facts.catalog())
        except RelayError:
            live.leave()

    # --- what runs here -------------------------------------------------------------------------

    def _order_reports(self, wanted: bool) -> None:
        """Report the requests that run here from now on; or do not."""
        self._reports = wanted
        self._orders += 1
        self._ordered.set()

    async def _report(self) -> None:
        while True:
            await self._ordered.wait()
            number, told = self._orders, None
            while self._reports and number == self._orders:
                now = tuple(_fitting(running(self._service.monitor.connections)))
                if now != told:
                    told = now
                    self._service.say(InflightReport(requests=now))
                await trio.sleep(_REPORT_S)

    # --- what pages show ------------------------------------------------------------------------

    async def text(self, wanted: WantedLines) -> str:
        """Return the last lines.

        Raises:
            RelayError: The supervisor does not answer.
        """
        lines: list[LogsLine] = []
        for is_own in self._kinds(wanted):
            lines += (await self._past(wanted, own=is_own)).lines
        lines.sort(key=lambda line: line.t)
        return _joined(lines)[-HISTORY_BYTES:]

    async def lines(self, wanted: WantedLines, *, past: bool) -> AsyncGenerator[bytes, None]:
        """Yield the last lines as text, then those that come, until this worker ends.

        Args:
            wanted: Which lines.
            past: Those that were, too.

        Raises:
            RelayError: As many follow as may, or the supervisor does not answer.
        """
        with self.hub.following(wanted) as follower:
            begun = [
                (one.t, i, one)
                for is_own in self._kinds(wanted)
                for i, one in enumerate(await self._begin(follower, own=is_own))
            ]
            lines = [line for *_, line in sorted(begun, key=lambda it: it[:2])]
            yield _joined(lines if past else ()).encode(errors="replace")
            while not self.hub.is_over:
                await self._service.monitor.fairness.turn()
                text = follower.own.take() if wanted.own else ""
                text += follower.output.take() if wanted.output else ""
                if text:
                    yield text.encode(errors="replace")
                    await trio.sleep(self._pause_s())
                else:
                    follower.arm()
                    await follower.wakeup.wait()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield the messages of ``/api/events`` until this worker ends.

        Raises:
            RelayError: As many follow as may, or the supervisor does not answer.
        """
        wanted = WantedLines(own=True, output=True)
        with self.hub.following(wanted, events=True) as follower:
            reader = follower.events
            assert reader is not None
            past = [await self._begin(follower, own=is_own) for is_own in (True, False)]
            for source, lines in zip(("proxy", "upstream"), past, strict=True):
                yield log_message(source, _joined(lines))
            while not self.hub.is_over:
                await self._service.monitor.fairness.turn()
                if data := reader.take(self.facts, time.time()):
                    yield data
                    await trio.sleep(self._pause_s())
                    continue
                is_quiet = True
                follower.arm()
                with trio.move_on_after(_COMMENT_S):
                    await follower.wakeup.wait()
                    is_quiet = False
                if is_quiet:
                    yield _COMMENT

    async def live(
        self, after: LivePosition | None, parts: Collection[str] = ()
    ) -> AsyncGenerator[bytes, None]:
        """Yield how all stands, then what changes, until this worker ends.

        Args:
            after: Where the reader was, if it comes back.
            parts: What it wants of that; none: all.

        Raises:
            RelayError: As many follow as may.
        """
        wants_running = not parts or "running" in parts
        with self.hub.following(WantedLines(), live=True, running=wants_running) as follower:
            reader = LiveReader(self.hub.live, after, parts)
            yield _COMMENT  # the head goes out at once
            while not self.hub.is_over:
                await self._service.monitor.fairness.turn()
                if data := reader.take(time.time()):
                    yield data
                    await trio.sleep(max(_LIVE_PAUSE_S, self._pause_s()))
                    continue
                is_quiet = True
                with trio.move_on_after(_COMMENT_S):
                    await follower.wakeup.wait()
                    is_quiet = False
                if is_quiet:
                    yield _COMMENT

    def _pause_s(self) -> float:
        """Return how long one reader waits for more: with many of them longer."""
        return max(_PAUSE_S, len(self.hub.followers) * _PAUSE_OF_EACH_S)

    def _kinds(self, wanted: WantedLines) -> list[bool]:
        return [is_own for is_own in (True, False) if (wanted.own if is_own else wanted.output)]

    async def _begin(self, follower: FollowerLink, *, own: bool) -> tuple[LogsLine, ...]:
        """Return what was; what the follower gets from then on is newer."""
        with trio.move_on_after(_SURE_S):
            await self.hub.is_sure.wait()
        past = await self._past(follower.wanted, own=own)
        reader: LineReader = follower.own if own else follower.output
        reader.begin(past.seq)
        return past.lines

    async def _past(self, wanted: WantedLines, *, own: bool) -> LogsReply:
        model = None if own else wanted.model
        asked = LogsRequest(model=model, lines=_HISTORY_LINES, own=own, bytes=HISTORY_BYTES)
        async with self._asking:
            return await self._ask(asked, LogsReply, within_s=_ASK_S)


def running(connections: Iterable[Connection]) -> list[InflightRequest]:
    """Return the requests that run on these connections, the oldest first."""
    found = []
    left = _READ_BYTES
    for conn in connections:
        account, head = conn.account, conn.head
        if not isinstance(account, Account) or head is None:
            continue
        answered = conn.answered_head
        unread = account.unread_bytes
        tokens = written_so_far(account, left)
        left -= unread - account.unread_bytes
        first_at = account.first_token_at
        found.append(
            InflightRequest(
                id=account.request_id,
                t=account.unix_time,
                model=account.model or account.asked,
                path=account.path.decode("latin-1"),
                method=head.method.decode("latin-1"),
                peer=conn.peer.decode("latin-1"),
                request_fields=shown_fields((*head.fields(), *head.keys)),
                response_fields={} if answered is None else shown_fields(answered.fields),
                bytes_out=account.bytes_out,
                phase=_phase(account),
                output_tokens=tokens,
                ttft_ms=None if first_at is None else round((first_at - account.came_at) * 1000, 1),
            )
        )
    return sorted(found, key=lambda one: (one.t, one.id))


def _phase(account: Account) -> RequestPhase:
    if account.first_token_at is not None:
        return "answer"
    return account.waiting_for or "prompt"


def _fitting(requests: Iterable[InflightRequest]) -> Iterable[InflightRequest]:
    """Yield as many of them as fit into one report."""
    left = _REPORT_BYTES
    for one in requests:
        left -= len(msgspec.json.encode(one))
        if left < 0:
            return
        yield one


def _joined(lines: Iterable[LogsLine]) -> str:
    return "".join(f"{line.line}\n" for line in lines)
