"""The frame of the page: what is shown first, and by what policy."""

from collections.abc import Callable

import pytest
from trains import Train

from tests.ui.conftest import OpensPage, config_of


@pytest.fixture(scope="module")
def train(start_ui_train: Callable[..., Train]) -> Train:
    return start_ui_train(config_of(4, workers=2))


def test_it_goes_live(open_page: OpensPage, train: Train) -> None:
    page = open_page(train).live()
    page.page.screenshot(path="/tmp/shot-train.png")
