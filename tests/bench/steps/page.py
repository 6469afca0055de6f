"""What the page for people costs a browser on a busy machine, and how late it shows what happens.

Chromium without a screen opens the page, and one that only shows the same messages as text, in
turns, on one arriero with many models. Some of them load all the time, some are swapped, requests
come and go. Events are counted as they come to the page. How much of a processor it takes depends
on the machine and the browser; the ratio says what rows, bars and words come to beyond the reading
of messages.
"""

import itertools
import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final, Literal, TypeAlias

import psutil
import zmq

from tests.ui.browser import PROGRAMS, Chromium, OpenedPage

from ..errors import BenchError
from ..plan import Plan, Step
from ..targets.models import Proxy, proxy, scripted
from ..targets.servers import Target, cpu_s
from .control import ask_supervisor, connect
from .page_load import busy_models, load_all, loading, requests_and_swaps

# A load takes so many times what a measurement does; that is known from the first one on, so that
# it can be told how far it is.
LONGER: Final = 5.0

# Models for each opened page whose readiness is waited for on the screen.
LATE: Final = 4

# Milliseconds of silence in which nothing is heard.
_SILENCE_MS: Final = 20_000

Kind: TypeAlias = Literal["page", "plain"]
Event: TypeAlias = dict[str, Any]

# Shows what has come last, as far as it fits on a screen.
PLAIN: Final = """() => {
  document.body.textContent = "";
  const pre = document.body.appendChild(document.createElement("pre"));
  const source = new EventSource("/api/live");
  source.onmessage = (event) => {
    window.last = event.data;
    pre.textContent = event.data.slice(0, 9000);
  };
}"""

# Counts what comes: each model, request and decision that is told of, and the queue, is one event.
COUNT: Final = """
  const parse = JSON.parse;
  const lists = ["models", "gone", "running", "ended", "records", "decisions"];
  window.told = 0;
  JSON.parse = (text, reviver) => {
    const value = parse(text, reviver);
    for (const name of lists) window.told += value?.[name]?.length ?? 0;
    if (value?.queue) window.told += 1;
    return value;
  };
"""

# Notes when a model is seen to be ready: in the frame after that is in the document.
WATCH: Final = """(model) => {
  window.seen = 0;
  const words = `"model":"${model}","state":"ready"`;
  const isReady = () => {
    const row = document.querySelector(`[data-model="${model}"]`);
    return row ? row.dataset.state === "ready" : window.last?.includes(words);
  };
  const observer = new MutationObserver(() => {
    if (!isReady()) return;
    observer.disconnect();
    requestAnimationFrame(() => { window.seen = Date.now() / 1000; });
  });
  const all = {subtree: true, childList: true, attributes: true, characterData: true};
  observer.observe(document.body, all);
}"""

# Notes when which bar is drawn how long: in the frame after that is in the document.
WATCH_BARS: Final = """() => {
  window.bars = [];
  window.barObserver = new MutationObserver((writes) => {
    const drawn = [];
    for (const { target } of writes) {
      const model = target.closest("[data-model]")?.dataset.model;
      const share = parseFloat(target.style.getPropertyValue("--share"));
      if (model && share) drawn.push([model, share]);
    }
    requestAnimationFrame(() => {
      const now = Date.now() / 1000;
      for (const [model, share] of drawn) window.bars.push([model, share, now]);
    });
  });
  const styles = {subtree: true, attributes: true, attributeFilter: ["style"]};
  window.barObserver.observe(document.body, styles);
}"""
DRAWN: Final = "() => { window.barObserver.disconnect(); return window.bars; }"

PAINT: Final = "() => performance.getEntriesByType('paint')[0]?.startTime ?? 0"


