"""The worker processes: started, watched, replaced when they die or hang."""

import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import trio

from arriero.digests import random_hex, same
from arriero.protocol.events import AnyEvent, WorkerChanged
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.lease import ListenerKind
from arriero.protocol.log_format import RecordReader
from arriero.protocol.values import LEASE_VERSION, WorkerStatus
from arriero.protocol.wakefulness import Wakefulness

from ..errors import SpawnError
from ..host.log import ProgramLog
from ..host.shortage import why
from ..processes.kept_process import KeptProcess
from ..processes.process import (
    Exit,
    RunningProcess,
    SpawnSpec,
    Start,
    Stream,
    adopt_process,
    run_process,
)
from ..processes.reaper import Reaper
from .connection_counts import clear_share, has_share
from .lease_server import LeaseServer, WorkerPeer

log = logging.getLogger(__name__)

# A worker reports every second. Ten missed reports are a hang, not a slow moment: its loop never
# waits for anything but sockets.
HUNG_AFTER_S = 10.0

# Until its `Hello` it imports half a library, which takes a second of a processor: half a minute on
# a machine with much else to do, where giving up only means to begin again from nothing.
START_LIMIT_S = 120.0

# A worker that is silent for that long is asked once more. An answer takes milliseconds.
ANSWER_S = 2.0

# How often the age of the last report is looked at.
WATCH_EVERY_S = 1.0

# Seconds between two checks whether a new worker takes connections.
LOOK_EVERY_S = 0.01

# A worker that dies sooner than this after its start would only die again: pause before the next.
SHORT_LIFE_S = 5.0
LONGEST_PAUSE_S = 5.0


class WorkerCard(msgspec.Struct, frozen=True, kw_only=True, tag="worker"):
    """What the next supervisor has to know of a worker.

    Attributes:
        worker: Its number.
        token: Proves that it is this one.
        speaks: Version of the messages that it understands.
    """

    worker: int
    token: str
    speaks: int

    @property
    def proof(self) -> bytes:
        """Its token; empty if it and we do not understand each other."""
        return self.token.encode() if self.speaks == LEASE_VERSION else b""


class _StrangeWorker(msgspec.Struct, tag="worker"):
    pass


