"""The lease socket with workers that say what the test says; engine and sockets are real."""

import logging
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import zmq

from arriero.protocol.codec import decode_event, encode, read_from_supervisor
from arriero.protocol.events import RequestEnded
from arriero.protocol.lease import (
    CancelAnswer,
    CancelOrder,
    CancelOutcome,
    CancelQuery,
    CancelResult,
    Claim,
    Claimed,
    Deselect,
    Finish,
    Finished,
    FromSupervisor,
    FromWorker,
    HeldSelection,
    Hello,
    KeyAnswer,
    KeyLeft,
    KeyQuery,
    Peek,
    Peeked,
    PeerFailed,
    ProfileAnswer,
    ProfileOrder,
    Select,
    Selected,
    Unclaim,
    WakePeer,
    Welcome,
)
from arriero.protocol.records import RequestRecord
from arriero.protocol.transport import FrameSocket, connected, open_context
from arriero.protocol.values import ErrorInfo
from arriero.protocol.worker_config import WorkerConfig
from arriero.supervisor.config.names import PeerConfig, Selector, WakeOnLan
from arriero.supervisor.config.schema.key_types import KeyConfig
from arriero.supervisor.config.values import Config
from arriero.supervisor.control.event_publisher import open_publisher
from arriero.supervisor.peers.late import LatePeers
from arriero.supervisor.scheduling.dispatcher import Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.workers.key_limits import DayOfKeys, KeyLimits
from arriero.supervisor.workers.lease_server import CANCEL_LIMIT_S, LeaseServer, open_lease_server
from arriero.supervisor.workers.request_log import EndedRequests
from arriero.supervisor.workers.selections import Selections
from tests.records import record
from tests.supervisor.no_processes import NoProcesses

T = TypeVar("T", bound=FromSupervisor)

SELECTORS = {"s": Selector(selector="s", strategy="spillover", targets=("a", "b"))}


KEYS = {"laptop": KeyConfig(name="laptop", concurrency=1, daily_tokens=10)}


async def choose(profile: str | None) -> ErrorInfo | None:
    return None if profile == "known" else ErrorInfo(code="unknown_profile", message="none")


@dataclass
class Worker:
    """One end of the lease socket."""

    pid: int
    socket: FrameSocket

    def say(self, message: FromWorker) -> None:
        assert self.socket.send([b"token %d" % self.pid, encode(message)])

    async def hears(self, kind: type[T]) -> T:
        (data,) = await self.socket.receive()
        message = read_from_supervisor(data)
        assert isinstance(message, kind), message
        return message

    async def ask(self, message: FromWorker, kind: type[T]) -> T:
        self.say(message)
        return await self.hears(kind)

    async def claims(self, key: str, request_id: str, caller: str = "anna") -> str:
        claim = Claim(ask=7, caller=caller, key=key, request_id=request_id)
        claimed = await self.ask(claim, Claimed)
        assert claimed.ask == 7
        return claimed.taken_by

    async def answers_cancel(self, result: CancelResult) -> CancelOrder:
        asked = await self.hears(CancelOrder)
        self.say(CancelOutcome(ask=asked.ask, result=result))
        return asked

    async def is_read(self) -> None:
        """Return when the supervisor has read all that was said before."""
        await self.ask(Peek(ask=0, model="m"), Peeked)


@dataclass
class Scene:
    """A supervisor without models."""

    server: LeaseServer
    peers: LatePeers
    records: list[RequestRecord]
    events: FrameSocket
    connect: Callable[[], FrameSocket]
    workers: list[Worker] = field(default_factory=list)

    async def worker(self) -> Worker:
        pid = len(self.workers) + 1
        worker = Worker(pid, self.connect())
        await worker.ask(Hello(worker=pid, pid=pid), Welcome)
        self.workers.append(worker)
        return worker


