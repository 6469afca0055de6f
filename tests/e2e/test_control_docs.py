"""The scripts of the page on scripting work as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "control-socket.md").read_text()
SCRIPTS = re.findall(r"<!-- test: (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)
INTERPRETERS = {"python": [sys.executable, "-c"], "sh": ["sh", "-euc"]}

# What each script says, in the order of the page; `URL` stands for some endpoint.
SAYS = [
    "URL\na ready\nb stopped\n",
    "there is no such model\n",
    "URL\n",
    "b is ready\n",
]

pytestmark = pytest.mark.e2e


class Train(Protocol):
    """A running supervisor with the models `a` and `b`, of which one runs at a time."""

    socket_dir: Path


def run(kind: str, script: str, socket_dir: Path) -> str:
    """Run `script` and return what it says, without steps and ports."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*INTERPRETERS[kind], script],
        env=os.environ | {"ARRIERO_SOCKET_DIR": str(socket_dir), "PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    without_steps = re.sub(r"(?m)^[a-z]+ (None|[0-9.]+)\n", "", done.stdout)
    return re.sub(r"http://\S+", "URL", without_steps)


def test_the_scripts_of_the_page_do_what_it_says(train: Train) -> None:
    said = [run(kind, script, train.socket_dir) for kind, script in SCRIPTS]

    assert said == SAYS


def test_every_script_of_the_page_is_tested() -> None:
    assert len(re.findall(r"(?m)^```(?:python|sh)$", PAGE)) == len(SCRIPTS) == len(SAYS)
