"""The worker processes: started by exec, watched, replaced at once when they die or hang."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import trio

from arriero.protocol.events import AnyEvent, WorkerChanged
from arriero.protocol.values import WorkerStatus

from .lease_server import LeaseServer, Peer
from .pidfd import wait_for_exit

log = logging.getLogger(__name__)

# A worker reports every second. Ten missed reports are a hang, not a slow moment: its loop never
# waits for anything but sockets.
HUNG_AFTER_S = 10.0

# How often the age of the last report is looked at.
WATCH_EVERY_S = 1.0

# A worker that dies sooner than this after its start would only die again: pause before the next.
SHORT_LIFE_S = 5.0
LONGEST_PAUSE_S = 5.0

# How long the kernel may take to end a worker after SIGKILL.
KILL_WAIT_S = 5.0


class Guard(Protocol):
    """Kills a process group when this process dies."""

    def add(self, pgid: int) -> None:
        """Watch over a group."""
        ...

    def remove(self, pgid: int) -> None:
        """The group is gone."""
        ...


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int = 0
    started_at: float = 0.0
    wanted: bool = True
    finishing: bool = False
    gone: trio.Event = field(default_factory=trio.Event)


class WorkerPool:
    """Keeps as many workers running as are asked for."""

    def __init__(
        self,
        *,
        listen_fd: int,
        socket_dir: Path,
        guard: Guard,
        environ: Mapping[str, str],
        publish: Callable[[AnyEvent], None],
        leases_of: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._listen_fd = listen_fd
        self._socket_dir = socket_dir
        self._guard = guard
        self._environ = dict(environ)
        self._publish = publish
        self._leases_of = leases_of
        self._workers: dict[int, _Worker] = {}
        self._lease_server: LeaseServer | None = None
        self._nursery: trio.Nursery | None = None

    def connect(self, lease_server: LeaseServer, nursery: trio.Nursery) -> None:
        """Attach the socket through which workers speak, and the owner of the tasks."""
        self._lease_server = lease_server
        self._nursery = nursery

    def status(self) -> tuple[WorkerStatus, ...]:
        """Return the workers that run, by number."""
        return tuple(
            self._status_of(worker) for _, worker in sorted(self._workers.items()) if worker.pid
        )

    def _status_of(self, worker: _Worker) -> WorkerStatus:
        peer = self._peer(worker)
        state: Literal["starting", "serving", "draining"] = "serving" if peer else "starting"
        return WorkerStatus(
            worker=worker.number,
            pid=worker.pid,
            state="draining" if worker.finishing else state,
            in_flight=sum(peer.in_flight.values()) if peer else 0,
            leases=self._leases_of(peer.owner) if peer else (),
        )

    def says_hello(self, number: int, pid: int) -> bool:
        """Take note that a worker is up; False when it is none of ours."""
        worker = self._workers.get(number)
        if worker is None or worker.pid != pid:
            return False
        if self._peer(worker) is None:
            took_s = trio.current_time() - worker.started_at
            log.info("worker.serving worker=%d pid=%d start_s=%.2f", number, pid, took_s)
            self._publish(WorkerChanged(worker=number, pid=pid, state="serving"))
        return True

    def scale(self, count: int) -> None:
        """Run `count` workers from now on. Those that are too many finish what they have."""
        assert self._nursery is not None  # `connect` comes first
        for number in range(1, count + 1):
            worker = self._workers.get(number)
            if worker is None or not worker.wanted:
                self._nursery.start_soon(self._keep, number, worker)
        for number, worker in list(self._workers.items()):
            if number > count:
                self._finish(worker)

    async def finish_all(self) -> None:
        """Ask all workers to finish, and return when they have ended. The caller sets the limit."""
        workers = list(self._workers.values())
        for worker in workers:
            self._finish(worker)
        for worker in workers:
            await worker.gone.wait()

    def _finish(self, worker: _Worker) -> None:
        assert self._lease_server is not None
        worker.wanted = False
        worker.finishing = True
        if self._peer(worker) is not None:
            self._lease_server.finish(worker.pid)
        elif worker.pid:  # it has not said hello: it serves nobody
            os.kill(worker.pid, signal.SIGKILL)

    def _peer(self, worker: _Worker) -> Peer | None:
        return self._lease_server.peer_with_pid(worker.pid) if self._lease_server else None

    async def _keep(self, number: int, predecessor: _Worker | None) -> None:
        """Run worker `number`, again and again, for as long as it is wanted."""
        if predecessor is not None:  # scaled down and up again: the old one still finishes
            await predecessor.gone.wait()
        worker = self._workers[number] = _Worker(number)
        short_lives = 0
        try:
            while worker.wanted:
                worker.started_at = trio.current_time()
                reason = await self._run_once(worker)
                if not worker.wanted:
                    break
                lived_s = trio.current_time() - worker.started_at
                short_lives = short_lives + 1 if lived_s < SHORT_LIFE_S else 0
                log.warning("worker.died worker=%d reason=%s lived_s=%.1f", number, reason, lived_s)
                if short_lives > 1:
                    await trio.sleep(min(LONGEST_PAUSE_S, 0.1 * 2.0**short_lives))
        finally:
            if self._workers.get(number) is worker:
                del self._workers[number]
            worker.gone.set()

    async def _run_once(self, worker: _Worker) -> str:
        """Run one process from start to end, and say how it ended."""
        assert self._lease_server is not None
        process = self._spawn(worker)
        worker.pid = process.pid
        self._guard.add(process.pid)
        self._publish(WorkerChanged(worker=worker.number, pid=process.pid, state="starting"))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._kill_when_hung, worker)
                await wait_for_exit(process.pid)
                nursery.cancel_scope.cancel()
        finally:
            if process.poll() is None:
                process.kill()
                with trio.CancelScope(shield=True), trio.move_on_after(KILL_WAIT_S):
                    await wait_for_exit(process.pid)
            code = process.wait()  # it has ended: this reaps, and does not wait
            self._guard.remove(process.pid)
            self._lease_server.lost(process.pid)
            reason = f"signal {-code}" if code < 0 else f"status {code}"
            self._publish(
                WorkerChanged(worker=worker.number, pid=process.pid, state="gone", reason=reason)
            )
            worker.pid = 0
        return reason

    def _spawn(self, worker: _Worker) -> "subprocess.Popen[bytes]":
        # Started by exec: a fork would carry the zmq context into the child, and use it there.
        # A group of its own keeps Ctrl-C for the supervisor, which then stops it in order.
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "arriero.worker"),
                *("--worker", str(worker.number)),
                *("--listen-fd", str(self._listen_fd)),
                *("--socket-dir", str(self._socket_dir)),
                *("--parent-pid", str(os.getpid())),
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[self._listen_fd],
            process_group=0,
            env=self._environ,
        )

    async def _kill_when_hung(self, worker: _Worker) -> None:
        while True:
            await trio.sleep(WATCH_EVERY_S)
            peer = self._peer(worker)
            heard_at = peer.heard_at if peer is not None else worker.started_at
            silent_s = trio.current_time() - heard_at
            if silent_s > HUNG_AFTER_S * (1 if peer is not None else 3):
                log.error("worker.hung worker=%d silent_s=%.0f", worker.number, silent_s)
                os.kill(worker.pid, signal.SIGKILL)
                return


@asynccontextmanager
async def run_workers(
    pool: WorkerPool, lease_server: LeaseServer, count: int
) -> AsyncGenerator[None, None]:
    """Keep `count` workers running while the block runs; on leaving they are killed."""
    async with trio.open_nursery() as nursery:
        pool.connect(lease_server, nursery)
        pool.scale(count)
        yield
        nursery.cancel_scope.cancel()
