"""The ways in that a newcomer knows: pip, uv and pipx, from a checkout and from what is built."""

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.test_packages import LIMIT_S, VERSION, build, copy_tree
from tests.paths import ROOT
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

TOOLS = ROOT / "build" / "tools" / "bin"

# As a user has it, and nothing of this project's environment.
ENVIRON = {"LANG": "C.UTF-8"} | {
    name: value
    for name, value in os.environ.items()
    if name.startswith(("PIP_", "UV_", "SSL_", "HTTP", "http", "REQUESTS_"))
}


def run(*command: str | Path, home: Path, **environ: str) -> str:
    done = subprocess.run(
        [*map(str, command)],
        env=ENVIRON | {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin"} | environ,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def by_pip(what: Path, home: Path) -> Path:
    """As locked, with hashes."""
    run(sys.executable, "-m", "venv", home / "venv", home=home)
    pip = (home / "venv/bin/python", "-m", "pip", "-q", "install", "--no-deps")
    run(*pip, "--require-hashes", "-r", ROOT / "requirements" / "run.txt", home=home)
    run(*pip, what, home=home)
    return home / "venv/bin/arriero"


def by_uv(what: Path, home: Path) -> Path:
    environ = {"UV_TOOL_DIR": str(home / "tools"), "UV_TOOL_BIN_DIR": str(home / "bin")}
    install = (TOOLS / "uv", "tool", "install", "-q", "--python", sys.executable)
    run(*install, what, home=home, **environ)
    return home / "bin/arriero"


def by_pipx(what: Path, home: Path) -> Path:
    environ = {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin")}
    run(TOOLS / "pipx", "install", "--python", sys.executable, what, home=home, **environ)
    return home / "bin/arriero"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkout, and what is built of it."""
    if not (TOOLS / "uv").exists():
        pytest.skip("`make test-packages` brings uv and pipx")
    folder = tmp_path_factory.mktemp("shelf")
    copy_tree(folder / "tree")
    built = {hook: build(folder / "tree", f"build_{hook}", folder) for hook in ("sdist", "wheel")}
    shutil.rmtree(folder / "tree" / "build", ignore_errors=True)
    return {"checkout": folder / "tree", **built}


@pytest.mark.parametrize(
    ("install", "what"),
    [
        (by_pip, "sdist"),
        (by_uv, "checkout"),
        (by_uv, "wheel"),
        (by_pipx, "checkout"),
        (by_pipx, "wheel"),
    ],
)
def test_what_is_installed_serves_a_folder(
    shelf: dict[str, Path], tmp_path: Path, install: Callable[[Path, Path], Path], what: str
) -> None:
    arriero = install(shelf[what], tmp_path)
    assert run(arriero, "--version", home=tmp_path) == f"arriero, version {VERSION}\n"
    assert "models:" in run(arriero, "example", home=tmp_path)
    assert "ExecStart=/" in run(arriero, "unit", "user", home=tmp_path)
    assert "_arriero_completion" in run(arriero, "completion", "bash", home=tmp_path)
    assert ".SH SYNOPSIS" in run(arriero, "man", "serve", home=tmp_path)

    (tmp_path / "models").mkdir()
    write_tiny_gguf(tmp_path / "models" / "tiny.gguf")
    log, sockets = tmp_path / "log", tmp_path / "s"
    with log.open("wb") as output:
        serving = subprocess.Popen(
            [arriero, "serve", "--listen", "127.0.0.1:0", "--socket-dir", sockets],
            env=ENVIRON | {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            cwd=tmp_path,
            stderr=output,
            stdout=output,
        )
    try:
        until = time.monotonic() + 300
        while b"supervisor.ready" not in log.read_bytes() and time.monotonic() < until:
            assert serving.poll() is None, log.read_text()
            time.sleep(0.05)
        said = run(arriero, "status", "--socket-dir", sockets, home=tmp_path)
        address = said.split(" listens on ")[1].split(",")[0]
        for path, told in (("/v1/models", b'"tiny"'), ("/", b"arriero")):
            with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as answer:
                assert told in answer.read()
        run(arriero, "shutdown", "--socket-dir", sockets, home=tmp_path)
        assert serving.wait(60) == 0
    finally:
        serving.kill()
        serving.wait()


def test_the_container_is_judged_by_linters() -> None:
    if not (TOOLS / "hadolint").exists():
        pytest.skip("`make test-packages` brings hadolint and compose-lint")
    for judge, file in (("hadolint", "Containerfile"), ("compose-lint", "compose.yaml")):
        done = subprocess.run(
            [TOOLS / judge, ROOT / "deploy" / file], capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