def read_worker_card(card: bytes) -> WorkerCard | None:
    """Return what `card` says, if it is of a worker; of another version, only that."""
    for kind in (WorkerCard, _StrangeWorker):
        try:
            found = msgspec.json.decode(card, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        return found if isinstance(found, WorkerCard) else WorkerCard(worker=0, token="", speaks=0)
    return None


class _Worker(msgspec.Struct):
    number: int
    token: bytes = b""  # of the process that runs
    pid: int = 0
    running: RunningProcess | None = None
    started_at: float = 0.0
    serving: bool = False
    wanted: bool = True
    finishing: bool = False
    is_mute: bool = False  # it speaks another version of the messages
    gone: trio.Event = msgspec.field(default_factory=trio.Event)
    waiting: trio.CancelScope = msgspec.field(default_factory=trio.CancelScope)  # to be started


class WorkerPool:
    """Keeps the wanted number of workers running.

    Attributes:
        restarts: Workers that died, and were or will be replaced.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[tuple[ListenerKind, int]],
        shares_fd: int,
        socket_dir: Path,
        reaper: Reaper,
        publish: Callable[[AnyEvent], None],
        leases_of: Callable[[str], tuple[str, ...]],
        wakefulness: Wakefulness,
        start: Start | None,
        program_log: ProgramLog,
    ) -> None:
        self._listeners = tuple(listeners)
        self._shares_fd = shares_fd
        self._socket_dir = socket_dir
        self._reaper = reaper
        self._publish = publish
        self._leases_of = leases_of
        self._wakefulness = wakefulness
        self._start = start
        self._program_log = program_log
        self._workers: dict[int, _Worker] = {}
        self._former: list[_Worker] = []  # of an earlier supervisor
        self._hello = trio.Event()
        self._lease_server: LeaseServer | None = None
        self._nursery: trio.Nursery | None = None
        self._flood = FloodLog(log)
        self.restarts = 0

    def connect(self, lease_server: LeaseServer, nursery: trio.Nursery) -> None:
        """Attach the lease socket, and the owner of the tasks."""
        self._lease_server = lease_server
        self._nursery = nursery

    def status(self) -> tuple[WorkerStatus, ...]:
        """Return the running workers, by number."""
        workers = [*self._former, *(worker for _, worker in sorted(self._workers.items()))]
        return tuple(self._status_of(worker) for worker in workers if worker.pid)

    def _status_of(self, worker: _Worker) -> WorkerStatus:
        peer = self._peer(worker)
        state: Literal["starting", "serving"] = "serving" if worker.serving else "starting"
        return WorkerStatus(
            worker=worker.number,
            pid=worker.pid,
            state="draining" if worker.finishing else state,
            in_flight=sum(peer.in_flight.values()) if peer else 0,
            leases=self._leases_of(peer.owner) if peer else (),
        )

    def says_hello(self, number: int, pid: int, token: bytes) -> bool:
        """Note that a worker is up; False when it is none of ours."""
        worker = self._workers.get(number)
        if worker is None or worker.pid != pid or not same(worker.token, token):
            return False
        if not worker.serving:
            worker.serving = True
            if worker.running is not None:
                card = WorkerCard(worker=number, token=token.decode(), speaks=LEASE_VERSION)
                worker.running.entrust(msgspec.json.encode(card))
            self._hello.set()
            self._hello = trio.Event()
            took_s = trio.current_time() - worker.started_at
            log.info("worker.serving worker=%d pid=%d start_s=%.2f", number, pid, took_s)
            self._publish(WorkerChanged(worker=number, pid=pid, state="serving"))
        return True

    def adopt(self, kept: KeptProcess, card: WorkerCard) -> None:
        """Let a worker of an earlier supervisor finish, once there are others.

        It may be of another version of this program, so it does not stay for longer. The lease
        server expects it already. One that we cannot speak with is told by a signal.
        """
        assert self._nursery is not None  # `connect` comes first
        worker = _Worker(card.worker, card.proof, kept.pid, serving=True, finishing=True)
        worker.is_mute = not card.proof
        worker.started_at = trio.current_time()
        self._former.append(worker)
        speaks = "no" if worker.is_mute else "yes"
        log.info("worker.adopted worker=%d pid=%d understood=%s", worker.number, worker.pid, speaks)
        self._nursery.start_soon(self._see_off, worker, kept)

    async def _see_off(self, worker: _Worker, kept: KeptProcess) -> None:
        """Wait until a worker of an earlier supervisor has finished."""
        assert self._lease_server is not None
        reason = "it had ended already"
        try:
            process = adopt_process(kept, SpawnSpec(argv=(sys.executable,)), self._reaper)
            worker.running = process
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._finish_when_replaced, worker)
                if not worker.is_mute:
                    nursery.start_soon(self._stop_when_hung, worker)
                reading = self._reading(worker)
                reason = str(await process.run(reading, term_grace_s=0.0))
                nursery.cancel_scope.cancel()
        except SpawnError as exc:
            reason = str(exc)
        finally:
            self._former.remove(worker)
            self._lease_server.lost(worker.pid)
            gone = WorkerChanged(worker=worker.number, pid=worker.pid, state="gone", reason=reason)
            self._publish(gone)
            worker.gone.set()

    async def _finish_when_replaced(self, worker: _Worker) -> None:
        await self.wait_until_serving()
        self._finish(worker)

    def scale(self, count: int) -> None:
        """Run `count` workers from now on.

        Those that are too many finish their requests.
        """
        assert self._nursery is not None  # `connect` comes first
        for number in range(1, count + 1):
            old = self._workers.get(number)
            if old is None or not old.wanted:
                new = self._workers[number] = _Worker(number)
                self._nursery.start_soon(self._keep, new, old)
        for number, worker in list(self._workers.items()):
            if number > count:
                self._finish(worker)

    async def wait_until_serving(self) -> None:
        """Return when every wanted worker takes connections.

        The caller sets the limit.
        """
        while not all(worker.serving for worker in self._workers.values()):
            await self._hello.wait()
        # Its `Hello` has come, so this is a moment; shared memory has no events.
        while not all(has_share(self._shares_fd, number) for number in self._workers):  # noqa: ASYNC110
            await trio.sleep(LOOK_EVERY_S)

    async def finish_all(self) -> None:
        """Let all workers finish, and return when they have ended.

        The caller sets the limit.
        """
        workers = [*self._workers.values(), *self._former]
        for worker in workers:
            self._finish(worker)
        for worker in workers:
            await worker.gone.wait()

    def _finish(self, worker: _Worker) -> None:
        assert self._lease_server is not None
        worker.wanted = False
        worker.finishing = True
        worker.waiting.cancel()
        if worker.is_mute:
            if worker.running is not None:
                worker.running.ask_to_end()
        elif self._peer(worker) is not None:
            self._lease_server.finish(worker.pid)
        elif worker.running is not None:  # no `Hello` yet: it serves no client
            worker.running.stop(grace_s=0.0)

    def _peer(self, worker: _Worker) -> WorkerPeer | None:
        return self._lease_server.peer_with_pid(worker.pid) if self._lease_server else None

    async def _keep(self, worker: _Worker, predecessor: _Worker | None) -> None:
        """Run a worker, again and again, for as long as it is wanted."""
        number, short_lives = worker.number, 0
        try:
            if predecessor is not None:  # scaled down and up again: the old one still finishes
                await predecessor.gone.wait()
            while worker.wanted:
                worker.started_at = trio.current_time()
                try:
                    reason = await self._run_once(worker)
                except Exception as exc:  # noqa: BLE001  it ends this process, and another one is started
                    self._flood.exception("worker.bug worker=%d", number, exc=exc)
                    reason = why(exc)
                if worker.wanted:
                    self.restarts += 1
                    lived_s = trio.current_time() - worker.started_at
                    short_lives = short_lives + 1 if lived_s < SHORT_LIFE_S else 0
                    log.warning(
                        "worker.died worker=%d reason=%r lived_s=%.1f", number, reason, lived_s
                    )
                    if short_lives > 1:
                        pause_s = min(LONGEST_PAUSE_S, 0.1 * 2.0**short_lives)
                        with trio.move_on_after(pause_s) as worker.waiting:
                            await trio.sleep_forever()
        finally:
            if self._workers.get(number) is worker:
                del self._workers[number]
            worker.gone.set()

    async def _run_once(self, worker: _Worker) -> str:
        """Run one process from start to end; return its end."""
        assert self._lease_server is not None
        exits: list[Exit] = []

        async def run(task_status: trio.TaskStatus[RunningProcess]) -> None:
            exits.append(
                await run_process(
                    self._launch(worker),
                    on_line=self._reading(worker),
                    reaper=self._reaper,
                    term_grace_s=0.0,
                    start=self._start,
                    task_status=task_status,
                )
            )
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                running: RunningProcess | None = None
                try:
                    with trio.CancelScope() as worker.waiting:
                        running = await nursery.start(run)
                except (SpawnError, OSError) as exc:  # nothing left of something: tried again
                    return str(exc)
                if running is None:
                    return "not wanted any more"
                worker.pid, worker.running = running.pid, running
                if not worker.wanted:  # since a moment ago
                    running.stop(grace_s=0.0)
                self._publish(WorkerChanged(worker=worker.number, pid=worker.pid, state="starting"))
                nursery.start_soon(self._stop_when_hung, worker)
        finally:
            reason = str(exits[0]) if exits else "killed"
            if worker.pid:
                self._lease_server.lost(worker.pid)
                self._publish(
                    WorkerChanged(worker=worker.number, pid=worker.pid, state="gone", reason=reason)
                )
            clear_share(self._shares_fd, worker.number)
            worker.pid, worker.running, worker.serving = 0, None, False
        return reason

    def _reading(self, worker: _Worker) -> Callable[[Stream, bytes], None]:
        """Return what takes the lines of a worker's process: they become ours."""
        reader = RecordReader(f"worker-{worker.number}", _log_as_ours, self._program_log.take_raw)
        return lambda _, line: reader.read(line)

    def _launch(self, worker: _Worker) -> SpawnSpec:
        worker.token = random_hex(16).encode()
        return SpawnSpec(
            argv=(
                *(sys.executable, "-m", "arriero.worker"),
                *("--worker", str(worker.number)),
                *(it for kind, fd in self._listeners for it in (f"--{kind}-fd", str(fd))),
                *("--shares-fd", str(self._shares_fd)),
                *("--socket-dir", str(self._socket_dir)),
                *("--parent-pid", str(os.getpid())),
            ),
            pass_fds=(*(fd for _, fd in self._listeners), self._shares_fd),
            # Not as an argument or in the environment, where others can read it for ever.
            first_input=worker.token + b"\n",
            is_ours=True,
        )

    async def _stop_when_hung(self, worker: _Worker) -> None:
        while True:
            await trio.sleep(WATCH_EVERY_S)
            silent_s = self._silent_s(worker)
            if silent_s <= (HUNG_AFTER_S if self._peer(worker) else START_LIMIT_S):
                continue
            if self._lease_server is not None:
                self._lease_server.probe(worker.pid)
            await trio.sleep(ANSWER_S)
            if self._silent_s(worker) > silent_s:  # not a word, and we were awake
                log.error("worker.hung worker=%d silent_s=%.0f", worker.number, silent_s)
                if worker.running is not None:
                    worker.running.stop(grace_s=0.0)
                return

    def _silent_s(self, worker: _Worker) -> float:
        """Return for how long a worker has been silent while we listened."""
        peer = self._peer(worker)
        heard_at = peer.heard_at if peer is not None else worker.started_at
        return self._wakefulness.silent_s(heard_at, trio.current_time())


@asynccontextmanager
async def run_workers(pool: WorkerPool, lease_server: LeaseServer) -> AsyncGenerator[None, None]:
    """Let workers run while the block runs: `scale` starts them, `adopt` takes others over.

    On leaving they are killed, but for those that are left to the next supervisor.
    """
    async with trio.open_nursery() as nursery:
        pool.connect(lease_server, nursery)
        yield
        nursery.cancel_scope.cancel()


def _log_as_ours(record: logging.LogRecord) -> None:
    root = logging.getLogger()
    if root.isEnabledFor(record.levelno):
        root.handle(record)
