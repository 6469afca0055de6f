"""What is left standing when something is killed."""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Stream, Train, alive, eventually

pytestmark = pytest.mark.e2e

SECRET = "s3cr3t-flag"


def worker_of(train: Train, in_flight: int = 1) -> int:
    found = eventually(
        lambda: [w for w in train.ask("workers")["workers"] if w["in_flight"] == in_flight]
    )
    return found[0]["pid"]  # type: ignore[no-any-return]


def kill_and_wait_for_the_next(train: Train, number: int) -> float:
    """SIGKILL a worker; return the seconds until another serves in its place."""
    pid = train.workers()[number]
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    eventually(lambda: train.workers().get(number, pid) != pid)
    replaced_s = time.monotonic() - killed_at
    print(f"worker replaced after {replaced_s:.2f} s")
    return replaced_s


def test_a_killed_worker_takes_only_its_own_streams_along(train: Train) -> None:
    train.chat("a")
    streams = [Stream(train, "a", chunks=160, delay_s=0.05) for _ in range(8)]
    eventually(lambda: sum(w["in_flight"] for w in train.ask("workers")["workers"]) == 8)
    victim = next(w for w in train.ask("workers")["workers"] if w["in_flight"])
    before = train.workers()

    replaced_s = kill_and_wait_for_the_next(train, victim["worker"])

    cut = [stream for stream in streams if stream.finish().error is not None]
    whole = [stream for stream in streams if "data: [DONE]" in stream.frames]
    assert len(cut) == victim["in_flight"]
    assert len(cut) + len(whole) == 8
    assert replaced_s < 5.0  # 0.7 s as a rule, but other tests run at the same time
    assert len(train.workers()) == len(before)
    # Its leases are free: the model can be taken away without waiting for anybody.
    assert train.chat("b").status_code == 200


def test_a_model_that_dies_in_mid_stream_is_an_error_frame_and_comes_back(train: Train) -> None:
    train.chat("a")
    stream = Stream(train, "a", chunks=200, delay_s=0.05)
    worker_of(train)

    os.kill(train.model("a")["pid"], signal.SIGKILL)

    stream.finish()
    (error,) = stream.errors()
    assert stream.error is None  # a clean end, after an error that every client raises
    assert stream.frames[-1] == "data: [DONE]"
    assert (error["type"], error["code"]) == ("upstream_error", "upstream_disconnected")
    eventually(lambda: train.model("a")["state"] == "stopped")
    assert train.model("a")["retry_in_s"] > 0
    assert train.chat("a").status_code == 200


def test_requests_that_were_not_answered_yet_meet_the_model_that_comes_next(train: Train) -> None:
    train.chat("a")
    before = train.model("a")["pid"]
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(train.chat, "a", script="sleep=4") for _ in range(8)]
        eventually(lambda: sum(w["in_flight"] for w in train.ask("workers")["workers"]) == 8)
        os.kill(before, signal.SIGKILL)
        answers = [answer.result() for answer in asked]

    assert [answer.status_code for answer in answers] == [200] * 8
    assert train.model("a")["pid"] != before


def test_a_model_that_dies_while_loading_is_told_to_all_who_wait(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {
            "progress": "reasoning",
            "progressDelay": "0s",
            "models": {"a": {"cmd": scripted("--load-s", "30")}},
        }
    )
    streams = [Stream(train, "a") for _ in range(3)]
    pid = eventually(lambda: train.model("a")["pid"])
    eventually(lambda: train.ask("status")["queue"] == [{"model": "a", "waiting": 3}])
    eventually(lambda: all(stream.frames for stream in streams), what="a first word to each")

    os.kill(pid, signal.SIGKILL)

    for stream in streams:
        (error,) = stream.finish().errors()
        assert (stream.status, stream.frames[-1]) == (200, "data: [DONE]")
        assert (error["type"], error["code"]) == ("model_load_error", "model_load_failed")
        assert "signal 9" in error["message"]
        assert "swap-progress: a: " in stream.lines()


