"""What is measured: processes, started with generated configurations, and ended whatever happens.

Ports are chosen by the system: bound to 0, read, and freed for the process that gets them.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from .. import interrupts
from ..against import OURS, Code
from ..errors import BenchError
from ..machine import find
from .nginx import Front, proxy_config

HERE = Path(__file__).parent

# What the command lines of those who do the work contain.
NGINX_MARKER = "nginx: worker"
ARRIERO_MARKER = "arriero.worker"

# Seconds from SIGTERM to SIGKILL.
TERM_GRACE_S = 10.0

# Seconds until a server listens.
START_S = 60.0

# Seconds between two looks whether it does.
_TRY_EVERY_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that can be measured. Without ports it is not started, only described.

    Attributes:
        name: As in the tables.
        small: Port that answers with one small reply.
        stream: Port that answers with a stream.
        http2: Port that answers with one small reply over HTTP/2; None: none does.
        kind: direct, nginx, llama-swap or arriero.
        workers: How many processes do the work.
        pid: The process whose workers do the work; None where that cost is nobody's.
        marker: What the command line of such a worker contains; empty: the process itself works.
        code: Which arriero it is.
    """

    name: str
    small: int = 0
    stream: int = 0
    http2: int | None = None
    kind: str = "direct"
    workers: int = 1
    pid: int | None = None
    marker: str = ""
    code: Code = OURS

    def cpu_s(self) -> float:
        """Seconds of CPU, user and system, that the workers have used so far."""
        if self.pid is None:
            return 0.0
        process = psutil.Process(self.pid)
        workers = workers_of(process, self.marker) if self.marker else [process]
        if not workers:
            raise BenchError(f"cannot find the workers of {self.name}: no child is {self.marker!r}")
        return cpu_s(workers)


