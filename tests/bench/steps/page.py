"""What the page for people costs a browser, by a page that only shows the same events as text.

Chromium without a screen opens both in turns, on one arriero with many models of which some load
all the time. How much of a processor that takes depends on the machine and the browser; the ratio
says what rows, bars and words come to beyond the reading of events.
"""

import json
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final, Literal, TypeAlias

import psutil
import zmq

from tests.ui.browser import Chromium, OpenedPage

from ..errors import BenchError
from ..plan import Plan, Step
from ..targets.models import Proxy, proxy, scripted
from ..targets.servers import Target, cpu_s
from .control import ask_supervisor, connect

# Loads that are under way all the time, and tell of themselves. Each takes so many times what a
# measurement does; that is known from the first one on, so that it can be told how far they are.
LOADING: Final = 12
LONGER: Final = 3.0

# Milliseconds of silence in which nothing is heard.
_SILENCE_MS: Final = 20_000

Kind: TypeAlias = Literal["page", "plain"]

# Shows what has come last, as far as it fits on a screen.
PLAIN: Final = """() => {
  document.body.textContent = "";
  const pre = document.body.appendChild(document.createElement("pre"));
  const source = new EventSource("/api/live");
  source.onmessage = (event) => { pre.textContent = event.data.slice(0, 9000); };
}"""

# Notes when a model is seen to be ready: in the frame after that is in the document.
WATCH: Final = """(model) => {
  window.seen = 0;
  const words = `"model":"${model}","state":"ready"`;
  const isReady = () => {
    const row = document.querySelector(`[data-model="${model}"]`);
    if (row) return row.dataset.state === "ready";
    return document.querySelector("pre")?.textContent.includes(words);
  };
  const observer = new MutationObserver(() => {
    if (!isReady()) return;
    observer.disconnect();
    requestAnimationFrame(() => { window.seen = Date.now() / 1000; });
  });
  observer.observe(document.body, {subtree: true, childList: true, attributes: true});
}"""

PAINT: Final = "() => performance.getEntriesByType('paint')[0]?.startTime ?? 0"


def measure(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Open both pages in turns; each figure is a median of the rounds."""
    names = [f"m{number:03}" for number in range(plan.page_models)]
    loading = [f"slow{number}" for number in range(LOADING)]
    models = {name: scripted(name) for name in names} | {
        name: scripted(name, "--load-s", str(LONGER * plan.page_s)) for name in loading
    }
    found: dict[str, dict[Kind, list[float]]] = {
        row: {"page": [], "plain": []} for row in ("events", "cpu", "late", "paint")
    }
    with (
        proxy(target, folder / "proxy", models, together=True) as started,
        zmq.Context() as context,
        context.socket(zmq.REQ) as control,
        context.socket(zmq.SUB) as events,
        Chromium() as browser,
    ):
        connect(control, started)
        events.linger = 0
        events.connect(f"ipc://{started.sockets / 'events.sock'}")
        events.subscribe(b"progress/")
        events.subscribe(b"state/")
        _load_all(control, loading)
        for name in loading:
            ask_supervisor(control, {"cmd": "swap", "model": name})
        kinds: tuple[Kind, Kind] = ("page", "plain")
        for number in range(2 * plan.page_rounds):
            kind = kinds[(number + number // 2) % 2]  # A B, B A
            with _opened(browser, started, kind, len(models)) as page:
                found["paint"][kind].append(float(page.run(PAINT)))
                _load_all(control, loading)
                _wait_for_progress(events, loading)
                share, rate = _share(page, events, plan.page_s)
                found["cpu"][kind].append(share)
                found["events"][kind].append(rate)
                name = names[number]
                page.run(WATCH, name)
                ask_supervisor(control, {"cmd": "swap", "model": name, "wait": False})
                found["late"][kind].append(_lateness_s(page, events, name))
    return {
        "page-events": median(found["events"]["page"]),
        "page-cpu": 1e3 * median(found["cpu"]["page"]),
        "page-late": 1e3 * median(found["late"]["page"]),
        "page-paint": median(found["paint"]["page"]),
    } | {
        f"page-{row}-plain": median(found[row]["page"]) / median(found[row]["plain"])
        for row in ("cpu", "late", "paint")
    }


def _load_all(control: "zmq.Socket[bytes]", names: Sequence[str]) -> None:
    """Have models begin to load, those that are loaded as well."""
    for name in names:
        ask_supervisor(control, {"cmd": "unload", "model": name, "mode": "now"})
    for name in names:
        ask_supervisor(control, {"cmd": "swap", "model": name, "wait": False})


@contextmanager
def _opened(
    browser: Chromium, started: Proxy, kind: Kind, models: int
) -> Generator[OpenedPage, None, None]:
    url = f"http://127.0.0.1:{started.port}"
    page = browser.open(url, "/ui/train" if kind == "page" else "/health", expects=())
    try:
        if kind == "plain":
            page.run(PLAIN)
        there = (
            f"document.querySelectorAll('.model').length === {models}"
            if kind == "page"
            else "document.querySelector('pre').textContent.length > 100"
        )
        page.until(there)
        yield page
    finally:
        page.close()


def _wait_for_progress(events: "zmq.Socket[bytes]", names: Sequence[str]) -> None:
    """Return when each of these models has told how far it is."""
    _drain(events)
    silent = set(names)
    while silent:
        if not events.poll(_SILENCE_MS):
            raise BenchError(f"cannot follow the loads: {len(silent)} say nothing")
        event = json.loads(events.recv_multipart()[1])
        if event["type"] == "progress":
            silent.discard(event["model"])


def _share(page: OpenedPage, events: "zmq.Socket[bytes]", seconds: float) -> tuple[float, float]:
    """Return the share of a processor that the page has, and how many events there are a second."""
    _drain(events)
    renderers = [
        process
        for process in psutil.Process().children(recursive=True)
        if "--type=renderer" in " ".join(process.cmdline())
    ]
    if not renderers:
        raise BenchError("cannot find the process of the page: no child is a renderer")
    before, began = cpu_s(renderers), time.monotonic()
    page.page.wait_for_timeout(1000 * seconds)
    took_s = time.monotonic() - began
    return (cpu_s(renderers) - before) / took_s, _drain(events) / took_s


def _drain(events: "zmq.Socket[bytes]") -> int:
    """Return how many events have come since."""
    count = 0
    while events.poll(0):
        events.recv_multipart()
        count += 1
    return count


def _lateness_s(page: OpenedPage, events: "zmq.Socket[bytes]", name: str) -> float:
    """Return the time from the event that a model is ready to the frame that shows it."""
    while True:
        if not events.poll(_SILENCE_MS):
            raise BenchError(f"cannot tell when {name} was ready: there was no event")
        event = json.loads(events.recv_multipart()[1])
        if (event["model"], event.get("state")) == (name, "ready"):
            break
    page.until("window.seen > 0")
    return float(page.run("() => window.seen") - event["t"])


STEPS = (
    Step(
        name="page",
        rows=(
            "page-events",
            *(f"page-{row}{of}" for row in ("cpu", "late", "paint") for of in ("", "-plain")),
        ),
        measure=measure,
        kinds=("arriero",),
        needs=("chromium",),
        sampled=True,
        own=True,
        most=True,
    ),
)
