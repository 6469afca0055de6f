"""The process beside the supervisor that stands for a server on another machine.

Started as ``python -m arriero.supervisor.ray.tether``, with its order in a variable (see
`words`). It has the bridge find a place, hands the command to the agent there, and holds it: while
it lives, the server does. It writes what the server writes, and ends as the server has ended. So
all that is done with processes of this machine is done with this one: it is stopped, killed,
entrusted to the reaper, and taken over by the next supervisor.

SIGTERM ends the server in good order. When this process is killed, the bridge ends the place, and
without a bridge the agent does, when it was not held for too long.
"""

import math
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from itertools import count
from typing import Final, NoReturn

import trio
import zmq

from arriero.protocol.errors import ProtocolError
from arriero.protocol.remote.curve import calling, new_keys
from arriero.protocol.remote.launch import (
    BEAT_S,
    LOST_S,
    MAX_LAUNCH_BYTES,
    Demand,
    FromAgent,
    FromBridge,
    LaunchMessage,
    MachineLost,
    Placed,
    PlacePending,
    PlaceRefused,
    PlaceWanted,
    ServerHeld,
    ServerHold,
    ServerOver,
    Wrote,
    line_of,
    packed,
    read_from_agent,
    read_from_bridge,
)
from arriero.protocol.transport import FrameSocket, QueueLimits, open_context

from ..memory.sizes import UNKNOWN, ModelSize
from .agent import TETHER
from .demand import memory_of, size_elsewhere
from .words import TetherOrder, passed_line, said_line, tether_order

_LIMITS: Final = QueueLimits(message_bytes=MAX_LAUNCH_BYTES, received=100, sent=10)

# Seconds between two attempts to reach the bridge: it is started anew when it has ended.
_AGAIN_S: Final = 0.25

# Seconds of silence after which it is looked whether anybody listens there; and for that look.
_DOUBT_S: Final = 2.5
_LOOK_S: Final = 2.0

# Seconds in which the bridge, or the agent, reads the last word.
_LAST_WORD_S: Final = 1.0
_HAND_OVER_S: Final = 0.05

# Bytes that wait to be written, for each output; what the supervisor does not read meanwhile is
# lost, for whoever waits for it holds no server. Seconds for the last of them.
_MAX_WAITING: Final = 1024**2
_LAST_LINES_S: Final = 5.0

# Beats after which a supervisor is told again where the server is.
_SAID_AGAIN: Final = 10

_NO_BRIDGE: Final = "there is no connection to Ray yet"


