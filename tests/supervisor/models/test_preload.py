"""Models that are loaded for nobody. The engine is real, the processes are what the test says."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from arriero.protocol.transport import open_context
from arriero.protocol.values import ErrorInfo
from arriero.supervisor.control.event_publisher import open_publisher
from arriero.supervisor.models.preload import preload
from arriero.supervisor.placement.policy import Group, Groups, OneAtATime, PlacementPolicy
from arriero.supervisor.scheduling.dispatcher import Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    ProcessEnded,
    Reconfigured,
    Spawned,
    Spec,
    UnloadRequested,
    Waiter,
    Wanted,
)
from tests.supervisor.no_processes import NoProcesses

MODELS = ("a", "b", "c")
TOGETHER = Groups([Group("all", MODELS, swap=False)], MODELS)
CLIENT = Waiter("worker", 1)
BROKEN = ErrorInfo(code="model_load_failed", message="model a failed to load")


class Scene(NoProcesses):
    """A train without processes.

    Attributes:
        over: Whether the models that were to be loaded at the start were all seen to.
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self.dispatcher: Dispatcher

    def send(self, worker: str, message: object) -> None:
        """What is said to workers is in nobody's interest here."""

    async def comes_up(self, model: str) -> None:
        swap = self.dispatcher.engine.swap(model)
        self.dispatcher.handle(Spawned(model, swap, 1, f"http://{model}"))
        self.dispatcher.handle(BecameReady(model, swap))
        await wait_all_tasks_blocked()

    async def ends(self, model: str) -> None:
        self.dispatcher.handle(ProcessEnded(model, self.dispatcher.engine.swap(model), BROKEN))
        await wait_all_tasks_blocked()


@asynccontextmanager
async def preloading(
    folder: Path,
    *models: str,
    policy: PlacementPolicy = TOGETHER,
    before: Callable[[Scene], object] = id,
) -> AsyncGenerator[Scene, None]:
    """Load `models`, after what happens `before`."""
    scene = Scene()

    async def run() -> None:
        await preload(models, policy, scene.dispatcher)
        scene.over = True

    engine = Engine([Spec(model=model) for model in MODELS], now=trio.current_time(), policy=policy)
    with open_context() as context, trio.fail_after(30):
        async with open_publisher(context, folder / "e") as publisher:
            scene.dispatcher = Dispatcher(engine, publisher)
            scene.dispatcher.connect(processes=scene, send_to_worker=scene.send)
            before(scene)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                await wait_all_tasks_blocked()
                yield scene
                nursery.cancel_scope.cancel()


async def test_models_start_one_after_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with preloading(tmp_path, "b", "a") as scene:
        assert scene.did == ["start b"]
        await scene.comes_up("b")
        assert (scene.did, scene.over) == (["start b", "start a"], False)
        await scene.comes_up("a")

    assert (scene.did, scene.over) == (["start b", "start a"], True)
    assert caplog.messages == []


async def test_only_last_of_exclusive_models_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with preloading(tmp_path, "a", "b", policy=OneAtATime()) as scene:
        await scene.comes_up("b")

    assert (scene.did, scene.over) == (["start b"], True)
    assert caplog.messages == [
        "preload.left_out model=a reason='another one of preload would stop it'"
    ]


async def test_failure_is_logged_and_next_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with preloading(tmp_path, "a", "b") as scene:
        await scene.ends("a")
        assert scene.did == ["start a", "start b"]

    assert caplog.messages == ["preload.failed model=a reason='model a failed to load'"]


async def test_other_clients_do_not_wait(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with preloading(tmp_path, "a", policy=OneAtATime()) as scene:
        scene.dispatcher.handle(Wanted(CLIENT, "b"))
        assert scene.did == ["start a", "stop a"]
        await scene.ends("a")

    assert (scene.did, scene.over) == (["start a", "stop a", "start b"], True)
    assert caplog.messages == ["preload.failed model=a reason='it was stopped before it was ready'"]


async def test_same_model_shares_its_start(tmp_path: Path) -> None:
    async with preloading(tmp_path, "a", policy=OneAtATime()) as scene:
        scene.dispatcher.handle(Wanted(CLIENT, "a"))
        await scene.comes_up("a")
        assert scene.dispatcher.engine.leases_of("worker") == ("a",)

    assert (scene.did, scene.over) == (["start a"], True)


async def test_waiting_clients_come_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def ask(scene: Scene) -> None:
        scene.dispatcher.handle(Wanted(CLIENT, "b"))

    async with preloading(tmp_path, "a", policy=OneAtATime(), before=ask) as scene:
        assert (scene.did, scene.over) == (["start b"], False)
        await scene.comes_up("b")
        assert scene.over

    assert scene.did == ["start b"]
    (message,) = caplog.messages
    assert message.startswith("preload.left_out model=a reason='b would finish what runs, and stop")


async def test_compatible_model_starts_after_clients(tmp_path: Path) -> None:
    def ask(scene: Scene) -> None:
        scene.dispatcher.handle(Wanted(CLIENT, "b"))

    async with preloading(tmp_path, "a", "b", before=ask) as scene:
        await scene.comes_up("b")
        assert scene.did == ["start b", "start a"]
        await scene.comes_up("a")

    assert scene.over


async def test_unloaded_model_is_not_started_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with preloading(tmp_path, "a", "b") as scene:
        scene.dispatcher.handle(UnloadRequested("a"))
        await wait_all_tasks_blocked()
        assert scene.did == ["start a", "stop a", "start b"]
        await scene.ends("a")

    assert len(caplog.messages) == 1
    assert scene.did == ["start a", "stop a", "start b"]


async def test_removed_model_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with preloading(tmp_path, "a", "b", "c") as scene:
        scene.dispatcher.handle(Reconfigured((Spec(model="c"),)))  # a starts, b was still to come
        await wait_all_tasks_blocked()
        assert scene.did == ["start a", "stop a", "start c"]
        await scene.ends("a")
        await scene.comes_up("c")

    assert scene.over
