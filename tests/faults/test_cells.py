"""Of the cells that have most to tell one on each run; `make faults` has all of them."""

from pathlib import Path

import pytest

from .cell import run_cell
from .matrix import MOST_TELLING, parse

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.nightly] if number else [])
        for number, name in enumerate(MOST_TELLING)
    ],
)
async def test_whatever_breaks_each_client_is_told_and_nothing_is_left(
    name: str, tmp_path: Path
) -> None:
    result = await run_cell(parse(name), tmp_path / "rig")

    assert sum(result.endings.values()) == 16
    assert not result.bad, f"{result}\n{(tmp_path / 'rig/log/arriero.log').read_text()[-3000:]}"
