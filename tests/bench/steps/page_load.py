"""Makes a machine busy, so that there is something to see on the page: loads, requests, swaps."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import zmq

from ..targets.load import ask
from ..targets.models import Proxy, scripted
from .control import ask_supervisor, connect

# Loads that are under way all the time, and tell of themselves four times a second each.
LOADING: Final = 16

# Requests that run all the time: streams of a second, one after the other.
STREAMS: Final = 8
BUSY: Final = ("busy0", "busy1")
_SCRIPT: Final = "chunks=20,delay=0.05"

# Models that are loaded and unloaded, one after the other, all the time.
SWAPPED: Final = tuple(f"swapped{number}" for number in range(4))


def busy_models(load_s: float) -> dict[str, dict[str, object]]:
    """Return the models of this load: name -> keys.

    Args:
        load_s: Seconds that one of those takes that load all the time.
    """
    models = {name: scripted(name, "--load-s", str(load_s)) for name in loading()}
    models |= {name: scripted(name) for name in BUSY}
    return models | {name: scripted(name, "--load-s", "0.5") for name in SWAPPED}


def loading() -> list[str]:
    """Return the names of those that load all the time."""
    return [f"slow{number:02}" for number in range(LOADING)]


def load_all(control: "zmq.Socket[bytes]") -> None:
    """Have those begin to load that load all the time; those that are loaded as well."""
    for name in loading():
        ask_supervisor(control, {"cmd": "unload", "model": name, "mode": "now"})
    for name in loading():
        ask_supervisor(control, {"cmd": "swap", "model": name, "wait": False})


@contextmanager
def requests_and_swaps(started: Proxy) -> Generator[None, None, None]:
    """Send requests, load and unload models until the block ends."""
    is_over = threading.Event()

    def send(model: str) -> None:
        body = {"model": model, "messages": [], "stream": True, "script": _SCRIPT}
        while not is_over.is_set():
            ask(started.port, json.dumps(body))

    def swap() -> None:
        with zmq.Context() as context, context.socket(zmq.REQ) as control:
            connect(control, started)
            while True:
                for name in SWAPPED:
                    if is_over.is_set():
                        return
                    ask_supervisor(control, {"cmd": "swap", "model": name})
                    ask_supervisor(control, {"cmd": "unload", "model": name})

    threads = [
        threading.Thread(target=send, args=(BUSY[number % len(BUSY)],)) for number in range(STREAMS)
    ]
    threads.append(threading.Thread(target=swap))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
