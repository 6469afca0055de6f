"""How fast the page is, and what it costs: the best of a few tries, for the machine may be busy."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Train

from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

TRIES = 12
MODELS = 200
LOADING = 6  # each of them tells of its progress about ten times a second

# Notes when the row of a model shows another state, by the clock of the machine.
WATCH = """() => {
  window.seen = [];
  const row = document.querySelector('[data-model="m001"]');
  new MutationObserver(() => window.seen.push([row.dataset.state, Date.now() / 1000]))
    .observe(row, {attributes: true, attributeFilter: ["data-state"]});
}"""


@pytest.fixture(scope="module")
def train(start_ui_train: Callable[..., Train]) -> Train:
    config = config_of(MODELS, workers=2)
    for number in range(LOADING):
        config["models"][f"slow{number}"] = {
            "cmd": scripted("--report", "--load-s", "900"),
            "memory": {"ram": "1GiB"},
        }
    return start_ui_train(config)


def best(measure: Callable[[], float], good: float) -> float:
    """Return the least of a few measurements; the first one that is good will do."""
    found = float("inf")
    for _ in range(TRIES):
        found = min(found, measure())
        if found <= good:
            break
    print(f"best: {found:.3f}")
    return found


def test_it_is_painted_in_300_ms(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()

    def paint_ms() -> float:
        page.page.reload()
        page.until("performance.getEntriesByType('paint').length > 0")
        told: float = page.run("() => performance.getEntriesByType('paint')[0].startTime")
        return told

    assert best(paint_ms, 300) <= 300
    page = open_page(train).live()  # with nothing in its cache
    sizes = page.run("() => performance.getEntriesByType('resource').map(it => it.transferSize)")
    sizes += page.run("() => performance.getEntriesByType('navigation').map(it => it.transferSize)")
    assert sum(sizes) <= 150 * 1024


def test_an_event_is_seen_in_200_ms(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    page.page.wait_for_selector('[data-model="m001"]')
    page.run(WATCH)

    def seen_after_s() -> float:
        train.ask("unload", mode="now", model="m001")
        page.page.wait_for_selector('[data-model="m001"][data-state="stopped"]')
        page.run("() => { window.seen = [] }")
        with train.events("state/m001\n") as next_event:
            train.ask("swap", model="m001", wait=False)
            event = next_event()
            while event["type"] != "state" or event["state"] != "ready":
                assert event.get("state") != "stopped"
                event = next_event()
        page.page.wait_for_selector('[data-model="m001"][data-state="ready"]')
        shown = dict(page.run("() => window.seen"))
        return float(shown["ready"] - event["t"])

    assert best(seen_after_s, 0.2) <= 0.2


def cpu_s(page: OpenedPage) -> float:
    """Return the processor time that the page's process has had."""
    return float(
        sum(
            sum(process.cpu_times()[:2])
            for process in psutil.Process().children(recursive=True)
            if "--type=renderer" in " ".join(process.cmdline())
        )
    )


@contextmanager
def requests_at(train: Train, each_s: float) -> Generator[Callable[[], int]]:
    """Have a request come and end about every `each_s`; give how many there were."""
    over = threading.Event()
    count = 0

    def ask() -> None:
        nonlocal count
        body = {"model": "m000", "messages": [], "max_tokens": 1}
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not over.wait(each_s):
                client.post(f"{train.url}/v1/chat/completions", json=body).raise_for_status()
                count += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield lambda: count
    finally:
        over.set()
        thread.join()


def test_two_hundred_models_cost_a_tenth_of_a_core(open_page: OpensPage, train: Train) -> None:
    """Each request is at least two events: it runs, and it has ended."""
    page = open_page(train).live()
    page.until(f"document.querySelectorAll('.model').length >= {MODELS}")
    assert train.ask("swap", model="m000")["ok"]
    for number in range(LOADING):
        train.ask("swap", model=f"slow{number}", wait=False)
    page.until(f"document.querySelectorAll('[data-section=coming] .model').length === {LOADING}")
    told = []
    with requests_at(train, 0.025) as count:

        def share() -> float:
            before, began, had = cpu_s(page), time.monotonic(), count()
            page.page.wait_for_timeout(5000)
            took_s = time.monotonic() - began
            told.append(
                f"{(cpu_s(page) - before) / took_s:.3f} at {(count() - had) / took_s:.0f}/s"
            )
            return (cpu_s(page) - before) / took_s

        assert best(share, 0.1) <= 0.1, told
    print(told)