@asynccontextmanager
async def opened(folder: Path, config: Config | None = None) -> AsyncGenerator[Scene, None]:
    used = config or Config()
    peers = LatePeers(
        lambda: used,
        folder / "peers",
        changed=lambda: None,
        own_epoch=str,
        instance="",
        names=lambda: used.peer_models,
        local=lambda _: None,
    )
    peers.follow()
    with open_context() as context, ExitStack() as stack, trio.fail_after(20):
        async with open_publisher(context, folder / "events") as publisher:
            dispatcher = Dispatcher(Engine(()), publisher)
            records: list[RequestRecord] = []
            async with open_lease_server(
                context,
                folder / "lease",
                dispatcher,
                ended=EndedRequests(lambda: 100, records.extend),
                config=lambda: WorkerConfig(generation=1, models=()),
                on_hello=lambda number, pid, token: number == pid and token == b"token %d" % pid,
                selections=Selections(lambda: SELECTORS, lambda _: "stopped"),
                peers=peers,
                keys=KeyLimits(lambda: KEYS, DayOfKeys(), lambda: 86400.0),
                choose_profile=choose,
            ) as server:
                dispatcher.connect(processes=NoProcesses(), send_to_worker=server.send)
                yield Scene(
                    server,
                    peers,
                    records,
                    stack.enter_context(
                        connected(context, zmq.SUB, folder / "events", topics=[b"usage/"])
                    ),
                    connect=lambda: stack.enter_context(
                        connected(context, zmq.DEALER, folder / "lease")
                    ),
                )


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene, None]:
    async with opened(tmp_path) as found:
        yield found


# --- workers ------------------------------------------------------------------------------------


async def test_returning_worker_is_told_to_end(scene: Scene) -> None:
    """A supervisor that was stopped for seconds has lost its connections when it goes on."""
    worker, other = await scene.worker(), await scene.worker()
    scene.server.finish(worker.pid)
    await worker.hears(Finish)

    await worker.ask(Hello(worker=worker.pid, pid=worker.pid), Welcome)
    await worker.hears(Finish)
    await other.ask(Hello(worker=other.pid, pid=other.pid), Welcome)
    assert await other.claims("key", "r-1") == ""  # and nothing before


# --- records ------------------------------------------------------------------------------------


