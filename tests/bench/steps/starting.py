"""How soon: from the start to the first answer, from a request to its process, from ready to bytes.

Each measurement starts a proxy of its own, when no other runs.
"""

import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.paths import SCRIPTED_UPSTREAM
from tests.real.parts import ensure_llama_server, ensure_models

from ..errors import BenchError
from ..machine import REAL_MODELS
from ..plan import Plan, Step
from ..targets import servers
from ..targets.load import SILENCE_S, ask, receive, request
from ..targets.models import model, proxy, read_stamps, scripted
from ..targets.servers import Target, free_port, running
from . import readiness

# Seconds between two tries to reach a server that starts.
_TRY_EVERY_S = 0.002

_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

COMPLETIONS = "/v1/completions"


def first_answer(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """From the start of the program to its first answer, that of ``/health``."""
    times = []
    for number in range(plan.starts):
        began = time.monotonic()
        with _started(target, folder / str(number)) as port:
            _reach(port)
            times.append(time.monotonic() - began)
    return {"start": median(times)}


@contextmanager
def _started(target: Target, folder: Path) -> Generator[int, None, None]:
    """Start what `target` is; gives the port as soon as that is known."""
    if target.kind == "nginx":
        folder.mkdir()
        nobody = Target(name="nobody", small=free_port(), stream=free_port())
        with servers.nginx(folder, nobody, workers=target.workers) as nginx:
            yield nginx.small
    else:
        with proxy(target, folder, {"a": scripted("a")}) as started:
            yield started.port


def _reach(port: int) -> None:
    """Ask for ``/health`` until there is any answer."""
    deadline = time.monotonic() + servers.START_S
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as sock:
                sock.sendall(_HEALTH)
                if sock.recv(4096).startswith(b"HTTP/1.1 "):
                    return
        except OSError:
            time.sleep(_TRY_EVERY_S)
    raise BenchError(f"cannot get an answer on port {port}")


def model_start(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Models for which nobody has to stop, each asked for once, on a connection that is there.

    A model is a shell script: its first line tells that it runs, about 1 ms after it was started.
    Then it is the scripted upstream, loads for a random 0.2 to 1.2 s and notes when it is ready.
    """
    fifo = folder / "runs"
    os.mkfifo(fifo)
    script = folder / "model.sh"
    script.write_text(
        f"""echo runs >{fifo}
exec {sys.executable} {SCRIPTED_UPSTREAM} --port $2 --name $1 --load-s $3 --stamp {folder}/$1
"""
    )
    loads = random.Random(7)  # the same loads in every run
    names = [f"model{number:02d}" for number in range(plan.model_starts + 1)]
    models = {
        name: model(f"/bin/sh {script} {name} ${{PORT}} {loads.uniform(0.2, 1.2):.3f}")
        for name in names
    }
    runs = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        with proxy(target, folder / "proxy", models, together=True) as started:
            times = [_start_model(started.port, name, runs, folder / name) for name in names]
    finally:
        os.close(runs)
    # The first is not counted: much happens for the first time.
    return {
        "spawn": median(spawn for spawn, _ in times[1:]),
        "ready-byte": median(answer for _, answer in times[1:]),
    }


def _start_model(port: int, name: str, runs: int, stamps: Path) -> tuple[float, float]:
    """Return the milliseconds from request to process, and from ready to the whole answer."""
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello?"}]})
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as sock:
        time.sleep(0.02)  # it has been accepted
        asked = time.time_ns()
        sock.sendall(request(port, body))
        ready, _, _ = select.select([runs], [], [], SILENCE_S)
        at = time.time_ns()
        if not ready:
            raise BenchError(f"cannot start {name}: its process did not run")
        os.read(runs, 100)
        answer = receive(sock)
        answered = time.time_ns()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"cannot start {name}: {answer[:300]!r}")
    return (at - asked) / 1e6, (answered - read_stamps(stamps)["ready"]) / 1e6


def noticed(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """How late arriero notices that a model is ready: `readiness` says how."""
    return {"noticed": median(readiness.measure(folder, swaps=plan.swaps, code=target.code))}


def real_swap(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Two real models take turns; each swap by the start of the same server with nothing before.

    In turns with these: both are of the same minute, whatever else the machine does.
    """
    program, files = ensure_llama_server(), ensure_models()
    commands = {
        name: f"{program} -m {file} --host 127.0.0.1 --port ${{PORT}} -c 2048 --no-webui"
        for name, file in files.items()
    }
    bare: dict[str, list[float]] = {name: [] for name in commands}
    swaps: dict[str, list[float]] = {name: [] for name in commands}
    models = {name: model(command) for name, command in commands.items()}
    with proxy(target, folder / "proxy", models) as started:
        first_token(started.port, list(commands)[-1])
        for number in range(plan.real_swaps):
            for name, command in commands.items():
                port = free_port()
                words = command.replace("${PORT}", str(port)).split()
                began = time.monotonic()
                with running(words, folder / f"{name}-{number}.log"):
                    first_token(port, name)
                    bare[name].append(time.monotonic() - began)
                began = time.monotonic()
                first_token(started.port, name)
                swaps[name].append(time.monotonic() - began)
    return {"swap": sum(map(median, swaps.values())) / sum(map(median, bare.values()))}


def first_token(port: int, name: str) -> None:
    """Ask for one token until there is one."""
    body = json.dumps({"model": name, "prompt": "Once", "max_tokens": 1})
    deadline = time.monotonic() + SILENCE_S
    while time.monotonic() < deadline:
        try:
            if ask(port, body, COMPLETIONS).startswith(b"HTTP/1.1 200"):
                return
        except OSError:
            pass
        time.sleep(0.005)
    raise BenchError(f"cannot get a token of {name} within {SILENCE_S:.0f} s")


STEPS = (
    Step(
        name="start",
        rows=("start",),
        measure=first_answer,
        kinds=("nginx", "llama-swap", "arriero"),
        sampled=True,
        own=True,
    ),
    Step(
        name="start of models",
        rows=("spawn", "ready-byte"),
        measure=model_start,
        kinds=("llama-swap", "arriero"),
        sampled=True,
        own=True,
    ),
    Step(
        name="readiness",
        rows=("noticed",),
        measure=noticed,
        kinds=("arriero",),
        sampled=True,
        own=True,
        most=True,
    ),
    Step(
        name="real swaps",
        rows=("swap",),
        measure=real_swap,
        kinds=("llama-swap", "arriero"),
        needs=(REAL_MODELS,),
        sampled=True,
        own=True,
        most=True,
    ),
)
