"""When a server is ready: its endpoint answers. Its own report only makes us ask at once."""

import trio

from ...config.load import LaunchConfig
from ...host.http_get import Access, Response
from ...scheduling.dispatcher import Dispatcher
from ...scheduling.messages.events import NotReady
from ..signs.health import Outcome, Signs, wait_until_healthy, wait_until_listening
from .not_ready_reason import place_shown, why_not_ready


class Readiness:
    """Waits until one process is ready, and reports why it is not yet."""

    def __init__(self, model: str, swap: int, dispatcher: Dispatcher) -> None:
        self._model = model
        self._swap = swap
        self._dispatcher = dispatcher
        self._says_ready = trio.Event()
        self._signs = Signs()
        self._told_why = ""

    def note_line(self) -> None:
        """Note a line of its output: llama-server, vLLM and others have one for "ready"."""
        self._signs.note()

    def note_report(self) -> None:
        """Note that it has reported that it is ready."""
        self._says_ready.set()

    async def wait(self, launch: LaunchConfig, access: Access, since: float) -> Response | None:
        """Return the first good response; None if only the port is checked.

        Args:
            launch: Where it answers.
            access: The way to it.
            since: When it was started.
        """
        response: Response | None = None
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as unhurried:

                async def hurry() -> None:
                    await self._says_ready.wait()
                    unhurried.cancel()

                nursery.start_soon(hurry)
                response = await self._ask(launch, access, since)
            if unhurried.cancelled_caught:
                response = await self._ask(launch, access, trio.current_time())
            nursery.cancel_scope.cancel()
        return response

    async def _ask(self, launch: LaunchConfig, access: Access, since: float) -> Response | None:
        url = launch.health_url or launch.base_url
        shown = place_shown(launch.endpoint)

        def note(outcome: Outcome | None) -> None:
            why = why_not_ready(outcome, url, shown, says_ready=self._says_ready.is_set())
            if why != self._told_why:
                self._told_why = why
                self._dispatcher.handle(NotReady(self._model, self._swap, why))

        if launch.health_url is None:
            await wait_until_listening(
                url, started_at=since, signs=self._signs, access=access, note=note
            )
            return None
        return await wait_until_healthy(
            url, started_at=since, signs=self._signs, access=access, note=note
        )
