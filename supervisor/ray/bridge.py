"""The process that asks Ray for places: asyncio, as Ray has it, and nobody else has to.

Started as ``python -m arriero.supervisor.ray.bridge`` with `BridgeOrder` in a variable;
ends with its standard input. Each tether has a connection for as long as it lives: when that ends,
its place does. When this process ends nothing does: what runs is held by its tether, and the next
bridge hears of it from there.

There is one place for a model, and Ray has its name: it gives it to one only. Who wants it again
ends the earlier one first, and waits until nothing can run there any more. So nothing is started
twice, whoever was killed meanwhile. What an earlier bridge had under way when it was killed, and
nobody wants again, the next one ends.
"""

import asyncio
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from arriero.protocol.errors import ProtocolError
from arriero.protocol.remote.launch import (
    LEASE_S,
    LOST_S,
    MAX_LAUNCH_BYTES,
    Demand,
    LaunchMessage,
    MachineLost,
    PlacePending,
    PlaceRefused,
    PlaceWanted,
    line_of,
    read_to_bridge,
)

from . import cluster
from .cluster import PlaceLost, PlaceTaken, RayPlace, RayUnreachable
from .demand import why_pending
from .words import BridgeOrder, bridge_line, bridge_order

_T = TypeVar("_T")

# Seconds between two attempts to connect to Ray; and between two looks at why there is no place
# yet. An actor that has one is there after a second or two.
_AGAIN_S: Final = 2.0
_LOOK_S: Final = 1.0

# Looks until what is in use counts: the place that is being taken is in use as well.
_LOOKS_UNTIL_USE: Final = 3

# Seconds for the first message of a tether.
_FIRST_WORD_S: Final = 10.0

# Seconds that a machine is avoided after an agent on it was lost. Ray itself takes 15 to 20 to
# notice that one is gone, and places actors on it until then. It may be there after all.
_AVOID_S: Final = 30.0

# Actors that may die before they have an agent.
_MAX_TRIES: Final = 3

# Seconds between two looks at whether a name is free again.
_NAME_S: Final = 0.05


