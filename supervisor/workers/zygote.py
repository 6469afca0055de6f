"""The zygote: a process from which the first workers are forked, with all that they import.

It is forked from this one before there are threads: a fork of the supervisor as it is later would
carry the zmq context and the run of trio into the child, and use them there. It imports what a
worker needs beside our own imports; pages of memory that nobody writes to are there once for all.
The last of the first workers is the zygote itself: it would only keep a copy of what the others
write to. A worker is always a child of this process: we learn how it ended, and the kernel ends it
with us. Workers that come later are started as new programs, and so are the first ones when there
is no zygote: this machine is of another kind, or something was scarce.
"""

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import traceback
from importlib import import_module
from typing import NoReturn

import msgspec
import trio

# What both import is imported before the fork.
import arriero.protocol.transport  # noqa: F401
from arriero.protocol.lease import ForkOrder

from ..host.file_limit import raise_descriptor_limit
from ..host.shortage import what_is_scarce
from ..processes.forked_process import ForkedProcess
from ..processes.spawn import NOT_INHERITED, PipedProcess, SpawnSpec, spawn

log = logging.getLogger(__name__)

# Serves the orders. By its name, as workers are started by theirs.
_PROGRAM = "arriero.worker.zygote"

# Seconds for one worker. It takes milliseconds; the first one also waits for all the imports.
_FORK_LIMIT_S = 10.0

# The same for who is cancelled meanwhile: a zygote that was stopped keeps nobody here.
_LAST_LIMIT_S = 0.5

_PID_BYTES = 20


class Zygote:
    """Forks the first workers, then becomes one.

    Args:
        pid: Its process id.
        door: The socket to it.
    """

    def __init__(self, pid: int, door: socket.socket) -> None:
        self.pid = pid
        self._door = door
        self._turn = trio.Lock()
        self._left = 1

    def expect(self, workers: int) -> None:
        """Let it become a worker at the order of that number."""
        self._left = workers

    async def start(self, launch: SpawnSpec, mark: tuple[str, str]) -> PipedProcess:
        """Start a worker: by a fork, or as a new program.

        Args:
            launch: The new program; its command is ``PYTHON -m MODULE OPTIONS``.
            mark: A variable for its environment.

        Raises:
            SpawnError: It could not be started.
        """
        async with self._turn:
            if self._left:
                try:
                    return await self._fork(launch, mark)
                except OSError as exc:
                    reason = what_is_scarce(exc) or exc.strerror
                    log.warning("zygote.failed pid=%d reason=%r", self.pid, reason)
                    self.close()
        return spawn(launch, mark)

    async def _fork(self, launch: SpawnSpec, mark: tuple[str, str]) -> ForkedProcess:
        _, _, _, *options = launch.argv
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            inputs, outputs, errors = (os.pipe() for _ in range(3))
            for kept, given in ((inputs[1], inputs[0]), outputs, errors):
                ours.callback(os.close, kept)
                theirs.callback(os.close, given)
            order = ForkOrder(
                options=tuple(options),
                files=(0, 1, 2, *launch.pass_fds),
                is_last=self._left == 1,
                mark="=".join(mark),
            )
            files = [inputs[0], outputs[1], errors[1], *launch.pass_fds]
            socket.send_fds(self._door, [msgspec.json.encode(order)], files, socket.MSG_DONTWAIT)
            pid = await self._answer()
            self._left -= 1
            if not self._left:
                self._door.close()
            with contextlib.suppress(OSError):  # it does that itself, but perhaps later
                os.setpgid(pid, pid)
            with contextlib.suppress(BrokenPipeError):  # it has ended: its task sees that
                os.write(inputs[1], launch.first_input)  # at once, for an empty pipe holds it
            ours.pop_all()
        return ForkedProcess(pid, (inputs[1], outputs[0], errors[0]))

    async def _answer(self) -> int:
        """Return the process id of the new worker. When cancelled, it ends if none comes soon.

        Else that worker would be forgotten; one that it may have forked ends with us.

        Raises:
            OSError: There is none.
        """
        is_late = False
        try:
            with trio.move_on_after(_FORK_LIMIT_S) as patience:
                await trio.lowlevel.wait_readable(self._door)
            is_late = patience.cancelled_caught
        except trio.Cancelled:
            with trio.move_on_after(_LAST_LIMIT_S, shield=True) as last:
                await trio.lowlevel.wait_readable(self._door)
            if last.cancelled_caught:
                self.close()
                raise
        if is_late:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        pid = int(self._door.recv(_PID_BYTES) or b"0")
        if pid <= 0:
            raise OSError(-pid, os.strerror(-pid) if pid else "it has ended")
        return pid

    def close(self) -> None:
        """End it, unless it has become a worker."""
        if self._left:
            self._left = 0
            self._door.close()
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def fork_zygote() -> Zygote | None:
    """Fork the zygote.

    Returns:
        The zygote; None if there is none, since this process has threads, or the system refused.
    """
    raise_descriptor_limit()  # inherited: workers have as many open files as we
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            return None
        door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        return None
    parent = os.getpid()
    gc.freeze()  # or the collector would write to all that is shared
    with theirs:
        try:
            pid = os.fork()
        except OSError:
            door.close()
            return None
        if pid == 0:
            door.close()
            _be_zygote(theirs, parent)
    return Zygote(pid, door)


def _be_zygote(door: socket.socket, parent: int) -> NoReturn:
    try:
        os.setpgid(0, 0)  # what is typed at a terminal must not reach it
        _close_all_but(door.fileno())
        for name in NOT_INHERITED:
            os.environ.pop(name, None)
        import_module(_PROGRAM).serve(door, parent)
    except BaseException:  # noqa: BLE001  nothing of the supervisor may go on here
        traceback.print_exc()
    finally:
        os._exit(1)


def _close_all_but(kept: int) -> None:
    """Close what we were given by who started us, as for a new program: workers have no use of it.

    Standard input, output and error stay.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(int(name))
