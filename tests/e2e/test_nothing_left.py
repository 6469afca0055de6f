"""A supervisor that gets no more files to open: what needs one fails alone, and comes back."""

import os
import resource
import signal
from collections.abc import Callable

import psutil
import pytest
from trains import Stream, Train, eventually

pytestmark = pytest.mark.e2e


def test_without_a_descriptor_left_a_model_fails_and_all_else_goes_on(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    train = start_train(
        {
            "workers": 2,
            "models": {name: {"cmd": scripted("--name", name)} for name in ("a", "b")},
            "groups": {"all": {"members": ["a", "b"], "swap": False}},
        },
        "--watch-config",
    )
    assert train.chat("a").status_code == 200
    stream = Stream(train, "a", chunks=100, delay_s=0.05)
    eventually(lambda: stream.frames, what="a stream that runs")
    supervisor = psutil.Process(train.process.pid)
    usual = supervisor.rlimit(resource.RLIMIT_NOFILE)
    before = train.workers()

    # those that are open stay; no other can be had
    supervisor.rlimit(resource.RLIMIT_NOFILE, (3, usual[1]))
    try:
        answer = train.chat("b")
        assert answer.status_code >= 500
        assert "ulimit -n" in answer.json()["error"]["message"]
        victim = before[1]
        os.kill(victim, signal.SIGKILL)  # its replacement cannot be started yet
        eventually(lambda: "worker.died" in train.log.read_text(), what="a death that was seen")
        assert train.chat("a").status_code == 200
    finally:
        supervisor.rlimit(resource.RLIMIT_NOFILE, usual)

    eventually(lambda: train.workers().get(1, victim) != victim, what="another worker")
    eventually(lambda: train.chat("b").status_code == 200, what="the model")
    assert train.workers()[2] == before[2]
    assert train.process.poll() is None
    stream.finish()
