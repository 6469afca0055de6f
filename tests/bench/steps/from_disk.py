"""Starts and swaps of a model whose weights have to come from the disk, and of one that is kept.

A model of 1.1 GB with random weights, so that the disk counts: it is dropped from the page cache
(POSIX_FADV_DONTNEED) before each cold start. All is measured beside the same server that is started
by hand, in turns.
"""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from statistics import median

import zmq

from tests.real.locked import locked
from tests.real.parts import default_cache, ensure_llama_server, ensure_models
from tests.real.tiny_gguf import write_tiny_gguf

from ..errors import BenchError
from ..machine import REAL_MODELS
from ..plan import Plan, Step
from ..targets.load import SILENCE_S, receive, request
from ..targets.models import Proxy, model, proxy
from ..targets.servers import Target, free_port, running
from .starting import COMPLETIONS, first_token

# Tokens that the other model has to write before it can go: a second or two.
_TOKENS = 100

_SMALL, _LARGE = "small", "large"


def large_model() -> Path:
    """Return a model of 1.1 GB; makes it first, in half a minute, if it is not in the cache."""
    path = default_cache() / "models" / "random-large.gguf"
    with locked(default_cache()):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_tiny_gguf(path.with_suffix(".new"), size="large")
            path.with_suffix(".new").replace(path)
    return path


def drop(path: Path) -> None:
    """Let the kernel forget a file, as far as nobody has locked it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


class Disk:
    """The two models, and what starts of them take."""

    def __init__(self, folder: Path) -> None:
        self.file = large_model()
        self._folder = folder
        self._numbers = 0
        program = ensure_llama_server()
        files = {_SMALL: ensure_models()["smollm2-135m"], _LARGE: self.file}
        self.commands = {
            name: f"{program} -m {file} --host 127.0.0.1 --port ${{PORT}} -c 1024 -t 1 "
            "--parallel 1 --no-webui"
            for name, file in files.items()
        }

    def prepare(self, *, cold: bool) -> None:
        """Put the file where it is to be.

        A cold one is read before it is dropped: what is below this machine's disk has a cache as
        well, and what that holds depends on who came before.
        """
        if cold:
            drop(self.file)
        buffer = bytearray(1024 * 1024)
        with self.file.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        if cold:
            drop(self.file)

    @contextmanager
    def by_hand(self, name: str) -> Generator[tuple["subprocess.Popen[bytes]", int], None, None]:
        """Start a server; gives it and its port."""
        port = free_port()
        self._numbers += 1
        words = self.commands[name].replace("${PORT}", str(port)).split()
        with running(words, self._folder / f"{name}-{self._numbers}.log") as process:
            yield process, port

    def start_by_hand(self, *, cold: bool) -> float:
        """Seconds from the start of the server to its first token."""
        self.prepare(cold=cold)
        began = time.monotonic()
        with self.by_hand(_LARGE) as (_, port):
            first_token(port, _LARGE)
            return time.monotonic() - began

    def swap_by_hand(self, *, cold: bool) -> float:
        """Seconds from the wish to the first token: the other one finishes and ends before."""
        with self.by_hand(_SMALL) as (process, port):
            first_token(port, _SMALL)
            self.prepare(cold=cold)
            with busy(port):
                began = time.monotonic()
            process.terminate()
            process.wait()
            with self.by_hand(_LARGE) as (_, port):
                first_token(port, _LARGE)
                return time.monotonic() - began

    def start(self, proxied: Proxy, *, cold: bool) -> float:
        """Seconds from a request to its first token, when nothing has to stop."""
        tell(proxied, cmd="unload")
        self.prepare(cold=cold)
        began = time.monotonic()
        first_token(proxied.port, _LARGE)
        return time.monotonic() - began

    def swap(self, proxied: Proxy, *, cold: bool) -> float:
        """Seconds from a request to its first token, while the other model has one to finish."""
        first_token(proxied.port, _SMALL)
        self.prepare(cold=cold)
        with busy(proxied.port):
            began = time.monotonic()
            first_token(proxied.port, _LARGE)
            return time.monotonic() - began


@contextmanager
def busy(port: int) -> Generator[None, None, None]:
    """Have the small model write; it has begun on entering, and ended on leaving."""
    body = {"model": _SMALL, "prompt": "Once", "max_tokens": _TOKENS, "ignore_eos": True}
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as sock:
        sock.sendall(request(port, json.dumps(body | {"stream": True}), COMPLETIONS))
        if not sock.recv(1, socket.MSG_PEEK):
            raise BenchError("cannot keep the small model busy")
        reader = threading.Thread(target=receive, args=(sock,))
        reader.start()
        try:
            yield
        finally:
            reader.join()


def tell(proxied: Proxy, **question: object) -> dict[str, object]:
    """Ask on the control socket; return the answer."""
    with zmq.Context() as context, context.socket(zmq.REQ) as control:
        control.linger = 0
        control.connect(f"ipc://{proxied.sockets / 'control.sock'}")
        control.send(json.dumps({"v": 1, **question}).encode())
        if not control.poll(int(SILENCE_S * 1000)):
            raise BenchError(f"cannot get an answer to {question}")
        answer: dict[str, object] = json.loads(control.recv())
        return answer


def from_disk(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Starts and swaps beside those by hand."""
    disk = Disk(folder)
    models = {name: model(command) for name, command in disk.commands.items()}
    rows: dict[str, tuple[list[float], list[float]]] = {}
    with proxy(target, folder / "proxy", models) as proxied:

        def measure(row: str, *, cold: bool, ours: bool) -> float:
            if not ours:
                by_hand = disk.start_by_hand if row == "start" else disk.swap_by_hand
                return by_hand(cold=cold)
            took_s = (disk.start if row == "start" else disk.swap)(proxied, cold=cold)
            tell(proxied, cmd="unload")
            return took_s

        for number in range(plan.disk_pairs):
            for state, row in product(("cold", "warm"), ("start", "drain")):
                found = rows.setdefault(f"{row}-{state}", ([], []))
                for side in ((0, 1), (1, 0))[number % 2]:  # whoever is second profits by caches
                    took_s = measure(row, cold=state == "cold", ours=side == 0)
                    found[side].append(took_s)
    kept = []
    with proxy(target, folder / "keeping", models, more={"keepInRam": "2GiB"}) as proxied:
        for _ in range(plan.disk_pairs):
            tell(proxied, cmd="unload")
            _wait_until_kept(proxied)
            kept.append(disk.start(proxied, cold=True))
    shares = {row: median(ours) / median(by_hand) for row, (ours, by_hand) in rows.items()}
    return {**shares, "kept-start": median(kept) / median(rows["start-cold"][0])}


def _wait_until_kept(proxied: Proxy) -> None:
    deadline = time.monotonic() + SILENCE_S
    while time.monotonic() < deadline:
        status = tell(proxied, cmd="status")["kept"]
        assert isinstance(status, dict)
        if any(one["model"] == _LARGE and one["held"] == one["size"] for one in status["models"]):
            return
        time.sleep(0.05)
    raise BenchError(f"cannot have {_LARGE} kept in memory within {SILENCE_S:.0f} s")


STEPS = (
    Step(
        name="starts from disk",
        rows=("start-cold", "start-warm", "drain-cold", "drain-warm", "kept-start"),
        measure=from_disk,
        kinds=("arriero",),
        needs=(REAL_MODELS,),
        sampled=True,
        own=True,
        most=True,
    ),
)
