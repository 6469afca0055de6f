"""The view of memory, in a browser: what is used for what, what would be, and what is held."""

from collections.abc import Callable

import pytest
from trains import Train, eventually

from tests.ui.conftest import OpensPage, config_of

pytestmark = [pytest.mark.e2e, pytest.mark.page, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def train(start_ui_train: Callable[..., Train]) -> Train:
    train = start_ui_train(config_of(8))
    for name in ("m000", "m002", "m004"):  # 18 of the 24 GiB of gpu0
        assert train.ask("swap", model=name)["ok"]
    return train


def test_devices_are_explained_and_held(open_page: OpensPage, train: Train) -> None:
    page = open_page(train, "/ui/memory").live()
    gpu = page.page.locator('[data-device="gpu0"]')
    gpu.get_by_role("img", name="m002: 6.0 GiB").hover()
    gpu.get_by_text("as the configuration says").wait_for()
    assert gpu.get_by_role("img", name="free: 6.0 GiB").count() == 1

    page.page.get_by_label("Choose a model").select_option("m006")
    bar = page.page.locator('.then [aria-label="What gpu0 would be used for"]')
    bar.get_by_role("img", name="m006").wait_for()
    colours = bar.locator("[data-kind=model]").evaluate_all(
        "all => all.map(it => it.dataset.series)"
    )
    assert len(set(colours)) == 4  # of m000 and m006 the same one would be the usual one
    page.page.get_by_text("It would start: there is room.").wait_for()
    assert train.model("m006")["state"] == "stopped"
    assert page.page.url.endswith("?load=m006")

    gpu.locator("summary").click()
    gpu.get_by_role("button", name="For 10 min").click()
    gpu.get_by_text("held for").wait_for()
    eventually(lambda: train.model("m000")["state"] == "stopped")
    gpu.get_by_role("button", name="Release").click()
    eventually(lambda: not any(it["held"] for it in train.ask("status")["devices"]))
