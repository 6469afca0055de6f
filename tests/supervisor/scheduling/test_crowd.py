"""Thousands wait for one model: what that costs is counted, not timed."""

import gc
import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from arriero.protocol.events import AnyEvent, QueueChanged
from arriero.protocol.lease import FromSupervisor, Grant, Refuse, Revoke
from arriero.protocol.values import QueueEntry
from arriero.supervisor.control.event_publisher import Publisher
from arriero.supervisor.scheduling.dispatcher import QUEUE_PAUSE_S, Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    GrantLease,
    Left,
    OwnerLost,
    ProcessEnded,
    RefuseWaiter,
    Spawned,
    Spec,
    UnloadRequested,
    Waiter,
    Wanted,
)
from tests.supervisor.no_processes import NoProcesses
from tests.supervisor.scheduling.steps import CRASHED, acts

CROWD = 1_000


def calls_of(function: Callable[[], object]) -> int:
    """How many functions are called while `function` runs; a loop over many shows."""
    count = 0

    def note(_: FrameType, what: str, __: object) -> None:
        nonlocal count
        count += what in {"call", "c_call"}

    gc.disable()  # hypothesis is called by the collector
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.fixture
def engine() -> Engine:
    """It starts `slow`; others wait for `other`."""
    engine = Engine([Spec(model="slow"), Spec(model="other")])
    engine.handle(Wanted(Waiter("w", 0), "slow"), 0)
    engine.handle(Wanted(Waiter("w", 1), "other"), 0)
    return engine


def crowd(engine: Engine, owner: str = "w") -> None:
    for number in range(10, CROWD + 10):
        engine.handle(Wanted(Waiter(owner, number), "slow"), 0)


def test_one_waiter_costs_the_same(engine: Engine) -> None:
    newcomer = Waiter("w", 5)

    def come_and_leave() -> None:
        engine.handle(Wanted(newcomer, "slow"), 0)
        engine.handle(Left(newcomer), 0)
        engine.handle(Spawned("slow", 1, 7, "http://slow"), 0)

    come_and_leave()
    alone = calls_of(come_and_leave)
    crowd(engine)

    assert calls_of(come_and_leave) == alone


def test_leaving_crowd_costs_each_the_same(engine: Engine) -> None:
    crowd(engine)
    costs = [
        calls_of(lambda number=number: engine.handle(Left(Waiter("w", number)), 0))  # type: ignore[misc]
        for number in range(10, CROWD + 10)
    ]

    assert max(costs[:-1]) - min(costs[:-1]) <= 2
    assert engine.view.queue() == (
        QueueEntry(model="slow", waiting=1),
        QueueEntry(model="other", waiting=1),
    )


def test_crowd_is_granted_in_order(engine: Engine) -> None:
    crowd(engine)
    engine.handle(Spawned("slow", 1, 7, "http://slow"), 1)

    granted = acts(engine.handle(BecameReady("slow", 1), 2))

    requests = [command.waiter.request for command in granted if isinstance(command, GrantLease)]
    assert requests == [0, *range(10, CROWD + 10)]
    assert engine.view.queue() == (QueueEntry(model="other", waiting=1),)


def test_lost_worker_takes_its_own_only(engine: Engine) -> None:
    crowd(engine, owner="lost")

    engine.handle(OwnerLost("lost"), 0)

    assert engine.view.queue()[0] == QueueEntry(model="slow", waiting=1)


class Heard(Publisher):
    """Publishes to nobody, and keeps when what was said."""

    def __init__(self) -> None:
        self.queues: list[tuple[float, tuple[QueueEntry, ...]]] = []

    def publish(self, *events: AnyEvent) -> None:
        for event in events:
            if isinstance(event, QueueChanged):
                self.queues.append((trio.current_time(), event.queue))


