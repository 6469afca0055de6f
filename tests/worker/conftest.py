"""Fixtures of workers; the rest is in `tests.worker.rig`."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from trio.testing import MockClock

from tests.worker.rig import OpenRig, Rig, open_rig_for


@pytest.fixture
def open_rig(tmp_path: Path, request: pytest.FixtureRequest) -> OpenRig:
    return open_rig_for(request.node, tmp_path)


@pytest.fixture
async def rig(open_rig: OpenRig) -> AsyncGenerator[Rig, None]:
    async with open_rig() as opened:
        yield opened


@pytest.fixture
def own_time() -> MockClock:
    """Time that passes only while a rig and all around it rest; then at once, up to what is next.

    For tests of what is in time, or is not: a machine that does not let us run takes none of it.
    Not for those that wait for a thread, which has other time.
    """
    return MockClock(autojump_threshold=0.05)  # zmq has a thread, which is to come first
