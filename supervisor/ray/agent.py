"""The process on a node that runs a model's server, for as long as it is held.

Started as ``python -m arriero.supervisor.ray.agent`` by the actor. It reads one line
(`AgentOrder`), writes one (`AgentUp`), and ends with its standard input. All else comes from the
tether. Whatever ends it ends the server: it has a reaper of its own, as the supervisor has.
"""

import errno
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import trio
import zmq

from arriero.protocol.errors import PeerGone, ProtocolError
from arriero.protocol.remote.curve import let_in, listening, new_keys
from arriero.protocol.remote.launch import (
    LEASE_S,
    MAX_LAUNCH_BYTES,
    AgentOrder,
    AgentUp,
    LaunchMessage,
    ServerHeld,
    ServerHold,
    ServerOver,
    Wrote,
    line_of,
    packed,
    read_agent_order,
    read_hold,
)
from arriero.protocol.transport import FrameSocket, QueueLimits, open_context

from ..errors import SpawnError
from ..host.file_limit import raise_descriptor_limit
from ..llamacpp.command import server_options
from ..llamacpp.load_report import is_llama_server_itself, wants_report
from ..llamacpp.model_files import model_files
from ..processes.process import RunningProcess, SpawnSpec, Stream, start_process
from ..processes.reaper import open_reaper
from ..progress.bytes_loaded import LoadBytes, bytes_done, total_bytes
from ..progress.proc_counters import read_load_bytes

log = logging.getLogger(__name__)

# Of the tether: it is the only one. A connection that was lost is replaced.
TETHER: Final = b"tether"

_LIMITS: Final = QueueLimits(
    message_bytes=MAX_LAUNCH_BYTES, received=100, sent=1000, mandatory=True, handover=True
)

# Lines of output that wait to be sent, bytes of them, and bytes of one message.
_MAX_LINES: Final = 2000
_MAX_WAITING: Final = 4 * 1024**2
_AT_ONCE: Final = 128 * 1024

# Seconds in which lines are gathered.
_GATHER_S: Final = 0.02

# Seconds between two attempts to send what waits.
_AGAIN_S: Final = 0.5

# An end in good order may take its time: who does not want to wait lets go.
_PATIENT_S: Final = 24 * 3600.0

# Of the environment of Ray's workers, what is Ray's own: its token above all.
_OF_RAY: Final = ("RAY_", "SERVE_")


class _Line(NamedTuple):
    stream: Stream
    text: bytes


