"""Fixtures of workers; the rest is in `tests.worker.rig`."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.worker.rig import OpenRig, Rig, open_rig_for


@pytest.fixture
def open_rig(tmp_path: Path, request: pytest.FixtureRequest) -> OpenRig:
    return open_rig_for(request.node, tmp_path)


@pytest.fixture
async def rig(open_rig: OpenRig) -> AsyncGenerator[Rig, None]:
    async with open_rig() as opened:
        yield opened
