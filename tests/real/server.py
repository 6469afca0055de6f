"""``arriero serve`` as a child: started, watched, stopped in order, searched for leftovers."""

import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import psutil

# In the environment of the server, and so of all that it starts: who carries it is ours.
_TOKEN = "ARRIERO_DEMO"

# Seconds from SIGTERM to SIGKILL; arriero gives running requests and llama-servers their time.
_STOP_LIMIT_S = 30.0

# Seconds after the end of the server within which everything it started has to be gone. It is
# promised to be one.
_LEFTOVER_LIMIT_S = 3.0

_PR_SET_PDEATHSIG = 1


class DemoError(Exception):
    """The demo did not go well; the message says what."""


class Server:
    """The running server.

    Attributes:
        pid: Its process id.
        token: In the environment of all that it starts.
        descendants: What it had started when it was last looked at.
        left: What ran on after its end and had to be killed; known when `running` is left.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", token: str) -> None:
        self._process = process
        self.pid = process.pid
        self.token = token
        self.descendants: list[psutil.Process] = []
        self.left: list[str] = []

    def exit_status(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Return its exit status when it has ended; somebody may play with it for an hour."""
        return self._process.wait()

    def family(self) -> list[str]:
        """Return the names of the processes that it has started, and remember them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.descendants = psutil.Process(self.pid).children(recursive=True)
        return [_name(process) for process in self.descendants]

    def stop(self) -> None:
        """Stop it in good order, the hard way if that takes too long or Ctrl-C is pressed again."""
        self.family()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def running(command: Sequence[str], log: Path) -> Generator[Server, None, None]:
    """Run `command` while the block runs, and nothing of it afterwards; it writes to `log`.

    It gets a process group of its own, so that Ctrl-C reaches only us and the order of the end is
    ours to choose.

    Raises:
        DemoError: It cannot be started.
    """
    token = secrets.token_hex(8)
    with log.open("wb") as file:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, _TOKEN: token},
                process_group=0,
                preexec_fn=_end_with_parent,
            )
        except OSError as exc:
            raise DemoError(f"cannot start {command[0]}: {exc.strerror}") from exc
    server = Server(process, token)
    try:
        yield server
    finally:
        server.stop()
        server.left = _kill_leftovers(server)


def _kill_leftovers(server: Server) -> list[str]:
    """Wait for what the ended `server` had started; kill what does not go, and return its names."""
    deadline = time.monotonic() + _LEFTOVER_LIMIT_S
    while (left := _still_running(server)) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [f"{_name(process)} ({process.pid})" for process in left]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return names


def _still_running(server: Server) -> list[psutil.Process]:
    found = {process.pid: process for process in server.descendants}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_TOKEN) == server.token:
                found[process.pid] = process
    return [process for process in found.values() if _runs(process)]


def _end_with_parent() -> None:
    """Ask the kernel to send SIGTERM if the demo is killed. Runs in the child, before exec."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "gone"


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
