"""The lease socket: liveness, leases, queries and records of the workers."""

import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import trio
import zmq

from arriero.protocol.codec import encode, encode_finished, read_from_worker
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.events import InflightChanged
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.lease import (
    Away,
    Broken,
    CancelAnswer,
    CancelOrder,
    CancelOutcome,
    CancelQuery,
    CancelResult,
    Captured,
    Claim,
    Claimed,
    Deselect,
    Finish,
    Finished,
    FromSupervisor,
    Hello,
    InflightOrder,
    InflightReport,
    InflightWish,
    KeepAlive,
    KeyAnswer,
    KeyLeft,
    KeyQuery,
    Leave,
    Noted,
    Peek,
    PeerFailed,
    PeerLost,
    PreviewOrder,
    PreviewOutcome,
    Probe,
    ProfileAnswer,
    ProfileOrder,
    Release,
    Report,
    Resync,
    Resynced,
    Select,
    Selected,
    There,
    ThereQuery,
    Unclaim,
    WakePeer,
    Want,
    Welcome,
)
from arriero.protocol.log_format import LogLines
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import FrameSocket, QueueLimits, bound
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import WorkerConfig

from ..peers.late import LatePeers
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import (
    Failing,
    KeptAlive,
    LeasesHeld,
    Left,
    OwnerLost,
    Refused,
    Released,
    Reported,
    Waiter,
    Wanted,
)
from ..scheduling.messages.refusals import failing
from .cancellation import CancelInquiry
from .failure_streaks import FailureStreaks
from .idempotency_keys import Claims
from .key_limits import KeyLimits
from .request_log import EndedRequests, log_text
from .selections import Selections

if TYPE_CHECKING:
    from zmq import Context, Socket

log = logging.getLogger(__name__)

# Seconds that workers get to answer whether a request that is to end is theirs: they need
# milliseconds. One that hangs is replaced a little later, and all its requests end with it.
CANCEL_LIMIT_S = 1.0

# Records looked at in one turn on the processor, in 10 to 20 us each, and the time after which
# somebody else's turn was long.
_RECORDS_A_TURN = 8
_LONG_TURN_S = 0.001

# Longest `Hello` that is read of a stranger.
_MAX_HELLO_BYTES = 1000


# Few messages of one connection wait to be read: one that sends more waits, stranger or not.
# The longest honest message has 256 records, with 4 kB each at the very most.
_BOUNDS = QueueLimits(received=32, message_bytes=2 * 1024 * 1024)


class WorkerPeer(msgspec.Struct):
    """A worker that sent its `Hello`.

    Attributes:
        owner: Its name; that of a replacement is another.
        route: Its connection, by zmq's number.
        worker: Its number.
        pid: Its process id.
        heard_at: Time of its last message, on trio's clock.
        in_flight: From its last report.
        generation: Of the configuration that it follows.
        finishing: It was asked to finish.
        greeted: It has said which leases it holds.
        wants_inflight: Somebody there wants to know which requests run.
        noted: Number of its last message about ends of requests; `told_noted`: as it was told.
    """

    owner: str
    route: bytes
    worker: int
    pid: int
    heard_at: float
    in_flight: dict[str, int] = msgspec.field(default_factory=dict)
    generation: int = 0
    finishing: bool = False
    greeted: bool = True
    noted: int = 0
    told_noted: int = 0
    wants_inflight: bool = False


class _WaitingForPreview(msgspec.Struct, eq=False):
    answered: trio.Event = msgspec.field(default_factory=trio.Event)
    outcome: PreviewOutcome | None = None


