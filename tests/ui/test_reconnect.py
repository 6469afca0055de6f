"""A page that stays open while arriero goes and comes back."""

import os
import signal
import socket
from collections.abc import Callable

import pytest
from trains import Train, eventually

from tests.ui.conftest import OpensPage, config_of

pytestmark = [pytest.mark.page, pytest.mark.timeout(240)]


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) != 0


def test_it_goes_on_after_the_supervisors_death(
    open_page: OpensPage, start_ui_train: Callable[..., Train]
) -> None:
    first = start_ui_train(config_of(2))
    page = open_page(first, expects=("net::ERR_", "Failed to load resource")).live()
    page.run("() => { window.same = true }")
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait()
    page.page.wait_for_selector('.link:not([data-link="live"])')
    assert "how it stood" in (page.page.locator(".link").get_attribute("title") or "")
    assert page.page.locator("main[data-stale]").count() == 1
    host, _, port = first.url.removeprefix("http://").rpartition(":")
    eventually(lambda: is_free(host, int(port)), what="a port that is free again")

    second = start_ui_train(config_of(3) | {"listen": f"{host}:{port}"})
    page.live()
    assert page.page.locator("main[data-stale]").count() == 0
    page.model("m002").wait_for()  # which the first one did not have
    assert second.ask("swap", model="m002")["ok"]
    page.page.wait_for_selector('[data-model="m002"][data-state="ready"]')
    assert page.run("() => window.same")
