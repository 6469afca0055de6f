"""Models that come back when it is quiet. The engine is real, and so is time, but for its speed."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from arriero.protocol.transport import open_context
from arriero.protocol.values import ErrorInfo
from arriero.supervisor.control.event_publisher import open_publisher
from arriero.supervisor.models.default_models import DefaultModels, keep_defaults
from arriero.supervisor.placement.policy import OneAtATime
from arriero.supervisor.scheduling.dispatcher import Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    Event,
    ProcessEnded,
    Released,
    Reported,
    Spawned,
    Spec,
    UnloadRequested,
    Waiter,
    Wanted,
)
from tests.supervisor.no_processes import NoProcesses

CLIENT = Waiter("w", 1)
ENDED = ErrorInfo(code="model_unavailable", message="it ended")


class Scene(NoProcesses):
    """A train without processes, on which `a` comes back after 60 s of quiet."""

    def __init__(self, clock: MockClock) -> None:
        super().__init__()
        self.clock = clock
        self.dispatcher: Dispatcher

    def send(self, worker: str, message: object) -> None:
        """What is said to workers is in nobody's interest here."""

    async def happens(self, *events: Event) -> None:
        for event in events:
            self.dispatcher.handle(event)
        await wait_all_tasks_blocked()

    async def passes(self, seconds: float) -> None:
        """Let time pass, and those who wait for it go on."""
        for _ in range(int(seconds)):
            self.clock.jump(1)
            await wait_all_tasks_blocked()

    async def comes_up(self, model: str) -> None:
        swap = self.dispatcher.engine.swap(model)
        await self.happens(Spawned(model, swap, 1, f"http://{model}"), BecameReady(model, swap))

    async def ends(self, model: str) -> None:
        await self.happens(ProcessEnded(model, self.dispatcher.engine.swap(model), ENDED))

    def state(self, model: str) -> str:
        return self.dispatcher.engine.state(model)

    async def is_used(self, model: str, waiter: Waiter = CLIENT) -> None:
        """A request for `model` comes and ends; the lease comes back."""
        await self.happens(Wanted(waiter, model))
        await self.comes_up(model)
        await self.happens(Released("w", model, self.lease(model)))

    def lease(self, model: str) -> int:
        return self.dispatcher._engine._table.all[model].leases["w"]


@asynccontextmanager
async def quiet(folder: Path, clock: MockClock) -> AsyncGenerator[Scene, None]:
    scene = Scene(clock)
    policy = OneAtATime()
    with open_context() as context:
        async with (
            open_publisher(context, folder / "e") as publisher,
            trio.open_nursery() as nursery,
        ):
            engine = Engine([Spec(model=m) for m in "abc"], now=trio.current_time(), policy=policy)
            scene.dispatcher = Dispatcher(engine, publisher)
            scene.dispatcher.connect(processes=scene, send_to_worker=scene.send)
            wanted = DefaultModels(("a",), 60.0)
            nursery.start_soon(scene.dispatcher.keep_time)
            nursery.start_soon(keep_defaults, lambda: wanted, lambda: policy, scene.dispatcher)
            await wait_all_tasks_blocked()
            yield scene
            nursery.cancel_scope.cancel()


@pytest.fixture
async def scene(tmp_path: Path, mock_clock: MockClock) -> AsyncGenerator[Scene, None]:
    async with quiet(tmp_path, mock_clock) as scene:
        yield scene


async def test_it_comes_after_a_time_without_requests(scene: Scene, mock_clock: MockClock) -> None:
    await scene.passes(58)
    assert scene.state("a") == "stopped"
    await scene.passes(3)
    assert scene.state("a") == "starting"
    assert scene.dispatcher.engine.queue() == ()


async def test_what_is_idle_makes_room_for_it(scene: Scene, mock_clock: MockClock) -> None:
    await scene.is_used("b")
    await scene.passes(58)
    assert scene.state("b") == "ready"
    await scene.passes(4)
    assert (scene.state("b"), scene.state("a")) == ("stopping", "stopped")
    await scene.ends("b")
    assert scene.state("a") == "starting"


async def test_a_running_request_is_no_quiet(scene: Scene, mock_clock: MockClock) -> None:
    await scene.happens(Wanted(CLIENT, "b"))
    await scene.comes_up("b")
    await scene.happens(Reported("w", {"b": 1}))
    await scene.passes(300)
    assert scene.state("b") == "ready"


async def test_a_client_that_comes_meanwhile_goes_first(
    scene: Scene, mock_clock: MockClock
) -> None:
    await scene.is_used("b")
    await scene.passes(62)
    await scene.happens(Wanted(Waiter("w", 2), "c"))
    await scene.ends("b")
    assert (scene.state("a"), scene.state("c")) == ("stopped", "starting")


async def test_what_is_unloaded_in_the_quiet_stays_so(scene: Scene, mock_clock: MockClock) -> None:
    await scene.passes(62)
    await scene.comes_up("a")
    await scene.happens(UnloadRequested("a"))
    await scene.ends("a")
    await scene.passes(300)
    assert scene.state("a") == "stopped"

    await scene.is_used("b")
    await scene.passes(62)
    assert scene.state("b") == "stopping"


async def test_what_failed_comes_back_after_its_pause(scene: Scene, mock_clock: MockClock) -> None:
    await scene.passes(62)
    for _ in range(3):
        assert scene.state("a") == "starting"
        await scene.comes_up("a")
        await scene.ends("a")
        assert scene.state("a") == "stopped"
        await scene.passes(40)

    await scene.comes_up("a")
    await scene.happens(UnloadRequested("a"))
    await scene.ends("a")
    await scene.passes(300)
    assert scene.state("a") == "stopped"