class LeaseServer:
    """The supervisor's end of the lease socket."""

    def __init__(
        self,
        socket: FrameSocket,
        dispatcher: Dispatcher,
        ended: EndedRequests,
        config: Callable[[], WorkerConfig],
        on_hello: Callable[[int, int, bytes], bool],
        selections: Selections,
        peers: LatePeers,
        keys: KeyLimits,
        choose_profile: Callable[[str | None], Awaitable[ErrorInfo | None]],
        keep: Callable[[bytes, int], None],
        capture: Callable[[bytes], None],
        completed: Callable[[RequestRecord], RequestRecord],
    ) -> None:
        """Build it.

        Args:
            socket: A bound ROUTER.
            dispatcher: Gets what the workers want and give back.
            ended: Gets the records of requests that have ended.
            config: Gives the configuration that workers are to follow.
            on_hello: Called with number, pid and token of a `Hello`; False turns it away.
            selections: Chooses targets of selectors.
            peers: Choose machines for models that several have, and get what workers tell of them.
            keys: Knows the limits of keys.
            choose_profile: Puts a profile in force; returns why it cannot.
            keep: Gets messages `Finished`, and how many records are in each.
            capture: Gets messages `Captured`, after the record of the same request.
            completed: Adds to the record of a request that has waited for its model what only the
                supervisor knows.
        """
        self._socket = socket
        self.door = socket.door
        self._dispatcher = dispatcher
        self._ended = ended
        self._config = config
        self._on_hello = on_hello
        self._selections = selections
        self._machines = peers
        self._keys = keys
        self._choose_profile = choose_profile
        self._keep = keep
        self._capture = capture
        self._completed = completed
        self._peers: dict[str, WorkerPeer] = {}
        self._proven: dict[bytes, WorkerPeer] = {}  # by token
        self.flood = FloodLog(log)
        self._followed = trio.Event()
        self._tells_inflight = False
        self._others_want_inflight = False
        self._claims = Claims()
        self._failures = FailureStreaks()
        self._inquiries: dict[int, tuple[CancelInquiry, trio.Event]] = {}
        self._previews: dict[int, _WaitingForPreview] = {}
        self._numbers = itertools.count(1)

    def peer_with_pid(self, pid: int) -> WorkerPeer | None:
        """Return the worker with process id `pid`, after its `Hello`."""
        return next((peer for peer in self._peers.values() if peer.pid == pid), None)

    def expect(self, worker: int, pid: int, token: bytes) -> str:
        """Know a worker of an earlier supervisor, whose `Hello` is to come; return its name.

        Args:
            worker: Its number.
            pid: Its process id.
            token: Its token; empty: it cannot be understood, and is only known until it is lost.
        """
        owner = _owner(worker, pid)
        peer = WorkerPeer(owner, b"", worker, pid, trio.current_time(), greeted=False)
        self._peers[owner] = peer
        if token:
            self._proven[token] = peer
        return owner

    def say_away(self) -> None:
        """Ask all workers to wait for the next supervisor."""
        away = encode(Away())
        for peer in self._peers.values():
            self._hand_over(peer, away)

    def say_lost(self, peer: str) -> None:
        """Tell all workers that a peer does not answer."""
        lost = encode(PeerLost(peer=peer))
        for worker in self._peers.values():
            self._hand_over(worker, lost)

    def send(self, owner: str, message: FromSupervisor) -> None:
        """Send `message` to the worker `owner`; one that is gone misses it."""
        if (peer := self._peers.get(owner)) is not None:
            self._send(peer, message)

    def reconfigure(self) -> None:
        """Send the configuration in force to all workers.

        A worker that misses this asks for it when the event `config` comes.
        """
        welcome = encode(self._welcome())
        for peer in self._peers.values():
            self._hand_over(peer, welcome)

    async def wait_until_followed(self, generation: int) -> None:
        """Return when all workers follow that configuration. The caller sets the limit."""
        while any(peer.generation < generation for peer in self._peers.values()):
            await self._followed.wait()

    def finish(self, pid: int) -> None:
        """Ask the worker with that process id to finish what it has, and end."""
        if peer := self.peer_with_pid(pid):
            peer.finishing = True
            self.send(peer.owner, Finish())

    def probe(self, pid: int) -> None:
        """Ask the worker with that process id for a sign of life."""
        if peer := self.peer_with_pid(pid):
            self._send(peer, Probe(probe=next(self._numbers)))

    def lost(self, pid: int) -> None:
        """Forget the worker with that process id: its leases are free."""
        if peer := self.peer_with_pid(pid):
            del self._peers[peer.owner]
            self._proven = {t: p for t, p in self._proven.items() if p is not peer}
            self._wake()
            if self._tells_inflight:
                self._dispatcher.publish(InflightChanged(worker=peer.owner, requests=()))
                self._order_inflight()
            self._claims.lost(peer.owner)
            self._selections.lost(peer.owner)
            self._machines.lost(peer.owner)
            self._keys.lost(peer.owner)
            for inquiry, decided in self._inquiries.values():
                inquiry.lost(peer.owner)
                if inquiry.is_decided:
                    decided.set()
            self._dispatcher.handle(OwnerLost(peer.owner))

    async def cancel(
        self, request_id: str, caller: str | None, *, peer: str = "", asker: str = ""
    ) -> CancelResult:
        """End a request, in whichever worker it runs; return the outcome.

        Waits for the workers, but not longer than `CANCEL_LIMIT_S`. When cancelled, the workers
        that were asked end the request nevertheless.

        Args:
            request_id: Its id.
            caller: The client, as in `CancelOrder`.
            peer: The same.
            asker: The worker that asks, for it does not have the request; empty: none of them.
        """
        asked = [owner for owner in self._peers if owner != asker]
        number = next(self._numbers)
        inquiry, decided = self._inquiries[number] = CancelInquiry(asked), trio.Event()
        try:
            for owner in asked:
                self.send(
                    owner,
                    CancelOrder(ask=number, request_id=request_id, caller=caller, peer=peer),
                )
            if not inquiry.is_decided:
                with trio.move_on_after(CANCEL_LIMIT_S):
                    await decided.wait()
        finally:
            del self._inquiries[number]
        if inquiry.result == "unknown" and self._ended.knows(request_id):
            return "finished"
        return inquiry.result

    async def preview(
        self, path: str, headers: tuple[tuple[str, str], ...], body: str
    ) -> PreviewOutcome | None:
        """Ask a worker what would go upstream for a request; None if none answers in time."""
        owner = next(iter(self._peers), None)
        if owner is None:
            return None
        number = next(self._numbers)
        waiting = self._previews[number] = _WaitingForPreview()
        try:
            self.send(owner, PreviewOrder(ask=number, path=path, headers=headers, body=body))
            with trio.move_on_after(CANCEL_LIMIT_S):
                await waiting.answered.wait()
        finally:
            del self._previews[number]
        return waiting.outcome

    async def listen(self) -> None:
        """Receive messages of workers, until cancelled.

        Nothing malformed changes anything.
        """
        async with trio.open_nursery() as nursery:
            while True:
                frames = await self._socket.receive()
                try:
                    route, token, data = frames
                    self._take(route, token, data, nursery)
                except (RemoteProtocolError, ValueError) as exc:
                    self.flood.warning("lease.unreadable reason=%s", exc)
                except Exception as exc:  # noqa: BLE001  it ends this message, and nothing else
                    self.flood.exception("lease.bug", exc=exc)

    def _take(self, route: bytes, token: bytes, data: bytes, nursery: trio.Nursery) -> None:
        peer = self._proven.get(token)
        if peer is None:
            # The sender is unknown, so nothing else of its message is looked at.
            if len(data) > _MAX_HELLO_BYTES or not isinstance(
                hello := read_from_worker(data), Hello
            ):
                self.flood.warning("lease.stranger bytes=%d", len(data))
                return
            self._hello(route, token, hello)
            return
        peer.route = route  # another one after its connection was lost
        message = read_from_worker(data)
        if isinstance(message, Hello):
            self._greet(peer)
            if not peer.greeted:
                peer.greeted = True
                self._take_holdings(peer.owner, message)
            return
        owner = peer.owner
        peer.heard_at = trio.current_time()
        if not peer.greeted and not isinstance(message, Finished):
            return  # it was for the supervisor before this one; what still holds is said again
        match message:
            case Want(request=request, model=model):
                self._dispatcher.lease_requests += 1
                self._dispatcher.handle(Wanted(Waiter(owner, request), model))
            case Leave(request=request):
                self._dispatcher.handle(Left(Waiter(owner, request)))
            case Release(model=model, lease=lease):
                self._dispatcher.handle(Released(owner, model, lease))
            case Report(in_flight=in_flight, used=used, heard=heard, generation=generation):
                if in_flight or peer.in_flight or used:
                    self._dispatcher.handle(Reported(owner, in_flight, used, heard))
                peer.in_flight = in_flight
                if peer.noted > peer.told_noted:
                    peer.told_noted = peer.noted
                    self._send(peer, Noted(number=peer.noted))
                if generation != peer.generation:
                    peer.generation = generation
                    self._wake()
            case KeepAlive(model=model, lease=lease, keep_s=keep_s, in_flight=in_flight):
                kept = KeptAlive(owner, model, lease, max(0.0, keep_s), in_flight)
                self._dispatcher.handle(kept)
            case Resync():
                self.send(owner, Resynced(snapshot=self._dispatcher.snapshot()))
            case Broken(model=model, lease=lease):
                log.warning("lease.broken worker=%s model=%s lease=%d", owner, model, lease)
                self._dispatcher.handle(Refused(model))
            case Finished(number=number, again=again, records=records):
                if again:
                    records = tuple(r for r in records if not self._ended.has(r))
                if again or [it for it in records if it.load_ms]:
                    records = tuple(map(self._completed, records))
                    data = encode_finished(map(encode, records))
                self._note_ended(records)
                self._keep(data, len(records))
                peer.noted = max(peer.noted, number)
            case Captured():
                self._capture(data)
            case Claim(ask=ask, caller=caller, key=key, request_id=request_id):
                taken_by = self._claims.claim(owner, caller, key, request_id)
                self.send(owner, Claimed(ask=ask, taken_by=taken_by))
            case Unclaim(caller=caller, key=key, request_id=request_id):
                self._claims.unclaim(owner, caller, key, request_id)
            case Select(ask=ask, selector=name, is_model=True, prefix=prefix, tried=tried):
                target = self._machines.select(owner, ask, name, prefix, tried)
                self.send(owner, Selected(ask=ask, target=target))
            case Select(ask=ask, selector=selector):
                target = self._selections.select(owner, ask, selector)
                self.send(owner, Selected(ask=ask, target=target))
            case WakePeer(peer=name):
                self._machines.wake(name)
            case KeyQuery(ask=ask, key=key):
                refusal = self._keys.enter(owner, ask, key)
                self.send(
                    owner,
                    KeyAnswer(ask=ask)
                    if refusal is None
                    else KeyAnswer(ask=ask, error=refusal.error, again_s=refusal.again_s),
                )
            case KeyLeft(ask=ask):
                self._keys.leave(owner, ask)
            case PeerFailed():
                self._machines.failed(message)
            case Peek(ask=ask, model=model):
                self.send(owner, self._dispatcher.peek(ask, model))
            case ThereQuery(ask=ask):
                self.send(owner, There(ask=ask, states=self._machines.there()))
            case Deselect(ask=ask):
                self._selections.end(owner, ask)
                self._machines.end(owner, ask)
            case ProfileOrder():
                nursery.start_soon(self._choose_profile_for, owner, message)
            case CancelOutcome(ask=ask, result=result):
                if (asked := self._inquiries.get(ask)) is not None:
                    inquiry, decided = asked
                    inquiry.answered(owner, result)
                    if inquiry.is_decided:
                        decided.set()
            case PreviewOutcome(ask=ask):
                if (waiting := self._previews.get(ask)) is not None:
                    waiting.outcome = message
                    waiting.answered.set()
            case InflightWish(wanted=wanted):
                peer.wants_inflight = wanted
                self._order_inflight()
            case InflightReport(requests=requests):
                self._dispatcher.publish(InflightChanged(worker=owner, requests=requests))
            case CancelQuery():
                nursery.start_soon(self._cancel_for, owner, message)

    def tell_inflight(self, wanted: bool) -> None:
        """Publish which requests run, from now on, all of them once more; or do not.

        Args:
            wanted: Somebody who is no worker wants to know.
        """
        self._others_want_inflight = wanted
        self._order_inflight()

    def _order_inflight(self) -> None:
        """Have all workers say which requests run, if anybody wants to know."""
        wanted = self._others_want_inflight or any(
            peer.wants_inflight for peer in self._peers.values()
        )
        if wanted or self._tells_inflight:
            self._tells_inflight = wanted
            for peer in self._peers.values():
                self._send(peer, InflightOrder(wanted=wanted))

    def _take_holdings(self, owner: str, hello: Hello) -> None:
        """Believe what a worker of an earlier supervisor says that one has decided."""
        for held in hello.selected:
            if held.is_model:
                self._machines.hold(owner, held.ask, held.target)
            else:
                self._selections.hold(owner, held.ask, held.selector, held.target)
        for one in hello.keys:
            self._keys.hold(owner, one.ask, one.key)
        for claim in hello.claimed:
            self._claims.claim(owner, claim.caller, claim.key, claim.request_id)
        self._dispatcher.handle(LeasesHeld(owner, hello.holds, hello.waits))

    def _note_ended(self, records: Sequence[RequestRecord]) -> None:
        """Note what became of requests, a few at a time.

        This takes some milliseconds for a whole message, and a worker whose next request comes
        meanwhile may wait for just this processor: so it gets its turn in between. On a full
        machine, where a turn takes long, it is not given again.
        """
        lines: list[str] = []
        logs, yields = log.isEnabledFor(logging.INFO), True
        for start in range(0, len(records), _RECORDS_A_TURN):
            ended = self._ended.add(records[start : start + _RECORDS_A_TURN])
            self._judge(ended)
            self._keys.note([record for record in ended if record.key])
            self._dispatcher.publish_ends(ended)
            if logs:
                lines += [f"request.ended {log_text(record)}" for record in ended]
            if yields:
                began = time.perf_counter()
                os.sched_yield()
                yields = time.perf_counter() - began < _LONG_TURN_S
        if lines:
            log.info(LogLines(lines))

    def _judge(self, records: Sequence[RequestRecord]) -> None:
        """Restart each model of which `records` say that it answers with errors only."""
        engine, now, unix_now = self._dispatcher.engine, trio.current_time(), time.time()
        for record in records:
            model = record.model
            up_at = engine.up_since(model)
            began_ago_s = unix_now - record.t - (record.queue_ms + record.load_ms) / 1000
            if up_at is None or began_ago_s > now - up_at:
                continue  # it is not here, or that was another process
            swap = engine.swap(model)
            verdict = self._failures.take(record, swap)
            if verdict is None:
                continue
            log.warning("model.failing model=%s swap=%d failures=%d", model, swap, verdict.failures)
            well_s = now - up_at if verdict.was_well else 0.0
            error = failing(model, verdict.failures, verdict.rounds)
            self._dispatcher.handle(Failing(model, swap, error, well_s))

    async def _cancel_for(self, owner: str, asked: CancelQuery) -> None:
        result = await self.cancel(asked.request_id, asked.caller, peer=asked.peer, asker=owner)
        self.send(owner, CancelAnswer(ask=asked.ask, result=result))

    async def _choose_profile_for(self, owner: str, order: ProfileOrder) -> None:
        error = await self._choose_profile(order.profile)
        self.send(owner, ProfileAnswer(ask=order.ask, error=error))

    def _hello(self, route: bytes, token: bytes, hello: Hello) -> None:
        if not self._on_hello(hello.worker, hello.pid, token):
            self.flood.warning("lease.stranger worker=%d pid=%d", hello.worker, hello.pid)
            return
        owner = _owner(hello.worker, hello.pid)
        peer = WorkerPeer(owner, route, hello.worker, hello.pid, trio.current_time())
        self._peers[owner] = self._proven[token] = peer
        self._greet(peer)

    def _greet(self, peer: WorkerPeer) -> None:
        peer.heard_at = trio.current_time()
        self._send(peer, self._welcome())
        if self._tells_inflight:
            self._send(peer, InflightOrder(wanted=True))
        if peer.finishing:  # it may have missed that, if it missed its welcome
            self._send(peer, Finish())

    def _send(self, peer: WorkerPeer, message: FromSupervisor) -> None:
        self._hand_over(peer, encode(message))

    def _hand_over(self, peer: WorkerPeer, data: bytes) -> None:
        # Never more than zmq keeps: a worker that reads nothing for long is replaced, and till then
        # it gets nothing but what it asked for.
        if peer.route:
            self._socket.send([peer.route, data])

    def _welcome(self) -> Welcome:
        snapshot = self._dispatcher.snapshot()
        return Welcome(config=self._config(), snapshot=snapshot, pid=os.getpid())

    def _wake(self) -> None:
        self._followed.set()
        self._followed = trio.Event()