def workers_of(process: psutil.Process, marker: str) -> list[psutil.Process]:
    """Return the children with `marker` in their command lines."""
    children = process.children(recursive=True)
    return [child for child in children if marker in " ".join(child.cmdline())]


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds of CPU, user and system, that `processes` have used so far."""
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)


def free_port() -> int:
    """Return a port that nobody has right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    port: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Generator["subprocess.Popen[bytes]", None, None]:
    """Run `command` from here to the end of the block, and leave none of its children behind.

    Args:
        command: What to run.
        log: File for what it writes.
        port: Wait until this port accepts connections.
        env: Added to the environment.

    Raises:
        BenchError: It ended, or did not listen in time.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        # A group of its own, but the session of all others: the kernel may share the processor by
        # session. The folder is not that of the sources, where Python would look for modules.
        with log.open("wb") as output, interrupts.held():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=log.parent,
                env=os.environ | (env or {}),
                process_group=0,
            )
        if port is not None:
            _wait_until_listening(process, port, log)
        yield process
    finally:
        if process is not None:
            _end(process)


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(_TRY_EVERY_S)
    tail = log.read_text(errors="replace")[-2000:]
    state = "still runs" if process.poll() is None else f"ended with {process.returncode}"
    raise BenchError(f"cannot reach port {port}: {process.args!r} {state}\n{tail}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(TERM_GRACE_S)
    for one in family:  # normally gone; psutil does not mistake a reused pid for the old process
        with suppress(psutil.NoSuchProcess):
            one.kill()
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def upstream_command(kind: str, port: int | str, prefix: Path) -> list[str]:
    """Return the command of a trivial upstream that may keep files in `prefix`."""
    program = str(HERE / "upstream.py")
    return [sys.executable, program, kind, "--port", str(port), "--prefix", str(prefix)]


@contextmanager
def direct(folder: Path) -> Generator[Target, None, None]:
    """Run both trivial upstreams: what there is when nothing is in between."""
    small, stream = free_port(), free_port()
    commands = {
        small: upstream_command("small", small, folder / "upstream"),
        stream: upstream_command("stream", stream, folder / "upstream"),
    }
    with (
        running(commands[small], folder / "small.log", port=small),
        running(commands[stream], folder / "stream.log", port=stream),
    ):
        yield Target(name="direct", small=small, stream=stream)


@contextmanager
def nginx(folder: Path, upstreams: Target, *, workers: int) -> Generator[Target, None, None]:
    """Run nginx before `upstreams`, in the foreground, with its own prefix."""
    prefix = folder / f"nginx{workers}"
    small, stream, http2 = free_port(), free_port(), free_port()
    fronts = (
        Front(port=small, behind=upstreams.small),
        Front(port=http2, behind=upstreams.small, http2=True),
        Front(port=stream, behind=upstreams.stream),
    )
    prefix.mkdir()
    config = proxy_config(prefix, fronts, workers=workers)
    with running_nginx(prefix, config, port=stream) as process:
        yield Target(
            name=f"nginx x{workers}",
            small=small,
            stream=stream,
            http2=http2,
            kind="nginx",
            workers=workers,
            pid=process.pid,
            marker=NGINX_MARKER,
        )


@contextmanager
def running_nginx(
    prefix: Path, config: str, *, port: int
) -> Generator["subprocess.Popen[bytes]", None, None]:
    """Run nginx with `config`, in the folder `prefix`."""
    file = prefix / "nginx.conf"
    file.write_text(config)
    command = [find("nginx") or "nginx", "-p", str(prefix), "-c", str(file)]
    with running(command, prefix / "log", port=port) as process:
        yield process


def model_commands(prefix: Path) -> dict[str, dict[str, str]]:
    """Return the trivial upstreams as models, as arriero and llama-swap are configured."""
    return {
        kind: {
            "cmd": " ".join(upstream_command(kind, "${PORT}", prefix)),
            "proxy": "http://127.0.0.1:${PORT}",
        }
        for kind in ("small", "stream")
    }


@contextmanager
def llama_swap(folder: Path) -> Generator[Target, None, None]:
    """Run llama-swap, which starts the trivial upstreams as its models."""
    folder = folder / "llama-swap"
    folder.mkdir()
    port = free_port()
    config = folder / "config.yaml"
    first = free_port()
    values = {"startPort": first, "models": model_commands(folder / "upstream")}
    config.write_text(json.dumps(values, indent=2))
    command = [find("llama-swap") or "llama-swap", "--config", str(config)]
    command += ["--listen", f"127.0.0.1:{port}"]
    with running(command, folder / "log", port=port) as process:
        yield Target(name="llama-swap", small=port, stream=port, kind="llama-swap", pid=process.pid)


@contextmanager
def arriero(folder: Path, *, workers: int, code: Code = OURS) -> Generator[Target, None, None]:
    """Run arriero, which starts the trivial upstreams as its models ``small`` and ``stream``."""
    name = f"{code.label} x{workers}"
    folder = folder / name.replace(" ", "-")
    models = model_commands(folder / "upstream")
    with serve(folder, models, workers=workers, code=code) as (process, port, _):
        yield Target(
            name=name,
            small=port,
            stream=port,
            http2=port,
            kind="arriero",
            workers=workers,
            pid=process.pid,
            marker=ARRIERO_MARKER,
            code=code,
        )


@contextmanager
def serve(
    folder: Path,
    models: Mapping[str, Mapping[str, object]],
    *,
    workers: int,
    code: Code = OURS,
    values: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
) -> Generator[tuple["subprocess.Popen[bytes]", int, Path], None, None]:
    """Run ``arriero serve``; gives the process, its HTTP port, and the folder of its sockets.

    Args:
        folder: New folder for its files.
        models: Name -> keys.
        workers: How many.
        code: Of which version.
        values: More keys of the configuration.
        env: More of the environment.
    """
    folder.mkdir()
    port = free_port()
    sockets = folder / "s"
    sockets.mkdir(mode=0o700)
    config = folder / "config.yaml"
    # JSON is YAML; nothing has to be quoted by hand.
    usual = {"listen": f"127.0.0.1:{port}", "progress": "reasoning", "models": models}
    config.write_text(json.dumps(usual | dict(values or {}), indent=2))
    command = [*code.command, "serve", "--config", str(config)]
    command += ["--workers", str(workers), "--socket-dir", str(sockets)]
    # Several run at a time; each has a state of its own.
    env = {**code.env, "XDG_STATE_HOME": str(folder / "state"), **(env or {})}
    with running(command, folder / "log", port=port, env=env) as process:
        yield process, port, sockets


def start(stack: ExitStack, folder: Path, targets: Sequence[Target]) -> list[Target]:
    """Start all of `targets`, and the upstreams; they are ended with `stack`."""
    upstreams = stack.enter_context(direct(folder))

    def started(target: Target) -> Target:
        match target.kind:
            case "direct":
                return upstreams
            case "nginx":
                return stack.enter_context(nginx(folder, upstreams, workers=target.workers))
            case "llama-swap":
                return stack.enter_context(llama_swap(folder))
            case _:
                return stack.enter_context(
                    arriero(folder, workers=target.workers, code=target.code)
                )

    return [started(target) for target in targets]