class LineQueue:
    """Lines that wait to be sent. What comes too fast is counted."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._bytes = 0
        self._lost = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, stream: Stream, text: bytes) -> None:
        """Add a line; the oldest one goes if there are too many."""
        self._lines.append(_Line(stream, text))
        self._bytes += len(text)
        while len(self._lines) > _MAX_LINES or self._bytes > _MAX_WAITING:
            self._bytes -= len(self._lines.popleft().text)
            self._lost += 1

    def next(self) -> Wrote:
        """Return the next lines of one output; they stay until `sent`."""
        stream, size, lines = self._lines[0].stream, 0, list[bytes]()
        for line in self._lines:
            size += len(line.text)
            if line.stream != stream or (lines and size > _AT_ONCE):
                break
            lines.append(line.text)
        return Wrote(stream=stream, lines=tuple(lines), lost=self._lost)

    def sent(self, wrote: Wrote) -> None:
        """Forget lines that were sent."""
        self._lost = 0
        for _ in wrote.lines:
            self._bytes -= len(self._lines.popleft().text)


class ServerAgent:
    """One server.

    Args:
        socket: To the tether.
        host: The address of this node.
    """

    def __init__(self, socket: FrameSocket, host: str) -> None:
        self._socket = socket
        self._host = host
        self._heard_at = trio.current_time()
        self._begins = False
        self._running: RunningProcess | None = None
        self._ends = False
        self._over: ServerOver | None = None
        self._lines = LineQueue()
        self._wrote = trio.Event()
        self._first: LoadBytes | None = None
        self._done = self._total = 0

    async def run(self) -> None:
        """Run it until it has ended and that is known, or nobody holds it any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hand_on)
            nursery.start_soon(self._let_go, nursery.cancel_scope)
            while not await self._take(nursery):
                pass
            nursery.cancel_scope.cancel()

    async def _let_go(self, all_of_it: trio.CancelScope) -> None:
        """End it when it was not held for too long."""
        while True:
            await trio.sleep_until(self._heard_at + LEASE_S)
            if trio.current_time() >= self._heard_at + LEASE_S:
                break
        log.warning("agent.let_go silent_s=%.0f", LEASE_S)
        all_of_it.cancel()

    async def _take(self, nursery: trio.Nursery) -> bool:
        """Take one message; return whether the tether needs no more."""
        frames = await self._socket.receive()
        try:
            hold = read_hold(frames[-1])
        except ProtocolError as exc:
            log.warning("agent.not_understood reason=%r", str(exc))
            return False
        self._heard_at = trio.current_time()
        if hold.seen:
            return True
        if hold.ends:
            self._end()
        if hold.command and not self._begins:
            self._begins = True
            nursery.start_soon(self._serve, hold)
        self._say(self._over or self._held())
        return False

    def _end(self) -> None:
        self._ends = True
        if self._running is not None:
            self._running.stop(grace_s=_PATIENT_S)
        elif not self._begins:
            self._begins, self._over = True, ServerOver(code=-signal.SIGTERM)

    def _held(self) -> ServerHeld:
        if self._running is not None and (seen := read_load_bytes(self._running.pid)) is not None:
            self._first = self._first or seen
            self._done = max(self._done, bytes_done(self._first, seen, self._total))
        return ServerHeld(begun=self._running is not None, done=self._done, total=self._total)

    def _say(self, message: LaunchMessage) -> bool:
        """Return whether it is on its way."""
        with suppress(PeerGone):
            return self._socket.send([TETHER, packed(message)])
        return False

    async def _serve(self, hold: ServerHold) -> None:
        """Run the server, and say how it ended."""
        try:
            _check_port(self._host, hold.port)
            async with open_reaper() as reaper:
                process = start_process(self._spec(hold), reaper)
                self._running = process
                if self._ends:
                    process.stop(grace_s=_PATIENT_S)
                self._total = total_bytes(model_files(hold.command, hold.env))
                end = await process.run(self._keep, term_grace_s=0.0)
            self._over = ServerOver(code=end.code)
        except SpawnError as exc:
            self._over = ServerOver(code=None, why=str(exc))
        self._running = None
        while self._lines and self._say_lines():  # before its end
            pass
        self._say(self._over)

    def _spec(self, hold: ServerHold) -> SpawnSpec:
        env = environment(hold.command, hold.env, self._host)
        is_itself = is_llama_server_itself(hold.command, env)
        return SpawnSpec(
            argv=hold.command,
            env=env,
            without=[name for name in os.environ if name.startswith(_OF_RAY)],
            report=wants_report(env, is_itself=is_itself),
        )

    def _keep(self, stream: Stream, line: bytes) -> None:
        self._lines.add(stream, line)
        self._wrote.set()

    async def _hand_on(self) -> None:
        """Send lines as they come, some at a time."""
        while True:
            await self._wrote.wait()
            self._wrote = trio.Event()
            await trio.sleep(_GATHER_S)
            while self._lines:
                if self._say_lines():
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.sleep(_AGAIN_S)

    def _say_lines(self) -> bool:
        wrote = self._lines.next()
        if not self._say(wrote):
            return False
        self._lines.sent(wrote)
        return True


def _check_port(host: str, port: int) -> None:
    """Make sure that nobody listens there already: it would be taken for the server.

    The supervisor chooses another port when it reads that this one is in use.

    Raises:
        SpawnError: Somebody does.
    """
    if port == 0:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise SpawnError(
                    f"cannot use port {port} of {os.uname().nodename}: address already in use"
                ) from exc


def environment(command: tuple[str, ...], env: Mapping[str, str], host: str) -> dict[str, str]:
    """Return additions to the environment of `command` on the node `host`.

    llama-server listens where the node is reached, unless it is told otherwise.
    """
    options = server_options(command, env)
    if options is None or options.host.value is not None:
        return dict(env)
    return {**env, "LLAMA_ARG_HOST": host}


async def serve(order: AgentOrder) -> None:
    """Say where to be found, and serve a tether.

    Raises:
        ProtocolError: The address cannot be listened on.
    """
    keys = new_keys()
    with open_context() as context:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_with_input, nursery.cancel_scope)
            await nursery.start(partial(let_in, context, lambda key: key == order.key))
            with listening(context, zmq.ROUTER, order.host, 0, keys, _LIMITS) as (socket, port):
                sys.stdout.buffer.write(line_of(AgentUp(port=port, key=keys.public)))
                sys.stdout.buffer.flush()
                await ServerAgent(socket, order.host).run()
            nursery.cancel_scope.cancel()


async def _end_with_input(all_of_it: trio.CancelScope) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as pipe:
        while await pipe.receive_some():
            pass
    all_of_it.cancel()


def main() -> None:
    """Do what the first line says."""
    raise_descriptor_limit()
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:
        order = read_agent_order(pipe.readline(MAX_LAUNCH_BYTES))
    trio.run(serve, order)


if __name__ == "__main__":
    main()
