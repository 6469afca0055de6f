"""The view of the configuration, in a browser: what it says, what is wrong, and a reload."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from trains import Train

from tests.ui.conftest import OpensPage, config_of

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(240)]

MARKUP = """<img src=x onerror="document.title='run'"><script>document.title='run'</script>"""
SECRET = "s3cr-peer-key"


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"hash": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"} | more


def config() -> dict[str, Any]:
    found = config_of(2, workers=2)
    found["clientKeys"] = {
        "boss": key("boss", scopes=["infer", "read", "admin"]),
        "guest": key("guest", models=["m*"], dailyTokens=1000),
    }
    found["peers"] = {
        "far": {"proxy": "http://127.0.0.1:9/v1", "apiKey": SECRET, "models": ["big"]}
    }
    found["profiles"] = {"away": {"description": "The card is off", "pins": {"m000": "m001"}}}
    return found


@pytest.fixture(scope="module")
def shared(start_ui_train: Callable[..., Train]) -> Train:
    return start_ui_train(config())


@pytest.fixture
def train(shared: Train) -> Train:
    shared.reload(config())
    return shared


def test_mistakes_are_seen_and_mended(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    page = open_page(train, "/ui/configuration", key="boss").live().page
    source = page.locator(".source")
    expect(source).to_contain_text("apiKey: ***")
    expect(page.locator('tr[data-key="guest"]')).to_contain_text("0 of 1,000")
    assert SECRET not in page.content()

    other = config()
    other["models"] |= {"m002": other["models"]["m001"] | {"ttl": "soon"}}
    train.write_config(other)
    page.get_by_role("button", name="Look again").click()
    wrong = page.locator('.source li[data-kind="error"]')
    expect(wrong).to_have_count(1)
    expect(wrong).to_contain_text("ttl: soon")
    page.locator('.remarks [data-kind="error"] button').click()
    expect(wrong).to_be_focused()

    other["models"]["m002"]["ttl"] = 60
    train.write_config(other)
    page.get_by_role("button", name="Look again").click()
    expect(page.locator(".diff")).to_contain_text("m002")
    page.get_by_role("button", name="Reload", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("is in force now")
    expect(page.locator(".diff")).to_have_count(0)
    assert train.model("m002")["state"] == "stopped"


def test_a_profile_is_chosen(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    page = open_page(train, "/ui/configuration", key="boss").live().page
    away = page.get_by_role("button", name="away")
    away.focus()
    page.keyboard.press("Enter")
    expect(away).to_have_attribute("aria-pressed", "true")
    assert train.ask("profiles")["active"] == "away"
    train.ask("profile", profile=None)


def test_texts_of_the_file_are_texts(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    other = config()
    other["models"] |= {MARKUP: other["models"]["m000"] | {"description": MARKUP}}
    other["selectors"] = {"chosen": {"targets": ["m000"], "description": MARKUP}}
    other[MARKUP] = 1
    train.write_config(other)
    page = open_page(train, "/ui/configuration", key="boss").live().page
    expect(page.locator(".source")).to_contain_text("onerror")
    expect(page.locator(".remarks")).to_contain_text("onerror")
    assert page.title() == "Configuration · arriero"
    assert page.locator("main img").count() == 0


def test_a_long_file_is_shown(open_page: OpensPage, train: Train) -> None:
    other = config()
    other["models"] |= {f"x{n:04}": other["models"]["m000"] for n in range(2000)}
    train.write_config(json.loads(json.dumps(other)))  # without anchors
    opened = open_page(train, "/ui/configuration", key="boss").live()
    opened.page.wait_for_selector(".diff li >> nth=1999")
    assert opened.page.locator(".source li").count() > 10_000
