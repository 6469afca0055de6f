"""Another configuration in a running train: what did not change does not notice."""

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from trains import DEFAULTS, PATIENCE_S, Stream, Train, eventually

from arriero.supervisor.reload.change_detector import QUIET_S
from arriero.supervisor.reload.reloader import PAUSE_S

pytestmark = pytest.mark.e2e


@dataclass
class Track:
    """A train and its file."""

    train: Train
    scripted: Callable[..., str]
    first: int = 1  # the generation of the configuration with which the test begins

    @property
    def file(self) -> Path:
        return self.train.log.parent / "config.yaml"

    def write(self, models: dict[str, Any], **settings: Any) -> None:
        self.train.write_config({"workers": 2} | settings | {"models": models})

    def reload(self, **options: Any) -> dict[str, Any]:
        answer = self.train.ask("reload", **options)
        assert answer["ok"], answer
        return answer

    def model(self, name: str, *options: str, **keys: Any) -> dict[str, Any]:
        return {"cmd": self.scripted("--name", name, *options)} | keys

    def config(self) -> dict[str, Any]:
        return self.train.ask("status")["config"]  # type: ignore[no-any-return]

    def generation(self) -> int:
        """Which configuration is in force: 1 is the one with which the test began."""
        return self.nth(self.config()["generation"])

    def nth(self, generation: int) -> int:
        return generation - self.first + 1

    def names(self) -> list[str]:
        return [model["model"] for model in self.train.ask("status")["models"]]


@pytest.fixture
def track(ride: Callable[..., Train], scripted: Callable[..., str]) -> Track:
    """A train with the models `a` (also called `first`) and `b`."""
    model = Track(None, scripted).model  # type: ignore[arg-type]
    models = {"a": model("a", aliases=["first"]), "b": model("b")}
    train = ride({"workers": 2, "models": models})
    return Track(train, scripted, train.ask("status")["config"]["generation"])


@contextmanager
def running_stream(train: Train, model: str, chunks: int) -> Generator[Stream, None, None]:
    """A stream that runs while the block does, and has to be whole and byte-true at its end."""
    stream = Stream(train, model, chunks=chunks, delay_s=0.02, runs_on=True)
    eventually(lambda: len(stream.frames) > 3, what="a running stream")
    yield stream
    assert stream.frames[-1] != "data: [DONE]", "the stream ended before the test had begun"
    stream.finish()
    assert stream.error is None
    assert stream.status == 200
    assert stream.text() == "".join(f"w{number} " for number in range(1, chunks + 1))
    frames = [frame for frame in stream.frames if frame.startswith("data: ")]
    assert len(frames) == chunks + 3  # the role before, the end and [DONE] after
    assert frames[-1] == "data: [DONE]"
    assert stream.errors() == []


@pytest.mark.expects_errors("config.refused", "config.problem")
def test_a_stream_runs_through_every_kind_of_change(track: Track) -> None:
    train = track.train
    a, b = track.model("a", aliases=["first"]), track.model("b")
    workers = train.workers()

    with running_stream(train, "a", chunks=200):
        pid = train.model("a")["pid"]

        # added
        track.write({"a": a, "b": b, "c": track.model("c")})
        assert track.reload()["changes"]["added"] == ["c"]
        assert "c" in listed(train)

        # removed
        track.write({"a": a, "c": track.model("c")})
        assert track.reload()["changes"]["removed"] == ["b"]
        gone = train.chat("b")
        assert gone.status_code == 404
        assert track.names() == ["a", "c"]

        # adjusted: another alias, another ttl
        track.write({"a": a | {"aliases": ["second"], "ttl": 600}, "c": track.model("c")})
        assert track.reload()["changes"]["adjusted"] == [{"model": "a", "keys": ["aliases", "ttl"]}]
        assert train.chat("second").status_code == 200
        assert train.chat("first").status_code == 404

        # not usable
        good = track.file.read_text()
        track.file.write_text("models:\n  a:\n    cmd: [\n")
        refusal = train.ask("reload")
        assert refusal["error"]["code"] == "bad_config"
        assert str(track.file) in refusal["problems"][0]
        assert track.config()["failed"]["problems"] == refusal["problems"]
        assert train.chat("second").status_code == 200
        assert f"config.problem {refusal['problems'][0]}" in train.log_text()

        # what takes a restart, and the number of workers
        track.file.write_text(good.replace("workers: 2", "workers: 3").replace(":0", ":9"))
        told = track.reload()
        assert (told["changes"]["settings"], told["changes"]["needs_restart"]) == (
            ["workers"],
            ["listen"],
        )
        assert (track.config()["needs_restart"], track.config()["failed"]) == (["listen"], None)
        eventually(lambda: len(train.workers()) == 3)
        assert workers.items() <= train.workers().items()

        # another command, for the next start
        c = {"c": track.model("c")}
        track.write({"a": track.model("a2", aliases=["first"]), **c}, workers=3)
        told = track.reload()
        assert [change["model"] for change in told["changes"]["relaunch"]] == ["a"]
        found = train.model("a")
        assert (found["pid"], found["stale"], found["state"]) == (pid, True, "ready")
        assert train.chat("a").json()["model"] == "a"

        # and now
        assert track.reload(drain=True)["draining"] == ["a"]
        found = train.model("a")
        assert (found["pid"], found["state"]) == (pid, "draining")
        waits = Stream(train, "a")  # for the new process, until the old one has ended its stream

    assert waits.finish().text() == "w1 w2 w3 w4 w5 "
    assert train.chat("first").json()["model"] == "a2"
    assert train.model("a")["pid"] != pid
    assert not train.model("a")["stale"]
    assert track.generation() == 6


