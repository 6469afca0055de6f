"""The command, with the shortest of its rows."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.paths import ROOT

COMMAND = [sys.executable, "-m", "tests.bench.run", "--quick", "--force", "--workers", "1"]


# Everything that runs beside it may be faster: two processes start, and end in order.
pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def folder() -> Generator[Path, None, None]:
    """An empty folder with a short path: unix sockets will be in it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        yield Path(name)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.nightly
def test_a_row_is_measured_and_nothing_is_left(folder: Path) -> None:
    found = folder / "found.json"

    ended = subprocess.run(
        [*COMMAND, "--rows", "control", "--targets", "arriero", "--json", str(found)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )

    assert "control socket, round trip" in ended.stdout, ended.stdout
    assert json.loads(found.read_text())["medians"]["arriero x1"]["control"] > 0
    assert left_in(folder) == ["found.json"]


@pytest.mark.nightly
def test_it_ends_in_order_when_it_is_interrupted(folder: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--rows", "idle", "--targets", "arriero"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob("*/*/proxy/log")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "interrupted" in said
    assert left_in(folder) == []


def test_an_unknown_row_is_said() -> None:
    ended = subprocess.run(
        [*COMMAND, "--rows", "p98"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "no row 'p98'; there are requests, " in ended.stderr
