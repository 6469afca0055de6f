"""What is seen less often than the views of `test_screenshots`, in both themes and widths.

Nothing for axe to say, nothing too wide; `make screenshots` makes pictures of some of it.
"""

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from gates import queued
from trains import Stream, Train, eventually

from tests.paths import SCRIPTED_UPSTREAM
from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of
from tests.ui.test_screenshots import served

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

MANY = 200
SWAPPED_IN = "mistral-small-24b"


def details_of_a_request_that_waited(page: OpenedPage, train: Train) -> None:
    row = page.page.locator(f"tr[data-request]:has-text('{SWAPPED_IN}')").last
    row.get_by_role("button").click()
    page.page.locator(".waterfall .part").nth(1).wait_for()
    page.page.evaluate("document.querySelector('.opened')?.scrollIntoView({block: 'center'})")


def a_chat_that_waits(page: OpenedPage, train: Train) -> None:
    select = page.page.locator("main select").first
    page.until("document.querySelectorAll('main select option').length > 3")
    for model in ("thinker-8b", "slow"):
        select.select_option(model)
        page.page.get_by_label("Message").fill("Where do mules sleep?")
        page.page.get_by_label("Message").press("Enter")
        if model != "slow":
            page.page.locator(".turn[data-role=assistant]").get_by_text("tokens/s").wait_for()
    page.page.locator(".wait [role=progressbar][aria-valuenow]").wait_for()


def a_model_that_failed(page: OpenedPage, train: Train) -> None:
    page.model("broken").get_by_role("button", name="Details").click()
    page.model("broken").locator(".lines").get_by_text("load_tensors").first.wait_for()


def what_would_be_evicted(page: OpenedPage, train: Train) -> None:
    page.page.get_by_label("Choose a model").select_option("gemma-3-27b")
    page.page.wait_for_selector(".then .part")


def a_mistake(page: OpenedPage, train: Train) -> None:
    page.page.locator('.remarks [data-kind="error"]').first.wait_for()


def search_among_many(page: OpenedPage, train: Train) -> None:
    page.page.get_by_role("searchbox").fill("-01")
    page.until("document.querySelectorAll('.model').length < 15")
    row = page.page.locator(".model").first
    dot, name = row.locator(".dot").bounding_box(), row.locator(".title").bounding_box()
    assert dot is not None
    assert name is not None
    assert name["y"] <= dot["y"] <= name["y"] + name["height"]  # beside it, however long it is


# Pictures that docs/ui.md has: name -> theme and width.
SHOWN = {
    "request": ("dark", 1280),
    "whatif": ("light", 1280),
    "wait": ("dark", 360),
    "failed": ("light", 360),
    "many": ("dark", 360),
}

# Name -> path, and what is done before it is looked at.
SCENES: dict[str, tuple[str, Callable[[OpenedPage, Train], None]]] = {
    "request": ("/ui/requests", details_of_a_request_that_waited),
    "wait": ("/ui/playground", a_chat_that_waits),
    "failed": ("/ui/train?q=broken", a_model_that_failed),
    "whatif": ("/ui/memory", what_would_be_evicted),
    "mistake": ("/ui/configuration", a_mistake),
    "many": ("/ui/train", search_among_many),
}


@pytest.fixture(scope="module")
def train(
    start_ui_train: Callable[..., Train], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Train]:
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "serve-model"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {SCRIPTED_UPSTREAM} "$@"\n')
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder), prepend=os.pathsep)
        yield started(start_ui_train)


def started(start_ui_train: Callable[..., Train]) -> Train:
    config = config_of(0, workers=2)
    config["devices"] = {"gpu0": {"total": "24GiB"}}

    def add(name: str, size: str, *options: str) -> None:
        cmd = served("--name", name, "--log-lines", "6", *options)
        config["models"][name] = {"cmd": cmd, "memory": {"gpu0": size}, "healthCheckTimeout": 3600}

    add("qwen3-14b", "9GiB")
    add(SWAPPED_IN, "13GiB", "--report", "--load-s", "1.2")
    add("thinker-8b", "6GiB", "--reasoning", "12")
    add("gemma-3-27b", "17GiB")
    add("slow", "1GiB", "--report", "--load-s", "5", "--never-ready")  # in all scenes
    add("broken", "2GiB", "--load-s", "60", "--die-at-s", "0.4", "--exit-code", "3")
    for number in range(MANY):
        add(f"mixtral-8x7b-instruct-v0.1-{number:03}", "20GiB")
    train = start_ui_train(config)
    train.ask("swap", model="broken", wait=False)
    eventually(lambda: train.model("broken")["error"])
    assert train.ask("swap", model="gemma-3-27b")["ok"]
    running = Stream(train, "gemma-3-27b", runs_on=True)
    eventually(lambda: running.text())
    waits = Stream(train, SWAPPED_IN)
    queued(train, **{SWAPPED_IN: 1})
    running.finish()
    assert waits.finish().text()  # once the other one has finished, and stopped
    assert train.ask("swap", model="thinker-8b")["ok"]
    train.ask("swap", model="slow", wait=False)
    eventually(lambda: train.model("slow")["progress"])
    broken = config | {"models": config["models"] | {"new": {"cmd": "serve-model", "tll": 60}}}
    train.write_config(broken)
    return train


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_scenes_are_in_order(
    open_page: OpensPage, train: Train, axe: str, shots: Path | None, theme: str, width: int
) -> None:
    found = {}
    for name, (path, prepare) in SCENES.items():
        page = open_page(train, path, theme=theme, width=width).live()
        prepare(page, train)
        if shots and SHOWN.get(name) == (theme, width):
            page.shot(shots / f"{name}.png", whole=False)
        found[name] = (page.findings(axe), max(0, page.overflow()))
        page.close()

    assert found == dict.fromkeys(SCENES, ([], 0))
