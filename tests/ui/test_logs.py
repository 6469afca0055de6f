"""Logs and decisions on the page."""

from collections.abc import Callable

import pytest
from trains import Train

from tests.ui.conftest import OpensPage, config_of, scripted

HOSTILE = "<img src=x onerror=alert(1)>"

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(240)]


def noisy() -> str:
    """Return the command of a model that writes colours, and what would be markup, or worse."""
    lines = [
        "plain",
        r"\033[31mred\033[0m and \033[1;38;5;46mgreen\033[m",
        HOSTILE,
        r"\033]0;title\007\033[2Kcleared",
        "x" * 20_000,
    ]
    said = "\\n".join(lines)
    return f"sh -c \"printf '{said}\\n' >&2; exec {scripted('--name', 'noisy')}\""


@pytest.fixture(scope="module")
def train(start_ui_train: Callable[..., Train]) -> Train:
    config = config_of(3, memory="auto")
    config["devices"]["gpu0"]["total"] = "8GiB"
    config["models"]["noisy"] = {"cmd": noisy(), "memory": {"ram": "1GiB"}}
    return start_ui_train(config)


def test_lines_come_with_their_colours(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/logs/noisy").live().page
    page.get_by_text("Nothing was written yet.").wait_for()

    train.ask("swap", model="noisy")

    page.locator(".line", has_text="listening on").wait_for()
    texts = page.locator(".line").all_text_contents()
    assert texts[:4] == ["plain", "red and green", HOSTILE, "cleared"]
    assert texts[4] == "x" * 8000 + "…"
    assert page.locator(".line .red").all_text_contents() == ["red"]
    assert page.locator(".line .green.bold").all_text_contents() == ["green"]
    page.get_by_label("Filter lines").fill("onerror")
    page.get_by_text("1 of").wait_for()
    assert page.locator(".line:visible").all_text_contents() == [HOSTILE]


def test_decisions_are_told_in_words(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/decisions").live().page
    train.ask("swap", model="m000")
    train.ask("swap", model="m002")  # on the same device, where only one of them fits
    evicted = page.locator("[data-entry=eviction]")
    evicted.get_by_text("evicted m000").wait_for()
    evicted.locator("summary").click()
    evicted.get_by_text("Gave back").wait_for()

    assert train.chat("nobody").status_code == 404
    page.locator("[data-entry=refusal]").get_by_text("nobody was refused").wait_for()
