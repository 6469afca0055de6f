"""How fast the page is, and what it costs: the best of a few tries, for the machine may be busy."""

import time
from collections.abc import Callable

import psutil
import pytest
from trains import Train

from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

TRIES = 12
MODELS = 200
LOADING = 6
WINDOW_S = 4.0

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
            "cmd": scripted("--load-s", str(2 * WINDOW_S)),
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


def test_two_hundred_models_cost_a_tenth_of_a_core(open_page: OpensPage, train: Train) -> None:
    """Six models load at once: each tells of its progress ten times a second, if it can."""
    page = open_page(train).live()
    page.until(f"document.querySelectorAll('.model').length >= {MODELS}")
    slow = [f"slow{number}" for number in range(LOADING)]
    told = []

    def share() -> float:
        for name in slow:
            train.ask("unload", model=name, mode="now")
        for name in slow:
            train.ask("swap", model=name, wait=False)
        page.until(f"document.querySelectorAll('[data-section=coming] .model').length >= {LOADING}")
        with train.events("progress/") as next_event:
            count, before, began = 0, cpu_s(page), time.monotonic()
            while time.monotonic() < began + WINDOW_S:
                count += next_event()["type"] == "progress"
            took_s = time.monotonic() - began
        found = (cpu_s(page) - before) / took_s
        told.append((round(found, 3), round(count / took_s)))
        return found if count >= 10 * took_s else 1.0

    for name in slow:  # how long they take is known from then on
        train.ask("swap", model=name, wait=False)
    page.until(
        f"document.querySelectorAll('[data-model^=slow][data-state=ready]').length === {LOADING}"
    )
    assert best(share, 0.1) <= 0.1, told
