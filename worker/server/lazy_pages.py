"""The page door for those who come to it: a third of what a worker would import.

Most workers serve models and answer for their health, and never show a page. What pages need
(Quart, Hypercorn) takes half a second of a processor to import, and 16 MB: it is paid by the
first who asks for one, in a thread, beside the streams of all others.
"""

import gc
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from ..connections.connection import Connection
from ..errors import Unavailable
from ..http.body_memory import MemoryHold
from ..http.request_head import RequestHead
from ..relay.context import RelayContext
from .containment import FLOOD_LOG
from .late_protocols import SCARCE

if TYPE_CHECKING:
    from quart_trio import QuartTrio

    from .hypercorn_bridge import HypercornBridge

log = logging.getLogger(__name__)


class LatePages:
    """Answers requests for pages, as `HypercornBridge` does; opens it for the first one.

    Args:
        service: What is known of models and requests.
        nursery: Where the app lives.
        is_admin_here: What needs the scope `admin` is answered.
    """

    def __init__(
        self, service: RelayContext, nursery: trio.Nursery, *, is_admin_here: bool
    ) -> None:
        self._service = service
        self._is_admin_here = is_admin_here
        self._nursery = nursery
        self._started_at = int(time.time())
        self._opening = trio.Lock()
        self._door: HypercornBridge | None = None
        self._over = trio.Event()

    async def __call__(
        self, conn: Connection, head: RequestHead, raw: bytes, hold: MemoryHold
    ) -> None:
        """Answer one request; see `HypercornBridge`.

        Raises:
            Unavailable: What pages need cannot be loaded; it is tried again for the next one.
        """
        door = self._door or await self._open()
        await door(conn, head, raw, hold)

    def close(self) -> None:
        """Shut the app down, if there is one."""
        self._over.set()

    async def _open(self) -> "HypercornBridge":
        async with self._opening:
            if self._door is None:
                began = time.monotonic()
                try:
                    app = await trio.to_thread.run_sync(self._make_app)
                except SCARCE as exc:
                    FLOOD_LOG.exception(f"pages.failed error={type(exc).__name__}", exc=exc)
                    raise Unavailable(
                        "cannot show a page now: it cannot be loaded", code="page_unavailable"
                    ) from exc
                self._door = await self._nursery.start(self._keep, app)
                gc.freeze()  # it stays for good, like all that was imported before
                log.info("pages.opened took_s=%.2f", time.monotonic() - began)
        return self._door

    def _make_app(self) -> "QuartTrio":
        from . import hypercorn_bridge as _  # noqa: F401  its imports as well
        from .management_api import make_pages

        return make_pages(self._service, self._started_at, is_admin_here=self._is_admin_here)

    async def _keep(
        self, app: "QuartTrio", task_status: trio.TaskStatus["HypercornBridge"]
    ) -> None:
        from .hypercorn_bridge import open_page_door

        async with open_page_door(app) as door:
            task_status.started(door)
            await self._over.wait()


@asynccontextmanager
async def open_late_pages(
    service: RelayContext, *, is_admin_here: bool = True
) -> AsyncGenerator[LatePages, None]:
    """Give what answers requests for pages; what it has opened is shut down when the block ends."""
    async with trio.open_nursery() as nursery:
        pages = LatePages(service, nursery, is_admin_here=is_admin_here)
        yield pages
        pages.close()
