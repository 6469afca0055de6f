"""Fixtures of processes."""

from collections.abc import AsyncGenerator

import pytest

from arriero.supervisor.processes.reaper import Reaper, open_reaper


@pytest.fixture
async def reaper() -> AsyncGenerator[Reaper, None]:
    async with open_reaper() as opened:
        yield opened
