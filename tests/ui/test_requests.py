"""The view of requests, in a browser: those that run and those that have ended."""

import json
from collections.abc import Callable

import httpx
import pytest
from trains import Stream, Train, eventually

from tests.ui.conftest import OpensPage, config_of, scripted

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

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
    found = httpx.get(f"{train.url}/api/activity{query}").json()
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
