"""Models as real processes, under the real engine, dispatcher and fleet, for one client."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import trio

from arriero.protocol.lease import FromSupervisor, Grant, Refuse
from arriero.protocol.transport import open_context
from arriero.supervisor.config.load import parse_config
from arriero.supervisor.control.event_publisher import open_publisher
from arriero.supervisor.launchers.launchers import Launchers
from arriero.supervisor.models.fleet import open_fleet
from arriero.supervisor.models.start.output_log import OutputLog
from arriero.supervisor.processes.reaper import open_reaper
from arriero.supervisor.reload.reloader import ActiveConfig
from arriero.supervisor.scheduling.dispatcher import Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import Waiter, Wanted
from arriero.supervisor.scheduling.view import EngineView
from arriero.supervisor.slots.keeper import SlotKeeper
from tests.paths import SCRIPTED_COMMAND
from tests.start_port import START_PORT

SERVER = " ".join([*SCRIPTED_COMMAND, "--port", "${PORT}"])
# Everything on a busy machine; a test that needs as long as this has failed.
PATIENCE_S = 60


class Train:
    """Some models, and one client who wants them."""

    def __init__(self, dispatcher: Dispatcher, slots: SlotKeeper) -> None:
        self.dispatcher = dispatcher
        self.slots = slots
        self._told, self._heard = trio.open_memory_channel[FromSupervisor](10)
        self._wanted = 0

    def send(self, owner: str, message: FromSupervisor) -> None:
        self._told.send_nowait(message)

    def want(self, model: str = "m") -> None:
        self._wanted += 1
        self.dispatcher.handle(Wanted(Waiter("w1", self._wanted), model))

    async def answer(self) -> FromSupervisor:
        return await self._heard.receive()

    async def ask(self, model: str) -> Grant | Refuse:
        self.want(model)
        answer = await self.answer()
        assert isinstance(answer, Grant | Refuse)
        return answer

    async def follow(self, look: Callable[[], None]) -> None:
        """Call `look` whenever the engine has changed, until cancelled."""

        def never(_: EngineView) -> bool:
            look()
            return False

        await self.dispatcher.wait_until(never)

    async def port(self, *, but: int = 0) -> int:
        """Wait until a process runs; return the port that it was told to take, not `but`."""
        ports: list[int | None] = []

        def has_one(engine: EngineView) -> bool:
            endpoints = [found.endpoint for found in engine.models(0, 0) if found.endpoint]
            ports[:] = [urlsplit(endpoint).port for endpoint in endpoints]
            return bool(ports) and ports[0] != but

        await self.dispatcher.wait_until(has_one)
        return ports[0] or 0


@asynccontextmanager
async def open_train(folder: Path, config: str) -> AsyncGenerator[Train, None]:
    """Run the models of a configuration; ports are taken from those of this process."""
    in_force = ActiveConfig(parse_config(f"startPort: {START_PORT}\n{config}", environ={}))
    with open_context() as context, trio.fail_after(PATIENCE_S):
        async with open_reaper() as reaper, open_publisher(context, folder / "e") as publisher:
            engine = Engine(in_force.specs(), now=trio.current_time(), policy=in_force.policy())
            dispatcher = Dispatcher(engine, publisher)
            slots = SlotKeeper(lambda: in_force.config, folder / "slots.json")
            async with open_fleet(
                lambda: in_force.config,
                dispatcher,
                reaper=reaper,
                launcher=Launchers(lambda: in_force.config, reaper, folder).of,
                output_log=OutputLog(),
                durations_path=folder / "durations",
                slots=slots,
            ) as fleet:
                train = Train(dispatcher, slots)
                dispatcher.connect(processes=fleet, send_to_worker=train.send)
                yield train
