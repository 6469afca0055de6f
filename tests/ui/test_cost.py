"""What the page costs, counted: no machine is too slow for that. `make bench` has the times."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trains import Train

from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

MODELS = 200
LOADING = 6

# Writes into the document that one frame may make for each model that has changed: its words, its
# bar (twice), what screen readers get; and for the page.
WRITES_FOR_EACH = 4
WRITES_ANYWAY = 2

# Frames that are looked at.
FRAMES = 24

# What is written when the page shows what has come, frame by frame: [rows, writes elsewhere]. Until
# the first model is ready, which moves to another place.
WATCH = """() => {
  window.frames = [];
  window.isOver = false;
  window.count = 0;
  new MutationObserver((writes) => {
    window.count += 1;
    window.isOver ||= writes.some((it) => it.attributeName === "data-state");
    if (window.isOver) return;
    const rows = {};
    let others = 0;
    for (const { target } of writes) {
      const element = target instanceof Element ? target : target.parentElement;
      const row = element?.closest("[data-model]")?.dataset.model;
      if (row === undefined) others += 1;
      else rows[row] = (rows[row] ?? 0) + 1;
    }
    window.frames.push([rows, others]);
  }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
}"""

# All that load have a bar, and its first steps were shown.
MOVING = f"""[...document.querySelectorAll('[data-model^=slow] [role=progressbar]')]
  .filter((it) => Number(it.getAttribute('aria-valuenow')) >= 3).length === {LOADING}"""

# The states in which a row is shown, one after the other.
STATES = """(model) => {
  const row = document.querySelector(`[data-model="${model}"]`);
  window.states = [row.dataset.state];
  new MutationObserver(() => {
    if (window.states.at(-1) !== row.dataset.state) window.states.push(row.dataset.state);
  }).observe(row, {attributes: true, attributeFilter: ["data-state"]});
}"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file; what waits for it is ready when it is there."""
    return tmp_path_factory.mktemp("gates") / "gate"


@pytest.fixture(scope="module")
def train(start_ui_train: Callable[..., Train], gate: Path) -> Train:
    config = config_of(MODELS, workers=2)
    for number in range(LOADING):
        config["models"][f"slow{number}"] = {
            "cmd": scripted("--load-s", "10"),
            "memory": {"ram": "1GiB"},
        }
    config["models"]["gated"] = {"cmd": scripted("--load-gate", str(gate))}
    return start_ui_train(config)


def test_the_first_paint_waits_for_no_module(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    held: list[Any] = []
    page.page.route(re.compile(r"/ui/static/(?!.*theme\b).*\.js"), lambda it: held.append(it))
    page.page.goto(f"{train.url}/ui/train", wait_until="commit")
    page.until("performance.getEntriesByName('first-contentful-paint').length === 1")
    assert page.page.locator(".first li").count() >= 20
    assert held
    for route in held:
        route.continue_()
    page.live()


def test_all_of_it_is_less_than_150_kb(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()  # with nothing in its cache
    sizes = page.run("() => performance.getEntriesByType('resource').map(it => it.transferSize)")
    sizes += page.run("() => performance.getEntriesByType('navigation').map(it => it.transferSize)")
    assert sum(sizes) <= 150 * 1024


def test_each_state_is_seen_while_it_lasts(open_page: OpensPage, train: Train, gate: Path) -> None:
    """Events come by themselves: what has to be asked for would be seen later, or not at all."""
    page = open_page(train).live()
    page.page.wait_for_selector('[data-model="gated"]')
    page.run(STATES, "gated")
    train.ask("swap", model="gated", wait=False)
    page.page.wait_for_selector('[data-model="gated"][data-state="starting"]')
    assert train.model("gated")["state"] == "starting"
    gate.touch()
    page.page.wait_for_selector('[data-model="gated"][data-state="ready"]')
    train.ask("unload", mode="now", model="gated")
    page.page.wait_for_selector('[data-model="gated"][data-state="stopped"]')
    states = page.run("() => window.states")
    assert [it for it in states if it != "stopping"] == ["stopped", "starting", "ready", "stopped"]


def test_rows_below_the_screen_are_not_drawn(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    page.until(f"document.querySelectorAll('.model').length > {MODELS}")
    drawn = """() => [...document.querySelectorAll('.model')].filter(
      (it) => it.firstChild.checkVisibility({contentVisibilityAuto: true})).length"""
    assert 5 < page.run(drawn) < MODELS / 2


def counted(cdp: Any) -> dict[str, float]:
    """Return what the browser has counted so far."""
    found = cdp.send("Performance.getMetrics")["metrics"]
    return {one["name"]: one["value"] for one in found}


def load_all(page: OpenedPage, train: Train) -> None:
    """Have the slow ones begin to load."""
    slow = [f"slow{number}" for number in range(LOADING)]
    for name in slow:
        train.ask("unload", model=name, mode="now")
    for name in slow:
        train.ask("swap", model=name, wait=False)
    page.until(f"document.querySelectorAll('[data-section=coming] .model').length === {LOADING}")


def test_two_hundred_models_cost_what_changes(open_page: OpensPage, train: Train) -> None:
    """Six models load at once: a frame touches their rows, once each, and lays out once."""
    page = open_page(train).live()
    page.until(f"document.querySelectorAll('.model').length > {MODELS}")
    cdp = page.page.context.new_cdp_session(page.page)
    cdp.send("Performance.enable")
    load_all(page, train)
    page.until(  # how long they take is known from then on
        f"document.querySelectorAll('[data-model^=slow][data-state=ready]').length === {LOADING}"
    )
    load_all(page, train)
    page.until(MOVING)  # what a row writes when it begins to load is no step
    page.run(WATCH)
    before, began = counted(cdp), page.run("() => performance.now()")
    page.until(f"window.isOver || window.frames.length >= {FRAMES}")
    after = counted(cdp)
    ended, written = page.run("() => [performance.now(), window.count]")
    frames = page.run("() => window.frames")

    print(json.dumps(frames[:3]), len(frames), f"{ended - began:.0f} ms")
    assert len(frames) <= 8 * (ended - began) / 1000 + 8  # steps come together
    assert written >= len(frames) > 4
    for rows, others in frames:
        assert {name for name in rows if name.startswith("m")} == set()  # those that only stand
        assert max(rows.values(), default=0) <= WRITES_FOR_EACH
        assert others <= WRITES_ANYWAY
    assert max(len(rows) for rows, _ in frames) > 1  # several models in one frame
    for name in ("LayoutCount", "RecalcStyleCount"):
        assert after[name] - before[name] <= written + FRAMES // 4, name
