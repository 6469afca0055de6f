"""The page in a real browser, against a real arriero.

One browser for all tests of this folder, which one process runs; one train for each file. A page
fails its test if anything was written to its console, or anything was refused by its policy.
"""

import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Protocol

import pytest
from train_starter import refuse_errors, train_starter
from trains import Train

from tests.paths import ROOT, SCRIPTED_COMMAND
from tests.ui.browser import Chromium, OpenedPage, no_browser
from tests.ui.npm_parts import axe_source

# In .ci/run these are never left out.
IS_NEEDED = bool(os.environ.get("ARRIERO_NEEDS_BROWSER"))


class OpensPage(Protocol):
    """Opens the page of a train; all are closed when the test ends."""

    def __call__(
        self,
        train: Train,
        path: str = "/ui/train",
        *,
        theme: str = "dark",
        width: int = 1280,
        key: str = "",
        expects: tuple[str, ...] = (),
    ) -> OpenedPage: ...


@pytest.fixture(scope="session")
def chromium() -> Generator[Chromium]:
    """The browser."""
    if reason := no_browser():
        if IS_NEEDED:
            pytest.fail(reason)
        pytest.skip(reason)
    with Chromium() as browser:
        yield browser


@pytest.fixture
def open_page(chromium: Chromium) -> Generator[OpensPage]:
    """See `OpensPage`."""
    pages: list[OpenedPage] = []

    def opened(
        train: Train,
        path: str = "/ui/train",
        *,
        theme: str = "dark",
        width: int = 1280,
        key: str = "",
        expects: tuple[str, ...] = (),
    ) -> OpenedPage:
        page = chromium.open(train.url, path, theme=theme, width=width, key=key, expects=expects)
        pages.append(page)
        return page

    yield opened
    complaints = [line for page in pages for line in page.complaints()]
    for page in pages:
        page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def start_ui_train(
    chromium: Chromium, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., Train]]:
    """Starts trains that all tests of a file share; there is a browser, or none is started."""
    trains: list[Train] = []
    with train_starter(tmp_path_factory.mktemp("ui"), (), trains) as start:
        yield start
        refuse_errors(trains, ())


def scripted(*options: str) -> str:
    """Return the command of a scripted upstream with these options."""
    return " ".join([*SCRIPTED_COMMAND, "--port", "${PORT}", *options])


def config_of(count: int, **more: Any) -> dict[str, Any]:
    """Return a configuration with that many scripted models, `m000` and so on, on two devices."""
    models = {
        f"m{number:03}": {
            "cmd": scripted("--name", f"m{number:03}"),
            "memory": {f"gpu{number % 2}": "6GiB", "ram": "1GiB"},
        }
        for number in range(count)
    }
    devices = {"gpu0": {"total": "24GiB"}, "gpu1": {"total": "16GiB"}, "ram": {"total": "64GiB"}}
    return {"models": models, "devices": devices, "progressDelay": "0s"} | more


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return axe_source()


@pytest.fixture(scope="session")
def shots() -> Path | None:
    """Where pictures for the documentation go, with `make screenshots`; else None."""
    folder = os.environ.get("ARRIERO_SCREENSHOTS")
    if not folder:
        return None
    path = ROOT / folder
    path.mkdir(parents=True, exist_ok=True)
    return path
