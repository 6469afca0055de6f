"""Commands as people have them: wrappers, slow checks, wrong paths, and ports that are taken."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from trains import PATIENCE_S, Train

from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf

pytestmark = pytest.mark.e2e

OPTIONS = "-t 1 -c 512 --parallel 1 --no-webui"

# Each runs from a terminal. What it starts in the background has no standard input of ours.
WRAPPERS = {
    "background": '{server} "$@" &\nwait',
    "background, traps": '{server} "$@" &\nPID=$!\ntrap "kill $PID" TERM\nwait $PID',
    "exec": 'exec {server} "$@"',
    "nohup": 'nohup {server} "$@" > "$0.log" 2>&1 &\nwait $!',
    "setsid": 'setsid {server} "$@" < /dev/null &\nwait $!',
    "pipeline": '{server} "$@" 2>&1 < /dev/null | tee "$0.log"',
    "two servers": '{server} -m "$4" --port 0 --host 127.0.0.1 &\n{server} "$@" &\nwait -n',
    "python": (
        "{python} -c 'import subprocess, sys; sys.exit(subprocess.Popen(sys.argv[1:], "
        'stdin=subprocess.DEVNULL).wait())\' {server} "$@"'
    ),
}


# The others are started over night: each takes seconds.
_ALWAYS = ("background", "pipeline", "two servers")
_NIGHTLY = pytest.mark.nightly


@pytest.fixture(scope="session")
def server() -> str:
    return str(ensure_llama_server())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    "shape",
    [
        shape if shape in _ALWAYS else pytest.param(shape, marks=pytest.mark.nightly)
        for shape in WRAPPERS
    ],
)
def test_a_wrapper_that_runs_from_a_terminal_runs_here(
    ride: Callable[..., Train], server: str, tiny: Path, tmp_path: Path, shape: str
) -> None:
    text = WRAPPERS[shape].format(server=server, python=sys.executable)
    wrapper = script(tmp_path / "llama-server", text)  # its name alone says nothing
    cmd = f"{wrapper} --port ${{PORT}} -m {tiny} {OPTIONS}"
    train = ride({"models": {"m": {"cmd": cmd, "healthCheckTimeout": 60}}})

    answer = train.chat("m")
    assert answer.status_code == 200, answer.text
    pid = train.model("m")["pid"]
    assert train.chat("m").status_code == 200
    assert train.model("m")["pid"] == pid  # it did not end in between
    assert "model.again" not in train.log_text()


def test_what_ends_itself_for_its_report_is_started_again_without_it(
    ride: Callable[..., Train], server: str, tiny: Path, tmp_path: Path
) -> None:
    """Asked for it by `env`, behind a wrapper that does not pass our pipe on."""
    wrapper = script(tmp_path / "start", WRAPPERS["background"].format(server=server))
    cmd = f"{wrapper} --port ${{PORT}} -m {tiny} {OPTIONS}"
    model = {"cmd": cmd, "env": ["LLAMA_SERVER_ROUTER_PORT=1"], "healthCheckTimeout": 60}
    train = ride({"models": {"m": model}})

    first = train.chat("m")
    assert first.status_code == 200, first.text + train.log_text()
    assert train.chat("m").status_code == 200
    environ = Path(f"/proc/{train.model('m')['pid']}/environ").read_bytes().split(b"\0")
    assert not any(entry.startswith(b"LLAMA_SERVER_ROUTER_PORT") for entry in environ)
    starts = train.log_text().count("model.starting")
    train.ask("unload")
    assert train.chat("m").status_code == 200
    assert train.log_text().count("model.starting") == starts + 1  # remembered


@pytest.mark.parametrize(
    ("written", "reports"), [([], True), (["LLAMA_SERVER_ROUTER_PORT="], False)]
)
def test_llama_server_itself_is_asked_for_its_report_unless_env_takes_it_away(
    ride: Callable[..., Train], server: str, tiny: Path, written: list[str], reports: bool
) -> None:
    cmd = f"env A=b nice -n 1 {server} --port ${{PORT}} -m {tiny} {OPTIONS}"
    train = ride({"models": {"m": {"cmd": cmd, "env": written}}})
    assert train.chat("m").status_code == 200
    environ = Path(f"/proc/{train.model('m')['pid']}/environ").read_bytes().split(b"\0")
    assert (b"LLAMA_SERVER_ROUTER_PORT=1" in environ) == reports
    assert any(entry.startswith(b"LLAMA_SERVER_ROUTER_PORT") for entry in environ) == reports


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("-m {missing}", "failed to open GGUF file 'missing.gguf' (No such file or directory)"),
        pytest.param("-m {broken}", "bad GGUF version: 0", marks=_NIGHTLY),
        pytest.param(
            "-m {tiny} --no-such-option", "invalid argument: --no-such-option", marks=_NIGHTLY
        ),
    ],
)
def test_the_error_names_what_is_wrong_and_says_the_same_each_time(
    ride: Callable[..., Train],
    server: str,
    tiny: Path,
    tmp_path: Path,
    change: str,
    told: str,
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    files = {"missing": tmp_path / "missing.gguf", "broken": broken, "tiny": tiny}
    cmd = f"{server} --port ${{PORT}} {change.format(**files)}"
    train = ride({"models": {"m": {"cmd": cmd}}})

    def message() -> str:
        answer = train.chat("m")
        assert answer.status_code == 500
        return str(answer.json()["error"]["message"])

    first = message()
    assert told in first
    assert str(tmp_path) not in first
    train.ask("unload")  # a retry need not wait for its back-off
    second = message()
    assert first.partition(";")[2] == second.partition(";")[2]


# --- the check ------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_two_supervisors_with_the_same_first_port_do_not_disturb_each_other(
    ride: Callable[..., Train], start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    """Both choose it before a server binds it; the loser takes another one, and nobody notices."""
    model = {"cmd": scripted("--listen-late", "--load-s", "1")}
    config = {"models": {"m": model}, "startPort": 5790}
    trains = [ride(config), start_train(config)]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda train=train: statuses.append(train.chat("m").status_code))
        for train in trains
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert statuses == [200, 200]
    ports = {train.model("m")["endpoint"] for train in trains}
    assert len(ports) == 2
    logs = "".join(train.log_text() for train in trains)
    assert "model.again" in logs


@pytest.mark.parametrize(
    ("options", "more", "told"),
    [
        ("", {"checkEndpoint": "/nowhere"}, "it answered 404 at /nowhere: set checkEndpoint to"),
        (
            "--api-key s3cret",
            {"checkEndpoint": "/v1/models", "apiKey": "another"},
            "it answered 401 at /v1/models: set apiKey to the key that it wants",
        ),
        pytest.param(
            "--never-ready",
            {},
            "it answered 503 at /health, so it still loads; raise healthCheck",
            marks=_NIGHTLY,
        ),
        pytest.param(
            "--hang-health",
            {},
            "and does not answer /health; raise healthCheckTimeout",
            marks=_NIGHTLY,
        ),
        ("--listen-late --never-ready", {}, "nobody listens at http://127.0.0.1:"),
    ],
)
def test_the_error_says_what_is_missing(
    ride: Callable[..., Train],
    scripted: Callable[..., str],
    options: str,
    more: dict[str, str],
    told: str,
) -> None:
    model = {"cmd": scripted(options), "healthCheckTimeout": 4} | more
    train = ride({"models": {"m": model}})

    answer = train.chat("m")

    assert answer.status_code in {500, 504}
    message = answer.json()["error"]["message"]
    assert "it was not ready after 4 s: " in message
    assert told in message
    assert "s3cret" not in message
