"""What the supervisor costs beside requests: its control socket, its events, many idle models.

Each measurement starts an arriero of its own, when no other runs.
"""

import json
import resource
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import zmq

from ..errors import BenchError
from ..plan import Plan, Step
from ..targets.load import SILENCE_S, ask
from ..targets.models import Proxy, model, proxy, scripted
from ..targets.servers import ARRIERO_MARKER, Target, cpu_s, upstream_command, workers_of

SUBSCRIBERS = 50

# Seconds between two requests whose ends are events.
_EVENT_EVERY_S = 0.01

# Seconds until all models run.
_ALL_UP_S = 120.0


def round_trips(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """``ping`` on the control socket, one after the other."""
    with (
        proxy(target, folder / "proxy", {"a": scripted("a")}) as started,
        zmq.Context() as context,
        context.socket(zmq.REQ) as control,
    ):
        connect(control, started)
        times = []
        for _ in range(plan.control_trips):
            began = time.perf_counter()
            ask_supervisor(control, {"cmd": "ping"})
            times.append(time.perf_counter() - began)
    return {"control": median(times) * 1e6}


def connect(control: "zmq.Socket[bytes]", started: Proxy) -> None:
    """Connect a socket to the control socket of a proxy."""
    control.linger = 0
    control.rcvtimeo = int(1000 * SILENCE_S)
    control.connect(f"ipc://{started.sockets / 'control.sock'}")


def ask_supervisor(control: "zmq.Socket[bytes]", question: dict[str, object]) -> None:
    """Ask on the control socket; the answer says that it was done.

    Raises:
        BenchError: It does not.
    """
    control.send(json.dumps({"v": 1} | question).encode())
    try:
        answer = json.loads(control.recv())
    except zmq.Again:
        raise BenchError(f"cannot control arriero: no answer to {question}") from None
    if not answer["ok"]:
        raise BenchError(f"cannot control arriero: {answer['error']['message']}")


def fan_out(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """100 requests a second, whose ends 50 subscribers hear of.

    The time is from the publication of an event to its arrival at the last subscriber, which also
    has to be read there: by one thread, as fast as Python goes. CPU is that of the supervisor.
    """
    models = {"small": model(" ".join(upstream_command("small", "${PORT}", folder / "up")))}
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "Hello?"}]})
    with (
        proxy(target, folder / "proxy", models) as started,
        zmq.Context() as context,
        ExitStack() as stack,
    ):
        ask(started.port, body)
        poller = zmq.Poller()
        for _ in range(SUBSCRIBERS):
            events = stack.enter_context(context.socket(zmq.SUB))
            events.linger = 0
            events.rcvhwm = 0
            events.subscribe(b"usage/")
            events.connect(f"ipc://{started.sockets / 'events.sock'}")
            poller.register(events, zmq.POLLIN)
        time.sleep(0.5)  # subscriptions have no answer
        before = cpu_s([started.process])

        def make_events() -> None:
            for _ in range(plan.events):
                ask(started.port, body)
                time.sleep(_EVENT_EVERY_S)

        maker = threading.Thread(target=make_events, daemon=True)
        maker.start()
        late = _read(poller, plan.events)
        maker.join(SILENCE_S)
        used = cpu_s([started.process]) - before
    return {
        "fan-out": median(late) * 1e3,
        "cpu-fan-out": used / plan.events * 1e6,
    }


def _read(poller: zmq.Poller, count: int) -> list[float]:
    """Read `count` events at all subscribers: for each, seconds until the last had it."""
    missing: dict[int, int] = {}
    late: list[float] = []
    while len(late) < count:
        ready = poller.poll(int(1000 * SILENCE_S))
        if not ready:
            raise BenchError(f"cannot follow events: {count - len(late)} did not arrive everywhere")
        for subscriber, _ in ready:
            body = subscriber.recv_multipart()[1]
            at = time.time()
            event = json.loads(body)
            left = missing.get(event["seq"], SUBSCRIBERS) - 1
            missing[event["seq"]] = left
            if left == 0:
                late.append(at - event["t"])
    return late


def idle_models(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Many models run, nobody asks for anything: CPU of supervisor and workers, in ms a second."""
    names = [f"model{number:03d}" for number in range(plan.idle_models)]
    commands = upstream_command("stream", "${PORT}", folder / "up")
    models = {name: model(" ".join(commands)) for name in names}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with proxy(target, folder / "proxy", models, together=True) as started:
            deadline = time.monotonic() + _ALL_UP_S
            for name in names:
                _start(started, name, deadline)
            time.sleep(2.0)
            ours = [started.process, *workers_of(started.process, ARRIERO_MARKER)]
            before, began = cpu_s(ours), time.monotonic()
            time.sleep(plan.idle_s)
            return {"idle": 1e3 * (cpu_s(ours) - before) / (time.monotonic() - began)}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _start(started: Proxy, name: str, deadline: float) -> None:
    body = json.dumps({"model": name, "messages": []})
    while time.monotonic() < deadline:
        if ask(started.port, body).startswith(b"HTTP/1.1 200"):
            return
    raise BenchError(f"cannot start so many models within {_ALL_UP_S:.0f} s")


STEPS = tuple(
    Step(
        name=name,
        rows=rows,
        measure=measure,
        kinds=("arriero",),
        sampled=True,
        own=True,
        most=True,
    )
    for name, rows, measure in (
        ("control socket", ("control",), round_trips),
        ("events", ("fan-out", "cpu-fan-out"), fan_out),
        ("idle models", ("idle",), idle_models),
    )
)
