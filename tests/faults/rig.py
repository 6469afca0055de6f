"""A whole arriero that may be killed: started, started again, asked, and looked at. Doing.

The test plays systemd's part: it holds the listening socket, so that nobody is refused while the
supervisor is away, and starts the supervisor again when it has ended.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import psutil
import trio
import zmq
from zmq.error import ZMQError

from tests.paths import ROOT, SCRIPTED_COMMAND
from tests.start_port import PORTS, START_PORT

MARK = "ARRIERO_RIG"  # variable in the environment of all that is started here

# sd_listen_fds(3): the socket is number 3, and the process is told that it is meant.
_AS_SYSTEMD = """\
import os, sys
fd = int(sys.argv[1])
if fd != 3:
    os.dup2(fd, 3)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-m", "arriero.supervisor", *sys.argv[2:]])
"""

PATIENCE_S = 60.0

_T = TypeVar("_T")


class NotSo(AssertionError):
    """Something that should have come about did not."""


async def eventually(
    holds: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S, every_s: float = 0.05
) -> Any:
    """Return what `holds`, called in a thread, gives as soon as it is true.

    Raises:
        NotSo: It was not `within_s`.
    """
    with trio.move_on_after(within_s):
        while True:
            if found := await trio.to_thread.run_sync(holds, abandon_on_cancel=True):
                return found
            await trio.sleep(every_s)
    raise NotSo(f"not within {within_s:.0f} s: {what}")


async def until_signalled(task: Callable[[], Awaitable[_T]]) -> _T | None:
    """Run `task`; SIGTERM or Ctrl-C ends it in order, with nothing left: then return None."""
    result = None
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                await anext(signals)
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            result = await task()
            nursery.cancel_scope.cancel()
    return result


def scripted(name: str, *options: str) -> str:
    """Return the command of a scripted model."""
    return " ".join([*SCRIPTED_COMMAND, "--port", "${PORT}", "--name", name, *options])


def first_port() -> int:
    """Where a train's models have their ports, apart from those of most others that run now."""
    return random.randrange(START_PORT, START_PORT + PORTS, 20)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds.

    Attributes:
        fds: Open descriptors.
        threads: Of it.
        own_kib: Memory that is in no file. What processes share counts for nobody: it would grow
            for those that stay when others end, on the whole machine.
    """

    fds: int
    threads: int
    own_kib: int


def footprint(pid: int) -> Footprint:
    """Measure a process.

    Raises:
        OSError: It is gone.
    """
    folder = Path("/proc") / str(pid)
    status = (folder / "status").read_text()
    (own,) = (line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:"))
    return Footprint(
        fds=len(os.listdir(folder / "fd")),
        threads=len(os.listdir(folder / "task")),
        own_kib=int(own),
    )


@dataclass(slots=True, eq=False)
class Rig:
    """One arriero in a folder of its own.

    Attributes:
        folder: For all of it; below it are `tmp`, `state`, `log` and `s` (the sockets).
        config: As it stands in the file; `listen` does not matter.
        socket: Where clients are accepted.
        piped: The log goes through a pipe, so that a limit on files does not hit it.
        generation: How many supervisors there have been.
        process: The supervisor.
        exits: Exit codes of those that have ended without being told to.
    """

    folder: Path
    config: Mapping[str, Any]
    socket: "socket.socket" = field(init=False)
    piped: bool = False
    generation: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    exits: list[int] = field(default_factory=list)
    _ending: bool = False
    _pipes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _mark: str = ""

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._mark = f"{os.getpid()}.{random.randrange(2**32)}"
        for name in ("tmp", "state", "log"):
            (self.folder / name).mkdir(parents=True)
        self.write(self.config)

    # --- the supervisor -----------------------------------------------------------------------

    @property
    def port(self) -> int:
        """Where clients are accepted."""
        return int(self.socket.getsockname()[1])

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        """What the supervisor and its workers say."""
        return self.folder / "log" / "arriero.log"

    def write(self, config: Mapping[str, Any]) -> None:
        """Write the file of the configuration."""
        (self.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML

    def start(self) -> None:
        """Start a supervisor. It writes to the log, behind what is there."""
        self.generation += 1
        command = [sys.executable, "-S", "-c", _AS_SYSTEMD, str(self.socket.fileno()), "serve"]
        command += ["--config", str(self.folder / "config.yaml")]
        command += ["--socket-dir", str(self.folder / "s")]
        with self._open_log() as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[self.socket.fileno()],
                cwd=ROOT,
                env=os.environ
                | {
                    MARK: f"{self._mark}.{self.generation}.",
                    "TMPDIR": str(self.folder / "tmp"),
                    "XDG_STATE_HOME": str(self.folder / "state"),
                },
            )

    def _open_log(self) -> IO[bytes]:
        if not self.piped:
            return self.log.open("ab")
        with self.log.open("ab") as log:
            pipe = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
        self._pipes.append(pipe)
        assert pipe.stdin is not None
        return pipe.stdin

    async def keep_running(self) -> None:
        """Start another supervisor whenever one has ended, as ``Restart=always`` does."""
        while not self._ending:
            assert self.process is not None
            code = self.process.poll()
            if code is not None:
                self.exits.append(code)
                await trio.sleep(0.1)  # RestartSec
                self.start()
            await trio.sleep(0.02)

    async def up(self) -> None:
        """Return when all workers serve."""
        await eventually(
            lambda: b"supervisor.ready" in self.log.read_bytes(), "a supervisor that is ready"
        )
        await eventually(lambda: len(self.worker_pids()) == 2, "two workers")

    async def stop(self, within_s: float = 20.0) -> int | None:
        """SIGTERM; return the exit code, or None if it had to be killed."""
        self._ending = True
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
        process = self.process
        with suppress(NotSo):
            await eventually(lambda: process.poll() is not None, "its end", within_s=within_s)
            return process.returncode
        process.kill()
        process.wait()
        return None

    def close(self) -> None:
        """Kill whatever is left, and free the socket."""
        self._ending = True
        for pid in self.marked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pipe in self._pipes:
            pipe.wait(PATIENCE_S)
        self.socket.close()

    # --- looking ------------------------------------------------------------------------------

    def ask(self, cmd: str, *, within_s: float = 20.0, **more: Any) -> dict[str, Any]:
        """Put one question to the control socket. Blocks.

        Raises:
            NotSo: No answer.
        """
        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.linger = 0
            asking.connect(f"ipc://{self.folder}/s/control.sock")
            asking.send(json.dumps({"v": 1, "cmd": cmd, **more}).encode())
            with suppress(ZMQError):
                if asking.poll(int(within_s * 1000)):
                    return json.loads(asking.recv())  # type: ignore[no-any-return]
        raise NotSo(f"no answer to {cmd!r} for {within_s:.0f} s")

    def model(self, name: str) -> dict[str, Any]:
        """How a model stands. Blocks."""
        found = self.ask("status")["models"]
        return next(one for one in found if one["model"] == name)

    def waiting(self, name: str) -> int:
        """How many requests wait for a model. Blocks."""
        queue = self.ask("status")["queue"]
        return sum(one["waiting"] for one in queue if one["model"] == name)

    def worker_pids(self) -> list[int]:
        """Of the workers that serve. Blocks."""
        found = self.ask("workers")["workers"]
        return [one["pid"] for one in found if one["state"] == "serving"]

    def marked(self, *, generation: int | None = None) -> list[int]:
        """Processes that were started here, the supervisors included; of one generation or all."""
        wanted = f"{MARK}={self._mark}." + ("" if generation is None else f"{generation}.")
        found = []
        for process in psutil.process_iter():
            with suppress(OSError):
                environ = (Path("/proc") / str(process.pid) / "environ").read_bytes()
                if b"\0" + wanted.encode() in b"\0" + environ:  # a zombie has none
                    found.append(process.pid)
        return found

    def holders(self, pids: list[int]) -> dict[int, int]:
        """Port of a client -> which of these processes holds its connection. Blocks."""
        found = {}
        for pid in pids:
            with suppress(psutil.Error):
                for one in psutil.Process(pid).net_connections("tcp"):
                    if one.status != psutil.CONN_LISTEN and one.laddr.port == self.port:
                        found[one.raddr.port] = pid
        return found


def zombies(pid: int) -> int:
    """Children of a process that have ended and were not looked at."""
    count = 0
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children():
            with suppress(psutil.NoSuchProcess):
                count += child.status() == psutil.STATUS_ZOMBIE
    return count
