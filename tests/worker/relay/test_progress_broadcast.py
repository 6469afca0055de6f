"""One task speaks to all who wait: what it does is counted."""

import math
from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from arriero.protocol.events import ProgressMade, QueueChanged, StateChanged
from arriero.protocol.values import ModelStatus, Progress, QueueEntry, Snapshot
from arriero.worker.apis.chat import dialect as chat_dialect
from arriero.worker.apis.chat.dialect import ChatDialect
from arriero.worker.apis.messages import dialect as messages_dialect
from arriero.worker.apis.messages.dialect import MessagesDialect
from arriero.worker.connections.batched_wakeups import BatchedWakeups
from arriero.worker.progress.model_view import ModelView, ProgressView
from arriero.worker.progress.status_stream import StatusStream
from arriero.worker.relay.progress_broadcast import ProgressBroadcast

CROWD = 500


class Client:
    """Somebody who waits for `model`; keeps what it was shown, and when."""

    def __init__(self, model: str = "m", step: int = 10, due: float = math.inf) -> None:
        self.model = model
        self.step = step
        self.due = due
        self.reads = True
        self.seen: list[tuple[float, ModelView]] = []

    def tell_soon(self, view: ModelView) -> bool:
        if self.reads:
            self.seen.append((trio.current_time(), view))
        return self.reads

    def next_deadline(self) -> float:
        return self.due


class Scene:
    """A view that hears of events, and a broadcast."""

    def __init__(self) -> None:
        self.view = ProgressView()
        models = tuple(ModelStatus(model=name, state="stopped", since=0.0) for name in ("m", "x"))
        self.view.restart(Snapshot(epoch="e", seq=0, t=0.0, models=models))
        self.broadcast = ProgressBroadcast(self.view)
        self._seq = 0

    def hear(self, kind: Any, **values: Any) -> None:
        self._seq += 1
        assert self.view.take(kind(epoch="e", seq=self._seq, **values))

    def load(self, fraction: float, model: str = "m") -> None:
        progress = Progress(model=model, swap=1, phase="loading", elapsed_s=1, fraction=fraction)
        self.hear(ProgressMade, model=model, progress=progress)

    def add(self, client: Client) -> Any:
        return self.broadcast.add(client)  # type: ignore[arg-type]


@pytest.fixture
async def scene(nursery: trio.Nursery) -> Scene:
    scene = Scene()
    nursery.start_soon(scene.broadcast.run)
    return scene


def crowd(scene: Scene, **wishes: Any) -> list[Client]:
    clients = [Client(**wishes) for _ in range(CROWD)]
    for client in clients:
        scene.add(client)
        client.seen.clear()  # what it was told at the start
    return clients


def looks(clients: list[Client]) -> set[int]:
    return {len(client.seen) for client in clients}


async def test_an_arrival_is_no_news_for_those_who_wait(scene: Scene) -> None:
    clients = crowd(scene)

    for waiting in range(100):
        scene.hear(QueueChanged, queue=(QueueEntry(model="m", waiting=waiting),))
        await wait_all_tasks_blocked()

    assert looks(clients) == {0}


async def test_only_those_are_looked_at_whose_place_has_changed(scene: Scene) -> None:
    first, second = crowd(scene), crowd(scene, model="x")

    scene.hear(
        QueueChanged, queue=(QueueEntry(model="m", waiting=1), QueueEntry(model="x", waiting=1))
    )
    await wait_all_tasks_blocked()

    assert looks(first) == {0}
    assert [view for _, view in second[-1].seen] == [ModelView("queued", ahead=1)]
    assert looks(second) == {1}


async def test_a_percent_is_news_for_those_who_are_shown_percents(scene: Scene) -> None:
    scene.load(0.0)
    lines, events, beats = crowd(scene, step=10), crowd(scene, step=1), crowd(scene, step=0)

    for thousandths in range(300):
        scene.load(thousandths / 1000)
        await wait_all_tasks_blocked()

    assert (looks(lines), looks(events), looks(beats)) == ({2}, {29}, {0})