class Ended(Exception):
    """The server has ended, or will never be.

    Attributes:
        code: As for `subprocess.Popen`.
        lost: The machine was lost.
    """

    def __init__(self, code: int, why: str = "", lost: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.lost = lost


class Outlet:
    """One output of this process.

    Args:
        fd: Of it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting = bytearray()
        self._more = trio.Event()
        self._empty = trio.Event()

    def add(self, lines: bytes) -> None:
        """Have whole lines written, if there is room for them."""
        if lines and len(self._waiting) + len(lines) <= _MAX_WAITING:
            self._waiting += lines
            self._more.set()

    async def run(self) -> None:
        """Write until nobody reads, or cancelled."""
        async with trio.lowlevel.FdStream(os.dup(self._fd)) as stream:
            with suppress(trio.BrokenResourceError):
                while True:
                    while self._waiting:
                        lines, self._waiting = self._waiting, bytearray()
                        await stream.send_all(lines)
                    self._empty.set()
                    await self._more.wait()
                    self._more, self._empty = trio.Event(), trio.Event()

    async def drain(self) -> None:
        """Return when all is written."""
        while self._waiting or not self._empty.is_set():
            await self._empty.wait()


class Tether:
    """One of them.

    Args:
        order: What it is to do.
        demand: What it needs of a machine.
        stdout, stderr: Where what the server writes goes.
    """

    def __init__(self, order: TetherOrder, demand: Demand, stdout: Outlet, stderr: Outlet) -> None:
        self._order = order
        self._outlets = {"stdout": stdout, "stderr": stderr}
        self._demand = demand
        self._keys = new_keys()
        self._placed: Placed | None = None
        self._is_placed = trio.Event()
        self._ends = trio.Event()
        self._told: LaunchMessage | None = None
        self._heard_at = math.inf
        self._has_begun = False
        self._bridge: trio.SocketStream | None = None

    async def run(self) -> int:
        """See it through; return its end, as `subprocess.Popen` says it."""
        async with trio.open_nursery() as outlets:
            for outlet in self._outlets.values():
                outlets.start_soon(outlet.run)
            end = await self._until_ended()
            if str(end):
                self._outlets["stderr"].add(f"{end}\n".encode())
            with trio.move_on_after(_LAST_LINES_S):
                for outlet in self._outlets.values():
                    await outlet.drain()
            outlets.cancel_scope.cancel()
        return end.code

    async def _until_ended(self) -> Ended:
        ends: list[Ended] = []
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._obey)
                nursery.start_soon(self._keep_place)
                await self._hold()
        except* Ended as group:
            ends += [end for end in group.exceptions if isinstance(end, Ended)]
        return ends[0]

    async def _obey(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._ends.set()

    # --- the place ------------------------------------------------------------------------------

    async def _keep_place(self) -> NoReturn:
        """Have a place found, and let the bridge see that it is wanted still.

        Raises:
            Ended: There will be none.
        """
        while True:
            with suppress(OSError, trio.BrokenResourceError, ProtocolError):
                await self._ask_bridge()
            if self._placed is None:
                self._say(PlacePending(why=_NO_BRIDGE))
            await trio.sleep(_AGAIN_S)

    async def _ask_bridge(self) -> None:
        """Ask it; return when it is gone.

        Raises:
            Ended: There will be no place.
            OSError, BrokenResourceError: It cannot be reached.
            ProtocolError: It speaks another language.
        """
        async with await trio.open_unix_socket(self._order.bridge) as bridge:
            self._bridge = bridge
            wanted = PlaceWanted(
                model=self._order.model,
                demand=self._demand,
                key=self._keys.public,
                placed=self._placed,
            )
            try:
                await bridge.send_all(line_of(wanted))
                rest = b""
                while data := await bridge.receive_some():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        self._take_word(read_from_bridge(line))
            finally:
                self._bridge = None

    def _take_word(self, word: FromBridge) -> None:
        match word:
            case Placed() if self._placed is None:
                self._placed = word
                self._heard_at = trio.current_time()
                self._say(word)
                self._is_placed.set()
            case PlacePending() if self._placed is None:
                self._say(word)
            case PlaceRefused() if self._placed is None:
                raise Ended(1, word.why)
            case _:
                pass

    async def _tell_loss(self, where: Placed) -> None:
        """Tell that a machine was lost: the bridge may not know that for long."""
        self._say(MachineLost(node=where.node))
        if self._bridge is not None:
            with (
                trio.move_on_after(_LAST_WORD_S),
                suppress(trio.BrokenResourceError),
            ):
                await self._bridge.send_all(line_of(MachineLost(node=where.node)))

    # --- the agent ------------------------------------------------------------------------------

    async def _hold(self) -> None:
        """Hold the server until it has ended.

        Raises:
            Ended: Always.
        """
        ends: list[Ended] = []
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_waiting, waiting)
                await self._is_placed.wait()
                nursery.cancel_scope.cancel()
        if self._placed is None:
            raise Ended(-signal.SIGTERM)
        where = self._placed
        with (
            open_context() as context,
            calling(
                context,
                zmq.DEALER,
                where.host,
                where.port,
                self._keys,
                where.key,
                _LIMITS,
                identity=TETHER,
            ) as agent,
        ):
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._beat, agent)
                    nursery.start_soon(self._doubt, where)
                    while True:
                        self._take(agent, await agent.receive())
            except* Ended as group:
                ends += [end for end in group.exceptions if isinstance(end, Ended)]
            if ends[0].lost:
                await self._tell_loss(where)
            await trio.sleep(_HAND_OVER_S)  # zmq hands the last message over
        raise ends[0]

    async def _stop_waiting(self, waiting: trio.CancelScope) -> None:
        await self._ends.wait()
        waiting.cancel()

    async def _beat(self, agent: FrameSocket) -> None:
        """Hold it, again and again; at once when it is to end.

        Where it is, is said again as well: a supervisor may have been killed when it had read that.
        """
        for number in count(1):
            if number % _SAID_AGAIN == 0 and self._placed is not None:
                self._told = None
                self._say(self._placed)
            order = self._order
            command, env = ((), {}) if self._has_begun else (order.command, order.env)
            ends = self._ends.is_set()
            hold = ServerHold(command=command, env=env, port=order.port, ends=ends)
            agent.send([packed(hold)])
            if self._ends.is_set():
                await trio.sleep(BEAT_S)
            else:
                with trio.move_on_after(BEAT_S):
                    await self._ends.wait()

    async def _doubt(self, where: Placed) -> NoReturn:
        """Notice that the agent is gone.

        A machine that refuses a connection lives, and the agent does not; nor does what it ran.

        Raises:
            Ended: It is gone.
        """
        while True:
            await trio.sleep(BEAT_S / 2)
            silent_s = trio.current_time() - self._heard_at
            if silent_s > LOST_S or (silent_s > _DOUBT_S and await _refuses(where)):
                raise Ended(1, f"cannot reach {where.name} any more: it was lost", lost=True)

    def _take(self, agent: FrameSocket, frames: list[bytes]) -> None:
        """Take one message of the agent.

        Raises:
            Ended: The server has ended.
        """
        try:
            message: FromAgent = read_from_agent(frames[-1])
        except ProtocolError as exc:
            raise Ended(1, f"cannot understand the agent: {exc}") from exc
        self._heard_at = trio.current_time()
        match message:
            case Wrote():
                lost = b"(%d lines came too fast)\n" % message.lost if message.lost else b""
                lines = b"".join(map(passed_line, message.lines))
                self._outlets[message.stream].add(lost + lines)
            case ServerHeld():
                self._has_begun = self._has_begun or message.begun
                if message.total:
                    self._say(message)
            case ServerOver():
                agent.send([packed(ServerHold(seen=True))])
                raise Ended(1 if message.code is None else message.code, message.why)

    def _say(self, word: LaunchMessage) -> None:
        if word != self._told:
            self._told = word
            self._outlets["stdout"].add(said_line(word))


async def _refuses(where: Placed) -> bool:
    """Return whether nobody listens there any more."""
    with trio.move_on_after(_LOOK_S), suppress(OSError):
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        with trio.socket.socket(family, socket.SOCK_STREAM) as attempt:
            try:
                await attempt.connect((where.host, where.port))
            except ConnectionRefusedError:
                return True
    return False


def demand_of(order: TetherOrder) -> Demand:
    """Return what a model needs: its memory as declared, or as its files say if they are here."""
    size = ModelSize(order.memory, "declared")
    if not order.memory:
        try:
            size = size_elsewhere(order.command, order.env, order.gpus)
        except OSError:
            size = UNKNOWN
    return Demand(
        cpus=order.cpus, gpus=order.gpus, memory=memory_of(size), resources=order.resources
    )


def _end_as(code: int) -> NoReturn:
    """End as the server has ended."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # that of SIGKILL cannot be set
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    sys.exit(abs(code))


def main() -> None:
    """Do what the variable says."""
    order = tether_order(os.environ)
    outlets = Outlet(sys.stdout.fileno()), Outlet(sys.stderr.fileno())
    tether = Tether(order, demand_of(order), *outlets)
    _end_as(trio.run(tether.run))


if __name__ == "__main__":
    main()