class Scene:
    """A conductor whose processes are what the test says, and what it told the workers."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.said: list[tuple[str, FromSupervisor]] = []
        self.dispatcher = Dispatcher(Engine([Spec(model="slow"), Spec(model="other")]), self.heard)
        self.dispatcher.connect(
            processes=NoProcesses(),
            send_to_worker=lambda owner, message: self.said.append((owner, message)),
        )

    def come(self, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            self.dispatcher.handle(Wanted(Waiter(f"w{number % 2}", number), "slow"))


@pytest.fixture
async def scene(nursery: trio.Nursery) -> Scene:
    scene = Scene()
    nursery.start_soon(scene.dispatcher.keep_time)
    return scene


def slow(waiting: int) -> tuple[QueueEntry, ...]:
    return (QueueEntry(model="slow", waiting=waiting),) if waiting else ()


async def test_burst_is_told_twice(scene: Scene, autojump_clock: MockClock) -> None:
    began = trio.current_time()

    scene.come(CROWD)
    await trio.sleep(10)

    assert scene.heard.queues == [(began, slow(1)), (began + QUEUE_PAUSE_S, slow(CROWD))]


async def test_restless_queue_is_told_rarely(scene: Scene, autojump_clock: MockClock) -> None:
    began = trio.current_time()

    for round_ in range(50):
        scene.come(10, 10 * round_)
        await trio.sleep(0.02)
    await trio.sleep(1)

    times = [at - began for at, _ in scene.heard.queues]
    assert len(times) <= 11
    assert all(later - sooner >= QUEUE_PAUSE_S - 1e-9 for sooner, later in pairwise(times))
    assert scene.heard.queues[-1][1] == slow(500)  # the last word is always said


async def test_snapshot_is_never_behind(scene: Scene) -> None:
    scene.come(1)
    scene.come(4, 1)

    assert scene.heard.queues[-1][1] == slow(1)
    assert scene.dispatcher.engine.queue() == slow(5)


async def test_one_message_grants_all_waiters(scene: Scene) -> None:
    scene.come(CROWD)
    dispatcher = scene.dispatcher
    dispatcher.handle(Spawned("slow", 1, 7, "http://slow"))
    dispatcher.handle(BecameReady("slow", 1))

    granted = cast("list[tuple[str, Grant]]", scene.said)
    assert [(owner, message.request) for owner, message in granted] == [("w0", 0), ("w1", 1)]
    assert [message.more for _, message in granted] == [
        tuple(range(2, CROWD, 2)),
        tuple(range(3, CROWD, 2)),
    ]
    assert {type(message) for _, message in granted} == {Grant}


async def test_grant_then_revoke_keep_their_order(scene: Scene) -> None:
    dispatcher = scene.dispatcher
    dispatcher.handle(Wanted(Waiter("w0", 1), "slow"))
    dispatcher.handle(Wanted(Waiter("w0", 2), "other"))
    dispatcher.handle(Spawned("slow", 1, 7, "http://slow"))

    dispatcher.handle(BecameReady("slow", 1))

    assert [type(message) for _, message in scene.said] == [Grant, Revoke]


async def test_grants_precede_announcements(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.come(1)
    scene.dispatcher.handle(Spawned("slow", 1, 7, "http://slow"))
    granted: list[int] = []
    monkeypatch.setattr(scene.heard, "publish", lambda *_: granted.append(len(scene.said)))

    scene.dispatcher.handle(BecameReady("slow", 1))

    assert granted[0] == 1


async def test_one_message_refuses_all_waiters(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "arriero.supervisor.scheduling.dispatcher")
    scene.come(CROWD)

    scene.dispatcher.handle(ProcessEnded("slow", 1, CRASHED))

    refused = cast("list[tuple[str, Refuse]]", scene.said)
    assert [(message.request, len(message.more)) for _, message in refused] == [
        (0, CROWD // 2 - 1),
        (1, CROWD // 2 - 1),
    ]
    line = "request.refused model=slow code=model_unavailable requests=500"
    assert caplog.messages == [line, line]


async def test_each_reason_reaches_its_waiters(scene: Scene) -> None:
    scene.come(3)
    scene.dispatcher.handle(Wanted(Waiter("w0", 9), "other"))

    scene.dispatcher.handle(UnloadRequested("other"))

    ((owner, message),) = scene.said
    assert isinstance(message, Refuse)
    assert (owner, message.request, message.more) == ("w0", 9, ())
    assert RefuseWaiter(Waiter("w0", 9), "other", message.error).model == message.model