async def test_a_stage_is_news_for_all(scene: Scene) -> None:
    clients = crowd(scene, step=0)

    scene.load(0.5)
    scene.hear(StateChanged, model="m", state="ready", swap=1)
    await wait_all_tasks_blocked()

    assert looks(clients) == {1}  # the last of it: nobody was told in between
    assert clients[0].seen[0][1] == ModelView("ready")


async def test_what_is_due_is_said_when_it_is_due(scene: Scene, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    late, soon = Client(due=began + 20), Client(due=began + 5)
    for client in (late, soon):
        scene.add(client)
        client.seen.clear()
    soon.due, late.due = math.inf, math.inf

    await trio.sleep(30)

    assert [at - began for at, _ in soon.seen] == [5]
    assert [at - began for at, _ in late.seen] == [20]


async def test_who_takes_nothing_is_offered_it_again_and_keeps_nobody_waiting(
    scene: Scene, autojump_clock: MockClock
) -> None:
    stuck, other = Client(), Client()
    scene.add(stuck)
    scene.add(other)
    stuck.reads = False

    scene.load(0.5)
    await trio.sleep(3)
    assert other.seen[-1][1].fraction == 0.5
    stuck.reads = True
    await trio.sleep(1)

    assert stuck.seen[-1][1].fraction == 0.5


async def test_who_has_its_model_hears_nothing_more(scene: Scene) -> None:
    client = Client()
    subscriber = scene.add(client)
    client.seen.clear()

    scene.load(0.5)
    scene.broadcast.remove(subscriber)
    scene.broadcast.remove(subscriber)
    await wait_all_tasks_blocked()

    assert client.seen == []
    assert not scene.view._watchers


async def test_others_have_their_turn_while_a_crowd_is_told(scene: Scene) -> None:
    turns: Counter[int] = Counter()
    clients = crowd(scene)

    scene.load(0.5)
    told = 0
    while told < CROWD:
        await trio.lowlevel.checkpoint()
        before, told = told, sum(len(client.seen) for client in clients)
        turns[told - before] += 1

    assert max(turns) <= 64


async def test_a_crowd_is_woken_in_order_a_few_at_a_time(nursery: trio.Nursery) -> None:
    waking = BatchedWakeups()
    nursery.start_soon(waking.run)
    woken: list[int] = []
    for number in range(CROWD):
        waking.soon(lambda number=number: woken.append(number))  # type: ignore[misc]

    most = 0
    while len(woken) < CROWD:
        before = len(woken)
        await trio.lowlevel.checkpoint()
        most = max(most, len(woken) - before)

    assert woken == list(range(CROWD))
    assert most <= 16


@pytest.mark.parametrize(
    ("make", "cached"),
    [
        (lambda n: ChatDialect(model="m", ident=f"{n:024x}", created=n), chat_dialect._reasoning),
        (
            lambda n: MessagesDialect(merges=True, model="m", ident=f"{n:024x}"),
            messages_dialect._thinking,
        ),
    ],
)
def test_what_all_hear_is_encoded_once(make: Any, cached: Any) -> None:
    cached.cache_clear()
    chat_dialect.member.cache_clear()
    streams = [
        StatusStream(
            mode="reasoning",
            dialect=make(number),
            model="m",
            now=0.0,
            delay_s=0.5,
            heartbeat_s=15.0,
            marker="",
            details=True,
        )
        for number in range(CROWD)
    ]

    for step in range(1, 6):
        view = ModelView("loading", fraction=step / 10)
        frames = {b"".join(stream.on_time(2.0 * step, view)) for stream in streams}
        assert all(b"loading %d%%" % (10 * step) in frame for frame in frames)

    assert cached.cache_info().misses == 5
    assert chat_dialect.member.cache_info().misses <= 5
