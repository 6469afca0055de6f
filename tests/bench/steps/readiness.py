"""How late arriero notices that a model is ready.

A scripted upstream without any report of its progress loads for a random 0.2 to 1.2 s and notes
the moment from which it answers 200. The lateness is the time from there to the arrival of the
event ``state`` ``ready`` at a subscriber: noticing, publishing and receiving. Each of the models is
asked for once, over the control socket, and takes the place of the one before it.
"""

import json
import random
import time
from pathlib import Path

import zmq

from ..against import OURS, Code
from ..errors import BenchError
from ..targets.models import read_stamps, scripted
from ..targets.servers import serve

# Seconds for one swap, which loads for 1.2 s at the most and may have to wait for its turn.
SWAP_S = 60.0

# Seconds that the event of a swap may come after the answer: they take two sockets.
EVENT_S = 1.0


def measure(folder: Path, *, swaps: int, code: Code = OURS) -> list[float]:
    """Return the lateness of `swaps` swaps in milliseconds.

    Raises:
        BenchError: A swap was refused, failed or took longer than `SWAP_S`.
    """
    loads = random.Random(7)  # the same loads in every run
    names = [f"model{number:02d}" for number in range(swaps + 1)]
    models = {
        name: scripted(name, "--load-s", f"{loads.uniform(0.2, 1.2):.3f}", stamps=folder / name)
        for name in names
    }
    with (
        serve(folder / "arriero", models, workers=1, code=code) as (_, _, sockets),
        zmq.Context() as context,
        context.socket(zmq.SUB) as events,
        context.socket(zmq.REQ) as control,
    ):
        events.linger = control.linger = 0
        events.subscribe(b"state/")
        events.connect(f"ipc://{sockets / 'events.sock'}")
        control.connect(f"ipc://{sockets / 'control.sock'}")
        # The first is not counted: it may be over before the subscription has arrived.
        arrivals = {name: _swap(name, events, control) for name in names}
        return [_lateness_ms(folder / name, name, arrivals[name]) for name in names[1:]]


def _swap(name: str, events: "zmq.Socket[bytes]", control: "zmq.Socket[bytes]") -> int | None:
    """Have `name` made ready; the time at which its event came, if it did."""
    control.send(json.dumps({"v": 1, "cmd": "swap", "model": name}).encode())
    poller = zmq.Poller()
    poller.register(events, zmq.POLLIN)
    poller.register(control, zmq.POLLIN)
    arrived: int | None = None
    answered = False
    deadline = time.monotonic() + SWAP_S
    while time.monotonic() < deadline and not (answered and arrived):
        ready = dict(poller.poll(100))
        if events in ready:
            at = time.time_ns()
            event = json.loads(events.recv_multipart()[1])
            if (event["model"], event["state"]) == (name, "ready"):
                arrived = at
        elif control in ready:
            answer = json.loads(control.recv())
            if not answer["ok"]:
                raise BenchError(f"cannot swap to {name}: {answer['error']['message']}")
            answered = True
            deadline = time.monotonic() + EVENT_S
    if not answered:
        raise BenchError(f"cannot swap to {name} within {SWAP_S:.0f} s")
    return arrived


def _lateness_ms(stamps: Path, name: str, arrived: int | None) -> float:
    events = read_stamps(stamps)
    if arrived is None:
        raise BenchError(f"cannot tell when {name} was ready: there was no event")
    return (arrived - events["ready"]) / 1e6