def _owner(worker: int, pid: int) -> str:
    return f"worker-{worker}-{pid}"


@asynccontextmanager
async def open_lease_server(
    context: "Context[Socket[bytes]]",
    path: Path,
    dispatcher: Dispatcher,
    *,
    ended: EndedRequests,
    config: Callable[[], WorkerConfig],
    on_hello: Callable[[int, int, bytes], bool],
    selections: Selections,
    peers: LatePeers,
    keys: KeyLimits,
    choose_profile: Callable[[str | None], Awaitable[ErrorInfo | None]],
    keep: Callable[[bytes, int], None] = lambda _message, _records: None,
    capture: Callable[[bytes], None] = lambda _: None,
    completed: Callable[[RequestRecord], RequestRecord] = lambda record: record,
) -> AsyncGenerator[LeaseServer, None]:
    """Answer workers on the unix socket `path` while the block runs."""
    with bound(context, zmq.ROUTER, path, _BOUNDS) as socket:
        server = LeaseServer(
            socket,
            dispatcher,
            ended,
            config,
            on_hello,
            selections,
            peers,
            keys,
            choose_profile,
            keep,
            capture,
            completed,
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.listen)
            nursery.start_soon(server.flood.flush_regularly)
            yield server
            nursery.cancel_scope.cancel()
