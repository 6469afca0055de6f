"""What is going on when the fault comes: the configuration, the clients, and how to get there."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

from .clients import Client, chat, real_chat, upload
from .endings import Ending, judge
from .matrix import CLIENTS, LATE_CLIENTS, Cell, Fault, Situation, Target
from .rig import NotSo, Rig, eventually, first_port, scripted

# Seconds. A load and a stop that take long enough for something to happen to them.
LOAD_S = 3.0
STUBBORN_S = 4.0

# A stream flows for some seconds, and then waits at the gate, as all that is answered at the time
# of the fault does: nothing is over before it, however slow the machine.
_WORDS = 40
_WORD_S = 0.1
_TOKENS = 60  # of a real answer, which no gate holds: seconds

# Seconds for which a fault has gone on, or is over, when the gate is opened.
GATE_AFTER_S = 1.0

_MODES = ("reasoning", "off", "heartbeat")
_UPLOAD_BYTES = 3 * 1024**2  # beyond what of a form is kept in memory


def configuration(cell: Cell, folder: Path) -> dict[str, Any]:
    """Return what arriero is configured with: two models that take turns."""
    if cell.target is Target.LLAMA_SERVER:
        return {"workers": 2, "startPort": first_port(), "models": {"a": {"cmd": _llama(folder)}}}
    stubborn = cell.situation is Situation.STOPPING
    load_s = LOAD_S if cell.situation is Situation.LOADING else 0.2
    return {
        "workers": 2,
        "startPort": first_port(),
        "progress": "reasoning",
        "progressDelay": "0s",
        "unloadTimeout": STUBBORN_S if stubborn else 10,
        # A server may hang while it loads, without memory for a thread: no client waits as long as
        # the usual two minutes here.
        "healthCheckTimeout": 30,
        "models": {
            "a": {"cmd": scripted("a", *(["--ignore-term"] if stubborn else []))},
            "b": {"cmd": scripted("b", "--load-s", str(load_s))},
        },
    }


def _llama(folder: Path) -> str:
    """Return the command of a real server with a random model, which is not too fast."""
    folder.mkdir(parents=True)
    model = folder / "small.gguf"
    write_tiny_gguf(model, size="small")
    return (
        f"{ensure_llama_server()} --host 127.0.0.1 --port ${{PORT}} -m {model} -t 1 --no-webui "
        f"--parallel {CLIENTS} -c {CLIENTS * 512}"
    )


def clients_of(cell: Cell, gate: Path) -> tuple[list[Client], list[Client]]:
    """Return those whom the model `a` answers, and those that want `b`; the late ones last.

    Args:
        cell: Which one.
        gate: A file; the answers of the early ones end only when there is one.
    """
    early = CLIENTS - LATE_CLIENTS
    if cell.target is Target.LLAMA_SERVER:
        real = partial(real_chat, stream=cell.situation is Situation.STREAM)
        talks = [real(tokens=_TOKENS) for _ in range(early)]
        return talks + [real(tokens=5, late=True) for _ in range(LATE_CLIENTS)], []
    streams = partial(chat, "a", chunks=_WORDS, delay_s=_WORD_S, gate=gate)
    uploads = cell.fault is Fault.DISK_TMP

    def mixed(count: int, *, late: bool = False) -> list[Client]:
        if uploads:
            return [upload("b", size=_UPLOAD_BYTES, late=late) for _ in range(count)]
        plain = [chat("b", stream=False, late=late) for _ in range(count // 2)]
        rest = range(count - len(plain))
        return plain + [chat("b", mode=_MODES[n % len(_MODES)], late=late) for n in rest]

    def late(*, stream: bool) -> list[Client]:
        if uploads:
            return [upload("a", size=_UPLOAD_BYTES, late=True) for _ in range(LATE_CLIENTS)]
        return [chat("a", stream=stream, late=True) for _ in range(LATE_CLIENTS)]

    match cell.situation:
        case Situation.QUEUED | Situation.DRAINING:
            answered = [streams() for _ in range(early // 2)]
            return answered, mixed(early - early // 2) + mixed(LATE_CLIENTS, late=True)
        case Situation.STOPPING | Situation.LOADING:
            return [], mixed(early) + mixed(LATE_CLIENTS, late=True)
        case Situation.PLAIN:
            long = partial(chat, "a", stream=False)
            silent = [long(hold=gate) for _ in range(early // 2)]
            begun = [long(gate=gate) for _ in range(early - early // 2)]
            return silent + begun + late(stream=False), []
        case Situation.STREAM:
            return [streams() for _ in range(early)] + late(stream=True), []


async def bring_about(
    cell: Cell,
    rig: Rig,
    come: Callable[[list[Client]], None],
    answered: list[Client],
    waiting: list[Client],
    nursery: trio.Nursery,
) -> None:
    """Return when the situation of `cell` is there.

    Args:
        cell: Which one.
        rig: A running arriero.
        come: Starts clients.
        answered: Those of `a`; the late ones are left out here.
        waiting: Those of `b`; likewise.
        nursery: For what goes on afterwards.

    Raises:
        NotSo: It does not come about.
    """
    answered = [client for client in answered if not client.late]
    waiting = [client for client in waiting if not client.late]
    if cell.situation is not Situation.LOADING:
        await _warm_up(rig.port, real=cell.target is Target.LLAMA_SERVER)
    come(answered)
    if answered:
        await eventually(lambda: all(map(_seen, answered)), "answers as far as they begin")
        await eventually(
            lambda: rig.model("a")["in_flight"] == len(answered), "requests that are answered"
        )
    come(waiting)
    if waiting:
        await eventually(lambda: rig.waiting("b") == len(waiting), "requests that wait")
    wanted = {
        Situation.DRAINING: ("a", "draining"),
        Situation.STOPPING: ("a", "stopping"),
        Situation.LOADING: ("b", "starting"),
    }
    if cell.situation is Situation.DRAINING:
        nursery.start_soon(_drain, rig)
    if cell.situation in wanted:
        model, state = wanted[cell.situation]
        await eventually(lambda: rig.model(model)["state"] == state, f"{model} is {state}")


def _seen(client: Client) -> bool:
    """As much of the answer has come as comes before its end: of an object, nothing may."""
    return client.text_began() or not client.streams


async def _warm_up(port: int, *, real: bool) -> None:
    client = real_chat(tokens=5, stream=False) if real else chat("a", stream=False)
    await client.run(port)
    assert client.answer is not None
    if judge(client.answer, client.wanted) is not Ending.WHOLE:
        raise NotSo(f"no good answer of a: {client.answer}")


async def _drain(rig: Rig) -> None:
    """Ask that `a` goes when it has finished; the answer comes when it has, or never."""

    def ask() -> None:
        try:
            rig.ask("unload", model="a", mode="drain", within_s=60)
        except NotSo:
            return

    await trio.to_thread.run_sync(ask, abandon_on_cancel=True)