def listed(train: Train) -> list[str]:
    return [model["id"] for model in httpx.get(f"{train.url}/v1/models").json()["data"]]


def test_a_removed_model_ends_after_its_stream_and_its_waiters_are_told(track: Track) -> None:
    train = track.train
    with running_stream(train, "first", chunks=60), ThreadPoolExecutor(1) as pool:
        pid = train.model("a")["pid"]
        waiting = pool.submit(train.chat, "b")
        eventually(lambda: train.ask("status")["queue"])

        track.write({"c": track.model("c")})
        track.reload()

        refused = waiting.result().json()["error"]
        assert (refused["code"], "removed" in refused["message"]) == ("model_not_found", True)
        found = train.model("a")
        assert (found["pid"], found["state"], found["removed"]) == (pid, "draining", True)
        assert track.names() == ["c", "a"]
        gone = train.chat("a")
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "model_not_found")
    eventually(lambda: track.names() == ["c"])
    eventually(lambda: not Path(f"/proc/{pid}").exists())

    near = train.chat("cc")
    assert near.status_code == 404
    assert "did you mean 'c'" in near.json()["error"]["message"]
    assert train.chat("c").json()["model"] == "c"


def test_an_alias_moves_without_a_moment_in_which_it_is_nobodys(track: Track) -> None:
    """Requests by an alias that moves to and fro are answered by the one or the other."""
    train = track.train
    first = {"aliases": ["first"]}
    here = {"a": track.model("a", **first), "b": track.model("b"), "c": track.model("c")}
    there = {"a": track.model("a"), "b": track.model("b", **first), "c": track.model("c")}
    answers: list[httpx.Response] = []
    end = False

    def ask() -> None:
        while not end:
            answers.append(train.chat("first"))

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        for round_ in range(4):
            track.write(there if round_ % 2 == 0 else here)
            assert track.reload()["applied"]
            enough = len(answers) + 5
            eventually(partial(has_come_to, answers, enough))
        end = True
        for done in asking:
            done.result()

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model"] for answer in answers} == {"a", "b"}
    assert train.chat("first").json()["model"] == "a"


def has_come_to(answers: list[httpx.Response], count: int) -> bool:
    return len(answers) >= count


def test_a_dry_run_tells_the_changes_and_makes_none(track: Track) -> None:
    train = track.train
    train.chat("a")
    before = train.ask("status")
    track.write({"a": track.model("a2"), "c": track.model("c")}, workers=1, progress="off")

    told = track.reload(dry_run=True, drain=True)

    changes = told["changes"]
    assert (told["applied"], track.nth(told["generation"])) == (False, 1)
    assert (changes["added"], changes["removed"]) == (["c"], ["b"])
    assert changes["relaunch"] == [{"model": "a", "keys": ["cmd"]}]
    assert changes["adjusted"] == [{"model": "a", "keys": ["aliases", "progress"]}]
    assert changes["settings"] == ["workers"]
    after = train.ask("status")
    assert after["config"] == {  # each change has a generation of its own, which is announced
        "generation": track.first,
        "loaded_at": before["config"]["loaded_at"],
        "files": [str(track.file)],
        "needs_restart": [],
        "failed": None,
        "warnings": 0,
        "findings": [],
        "profile": None,
    }
    assert track.names() == ["a", "b"]
    assert not train.model("a")["stale"]
    assert train.chat("b").status_code == 200