class Bridge:
    """Finds places for tethers."""

    def __init__(self) -> None:
        self._is_connected = asyncio.Event()
        self._trouble = "connecting to Ray"
        self._lost: dict[str, float] = {}  # machines, and when
        self._wanted = Counter[str]()  # names of places, and how many tethers want them

    async def connect(self, order: BridgeOrder) -> None:
        """Connect to Ray, whenever that will be."""
        while True:
            try:
                await _in_thread(cluster.connect, order.address, order.namespace)
            except RayUnreachable as exc:
                trouble = f"cannot reach Ray: {exc}"
                if trouble != self._trouble:
                    _say(trouble)
                self._trouble = trouble
                await asyncio.sleep(_AGAIN_S)
            else:
                _say("connected to Ray")
                self._is_connected.set()
                return

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one tether, until its end."""
        places: list[RayPlace] = []
        lost: list[MachineLost] = []
        tasks: set[asyncio.Task[None]] = set()
        name = ""
        try:
            async with asyncio.timeout(_FIRST_WORD_S):
                wanted = read_to_bridge(await reader.readline())
            if not isinstance(wanted, PlaceWanted):
                return
            name = _name_of(wanted)
            self._wanted[name] += 1
            over = asyncio.create_task(self._until_over(reader, lost))
            finding = asyncio.create_task(self._find(wanted, writer, places))
            tasks = {over, finding}
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not over.done():
                finding.result()
                await over
        except (OSError, TimeoutError, ValueError, ProtocolError, PlaceLost) as exc:
            _say(f"a tether is on its own: {exc}")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for place in places:
                await self._end(place, waits=not lost)
            if name:
                self._wanted[name] -= 1
            writer.close()

    async def end_what_nobody_holds(self) -> None:
        """End the places of a bridge before this one that no tether has come for.

        One that lives has come by then, or has lost its server. Names are those that have places,
        so there are not more of them than models.
        """
        await self._is_connected.wait()
        await asyncio.sleep(LOST_S)
        try:
            for name in await _in_thread(cluster.names):
                place = await _in_thread(cluster.find, name)
                if place is not None and not self._wanted[name]:
                    _say(f"{name} is nobody's: it is ended")
                    await self._end(place, waits=True)
        except PlaceLost as exc:
            _say(f"cannot look for places that are nobody's: {exc}")

    async def _until_over(self, reader: asyncio.StreamReader, lost: list[MachineLost]) -> None:
        while line := await reader.readline():
            if isinstance(word := read_to_bridge(line), MachineLost):
                _say(f"an agent was lost on node {word.node}")
                self._lost[word.node] = time.monotonic()
                lost.append(word)

    async def _end(self, place: RayPlace, *, waits: bool) -> None:
        """End a place, and what runs there: only then its name is free.

        It ends at once if its node hears us. If not, nobody holds it: it has ended when the lease
        is over, and who has lost it has waited for that.
        """
        if waits and place.is_found:
            with suppress(PlaceLost, TimeoutError):
                async with asyncio.timeout(LOST_S):
                    await place.end()
        await _in_thread(place.kill)

    async def _find(
        self, wanted: PlaceWanted, writer: asyncio.StreamWriter, places: list[RayPlace]
    ) -> None:
        """Find a place, and tell the tether; add it to `places` as soon as it exists."""
        while not self._is_connected.is_set():
            await _tell(writer, PlacePending(why=self._trouble))
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._is_connected.wait()
        name = _name_of(wanted)
        if wanted.placed is not None:
            if (found := await _in_thread(cluster.find, name)) is not None:
                places.append(found)
            return
        tries = 0
        while True:
            avoid = self._avoided()
            try:
                await _in_thread(_make, name, wanted.demand, avoid, places)
            except PlaceTaken:
                await _tell(writer, PlacePending(why="its last server has to end"))
                await self._take_over(name)
                continue
            (place,) = places
            try:
                line = await self._begun(place, wanted, writer, avoid)
            except PlaceLost as exc:  # its node has gone; or there is no arriero on it
                tries += 1
                if tries == _MAX_TRIES:
                    await _tell(writer, PlaceRefused(why=f"cannot run an agent: {exc}"))
                    return
                line = b""
            if line:
                writer.write(line)
                await writer.drain()
                return
            await _in_thread(place.kill)

    async def _begun(
        self,
        place: RayPlace,
        wanted: PlaceWanted,
        writer: asyncio.StreamWriter,
        avoid: frozenset[str],
    ) -> bytes:
        """Wait until there is a machine; return what it says. Empty: it should be tried anew.

        Raises:
            PlaceLost: There is none.
        """
        told, looks = "", 0
        begun = asyncio.ensure_future(place.begin(wanted.key))
        try:
            while True:
                done, _ = await asyncio.wait({begun}, timeout=_LOOK_S)
                if done:
                    return begun.result()
                if avoid - self._avoided():
                    return b""
                looks += 1
                found = await _in_thread(cluster.nodes)
                there = [node for node in found if node.node not in avoid]
                why = why_pending(wanted.demand, there, counts_use=looks >= _LOOKS_UNTIL_USE)
                if why and why != told:
                    told = why
                    await _tell(writer, PlacePending(why=why))
        finally:
            begun.cancel()

    def _avoided(self) -> frozenset[str]:
        now = time.monotonic()
        self._lost = {node: at for node, at in self._lost.items() if now - at < _AVOID_S}
        return frozenset(self._lost)

    async def _take_over(self, name: str) -> None:
        """End an earlier place of that name."""
        place = await _in_thread(cluster.find, name)
        if place is None:
            return
        await self._end(place, waits=True)
        for _ in range(round(LEASE_S / _NAME_S)):
            if await _in_thread(cluster.find, name) is None:
                return
            await asyncio.sleep(_NAME_S)


def _name_of(wanted: PlaceWanted) -> str:
    return f"arriero-{wanted.model}"


def _make(name: str, demand: Demand, avoid: frozenset[str], places: list[RayPlace]) -> None:
    """Wish for a place; it is in `places` whatever becomes of who has asked."""
    places[:] = [cluster.make(name, demand, avoid)]


async def _in_thread(call: Callable[..., _T], *args: object) -> _T:
    """Call what blocks; also when this task is to end, for then it has to be known what came."""
    work = asyncio.get_running_loop().run_in_executor(None, partial(call, *args))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        with suppress(Exception):
            await work
        raise


async def _tell(writer: asyncio.StreamWriter, message: LaunchMessage) -> None:
    writer.write(line_of(message))
    await writer.drain()


def _say(text: str) -> None:
    sys.stdout.buffer.write(bridge_line(text))
    sys.stdout.buffer.flush()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)  # Ray's threads are not waited for: what is to stay stays


def _door(path: Path) -> socket.socket:
    """Return a socket that is bound to `path`, for this user alone."""
    path.unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(str(path))
    path.chmod(0o600)
    return door


async def run(order: BridgeOrder) -> None:
    """Serve tethers until cancelled."""
    bridge = Bridge()
    door = _door(Path(order.path))
    server = await asyncio.start_unix_server(bridge.serve, sock=door, limit=MAX_LAUNCH_BYTES)
    async with server, asyncio.TaskGroup() as tasks:
        tasks.create_task(bridge.connect(order))
        tasks.create_task(bridge.end_what_nobody_holds())
        tasks.create_task(server.serve_forever())


def main() -> None:
    """Do what the variable says."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(run(bridge_order(os.environ)))


if __name__ == "__main__":
    main()
