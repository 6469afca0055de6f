"""The frame of the page, in a browser: what is shown first, to whom, and what ends it not."""

import hashlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from trains import Train, eventually

from tests.ui.conftest import OpensPage, config_of
from tests.ui.hostile_texts import HOSTILE_TEXTS

# A browser starts, too, and the machine may be busy.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

# Of texts that strangers choose: each would run, or show, something if it were taken for markup.
MARKUP = """<img src=x onerror="document.title='run'"><script>document.title='run'</script>"""
KEYS = {"reader": ["read"], "admin": ["read", "admin"], "talker": ["infer"]}


def with_keys() -> dict[str, Any]:
    return {
        "clientKeys": {
            name: {"hash": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", "scopes": scopes}
            for name, scopes in KEYS.items()
        }
    }


@pytest.fixture(scope="module")
def shared(start_ui_train: Callable[..., Train]) -> Train:
    config = config_of(4)
    config["models"]["m001"] |= {"description": MARKUP, "aliases": ["second"]}
    return start_ui_train(config | {"workers": 2})


@pytest.fixture
def train(shared: Train) -> Train:
    return shared.emptied()


def test_a_model_is_loaded_and_unloaded(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/").live()
    row = page.model("m000")
    assert page.page.locator(".model").count() == 4
    assert MARKUP in page.model("m001").inner_text()
    assert page.page.title() == "Train · arriero"

    row.get_by_role("button", name="Load").click()
    page.page.wait_for_selector('[data-model="m000"][data-state="ready"]')
    row.get_by_text("idle").wait_for()
    row.get_by_role("button", name="Unload").click()
    page.page.wait_for_selector('[data-model="m000"][data-state="stopped"]')
    assert train.model("m000")["state"] == "stopped"


def test_a_row_that_moves_keeps_the_focus(open_page: OpensPage, train: Train) -> None:
    """Who works by keys goes on where they were, and does not begin at the top of the page."""
    page = open_page(train, "/").live()
    page.model("m002").get_by_role("button", name="Load").focus()
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector('[data-section=running] [data-model="m002"][data-state="ready"]')
    focused = "document.activeElement.closest('[data-model]')?.dataset.model === 'm002'"
    assert page.run(f"() => {focused}")


@pytest.mark.page
def test_a_model_is_pinned(open_page: OpensPage, train: Train) -> None:
    assert train.ask("swap", model="m000")["ok"]
    row = open_page(train).live().model("m000")
    row.get_by_role("button", name="Details").click()
    row.locator("pre:not(:empty)").wait_for()
    row.get_by_role("button", name="Pin", exact=True).click()
    row.get_by_text("pinned while loaded").wait_for()
    assert train.model("m000")["pin"] == "manual"
    row.get_by_role("button", name="Unpin").click()
    eventually(lambda: train.model("m000")["pin"] == "")


@pytest.mark.page
def test_it_is_searched_by_any_name(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    page.page.keyboard.press("/")
    page.page.keyboard.type("SECOND")

    page.until("document.querySelectorAll('.model').length === 1")
    assert page.page.url.endswith("?q=SECOND")
    page.page.reload()
    page.page.wait_for_selector('[data-model="m001"]')
    assert page.page.locator(".model").count() == 1


@pytest.mark.page
def test_views_are_links(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    for name in ("Memory", "Requests", "Logs", "Decisions", "Playground", "Configuration"):
        page.page.get_by_role("link", name=name, exact=True).click()
        page.page.wait_for_selector(f'main[data-view="{name.lower()}"]')
        assert page.page.locator("#nav [aria-current]").inner_text() == name
    page.page.go_back()
    page.page.wait_for_selector('main[data-view="playground"]')
    page.page.goto(f"{train.url}/ui/activity")  # as llama-swap has it
    page.page.wait_for_selector('main[data-view="requests"]')


@pytest.mark.page
def test_it_goes_on_after_a_workers_death(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, expects=("net::ERR_", "Failed to load resource")).live()
    page.run("() => { window.same = true }")
    for pid in train.workers().values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(train.workers()) == 2)
    train.ask("swap", model="m002")
    page.page.wait_for_selector('[data-model="m002"][data-state="ready"]')
    assert page.run("() => window.same")


@pytest.mark.page
def test_texts_of_strangers_are_only_shown(open_page: OpensPage, train: Train) -> None:
    config = config_of(len(HOSTILE_TEXTS)) | {"workers": 2}
    shown = [text.replace("\0", "") for text in HOSTILE_TEXTS]
    for model, text in zip(config["models"].values(), shown, strict=True):
        model |= {"name": text, "description": text}
    train.reload(config)
    try:
        page = open_page(train).live()
        for name, text in zip(config["models"], shown, strict=True):
            row = page.model(name)
            assert row.locator(".title").text_content() == text
            assert row.locator(".about").text_content() == text
        assert page.page.title() == "Train · arriero"
        assert (
            page.page.locator("main :is(script, img, iframe, form, base, link, meta)").count() == 0
        )
    finally:
        train.reload(config_of(4) | {"workers": 2})


@pytest.mark.page
def test_a_key_says_what_may_be_done(open_page: OpensPage, train: Train) -> None:
    config = config_of(2) | {"workers": 2}
    train.reload(config | with_keys())
    try:
        page = open_page(train, expects=("401",))
        page.page.get_by_label("API key").fill("wrong")
        page.page.keyboard.press("Enter")
        page.page.wait_for_selector("#key-problem:not(:empty)")
        page.page.get_by_label("API key").fill("reader")
        page.page.keyboard.press("Enter")
        page.live()
        load = page.model("m000").get_by_role("button", name="Load")
        assert load.get_attribute("aria-disabled") == "true"
        assert "admin" in (load.get_attribute("title") or "")
        assert "reader" not in page.page.url
        page.page.reload()
        page.live()
        assert page.run("() => document.cookie") == ""

        talker = open_page(train, key="talker")
        talker.page.wait_for_selector("main .empty")
        assert "scope “read”" in talker.page.inner_text("main")
    finally:
        train.reload(config_of(4) | {"workers": 2})


@pytest.mark.page
def test_a_machine_has_its_models(
    open_page: OpensPage, train: Train, start_ui_train: Callable[..., Train]
) -> None:
    box2 = start_ui_train(config_of(2))
    peers = {
        "box2": {"proxy": box2.url, "models": "auto"},
        "box 3": {"proxy": "http://127.0.0.1:9", "models": ["far"]},
    }
    train.reload(config_of(4) | {"workers": 2, "peers": peers})
    try:
        page = open_page(train).live()
        there = page.page.locator('section[data-section="machine:box2"]')
        there.locator('[data-model="box2/m001"]').wait_for()
        there.get_by_text("up · arriero · list").wait_for()
        assert box2.ask("swap", model="m000")["ok"]
        there.locator('[data-model="box2/m000"] .doing:text("ready")').wait_for()
        far = page.page.locator('section[data-section="machine:box 3"]')
        far.locator('[data-model="box 3/far"] .doing:text("elsewhere")').wait_for()
        assert train.chat("box 3/far").status_code == 502
        far.get_by_text("not asked").or_(far.get_by_text("tried again")).first.wait_for()
    finally:
        train.reload(config_of(4) | {"workers": 2})