def test_a_burst_of_signals_is_one_or_two_reloads(track: Track) -> None:
    train = track.train
    with train.events("config/") as next_event:
        began = time.monotonic()
        for number in range(10):
            track.write({"a": track.model("a"), f"n{number}": track.model("n")})
            os.kill(train.process.pid, signal.SIGHUP)
            time.sleep(0.05)  # ten in half a second
        took_s = time.monotonic() - began
        eventually(lambda: "n9" in track.names())
        generations: list[int] = []
        while not generations or generations[-1] != track.generation():
            event = next_event()
            if event["type"] == "config":
                generations.append(track.nth(event["generation"]))

    # one at the first of them, and then one in each pause: two, unless the machine is very busy
    assert generations == [*range(2, 2 + len(generations))]
    assert len(generations) <= 2 + took_s / PAUSE_S
    assert train.chat("n9").status_code == 200


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Generator[socket.socket]:
    """What hears the notes that a service sends to systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path_factory.mktemp("systemd") / "notify"))
        systemd.settimeout(PATIENCE_S)
        yield systemd


@pytest.fixture(scope="module")
def service(
    start_shared_train: Callable[..., Train], scripted: Callable[..., str], systemd: socket.socket
) -> Train:
    """A train with the model `a`, started by systemd with options on its command line."""
    train = start_shared_train(
        {"models": {"a": {"cmd": scripted()}}},
        *("--workers", "1", "--listen", "127.0.0.1:0"),
        environ={"NOTIFY_SOCKET": systemd.getsockname()},
    )
    while not systemd.recv(1000).startswith(b"READY=1"):
        pass
    return train


def test_what_the_command_line_says_stays_in_force(
    service: Train, scripted: Callable[..., str]
) -> None:
    track = Track(service, scripted)
    model = {"cmd": scripted()}
    workers = service.workers()

    track.write({"a": model, "b": model}, workers=3, listen="127.0.0.1:9")
    told = track.reload()

    assert told["changes"] == {
        "added": ["b"],
        "removed": [],
        "relaunch": [],
        "adjusted": [],
        "settings": [],
        "needs_restart": [],
    }
    assert service.workers() == workers


def test_systemd_hears_when_a_reload_begins_and_ends(
    service: Train, systemd: socket.socket
) -> None:
    began_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    os.kill(service.process.pid, signal.SIGHUP)

    begin = [b""]
    while begin[0] != b"RELOADING=1" or int(begin[1].removeprefix(b"MONOTONIC_USEC=")) < began_us:
        begin = systemd.recv(1000).split(b"\n")  # one before may be of another test's reload
    assert systemd.recv(1000).split(b"\n")[0] == b"READY=1"


@pytest.mark.expects_errors("config.refused", "config.problem")
def test_files_that_are_watched_are_followed_once_they_stand_still(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    more = folder / "more.yaml"
    more.write_text("")
    train = start_train(
        {"models": {"a": {"cmd": scripted()}}}, "--config-dir", str(folder), "--watch-config"
    )
    track = Track(train, scripted)

    def save(text: str) -> None:
        new = folder / ".more.yaml.new"
        new.write_text(text)
        new.rename(more)

    def next_config() -> dict[str, Any]:
        while (event := next_event())["type"] != "config":
            pass
        return event

    with running_stream(train, "a", 150), train.events("config/") as next_event:
        began = time.monotonic()
        for number in range(10):  # within a second: one change
            save(yaml.safe_dump({"models": {f"n{number}": {"cmd": scripted()}}}))
            time.sleep(0.05)
        took_s = time.monotonic() - began
        generation = next_config()["generation"]
        while track.names() != ["a", "n9"] or generation < track.config()["generation"]:
            generation = next_config()["generation"]
        # more than one only if the machine is so busy that it stood still in between
        assert generation == 2 or generation <= 2 + took_s / QUIET_S

        save("models: {n9: {cmd: 'run ${PORT}', tll: 5}}")
        (problem,) = next_config()["problems"]
        assert f"{more}:1:35: models.n9: unknown key 'tll'; did you mean 'ttl'?" in problem
        assert track.config()["generation"] == generation
        assert track.config()["failed"]["problems"] == [problem]

        save("")
        assert next_config()["generation"] == generation + 1
        assert track.names() == ["a"]
        assert track.config()["failed"] is None
    assert track.config()["files"] == [str(track.file), str(more)]


def test_a_terminal_that_is_closed_ends_what_runs_in_it(
    tmp_path: Path, scripted: Callable[..., str]
) -> None:
    config = tmp_path / "c.yaml"
    said = DEFAULTS | {"workers": 1, "models": {"a": {"cmd": scripted()}}}
    config.write_text(yaml.safe_dump(said))
    terminal, its_other_end = pty.openpty()
    arguments = ["serve", "--config", str(config), "--socket-dir", str(tmp_path / "s")]
    process = subprocess.Popen(
        [sys.executable, "-m", "arriero.supervisor", *arguments],
        stdin=its_other_end,
        stdout=its_other_end,
        stderr=its_other_end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its_other_end)
    try:
        seen = b""
        while b"supervisor.ready" not in seen:
            seen += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
