"""The scripts of the page on scripting work as they stand there, wherever the sockets are."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trains import Train

from arriero.supervisor.cli.find_sockets import socket_folder
from tests.paths import CONTROL_DOCS

PAGE = CONTROL_DOCS.read_text()
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


@pytest.fixture
def train(ride: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with the models `a` and `b`, of which one runs at a time."""
    return ride({"models": {name: {"cmd": scripted("--load-s", "0.3")} for name in "ab"}})


# Variables that say where the sockets are; a test sets the ones it means.
PLACES = ("ARRIERO_SOCKET_DIR", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "TMPDIR")


def run(kind: str, script: str, environ: dict[str, str]) -> str:
    """Run `script` and return what it says, without steps and ports."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*INTERPRETERS[kind], script],
        env={name: value for name, value in os.environ.items() if name not in PLACES}
        | {"PATH": path}
        | environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    without_steps = re.sub(r"(?m)^[a-z]+ (None|[0-9.]+)\n", "", done.stdout)
    return re.sub(r"http://\S+", "URL", without_steps)


@pytest.mark.parametrize(
    "place", [pytest.param("ARRIERO_SOCKET_DIR", marks=pytest.mark.nightly), "XDG_RUNTIME_DIR"]
)
def test_the_scripts_of_the_page_do_what_it_says(train: Train, tmp_path: Path, place: str) -> None:
    """The folder is found as by `arriero`: not only if a variable of its own says so."""
    link = tmp_path / "arriero"
    link.symlink_to(train.socket_dir)
    folder = tmp_path if place == "XDG_RUNTIME_DIR" else link

    said = [run(kind, script, {place: str(folder)}) for kind, script in SCRIPTS]

    assert said == SAYS


ENVIRONMENTS = [
    dict(zip(PLACES, chosen, strict=True))
    for chosen in itertools.product(["", "/said"], ["", "/a:/b"], ["", "/xdg"], ["", "/tmp/mine"])
]
SOCKETS = ["/said", "/a", "/xdg/arriero", f"/tmp/mine/arriero-{os.geteuid()}", "/run/arriero"]


@pytest.mark.parametrize(
    "text", re.findall(r"(?ms)^def socket_folder\(\):\n.*?^    return next.*?$", PAGE)
)
def test_the_page_finds_the_folder_as_the_command_does(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {"os": os}
    exec(text, names)
    for environ, there in itertools.product(ENVIRONMENTS, [*SOCKETS, "/nowhere"]):

        def exists(path: Path | str, there: str = there) -> bool:
            return str(path).startswith(f"{there}/")

        with monkeypatch.context() as patch:
            for name, value in environ.items():
                patch.setenv(name, value)
            patch.setattr(os.path, "exists", exists)
            found = names["socket_folder"]()
        assert found == str(socket_folder(environ, exists)), (environ, there)


def test_every_script_of_the_page_is_tested() -> None:
    assert len(re.findall(r"(?m)^```(?:python|sh)$", PAGE)) == len(SCRIPTS) == len(SAYS)
    assert PAGE.count("def socket_folder") == PAGE.count("socket_folder()") - 2 == 2