def measure(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Open both pages in turns; each figure is a median of the rounds, unless it says otherwise."""
    names = [f"m{number:03}" for number in range(plan.page_models)]
    models = {name: scripted(name) for name in names} | busy_models(LONGER * plan.page_s)
    found: dict[str, dict[Kind, list[float]]] = {
        row: {"page": [], "plain": []}
        for row in ("events", "cpu", "renderer", "late", "steps", "paint")
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
        events.rcvhwm = 0
        events.connect(f"ipc://{started.sockets / 'events.sock'}")
        events.subscribe(b"progress/")
        events.subscribe(b"state/")
        load_all(control)
        for name in loading():
            ask_supervisor(control, {"cmd": "swap", "model": name})
        kinds: tuple[Kind, Kind] = ("page", "plain")
        for number in range(2 * plan.page_rounds):
            kind = kinds[(number + number // 2) % 2]  # A B, B A
            with _opened(browser, started, kind, len(models)) as page:
                found["paint"][kind].append(float(page.run(PAINT)))
                load_all(control)
                _wait_for_progress(events)
                with requests_and_swaps(started):
                    _measure_share(page, plan.page_s, kind, found)
                    if kind == "page":
                        found["steps"][kind] += _lateness_of_steps_s(page, events, plan.page_s)
                    for name in names[LATE * number : LATE * (number + 1)]:
                        page.run(WATCH, name)
                        ask_supervisor(control, {"cmd": "swap", "model": name, "wait": False})
                        found["late"][kind].append(_lateness_s(page, events, name))
    return {
        "page-events": median(found["events"]["page"]),
        "page-cpu": 1e3 * median(found["cpu"]["page"]),
        "page-renderer": 1e3 * median(found["renderer"]["page"]),
        "page-late": 1e3 * median(found["late"]["page"]),
        "page-late-most": 1e3 * max(found["late"]["page"]),
        "page-step": 1e3 * median(found["steps"]["page"]),
        "page-step-99": 1e3 * quantiles(found["steps"]["page"], n=100)[-1],
        "page-paint": median(found["paint"]["page"]),
    } | {
        f"page-{row}-plain": median(found[row]["page"]) / median(found[row]["plain"])
        for row in ("cpu", "late", "paint")
    }


@contextmanager
def _opened(
    browser: Chromium, started: Proxy, kind: Kind, models: int
) -> Generator[OpenedPage, None, None]:
    url = f"http://127.0.0.1:{started.port}"
    path = "/ui/train" if kind == "page" else "/health"
    page = browser.open(url, path, expects=(), before=COUNT, moves=True)
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


def _wait_for_progress(events: "zmq.Socket[bytes]") -> None:
    """Return when each of those models that load all the time has told how far it is."""
    _drain(events)
    silent = set(loading())
    while silent:
        event = _next_event(events, f"cannot follow the loads: {len(silent)} say nothing")
        if event["type"] == "progress":
            silent.discard(event["model"])


def _next_event(events: "zmq.Socket[bytes]", problem: str) -> Event:
    if not events.poll(_SILENCE_MS):
        raise BenchError(problem)
    found: Event = json.loads(events.recv_multipart()[1])
    return found


def _drain(events: "zmq.Socket[bytes]") -> list[Event]:
    """Return the events that have come since."""
    found: list[Event] = []
    while events.poll(0):
        found.append(json.loads(events.recv_multipart()[1]))
    return found


def _measure_share(
    page: OpenedPage, seconds: float, kind: Kind, found: dict[str, dict[Kind, list[float]]]
) -> None:
    """Note the share of a processor that the browser has, and how many events come a second."""
    everything = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.name() in PROGRAMS
    ]
    renderers = [it for it in everything if "--type=renderer" in " ".join(it.cmdline())]
    if not renderers:
        raise BenchError("cannot find the process of the page: no child is a renderer")
    told = page.run("() => window.told")
    before, of_renderers, began = cpu_s(everything), cpu_s(renderers), time.monotonic()
    page.page.wait_for_timeout(1000 * seconds)
    took_s = time.monotonic() - began
    found["cpu"][kind].append((cpu_s(everything) - before) / took_s)
    found["renderer"][kind].append((cpu_s(renderers) - of_renderers) / took_s)
    found["events"][kind].append((page.run("() => window.told") - told) / took_s)


def _lateness_of_steps_s(
    page: OpenedPage, events: "zmq.Socket[bytes]", seconds: float
) -> list[float]:
    """Return the times from steps of loads to the frame in which the bar is as long as they say."""
    _drain(events)
    page.run(WATCH_BARS)
    page.page.wait_for_timeout(1000 * seconds)
    steps = [event for event in _drain(events) if event["type"] == "progress"]
    page.page.wait_for_timeout(1000.0)  # the last ones are drawn as well
    drawn: dict[str, list[tuple[float, float]]] = {}
    for model, share, at in page.run(DRAWN):
        drawn.setdefault(model, []).append((at, share))
    late: list[float] = []
    told: dict[str, float] = {}
    count = 0
    for event in steps:
        model, at, fraction = event["model"], event["t"], event["progress"]["fraction"]
        if fraction is None or told.get(model) == round(fraction, 3):
            continue  # there is nothing to be drawn
        told[model] = round(fraction, 3)
        count += 1
        times = (then for then, share in drawn.get(model, ()) if share > told[model] - 0.0015)
        late += [max(0.0, then - at) for then in itertools.islice(times, 1)]
    if len(late) < 0.9 * count or not late:
        raise BenchError(f"cannot follow the bars: {len(late)} of {count} steps were drawn")
    return late


def _lateness_s(page: OpenedPage, events: "zmq.Socket[bytes]", name: str) -> float:
    """Return the time from the event that a model is ready to the frame that shows it."""
    while True:
        event = _next_event(events, f"cannot tell when {name} was ready: there was no event")
        if (event["model"], event.get("state")) == (name, "ready"):
            break
    page.until("window.seen > 0")
    return float(page.run("() => window.seen")) - float(event["t"])


STEPS = (
    Step(
        name="page",
        rows=(
            "page-events",
            "page-cpu",
            "page-cpu-plain",
            "page-renderer",
            "page-late",
            "page-late-most",
            "page-late-plain",
            "page-step",
            "page-step-99",
            "page-paint",
            "page-paint-plain",
        ),
        measure=measure,
        kinds=("arriero",),
        needs=("chromium",),
        sampled=True,
        own=True,
        most=True,
    ),
)