@pytest.mark.parametrize(
    ("cmd", "code", "reason"),
    [
        (f"/nowhere/llama-server --api-key {SECRET}", "model_load_failed", "not found"),
        (f"sh -c 'echo cannot open the model >&2; exit 3' {SECRET}", "model_load_failed", "code 3"),
        ("{never}", "model_load_timeout", "not ready after 3 s"),
    ],
)
def test_a_model_that_cannot_start_is_a_clear_error_without_its_command_line(
    start_train: Callable[..., Train],
    scripted: Callable[..., str],
    cmd: str,
    code: str,
    reason: str,
) -> None:
    model: dict[str, Any] = {"cmd": f"{cmd} --x ${{PORT}}"}
    if cmd == "{never}":
        model = {"cmd": scripted("--never-ready"), "healthCheckTimeout": 3}
    train = start_train({"models": {"a": model}})
    silent = train.chat("a") if cmd != "{never}" else None
    stream = Stream(train, "a").finish()

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


def test_a_model_whose_program_is_missing_leaves_the_resident_one_alone(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    broken = {"cmd": f"/nowhere/llama-server --port ${{PORT}} --api-key {SECRET}"}
    train = start_train({"models": {"a": {"cmd": scripted()}, "broken": broken}})
    train.chat("a")
    before = train.model("a")["pid"]

    answer = train.chat("broken")

    assert answer.status_code == 500
    assert "not found" in answer.json()["error"]["message"]
    assert SECRET not in answer.text
    assert (train.model("a")["state"], train.model("a")["pid"]) == ("ready", before)


@pytest.mark.parametrize("on_failure", ["restore", "none"])
def test_the_resident_model_comes_back_when_the_one_it_went_for_cannot_start(
    start_train: Callable[..., Train], scripted: Callable[..., str], on_failure: str
) -> None:
    broken = {"cmd": scripted("--die-at-s", "0.3", "--load-s", "9"), "onFailure": on_failure}
    train = start_train({"models": {"a": {"cmd": scripted()}, "broken": broken}})
    train.chat("a")
    before = train.model("a")["pid"]

    with train.events("state/a") as next_event:
        answer = train.chat("broken")

        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "model_load_failed")
        if on_failure == "restore":
            while next_event().get("state") != "ready":
                pass
            assert train.model("a")["pid"] != before
            assert "restoring a: broken could not be started" in train.log.read_text()
        else:
            assert train.model("a")["state"] == "stopped"
    assert train.model("broken")["retry_in_s"] > 0 or train.model("broken")["error"]
    assert train.chat("a").status_code == 200


def test_nothing_survives_a_killed_supervisor(train: Train) -> None:
    train.chat("a")
    Stream(train, "a", chunks=500, delay_s=0.05)
    worker_of(train)
    family = train.children()
    assert len(family) >= 4  # two workers, a guardian, a model

    train.process.send_signal(signal.SIGKILL)
    train.process.wait(PATIENCE_S)
    killed_at = time.monotonic()
    eventually(lambda: not alive(family), what="the end of all processes")

    gone_s = time.monotonic() - killed_at
    print(f"all gone after {gone_s:.2f} s")
    assert gone_s < 1.0


def test_sigterm_lets_running_answers_finish_and_exits_with_0(train: Train) -> None:
    train.chat("a")
    stream = Stream(train, "a", chunks=20, delay_s=0.05)
    worker_of(train)
    family = train.children()

    assert train.stop(signal.SIGTERM) == 0

    assert stream.finish().frames[-1] == "data: [DONE]"
    assert stream.errors() == []
    assert not alive(family)


def test_a_server_that_ignores_sigterm_is_killed_with_its_children(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {"unloadTimeout": 1, "models": {"a": {"cmd": scripted("--ignore-term", "--fork-child")}}}
    )
    train.chat("a")
    leader = psutil.Process(train.model("a")["pid"])
    family = [leader, *leader.children()]
    assert len(family) == 2

    assert train.ask("unload")["unloaded"] == ["a"]

    assert not alive(family)


def test_a_hung_health_check_does_not_delay_anything_else(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {"healthCheckTimeout": 15, "models": {"a": {"cmd": scripted("--hang-health")}}}
    )
    stream = Stream(train, "a")
    eventually(lambda: train.model("a")["state"] == "starting")
    asked_at = time.monotonic()
    assert httpx.get(f"{train.url}/health").text == "OK"
    assert train.ask("ping")["ok"]
    assert time.monotonic() - asked_at < 5
    assert train.ask("unload", mode="now")["unloaded"] == ["a"]
    assert stream.finish().frames
