"""The demo against a server that is not there yet, misbehaves, or is interrupted."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.paths import ROOT
from tests.real import demo, server


@pytest.fixture
def arriero(tmp_path: Path) -> Path:
    """A program that starts the fake with this Python."""
    program = tmp_path / "arriero"
    fake = Path(__file__).with_name("fake_arriero.py")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" "$@"\n')
    program.chmod(stat.S_IRWXU)
    return program


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(demo, "ensure_llama_server", lambda _: Path("/parts/llama-server"))
    models = {name: Path(f"/parts/{name}.gguf") for name in demo.ALIASES}
    monkeypatch.setattr(demo, "ensure_models", lambda _: models)
    monkeypatch.setenv("DEMO_EXIT", "1")
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def run_demo(arriero: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> int:
    monkeypatch.setenv("FAKE", fault)
    return demo.main(["--arriero", str(arriero), "--dir", str(arriero.parent), "--port", "0"])


@pytest.mark.usefixtures("parts")
def test_the_demo_shows_progress_and_answers_of_both_models_and_leaves_nothing(
    arriero: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_demo(arriero, monkeypatch, "nothing") == 0

    shown = capsys.readouterr().out
    assert shown.count("swap-progress: loading 42%") == 2
    assert shown.count("Paris.") == 2
    assert "nothing was left behind" in shown


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-progress", "no line of progress ('swap-progress: ') came while smollm2-135m"),
        ("no-answer", "smollm2-135m gave an empty answer"),
        ("dies", "cannot start: the moon is full"),
        ("leaves-llama", "left behind after the end of arriero: llama-server ("),
    ],
)
def test_the_demo_fails_in_clear_words(
    arriero: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
    message: str,
) -> None:
    monkeypatch.setattr(server, "_LEFTOVER_LIMIT_S", 0.2)  # what is left here stays for ever

    assert run_demo(arriero, monkeypatch, fault) == 1
    assert message in capsys.readouterr().err


@pytest.mark.nightly
def test_sigterm_while_the_demo_stays_ends_the_server_and_its_children(
    arriero: Path, tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.real import demo\n"
        "demo.ensure_llama_server = lambda _: Path('/parts/llama-server')\n"
        "demo.ensure_models = lambda _: {n: Path('/parts/m.gguf') for n in demo.ALIASES}\n"
        f"sys.exit(demo.main(['--arriero', {str(arriero)!r}, '--dir', {str(tmp_path)!r},"
        " '--port', '0']))"
    )
    environment = {**os.environ, "FAKE": "nothing", "DEMO_EXIT": "", "PYTHONPATH": str(ROOT)}

    with subprocess.Popen(
        (sys.executable, "-c", script), env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("  kill ") for line in process.stdout)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    assert len(family) == 2  # the server and its child
    assert not any(child.is_running() for child in family)


def test_the_configuration_quotes_paths_and_lets_the_supervisor_choose_ports() -> None:
    models = {"gemma-3-270m": Path("/m/g.gguf")}
    templates = {"gemma-3-270m": Path("/t.jinja")}

    text = demo.make_config(Path("/a b/llama-server"), models, templates, 8080)

    assert yaml.safe_load(text) == {
        "listen": "127.0.0.1:8080",
        "progress": "reasoning",
        "progressDelay": "0s",
        "models": {
            "gemma-3-270m": {
                "cmd": "'/a b/llama-server' -m /m/g.gguf --chat-template-file /t.jinja "
                "--host 127.0.0.1 --port ${PORT} -c 2048 --no-webui",
                "aliases": ["gemma"],
            }
        },
    }


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert demo.choose_port(port) not in {0, port}
