"""What is left standing when something is killed."""

import json
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Stream, Train, alive, eventually

pytestmark = pytest.mark.e2e

SECRET = "s3cr3t-flag"


@pytest.fixture(scope="module")
def shared(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train for all tests that leave it whole. A model that fails has only one test."""
    missing = {"cmd": f"/nowhere/llama-server --port ${{PORT}} --api-key {SECRET}"}
    complaint = "echo cannot open the model >&2; exit 3"
    dies = scripted("--die-at-s", "0.3", "--load-s", "9")
    return start_shared_train(
        {
            "workers": 2,
            "models": {
                **{name: {"cmd": scripted("--name", name)} for name in "abcd"},
                **{name: {"cmd": scripted()} for name in ("killed", "killed-early")},
                "loads": {"cmd": scripted("--never-ready"), "progress": "reasoning"},
                "missing": missing,
                "also-missing": missing,
                "exits": {"cmd": f"sh -c '{complaint}' {SECRET} --x ${{PORT}}"},
                "never": {"cmd": scripted("--never-ready"), "healthCheckTimeout": 1},
                "dies": {"cmd": dies},
                "dies-alone": {"cmd": dies, "onFailure": "none"},
                "stubborn": {
                    "cmd": scripted("--ignore-term", "--fork-child"),
                    "unloadTimeout": 1,
                },
                "mute": {"cmd": scripted("--hang-health"), "healthCheckTimeout": 120},
            },
            "groups": {"both": {"members": ["c", "d"], "swap": False}},
        },
        "--watch-config",
    )


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, of which two workers and no model run."""
    eventually(lambda: len(shared.workers()) == 2, what="both workers")
    return shared.emptied()


@pytest.fixture
def doomed_train(start_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """One of its own for a test that ends it; its model is `a`."""
    return start_train({"workers": 2, "models": {"a": {"cmd": scripted()}}})


def worker_of(train: Train, in_flight: int = 1) -> int:
    found = eventually(
        lambda: [w for w in train.ask("workers")["workers"] if w["in_flight"] == in_flight]
    )
    return found[0]["pid"]  # type: ignore[no-any-return]


def kill_and_wait_for_the_next(train: Train, number: int) -> None:
    """SIGKILL a worker; return when another one serves in its place."""
    pid = train.workers()[number]
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    eventually(lambda: train.workers().get(number, pid) != pid)
    print(f"worker replaced after {time.monotonic() - killed_at:.2f} s")


def test_a_killed_worker_takes_only_its_own_streams_along(train: Train) -> None:
    train.chat("a")
    streams = [Stream(train, "a", runs_on=True) for _ in range(8)]
    eventually(lambda: sum(w["in_flight"] for w in train.ask("workers")["workers"]) == 8)
    victim = next(w for w in train.ask("workers")["workers"] if w["in_flight"])
    before = train.workers()

    kill_and_wait_for_the_next(train, victim["worker"])

    cut = [stream for stream in streams if stream.finish().error is not None]
    whole = [stream for stream in streams if "data: [DONE]" in stream.frames]
    assert len(cut) == victim["in_flight"]
    assert len(cut) + len(whole) == 8
    assert len(train.workers()) == len(before)
    # Its leases are free: the model can be taken away without waiting for anybody.
    assert train.chat("b").status_code == 200


def test_a_model_that_dies_in_mid_stream_is_an_error_frame_and_comes_back(train: Train) -> None:
    train.chat("killed")
    stream = Stream(train, "killed", runs_on=True)
    # Before its first byte it would be asked of the model that comes next.
    eventually(lambda: any('"content"' in frame for frame in stream.frames))

    os.kill(train.model("killed")["pid"], signal.SIGKILL)

    stream.finish()
    (error,) = stream.errors()
    assert stream.error is None  # a clean end, after an error that every client raises
    assert stream.frames[-1] == "data: [DONE]"
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_disconnected")
    eventually(lambda: train.model("killed")["state"] == "stopped", what="an end that was seen")
    assert "signal 9" in train.model("killed")["error"]["message"]
    assert train.chat("killed").status_code == 200


def test_requests_that_were_not_answered_yet_meet_the_model_that_comes_next(
    train: Train, tmp_path: Path
) -> None:
    train.chat("killed-early")
    before = train.model("killed-early")["pid"]
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(train.chat, "killed-early", script=f"hold={gate}") for _ in range(8)]
        eventually(lambda: sum(w["in_flight"] for w in train.ask("workers")["workers"]) == 8)
        os.kill(before, signal.SIGKILL)
        gate.touch()
        answers = [answer.result() for answer in asked]

    assert [answer.status_code for answer in answers] == [200] * 8
    assert train.model("killed-early")["pid"] != before


def test_a_model_that_dies_while_loading_is_told_to_all_who_wait(train: Train) -> None:
    streams = [Stream(train, "loads") for _ in range(3)]
    pid = eventually(lambda: train.model("loads")["pid"])
    eventually(
        lambda: train.ask("status")["queue"] == [{"model": "loads", "waiting": 3, "is_full": False}]
    )
    told = "swap-progress: loads: "
    eventually(lambda: all(told in stream.lines() for stream in streams), what="a line to each")

    os.kill(pid, signal.SIGKILL)

    for stream in streams:
        (error,) = stream.finish().errors()
        assert (stream.status, stream.frames[-1]) == (200, "data: [DONE]")
        assert (error["type"], error["code"]) == ("model_load_error", "model_load_failed")
        assert "signal 9" in error["message"]


@pytest.mark.parametrize(
    ("model", "code", "reason"),
    [
        ("missing", "model_load_failed", "not found"),
        ("exits", "model_load_failed", "code 3"),
        ("never", "model_load_timeout", "not ready after 1 s"),
    ],
)
def test_a_model_that_cannot_start_is_a_clear_error_without_its_command_line(
    train: Train, model: str, code: str, reason: str
) -> None:
    silent = train.chat(model) if model != "never" else None
    stream = Stream(train, model).finish()

    answers = [json.loads(frame) for frame in stream.frames if frame.startswith("{")]
    if silent is not None:
        answers.append(silent.json())
        assert silent.status_code == 500
        assert silent.headers["x-should-retry"] == "false"
    found = [answer["error"] for answer in answers] + stream.errors()
    assert found
    for error in found:
        assert error["code"] == code
        assert reason in error["message"]
        assert SECRET not in json.dumps(error)
        assert "/nowhere" not in json.dumps(error)


def test_a_model_whose_program_is_missing_leaves_the_resident_one_alone(train: Train) -> None:
    train.chat("a")
    before = train.model("a")["pid"]

    answer = train.chat("also-missing")

    assert answer.status_code == 500
    assert "not found" in answer.json()["error"]["message"]
    assert SECRET not in answer.text
    assert (train.model("a")["state"], train.model("a")["pid"]) == ("ready", before)


@pytest.mark.parametrize(("broken", "comes_back"), [("dies", True), ("dies-alone", False)])
def test_the_resident_model_comes_back_when_the_one_it_went_for_cannot_start(
    train: Train, broken: str, comes_back: bool
) -> None:
    train.chat("a")
    before = train.model("a")["pid"]

    with train.events("state/a") as next_event:
        answer = train.chat(broken)

        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_load_failed")
        if comes_back:
            while next_event().get("state") != "ready":
                pass
            assert train.model("a")["pid"] != before
            assert f"restoring a: {broken} could not be started" in train.log.read_text()
        else:
            assert train.model("a")["state"] == "stopped"
    assert train.model(broken)["retry_in_s"] > 0 or train.model(broken)["error"]
    assert train.chat("a").status_code == 200


def test_nothing_survives_a_killed_supervisor(doomed_train: Train) -> None:
    train = doomed_train
    train.chat("a")
    Stream(train, "a", chunks=500, delay_s=0.05)
    worker_of(train)
    family = train.children()
    assert len(family) >= 4  # two workers, a reaper, a model

    train.process.send_signal(signal.SIGKILL)
    train.process.wait(PATIENCE_S)
    killed_at = time.monotonic()
    eventually(lambda: not alive(family), what="the end of all processes")

    print(f"all gone after {time.monotonic() - killed_at:.2f} s")


def test_sigterm_lets_running_answers_finish_and_exits_with_0(doomed_train: Train) -> None:
    train = doomed_train
    train.chat("a")
    stream = Stream(train, "a", runs_on=True)
    worker_of(train)
    family = train.children()

    train.process.send_signal(signal.SIGTERM)
    eventually(lambda: "supervisor.stopping" in train.log.read_text(), what="a signal that came")
    stream.end()
    assert train.process.wait(PATIENCE_S) == 0

    assert stream.finish().frames[-1] == "data: [DONE]"
    assert stream.errors() == []
    assert not alive(family)


def test_a_server_that_ignores_sigterm_is_killed_with_its_children(train: Train) -> None:
    train.chat("stubborn")
    leader = psutil.Process(train.model("stubborn")["pid"])
    family = [leader, *leader.children()]
    assert len(family) == 2

    assert train.ask("unload")["unloaded"] == ["stubborn"]

    assert not alive(family)


def test_a_hung_health_check_does_not_delay_anything_else(train: Train) -> None:
    stream = Stream(train, "mute")
    eventually(lambda: train.model("mute")["state"] == "starting")
    assert httpx.get(f"{train.url}/health").text == "OK"
    assert train.ask("ping")["ok"]
    assert train.model("mute")["state"] == "starting"  # the check still waits
    assert train.ask("unload", mode="now")["unloaded"] == ["mute"]
    assert stream.finish().frames


@pytest.mark.nightly  # by day: a cell of tests/faults
def test_without_a_descriptor_left_a_model_fails_and_all_else_goes_on(train: Train) -> None:
    assert train.chat("c").status_code == 200
    stream = Stream(train, "c", chunks=100, delay_s=0.05)
    eventually(lambda: stream.frames, what="a stream that runs")
    supervisor = psutil.Process(train.process.pid)
    usual = supervisor.rlimit(resource.RLIMIT_NOFILE)
    before = train.workers()
    deaths = train.log.read_text().count("worker.died")

    # those that are open stay; no other can be had
    supervisor.rlimit(resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        answer = train.chat("d")
        assert answer.status_code >= 500
        assert "ulimit -n" in answer.json()["error"]["message"]
        victim = before[1]
        os.kill(victim, signal.SIGKILL)  # its replacement cannot be started yet
        eventually(
            lambda: train.log.read_text().count("worker.died") > deaths,
            what="a death that was seen",
        )
        assert train.chat("c").status_code == 200
    finally:
        supervisor.rlimit(resource.RLIMIT_NOFILE, usual)

    eventually(lambda: train.workers().get(1, victim) != victim, what="another worker")
    eventually(lambda: train.chat("d").status_code == 200, what="the model")
    assert train.workers()[2] == before[2]
    assert train.process.poll() is None
    stream.finish()
