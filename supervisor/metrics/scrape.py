"""Asks model servers for their own metrics: all at once, and none for long."""

from collections.abc import Iterable
from typing import Final

import msgspec
import trio

from ..host.http_get import Access, GetFailed, get, request_to
from .merge import MAX_BYTES

# Seconds for one server, and for all: a scrape of Prometheus has ten by default. A llama-server
# that computes answers between two batches.
_ONE_S: Final = 1.0
_ALL_S: Final = 3.0

# Servers that are asked at a time.
_AT_ONCE: Final = 16

_ACCEPT: Final = {"Accept": "text/plain; version=0.0.4"}


class ScrapedServer(msgspec.Struct, frozen=True):
    """A server that is asked: its model, its base URL, and the way to it."""

    model: str
    url: str
    access: Access


async def ask_all(servers: Iterable[ScrapedServer]) -> dict[str, bytes | None]:
    """Return what each server has told of itself, by model; None: nothing."""
    told: dict[str, bytes | None] = {}
    limiter = trio.CapacityLimiter(_AT_ONCE)

    async def ask(server: ScrapedServer) -> None:
        async with limiter:
            told[server.model] = await _ask(server)

    with trio.move_on_after(_ALL_S):
        async with trio.open_nursery() as nursery:
            for server in servers:
                told[server.model] = None
                nursery.start_soon(ask, server)
    return told


async def _ask(server: ScrapedServer) -> bytes | None:
    with trio.move_on_after(_ONE_S):
        try:
            request = request_to(f"{server.url}/metrics", _ACCEPT, server.access)
            response = await get(request, MAX_BYTES)
        except GetFailed:
            return None
        if response.status != 200:
            return None
        whole_lines = response.body.rpartition(b"\n")[0]
        return whole_lines if response.is_cut else response.body
    return None