async def test_ended_request_is_kept_and_told(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one, other = await scene.worker(), await scene.worker()

    one.say(Finished(records=(record("r1"), record("r2"))))
    one.say(Finished(records=(record("r3"),)))
    await one.is_read()  # and these, for messages of one worker keep their order
    await other.is_read()

    assert scene.records == [record("r1"), record("r2"), record("r3")]
    lines = [line for text in caplog.messages for line in text.splitlines() if "ended" in line]
    assert [line.split()[1] for line in lines] == [
        "request_id=r1",
        "request_id=r2",
        "request_id=r3",
    ]


async def test_each_end_is_a_numbered_event(scene: Scene) -> None:
    one = await scene.worker()
    told: list[list[bytes]] = []

    async def listen() -> None:
        while True:
            told.append(await scene.events.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        number = 0
        while len(told) < 3:  # the first ones may be published before anybody has subscribed
            number += 1
            one.say(Finished(records=(record(f"r{number}"),)))
            await one.is_read()
        nursery.cancel_scope.cancel()

    for topic, data in told:
        event = decode_event([topic, data])
        assert isinstance(event, RequestEnded)
        assert (topic, event.record.request_id) == (b"usage/m\n", f"r{event.seq}")


async def test_request_without_model_is_told(scene: Scene) -> None:
    one = await scene.worker()

    one.say(Finished(records=(record("r1", model="", asked="nobody"),)))

    await one.is_read()
    assert scene.records == [record("r1", model="", asked="nobody")]


# --- claims -------------------------------------------------------------------------------------


async def test_taken_key_holds_across_workers(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()

    assert await one.claims("k", "r1") == ""
    assert await other.claims("k", "r2") == "r1"
    assert await other.claims("k", "r2", caller="bert") == ""
    one.say(Unclaim(caller="anna", key="k", request_id="r1"))
    await one.is_read()
    assert await other.claims("k", "r3") == ""


async def test_lost_worker_frees_its_keys(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()
    await one.claims("k", "r1")

    scene.server.lost(one.pid)

    assert await other.claims("k", "r2") == ""


# --- cancelling ---------------------------------------------------------------------------------


async def test_cancel_reaches_the_right_worker(scene: Scene) -> None:
    asker, owner, other = [await scene.worker() for _ in range(3)]

    asker.say(CancelQuery(ask=5, request_id="r1", caller="anna"))
    assert (await other.answers_cancel("unknown")).caller == "anna"
    assert (await owner.answers_cancel("cancelled")).request_id == "r1"

    assert await asker.hears(CancelAnswer) == CancelAnswer(ask=5, result="cancelled")


async def test_first_cancelled_answer_is_enough(
    scene: Scene, mock_clock: trio.testing.MockClock
) -> None:
    asker, owner, hangs = [await scene.worker() for _ in range(3)]

    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    await owner.answers_cancel("cancelled")

    assert (await asker.hears(CancelAnswer)).result == "cancelled"  # while the clock stands still
    await hangs.hears(CancelOrder)


@pytest.mark.parametrize("result", ["unknown", "forbidden"])
async def test_hanging_worker_is_not_waited_for(
    scene: Scene, mock_clock: trio.testing.MockClock, result: CancelResult
) -> None:
    asker, owner, hangs = [await scene.worker() for _ in range(3)]

    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    await hangs.hears(CancelOrder)
    await owner.answers_cancel(result)
    await owner.is_read()
    mock_clock.jump(CANCEL_LIMIT_S)

    assert (await asker.hears(CancelAnswer)).result == result


@pytest.mark.parametrize("result", ["unknown", "finished", "forbidden"])
async def test_answers_of_others_are_passed_on(scene: Scene, result: CancelResult) -> None:
    asker, owner, other = [await scene.worker() for _ in range(3)]

    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    await owner.answers_cancel(result)
    await other.answers_cancel("unknown")

    assert (await asker.hears(CancelAnswer)).result == result


async def test_lone_worker_is_answered_at_once(scene: Scene) -> None:
    alone = await scene.worker()

    told = await alone.ask(CancelQuery(ask=5, request_id="r1", caller=""), CancelAnswer)

    assert told == CancelAnswer(ask=5, result="unknown")


async def test_remembered_request_had_ended(scene: Scene) -> None:
    alone = await scene.worker()
    alone.say(Finished(records=(record("r1"),)))

    told = await alone.ask(CancelQuery(ask=5, request_id="r1", caller=""), CancelAnswer)

    assert told.result == "finished"


async def test_workers_word_beats_the_memory(scene: Scene) -> None:
    asker, owner = await scene.worker(), await scene.worker()
    asker.say(Finished(records=(record("r1"),)))  # an older one with the same id

    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    await owner.answers_cancel("forbidden")

    assert (await asker.hears(CancelAnswer)).result == "forbidden"


async def test_lost_worker_is_not_waited_for(
    scene: Scene, mock_clock: trio.testing.MockClock
) -> None:
    asker, gone = await scene.worker(), await scene.worker()

    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    await gone.hears(CancelOrder)
    scene.server.lost(gone.pid)

    assert (await asker.hears(CancelAnswer)).result == "unknown"


async def test_late_answer_changes_nothing(scene: Scene) -> None:
    asker, other = await scene.worker(), await scene.worker()
    asker.say(CancelQuery(ask=5, request_id="r1", caller=""))
    asked = await other.answers_cancel("unknown")
    await asker.hears(CancelAnswer)

    other.say(CancelOutcome(ask=asked.ask, result="cancelled"))
    other.say(CancelOutcome(ask=999, result="cancelled"))

    assert await other.claims("k", "r1") == ""  # the supervisor goes on
    assert not scene.server._inquiries


async def test_machine_owner_asks_all_workers(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()
    results: list[CancelResult] = []

    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def cancel() -> None:
            results.append(await scene.server.cancel("r1", None))

        assert (await one.answers_cancel("unknown")).caller is None
        assert (await other.answers_cancel("cancelled")).caller is None

    assert results == ["cancelled"]


async def test_two_queries_keep_their_answers(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()
    for ask, request_id in enumerate(("r1", "r2")):
        one.say(CancelQuery(ask=ask, request_id=request_id, caller=""))
    asked = {
        found.request_id: found.ask for found in [await other.hears(CancelOrder) for _ in "12"]
    }

    other.say(CancelOutcome(ask=asked["r2"], result="cancelled"))
    other.say(CancelOutcome(ask=asked["r1"], result="unknown"))

    told = [await one.hears(CancelAnswer) for _ in "12"]
    assert {found.ask: found.result for found in told} == {0: "unknown", 1: "cancelled"}


# --- selectors, profiles -------------------------------------------------------------------------


async def test_selected_targets_count_until_their_requests_end(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()

    assert await one.ask(Select(ask=1, selector="s"), Selected) == Selected(ask=1, target="a")
    assert await other.ask(Select(ask=1, selector="s"), Selected) == Selected(ask=1, target="b")
    one.say(Deselect(ask=1))
    assert await one.ask(Select(ask=2, selector="s"), Selected) == Selected(ask=2, target="a")


async def test_a_lost_worker_has_nothing_selected(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()
    await one.ask(Select(ask=1, selector="s"), Selected)

    scene.server.lost(one.pid)

    assert await other.ask(Select(ask=1, selector="s"), Selected) == Selected(ask=1, target="a")


async def test_a_profile_is_chosen_or_refused(scene: Scene) -> None:
    worker = await scene.worker()

    chosen = await worker.ask(ProfileOrder(ask=1, profile="known"), ProfileAnswer)
    refused = await worker.ask(ProfileOrder(ask=2, profile="other"), ProfileAnswer)

    assert (chosen.error, refused.ask) == (None, 2)
    assert refused.error is not None


# --- limits of keys -------------------------------------------------------------------------------


async def test_places_of_a_key_are_counted_over_all_workers(scene: Scene) -> None:
    one, other = await scene.worker(), await scene.worker()

    async def asks(worker: Worker, ask: int) -> str | None:
        told = await worker.ask(KeyQuery(ask=ask, key="laptop"), KeyAnswer)
        assert told.ask == ask
        return None if told.error is None else told.error.code

    assert await asks(one, 1) is None
    assert await asks(other, 1) == "key_concurrency"
    one.say(KeyLeft(ask=1))
    assert await asks(one, 2) is None
    assert await asks(other, 2) == "key_concurrency"
    scene.server.lost(one.pid)  # with its requests
    assert await asks(other, 3) is None
    other.say(KeyLeft(ask=3))
    other.say(Finished(records=(record("r1", key="laptop", input_tokens=4, output_tokens=6),)))
    assert await asks(other, 4) == "key_budget"


# --- machines -----------------------------------------------------------------------------------


async def test_a_place_is_chosen_and_counted_until_its_request_ends(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        wake = WakeOnLan(
            mac="00:11:22:33:44:55", broadcast=f"127.0.0.1:{receiver.getsockname()[1]}"
        )
        config = Config(
            peers={
                "a": PeerConfig(peer="a", written_models=("m",)),
                "b": PeerConfig(peer="b", written_models=("m",), wake=wake),
            }
        )
        async with opened(tmp_path, config) as scene:
            one, other = await scene.worker(), await scene.worker()
            places = scene.peers.places
            assert places is not None

            async def asks(worker: Worker, ask: int, *tried: str) -> str:
                query = Select(ask=ask, selector="m", is_model=True, tried=tried)
                return (await worker.ask(query, Selected)).target

            assert {await asks(one, 1), await asks(other, 1)} == {"a/m", "b/m"}
            assert await asks(one, 2, "a/m") == "b/m"
            one.say(Deselect(ask=1))
            one.say(Deselect(ask=2))
            failed = PeerFailed(peer="a", model="m", failure="unreachable", why="gone")
            one.say(failed)
            assert await asks(one, 3) == await asks(one, 4) == "b/m"
            assert sum(places.counts().values()) == 3
            scene.server.lost(1)
            scene.server.lost(2)
            assert places.counts() == {}
            third = await scene.worker()
            third.say(WakePeer(peer="b"))
            await third.is_read()
            assert receiver.recv(2000).startswith(b"\xff" * 6 + b"\x00\x11\x22")
            held = HeldSelection(ask=9, selector="m", target="b/m", is_model=True)
            scene.server.expect(7, 7, b"token 7")
            fourth = Worker(7, scene.connect())
            await fourth.ask(Hello(worker=7, pid=7, selected=(held,)), Welcome)
            await fourth.is_read()
            assert places.counts() == {"b/m": 1}


async def test_without_peers_there_are_no_places(scene: Scene) -> None:
    worker = await scene.worker()
    told = await worker.ask(Select(ask=1, selector="m", is_model=True), Selected)
    assert told == Selected(ask=1)
    worker.say(WakePeer(peer="a"))
    worker.say(PeerFailed(peer="a", model="m", failure="error", why="x"))
    worker.say(Deselect(ask=1))
    await worker.is_read()
