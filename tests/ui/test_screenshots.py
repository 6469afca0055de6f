"""Every view in both themes and widths: nothing for axe to say, nothing too wide, pictures.

`make screenshots` writes these for docs/ui.md; without it they are only looked at by programs.
"""

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from trains import Train, eventually

from tests.paths import SCRIPTED_UPSTREAM
from tests.ui.browser import OpenedPage
from tests.ui.conftest import OpensPage, config_of

pytestmark = [pytest.mark.page, pytest.mark.timeout(600)]

WIDTHS = (1280, 360)
VIEWS = ("train", "memory", "requests", "logs", "decisions", "playground", "configuration")

NAMES = {
    "qwen3-32b": "18GiB",
    "mistral-small-24b": "12GiB",
    "gemma-3-27b": "15GiB",
    "coder/qwen-2.5-7b": "5GiB",
    "embed/nomic-v2": "1GiB",
    "rerank/bge-m3": "1GiB",
}


def is_on_its_way(train: Train) -> bool:
    """Whether the model that loads has come so far that a picture shows it."""
    progress = train.model("slow")["progress"]
    return progress is not None and (progress["fraction"] or 0.0) > 0.2


def wait_for_rows(page: OpenedPage, train: Train) -> None:
    page.page.wait_for_selector('[data-model="qwen3-32b"][data-state="ready"]')


def wait_for_decisions(page: OpenedPage, train: Train) -> None:
    for name in ("gpt-5", "gpt-5", "llama-5"):
        assert train.chat(name).status_code == 404
    train.ask("swap", model="broken", wait=False)
    assert train.ask("unload", model="embed/nomic-v2")["ok"]
    assert train.ask("swap", model="embed/nomic-v2")["ok"]
    for kind in ("refusal", "failure", "end"):
        page.page.locator(f"[data-entry={kind}]").first.wait_for()


def wait_for_lines(page: OpenedPage, train: Train) -> None:
    page.page.locator(".line").first.wait_for()


def talk(page: OpenedPage, train: Train) -> None:
    page.until("document.querySelectorAll('main select option').length > 3")
    page.page.locator("main select").first.select_option("qwen3-32b")
    page.page.get_by_label("Message").fill("Where do mules sleep?")
    page.page.get_by_label("Message").press("Enter")
    page.page.locator(".turn[data-role=assistant]").get_by_text("tokens/s").wait_for()


def open_one(page: OpenedPage, train: Train) -> None:
    page.page.locator(".records tbody button").first.click()
    page.page.locator(".waterfall").wait_for()
    page.page.locator(".chart").first.wait_for()
    page.page.evaluate("scrollTo(0, 0)")


def wait_for_files(page: OpenedPage, train: Train) -> None:
    page.page.locator(".source li").first.wait_for()


def ask_what_if(page: OpenedPage, train: Train) -> None:
    page.page.get_by_label("Choose a model").select_option("mistral-small-24b")
    page.page.wait_for_selector(".then .part")


# View -> what is done before it is looked at.
LIFE: dict[str, Callable[[OpenedPage, Train], None]] = {
    "train": wait_for_rows,
    "logs": wait_for_lines,
    "decisions": wait_for_decisions,
    "playground": talk,
    "requests": open_one,
    "configuration": wait_for_files,
    "memory": ask_what_if,
}


def served(*options: str) -> str:
    """Return the command of a scripted upstream as a reader of the pictures would write it."""
    return " ".join(["serve-model", "--port", "${PORT}", *options])


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
    config["devices"]["ram"] = {"total": "20GiB"}  # no more than usual machines have
    for number, (name, size) in enumerate(NAMES.items()):
        config["models"][name] = {
            "cmd": served("--name", name, "--log-lines", "8"),
            "memory": {f"gpu{number % 2}": size, "ram": "1GiB"},
            "ttl": 600,
        }
    config["models"]["qwen3-32b"] |= {"description": "For chats", "aliases": ["gpt-4o"]}
    config["models"]["slow"] = {
        "cmd": served("--name", "slow", "--report", "--load-s", "120", "--never-ready"),
        "memory": {"gpu0": "3GiB"},
        "healthCheckTimeout": 3600,
    }
    config["models"]["broken"] = {
        "cmd": served("--load-s", "60", "--die-at-s", "0.2", "--exit-code", "3"),
        "memory": {"gpu1": "2GiB"},
    }
    train = start_ui_train(config)
    for name in ("qwen3-32b", "embed/nomic-v2"):
        assert train.ask("swap", model=name)["ok"]
        assert train.chat(name).status_code == 200
    train.ask("swap", model="broken", wait=False)
    eventually(lambda: train.model("broken")["error"])
    train.ask("swap", model="slow", wait=False)
    eventually(lambda: train.model("slow")["progress"])
    return train


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_view_is_in_order(
    open_page: OpensPage, train: Train, axe: str, shots: Path | None, theme: str, width: int
) -> None:
    found = {}
    for name in VIEWS:
        page = open_page(train, f"/ui/{name}", theme=theme, width=width).live()
        page.page.wait_for_selector(f'main[data-view="{name}"]')
        if name in LIFE:
            LIFE[name](page, train)
        if shots:
            eventually(lambda: is_on_its_way(train), within_s=60.0, what="a bar worth looking at")
            page.shot(shots / f"{name}-{theme}-{width}.png")
        place = page.page.locator("#nav [aria-current]").bounding_box()
        assert place is not None
        assert 0 <= place["x"] <= width - place["width"]  # where one is, is in sight
        found[name] = (page.findings(axe), max(0, page.overflow()))

    assert found == dict.fromkeys(VIEWS, ([], 0))
