"""Models that run but are of no use: they hang, answer with errors only, or never finish."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Stream, Train, alive, eventually

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def shared(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train of models of which one runs at a time, for all tests that leave it whole."""
    return start_shared_train(
        {
            "workers": 2,
            "models": {
                # two seconds without life are too long
                "a": {"cmd": scripted(), "hungAfter": "2s"},
                "b": {"cmd": scripted(), "hungAfter": "2s"},
                "stuck": {"cmd": scripted(), "drainLimit": "2s"},
                "failing": {"cmd": scripted("--always-status", "500")},
                # What starts the server lives longer than that, as srun does, and docker.
                "left": {"cmd": f"sh -c '{scripted()}; exec sleep 1000'"},
            },
        }
    )


@pytest.fixture
def train(shared: Train) -> Train:
    """This one, of which no model runs."""
    return shared.emptied()


class Ask(threading.Thread):
    """One chat request that is not streamed, in a thread."""

    def __init__(self, train: Train, model: str, **more: Any) -> None:
        super().__init__(daemon=True)
        self.train, self.model, self.more = train, model, more
        self.answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(httpx.HTTPError):  # the train may end before that
            self.answer = self.train.chat(self.model, **self.more)

    def finish(self) -> httpx.Response:
        self.join(PATIENCE_S)
        assert self.answer is not None
        return self.answer


def ready(train: Train, model: str) -> psutil.Process:
    """Its process. A start whose port somebody else took meanwhile is tried again."""
    eventually(lambda: train.chat(model).status_code == 200)
    pid = train.model(model)["pid"]
    assert pid is not None
    return psutil.Process(pid)


def count(train: Train, words: str) -> int:
    """How often they are in the log."""
    return train.log.read_text().count(words)


def times_hung(train: Train) -> int:
    """How often the model `a` was found to hang."""
    return count(train, "model.hung model=a ")


def is_asked(train: Train, model: str, requests: int = 1) -> None:
    eventually(lambda: train.model(model)["in_flight"] == requests, what="requests in flight")


@pytest.mark.parametrize("how", ["frozen", pytest.param("mute", marks=pytest.mark.nightly)])
def test_a_model_that_hangs_after_it_was_ready_is_recycled(
    train: Train, how: str, tmp_path: Path
) -> None:
    before = ready(train, "a")
    stream = Stream(train, "a", chunks=1000, delay_s=0.05)
    eventually(lambda: len(stream.frames) > 3)
    hangs = "hang=mute" if how == "mute" else f"hold={tmp_path / 'never'}"
    asked = Ask(train, "a", script=hangs)
    is_asked(train, "a", 2)  # before anybody wants another model
    before.send_signal(signal.SIGSTOP)  # its stream would go on
    waiting = Ask(train, "b")

    answer = asked.finish()

    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_hung", answer.text
    assert "no byte, no processor time and no answer to its check" in answer.text
    assert waiting.finish().status_code == 200
    (error,) = stream.finish().errors()
    assert (error["code"], stream.frames[-1]) == ("upstream_hung", "data: [DONE]")
    assert not alive([before])
    assert train.chat("a").status_code == 200


@pytest.mark.nightly
def test_whoever_asked_for_it_in_vain_gets_the_next_one(train: Train) -> None:
    before = times_hung(train)
    ready(train, "a").send_signal(signal.SIGSTOP)
    assert Ask(train, "a").finish().status_code == 504

    answer = train.chat("a")

    assert answer.status_code == 200
    assert times_hung(train) == before + 1


def test_busy_is_not_dead(start_train: Callable[..., Train], scripted: Callable[..., str]) -> None:
    """It answers nobody, not even its check, but it works."""
    train = start_train({"models": {"a": {"cmd": scripted(), "hungAfter": "1s"}}})
    pid = ready(train, "a").pid
    Ask(train, "a", script="hang=spin")
    is_asked(train, "a")
    asked_at = time.monotonic()

    while time.monotonic() < asked_at + 4:  # four times the limit
        assert train.model("a")["state"] == "ready"
        time.sleep(0.2)

    assert train.model("a")["pid"] == pid
    train.process.send_signal(signal.SIGTERM)
    eventually(lambda: "supervisor.stopping" in train.log.read_text())
    assert train.stop(signal.SIGTERM) == 0  # the second one waits for nobody


@pytest.mark.nightly
def test_a_slow_answer_of_a_server_that_lives_is_not_touched(train: Train) -> None:
    before = times_hung(train)
    ready(train, "a")
    assert train.chat("a", script="sleep=6").status_code == 200
    assert times_hung(train) == before


@pytest.mark.nightly
def test_a_model_that_is_not_asked_may_be_as_silent_as_it_likes(train: Train) -> None:
    pid = ready(train, "a").pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(pid, signal.SIGCONT)
    assert train.chat("a").status_code == 200
    assert train.model("a")["pid"] == pid


def test_requests_that_get_no_further_are_ended_by_the_limit_of_a_drain(train: Train) -> None:
    ready(train, "stuck")
    stuck = Ask(train, "stuck", script="sleep=1000")
    is_asked(train, "stuck")
    goes_on = Stream(train, "stuck", chunks=60, delay_s=0.1)
    eventually(lambda: goes_on.frames)
    waiting = Ask(train, "b")

    answer = stuck.finish()

    assert "data: [DONE]" in goes_on.finish().frames  # as long as it got further, all could
    assert goes_on.errors() == []
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_evicted")
    assert answer.headers["retry-after"]
    assert waiting.finish().status_code == 200


def test_a_server_that_answers_with_errors_only_is_recycled_with_growing_pauses(
    train: Train,
) -> None:
    starts = partial(count, train, "model.starting model=failing ")
    failing = partial(count, train, "model.failing model=failing ")
    eventually(lambda: train.chat("failing").status_code == 500)
    first, begun = train.model("failing")["swap"], starts()
    statuses = [train.chat("failing").status_code for _ in range(5)]

    assert statuses == [500] * 5
    found = eventually(
        lambda: [m for m in [train.model("failing")] if m["error"] or m["swap"] > first]
    )
    assert found
    assert failing() == 1
    answers = [train.chat("failing") for _ in range(12)]
    assert {answer.status_code for answer in answers} == {500}
    # twice as many were needed; what has become of them is told a moment later
    eventually(lambda: failing() == 2)
    assert 1 <= starts() - begun <= 2


def test_a_model_whose_server_alone_has_ended_is_started_again_for_who_asks(train: Train) -> None:
    outer = ready(train, "left")
    (server,) = outer.children()
    server.kill()
    eventually(lambda: outer.name() == "sleep")

    assert train.chat("left").status_code == 200

    assert train.log.read_text().count("model.deserted model=left ") == 1
    assert train.model("left")["pid"] != outer.pid
    eventually(lambda: not alive([outer]))


@pytest.mark.nightly
def test_one_request_that_fails_among_good_ones_recycles_nothing(train: Train) -> None:
    pid = ready(train, "a").pid
    for _ in range(12):
        answer = train.chat("a", script="status=500")
        assert answer.status_code == 500, answer.text
        assert train.chat("a").status_code == 200
    for status in (400, 501, 503, 507):
        for _ in range(12):
            body = json.dumps({"model": "a", "script": f"status={status}"})
            httpx.post(
                f"{train.url}/v1/chat/completions",
                content=body,
                headers={"content-type": "application/json"},
                timeout=PATIENCE_S,
            )
    assert train.model("a")["pid"] == pid
