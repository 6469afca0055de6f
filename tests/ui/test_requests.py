"""The view of requests, in a browser: those that run and those that have ended."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from trains import PATIENCE_S, Stream, Train, eventually

from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(240)]

MARKUP = """<img src=x onerror="document.title='run'"><script>document.title='run'</script>"""


@pytest.fixture(scope="module")
def shared(start_ui_train: Callable[..., Train]) -> Train:
    config = config_of(2, workers=2, captureBuffer=5)
    config["models"]["long"] = {"cmd": scripted("--name", "long"), "memory": {"gpu0": "2GiB"}}
    config["prices"] = {"m000": {"input": 3, "output": 15}}
    return start_ui_train(config)


@pytest.fixture
def train(shared: Train) -> Train:
    return shared.emptied()


def ids(train: Train, query: str = "") -> list[str]:
    found = httpx.get(f"{train.url}/api/activity{query}", timeout=PATIENCE_S).json()
    return [one["request_id"] for one in found["requests"]]


def test_a_running_request_is_seen_and_ended(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    said = train.chat("m000")
    assert said.status_code == 200
    done = said.headers["x-request-id"]
    eventually(lambda: done in ids(train))
    opened = open_page(train, "/ui/requests").live()
    page = opened.page
    row = page.locator(f'tr[data-request="{done}"]')
    expect(row).to_contain_text("m000")
    expect(row).to_contain_text("$")

    stream = Stream(train, "long", chunks=5000, delay_s=0.02)
    running = page.locator(".running-one")
    expect(running).to_contain_text("/s")
    expect(running).to_contain_text("answers")
    running.get_by_role("button").click()
    ended = page.locator('tr[data-outcome="cancelled"]')
    expect(ended).to_have_count(1)
    expect(running).to_have_count(0)
    stream.finish()

    ended.get_by_role("button").click()
    expect(page.locator(".waterfall")).to_contain_text("Generation")
    expect(page.locator(".capture")).to_contain_text("Kept whole")
    page.get_by_label("Outcome").select_option("ok")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert "outcome=ok" in page.url
    with page.expect_download() as download:
        page.get_by_role("button", name="Export JSON").click()
    lines = download.value.path().read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [done]


def written(train: Train, count: int, **more: Any) -> None:
    """Let so many requests be refused at once: each has its record."""
    with httpx.Client(timeout=30) as client:
        for n in range(count):
            body = {"model": f"no-{n}", "messages": []} | more
            client.post(f"{train.url}/v1/chat/completions", json=body)
    eventually(lambda: len(ids(train, "?outcome=rejected&limit=1000")) >= count)


def test_texts_of_strangers_are_texts(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    said = train.chat("m000", messages=[{"role": "user", "content": MARKUP}], user=MARKUP)
    headers = {"X-Request-Id": "<img-src=x>", "User-Agent": MARKUP}
    train.chat(MARKUP, headers=headers)
    train.chat("m000", headers={"X-Request-Id": MARKUP[:30]})
    page = open_page(train, "/ui/requests?model=%3Cimg%3E").live().page
    expect(page.locator(".empty")).to_be_visible()
    page.get_by_label("Model", exact=True).fill("")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.locator("tbody")).to_contain_text("<img src=x")
    page.get_by_label("Part of the id").fill(said.headers["x-request-id"])
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody button").click()
    page.locator(".capture summary").first.click()
    expect(page.locator(".capture pre").first).to_contain_text("onerror")
    assert page.title() == "Requests · arriero"
    assert page.locator("main img, main script").count() == 0


def test_the_list_is_turned_by_keyboard(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    written(train, 250)
    page = open_page(train, "/ui/requests?outcome=rejected").live().page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(100)
    first = rows.first.get_attribute("data-request")
    older = page.get_by_role("button", name="Older")
    older.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Page 2")).to_be_visible()
    assert first not in [row.get_attribute("data-request") for row in rows.all()]
    page.get_by_role("button", name="Newer").press("Enter")
    expect(rows.first).to_have_attribute("data-request", first or "")
    page.go_back()
    expect(page.get_by_text("Page 2")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Page 2")).to_be_visible()
    page.go_back()
    expect(rows.first).to_have_attribute("data-request", first or "")
    rows.first.get_by_role("button").press("Enter")
    expect(page.locator(".record-detail")).to_be_visible()
    expect(page.locator(".record-detail")).to_contain_text("model_not_found")


def test_one_request_has_an_address(open_page: OpensPage, train: Train) -> None:
    from playwright.sync_api import expect

    said = train.chat("m001")
    done = said.headers["x-request-id"]
    eventually(lambda: done in ids(train))
    page = open_page(train, f"/ui/requests/{done}").live().page
    expect(page.locator(".one-request .waterfall")).to_contain_text("Load")
    expect(page.locator(".one-request .waterfall .part").first).to_contain_text("starting")
    expect(page.locator(".loads")).to_contain_text("m001")
