"""Fixtures of workers; the rest is in `tests.worker.rig`."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.worker.rig import OpenRig, Options, Rig, answer_json


@pytest.fixture(autouse=True)
def frequent_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers report more often than in earnest; for tests that is a clock."""
    monkeypatch.setattr("arriero.worker.supervisor_link._REPORT_S", 0.4)


@pytest.fixture
def open_rig(tmp_path: Path, request: pytest.FixtureRequest) -> OpenRig:
    handler, options = answer_json, Options()
    for mark in request.node.iter_markers("rig"):  # the nearest one first
        options = mark.args[1] | options
        if handler is answer_json:
            handler = mark.args[0] or handler
    return OpenRig(tmp_path, handler, options)


@pytest.fixture
async def rig(open_rig: OpenRig) -> AsyncGenerator[Rig, None]:
    async with open_rig() as opened:
        yield opened
