"""With `adopt: true` a supervisor that is killed takes nothing along: the next one goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns
from typing import Any

import psutil
import pytest
from trains import Stream, Train, alive, eventually

from arriero.supervisor.host.runtime_dir import REAPER_NAME
from tests.bench.against import code_of
from tests.paths import ROOT
from tests.supervisor.processes.left_behind import killed_supervisor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

Scripted = Callable[..., str]


def config(scripted: Scripted, **more: Any) -> dict[str, Any]:
    """Models that run beside each other."""
    models = {name: {"cmd": scripted("--name", name)} for name in "abc"}
    return {
        "workers": 1,
        "adopt": True,
        "progress": "reasoning",
        "progressDelay": "0s",
        "models": models,
        "groups": {"all": {"members": list(models), "swap": False}},
    } | more


def kill(train: Train) -> None:
    train.process.kill()
    train.process.wait()


def serve_again(
    train: Train, *, until: str = "supervisor.ready", env: Mapping[str, str] | None = None
) -> None:
    """Start it in the same place, as an operator does, or systemd."""
    began = train.log.stat().st_size
    args = train.process.args
    assert isinstance(args, list)
    with train.log.open("ab") as output:
        train.process = subprocess.Popen(
            args,
            stderr=output,
            env=os.environ | {"XDG_STATE_HOME": str(train.log.parent)} | dict(env or {}),
        )

    def is_up() -> bool:
        told = train.log.read_bytes()[began:].decode()
        assert train.process.poll() is None, told
        return until in told

    eventually(is_up, within_s=90, what=until)
    if until == "supervisor.ready":
        train.url = f"http://{train.ask('status')['listen']}"


def is_refused_beside(train: Train) -> None:
    """Start another one on its sockets, and on its state: both end, and say what would help."""
    args = train.process.args
    assert isinstance(args, list)
    elsewhere = train.log.parent / "elsewhere"
    others = {
        f"for sockets: another supervisor does, with process id {train.process.pid}; stop it, or "
        "choose another one with --socket-dir": (args, {"XDG_STATE_HOME": str(elsewhere)}),
        f"for its state: another supervisor does, with process id {train.process.pid}; stop it, or "
        "choose another one with XDG_STATE_HOME in its environment": (
            [*args[:-1], str(elsewhere)],
            {"XDG_STATE_HOME": str(train.log.parent)},
        ),
    }
    assert args[-2] == "--socket-dir"
    for words, (command, env) in others.items():
        ended = subprocess.run(
            command, env=os.environ | env, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode != 0
        assert words in ended.stderr, ended.stderr
    assert train.ask("status")["ok"]


def running(train: Train, model: str, count: int = 4) -> list[Stream]:
    """Streams that have begun, and run until they are told to end."""
    streams = [Stream(train, model, chunks=20, runs_on=True, within_s=120) for _ in range(count)]
    eventually(lambda: all(len(it.frames) > 15 for it in streams), what="streams that run")
    return streams


def is_whole(stream: Stream, chunks: int = 20) -> bool:
    """Whether it had all of its text, and no error."""
    text = "".join(f"w{number} " for number in range(1, chunks + 1))
    ended = stream.frames[-1:] == ["data: [DONE]"]
    return (stream.error, stream.errors(), stream.text(), ended) == (None, [], text, True)


def pid_of(train: Train, model: str) -> int | None:
    pid: int | None = train.model(model)["pid"]
    return pid


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(alive([psutil.Process(pid)]))
    return False


def parts_of(train: Train) -> list[psutil.Process]:
    """All processes of a train, whoever is their parent."""
    found = [process for process in psutil.process_iter() if is_part(process, train)]
    return [*{*found, *(child for one in found for child in children(one))}]


def is_part(process: psutil.Process, train: Train) -> bool:
    with suppress(psutil.Error):
        return str(train.socket_dir) in " ".join(process.cmdline())
    return False


def children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


@pytest.fixture
def start(start_train: Callable[..., Train], scripted: Scripted) -> Generator[Callable[..., Train]]:
    """A function that starts a train; in the end nothing is left of it, whoever its parent is."""
    trains: list[tuple[Train, list[psutil.Process]]] = []

    def started(**more: Any) -> Train:
        train = start_train(config(scripted, **more))
        trains.append((train, []))
        return train

    yield started
    for train, _ in trains:
        parts = parts_of(train)
        if train.process.poll() is None:
            train.stop(within_s=30)
        left = alive([process for process in parts if process.pid != train.process.pid])
        for process in left:
            process.kill()
        assert left == []


def test_streams_end_whole_and_models_stay(start: Callable[..., Train]) -> None:
    train = start()
    for model in "ab":
        assert train.chat(model).status_code == 200
    before = {model: pid_of(train, model) for model in "ab"}
    workers = set(train.workers().values())
    streams = running(train, "a")
    is_refused_beside(train)

    kill(train)
    assert train.chat("a").status_code == 200  # nobody has to be asked
    waits = Stream(train, "c", within_s=120)
    eventually(lambda: "being restarted" in waits.lines(), what="the truth")
    began = time.monotonic()
    serve_again(train, until="model.adopted model=b")
    back_s = time.monotonic() - began
    assert is_whole(waits.finish(), 5)
    eventually(lambda: train.ask("workers")["ok"], what="its sockets")

    assert {model: pid_of(train, model) for model in "ab"} == before
    assert all(is_whole(stream.finish()) for stream in streams)
    eventually(lambda: workers.isdisjoint(train.workers().values()), what="new workers")
    assert train.chat("b").status_code == 200
    assert pid_of(train, "b") == before["b"]
    assert "model.starting model=b" not in train.log_text().partition("supervisor.inherits")[2]
    print(f"models were taken over {back_s:.2f} s after the start")


def test_decisions_and_orders_outlive_a_kill(
    start: Callable[..., Train], scripted: Scripted
) -> None:
    """Places, selections, claims, a profile, a hold, log lines, and the records of what runs."""
    models = config(scripted)["models"]
    models["a"]["concurrencyLimit"] = 2
    train = start(
        models=models,
        selectors={"s": {"strategy": "spillover", "targets": ["b", "c"]}},
        profiles={"night": {"pins": {"other": "a"}}},
    )
    streams = running(train, "a", 2) + running(train, "s", 1)
    once = {"Idempotency-Key": "once"}
    claimed = Stream(train, "b", chunks=20, runs_on=True, within_s=120, headers=once)
    eventually(lambda: len(claimed.frames) > 15)
    assert train.ask("profile", profile="night")["ok"]
    lines = [line["line"] for line in train.ask("logs", model="a", lines=100)["lines"]]
    ended = train.chat("b", max_tokens=1).headers["x-request-id"]

    kill(train)
    serve_again(train)
    # Whom the old worker has let in before it knew better waits on, and is not refused.
    eventually(lambda: "worker.finishing" in train.log_text(), what="an old worker that finishes")

    assert [train.chat("a").status_code for _ in range(2)] == [429, 429]
    assert train.chat("a").json()["error"]["code"] == "concurrency_limit"
    streams[0].finish()
    eventually(lambda: train.chat("a").status_code == 200, what="a place")
    assert train.chat("b", headers=once).status_code == 409
    spilled = train.chat("s").headers["x-request-id"]  # b has one already
    assert train.ask("profiles")["active"] == "night"
    now = [line["line"] for line in train.ask("logs", model="a", lines=1000)["lines"]]
    assert now[: len(lines)] == lines
    asked = [*streams, claimed]
    assert all(is_whole(stream.finish()) for stream in asked)
    ids = [stream.headers["x-request-id"] for stream in asked]

    def recorded() -> list[str]:
        records = train.ask("activity", limit=1000)["records"]
        return [record["request_id"] for record in records]

    eventually(lambda: set(ids) <= set(recorded()), what="all records")
    [record] = train.ask("activity", request_id=spilled)["records"]
    assert record["model"] == "c"
    counts = [recorded().count(one) for one in (*ids, ended)]
    assert counts == [1] * len(counts)

    # what is held stays held, and what was to end ends
    streams = running(train, "b", 1)
    assert train.ask("hold", wait=False, for_s=3600)["ok"]
    kill(train)
    serve_again(train)
    assert train.model("b")["state"] == "draining"
    waits = Stream(train, "c", within_s=120)
    assert is_whole(streams[0].finish())
    eventually(lambda: train.model("b")["state"] == "stopped", what="an end of what drains")
    assert train.model("c")["state"] == "stopped"
    assert train.ask("release")["ok"]
    assert is_whole(waits.finish(), 5)


def test_a_restart_on_purpose_keeps_all(start: Callable[..., Train]) -> None:
    train = start()
    assert train.chat("a").status_code == 200
    before, epoch = pid_of(train, "a"), train.ask("ping")["epoch"]
    streams = running(train, "a")

    streams += running(train, "b", 1)
    command = [sys.executable, "-m", "arriero", "unload", "b", "--socket-dir"]
    with subprocess.Popen([*command, str(train.socket_dir)], stderr=subprocess.DEVNULL) as unloads:
        eventually(lambda: train.model("b")["state"] == "draining", what="one that drains")
        unloads.kill()

    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "arriero", "restart", "--socket-dir", str(train.socket_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    took_s = time.monotonic() - began

    assert (done.returncode, done.stderr) == (0, "")
    assert train.process.poll() is None  # the same process, for who watches it
    assert train.ask("ping")["epoch"] != epoch
    assert pid_of(train, "a") == before
    assert all(is_whole(stream.finish()) for stream in streams)
    assert train.chat("a").status_code == 200
    # a child of the same process: how it ends is known
    os.kill(before or 0, signal.SIGTERM)
    eventually(lambda: train.model("a")["state"] == "stopped", what="its end")
    assert "exited with code 0" in train.model("a")["error"]["message"]
    print(f"restarted in {took_s:.2f} s")


@pytest.mark.nightly  # ten seconds
def test_a_second_kill_during_adoption_loses_nothing(start: Callable[..., Train]) -> None:
    train = start()
    assert train.chat("a").status_code == 200
    before = pid_of(train, "a")
    streams = running(train, "a")

    for until in ("supervisor.inherits", "model.adopted", "worker.adopted"):
        kill(train)
        serve_again(train, until=until)
    kill(train)
    serve_again(train)

    assert pid_of(train, "a") == before
    assert all(is_whole(stream.finish()) for stream in streams)


@pytest.mark.nightly
def test_a_model_that_starts_goes_on_starting(
    start: Callable[..., Train], scripted: Scripted
) -> None:
    models = config(scripted)["models"]
    for model in "ab":
        models[model]["cmd"] += " --load-s 2.5"
    train = start(models=models)
    streams = [Stream(train, model, within_s=120) for model in "ab"]
    eventually(lambda: all(pid_of(train, model) for model in "ab"), what="two that start")
    before = {model: pid_of(train, model) for model in "ab"}
    models["b"]["cmd"] += " --load-s 0.1"  # this one has to start otherwise

    kill(train)
    train.write_config(config(scripted, models=models))
    serve_again(train)

    assert all(is_whole(stream.finish(), 5) for stream in streams)
    assert pid_of(train, "a") == before["a"]
    assert pid_of(train, "b") != before["b"]
    assert not is_alive(before["b"] or 0)
    told = train.log_text().partition("supervisor.inherits")[2]
    assert [told.count(f"model.starting model={model}") for model in "ab"] == [0, 1]


@pytest.fixture
def another_version(tmp_path: Path) -> Mapping[str, str]:
    """Environment with this program, but for the version of what workers and supervisor say."""
    tree = tmp_path / "tree"
    for name in ("arriero", "protocol", "supervisor", "worker"):
        copytree(ROOT / name, tree / name, ignore=ignore_patterns("__pycache__"))
    copyfile(ROOT / "pyproject.toml", tree / "pyproject.toml")
    values = tree / "protocol" / "values.py"
    text, count = re.subn(
        r"^LEASE_VERSION = 2$", "LEASE_VERSION = 0", values.read_text(), flags=re.MULTILINE
    )
    assert count == 1
    values.write_text(text)
    return code_of(tree, tmp_path / "path", label="another").env


@pytest.mark.nightly  # ten seconds
def test_workers_of_another_version_finish(
    start: Callable[..., Train], another_version: Mapping[str, str]
) -> None:
    train = start(supervisorGrace="3s")
    kill(train)
    serve_again(train, env=another_version)
    train.url = f"http://{train.ask('status')['listen']}"
    assert train.chat("a").status_code == 200
    before, [worker] = pid_of(train, "a"), train.workers().values()
    streams = running(train, "a")
    waits = Stream(train, "c", within_s=120)

    kill(train)
    killed_at = time.monotonic()
    serve_again(train)

    assert "understood=no" in train.log_text()
    assert pid_of(train, "a") == before
    assert worker not in train.workers().values()
    for _ in range(5):  # the old worker takes no further connection
        assert train.chat("a").status_code == 200
    waits.finish()
    assert is_whole(waits, 5) or [error["code"] for error in waits.errors()] == ["supervisor_lost"]
    while time.monotonic() < killed_at + 4:  # it is not for want of a supervisor that it goes on
        time.sleep(0.1)
    assert is_alive(worker)
    assert all(is_whole(stream.finish()) for stream in streams)
    eventually(lambda: not is_alive(worker), what="its end")


@pytest.mark.nightly  # two seconds
def test_a_card_that_nobody_understands_ends_in_order(
    start: Callable[..., Train], tmp_path: Path
) -> None:
    card = '{"type": "model", "v": 99, "model": "a"}'
    train = start()
    train.stop()
    said = tmp_path / "said"
    script = f"trap 'echo in order > {said}; exit' TERM; while :; do sleep 0.05; done"
    _, stranger, _ = killed_supervisor(train.socket_dir, 60, card=card, script=script)

    serve_again(train)

    eventually(lambda: not is_alive(stranger), what="its end")
    assert said.read_text() == "in order\n"
    assert "supervisor.left_strange" in train.log_text()
    assert train.chat("a").status_code == 200


@pytest.mark.nightly
def test_a_model_that_died_unseen_is_started_anew(start: Callable[..., Train]) -> None:
    train = start()
    for model in "ab":
        assert train.chat(model).status_code == 200
    dead, lives = pid_of(train, "a"), pid_of(train, "b")

    kill(train)
    os.kill(dead or 0, signal.SIGKILL)
    serve_again(train)

    assert "model.not_adopted model=a reason='its process ended" in train.log_text()
    assert train.chat("a").status_code == 200
    assert pid_of(train, "a") not in {None, dead}
    # and one that dies later is missed at once
    os.kill(lives or 0, signal.SIGKILL)
    eventually(lambda: train.model("b")["state"] == "stopped", what="its end")
    assert "its exit code is not known" in train.model("b")["error"]["message"]
    assert train.chat("b").status_code == 200


@pytest.mark.nightly
def test_a_changed_model_finishes_what_it_has(
    start: Callable[..., Train], scripted: Scripted
) -> None:
    train = start()
    for model in "ab":
        assert train.chat(model).status_code == 200
    old = {model: pid_of(train, model) for model in "ab"}
    streams = running(train, "a") + running(train, "b", 1)
    changed = config(scripted)
    changed["models"]["a"]["cmd"] += " --load-s 0.1"
    changed["models"].pop("b")
    changed["groups"]["all"]["members"] = ["a", "c"]

    kill(train)
    train.write_config(changed)
    serve_again(train)

    assert train.model("a")["state"] == "draining"
    assert all(is_whole(stream.finish()) for stream in streams)  # b's as well
    eventually(lambda: not is_alive(old["b"] or 0), what="an end of what was removed")
    eventually(lambda: train.model("a")["state"] == "stopped")
    assert train.chat("a").status_code == 200
    assert pid_of(train, "a") not in {None, old["a"]}


@pytest.mark.parametrize("adopts", [True, False])
def test_nothing_stays_without_a_supervisor(start: Callable[..., Train], adopts: bool) -> None:
    train = start(adopt=adopts, supervisorGrace="1s")
    assert train.chat("a").status_code == 200
    streams = running(train, "a", 1)
    parts = parts_of(train)

    killed_at = time.monotonic()
    kill(train)
    eventually(lambda: alive(parts) == [], what="an end of all")
    took_s = time.monotonic() - killed_at

    assert streams[0].finish().error is not None  # cut, and seen to be
    assert took_s > 0.9 or not adopts
    assert not any(is_part(process, train) for process in psutil.process_iter())


@pytest.mark.nightly  # four seconds; by day there are test_leftovers.py and test_first_workers.py
@pytest.mark.parametrize("adopts", [True, False])
def test_who_comes_next_ends_what_nobody_saw_to(start: Callable[..., Train], adopts: bool) -> None:
    train = start(adopt=adopts)
    assert train.chat("a").status_code == 200
    old = pid_of(train, "a") or 0
    (reaper,) = [one for one in train.children() if "reaper_child.py" in " ".join(one.cmdline())]

    train.process.send_signal(signal.SIGSTOP)  # else it would start another one
    reaper.kill()
    kill(train)
    assert is_alive(old)
    serve_again(train)

    eventually(lambda: not is_alive(old), what="its end")
    assert "supervisor.ended_leftovers processes=" in train.log_text()
    assert train.chat("a").status_code == 200


@pytest.mark.nightly  # two seconds
def test_adopt_no_more_ends_what_was_left(start: Callable[..., Train], scripted: Scripted) -> None:
    train = start()
    assert train.chat("a").status_code == 200
    old = pid_of(train, "a") or 0

    kill(train)
    train.write_config(config(scripted, adopt=False))
    serve_again(train)

    assert not is_alive(old)
    assert train.chat("a").status_code == 200


@pytest.mark.nightly  # five seconds
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_in_the_place_of_a_reaper(start: Callable[..., Train], what: str) -> None:
    train = start()
    train.stop()
    place = train.socket_dir / REAPER_NAME
    if what == "folder":
        place.mkdir()
        args = train.process.args
        assert isinstance(args, list)
        done = subprocess.run(args, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "remove it" in done.stderr
        place.rmdir()
    elif what == "file":
        place.write_bytes(b"\0" * 1_000_000)

    serve_again(train)

    assert train.chat("a").status_code == 200


@pytest.mark.nightly
def test_a_model_on_another_machine_is_gone_on_with(
    start: Callable[..., Train], scripted: Scripted, tmp_path: Path
) -> None:
    """What is taken over is the program that brought it there, with its name and its machine."""
    srun = f"env SRUN_JOBS={tmp_path} {sys.executable} {ROOT / 'tests' / 'fakes' / 'srun.py'}"
    stopped = tmp_path / "stopped"
    slurm = {
        "start": f"{srun} --job-name=${{START_ID}} ${{COMMAND}}",
        "stop": f"sh -c 'echo ${{HOST}} ${{START_ID}} >{stopped}; "
        f"{srun} cancel --name=${{START_ID}}'",
        "endpoint": "http://127.0.0.1:${PORT}",
    }
    models = {"a": {"cmd": scripted(), "launcher": "slurm"}}
    train = start(launchers={"slurm": slurm}, models=models, groups={})
    assert train.chat("a").status_code == 200
    pid = pid_of(train, "a")
    (job,) = tmp_path.glob("arriero-*")

    kill(train)
    serve_again(train)

    assert pid_of(train, "a") == pid
    assert train.chat("a").status_code == 200
    train.ask("unload", model="a")
    assert stopped.read_text() == f"{os.uname().nodename} {job.name}\n"
    eventually(lambda: not is_alive(int(job.read_text())), what="its end over there")


@pytest.mark.nightly
def test_a_model_on_another_machine_ends_with_all_that_is_here(
    start: Callable[..., Train], scripted: Scripted, tmp_path: Path
) -> None:
    srun = f"env SRUN_JOBS={tmp_path} {sys.executable} {ROOT / 'tests' / 'fakes' / 'srun.py'}"
    slurm = {
        "start": f"{srun} --job-name=${{START_ID}} ${{COMMAND}}",
        "endpoint": "http://127.0.0.1:${PORT}",
    }
    models = {"a": {"cmd": scripted(), "launcher": "slurm"}}
    train = start(launchers={"slurm": slurm}, models=models, groups={}, adopt=False)
    assert train.chat("a").status_code == 200
    (job,) = tmp_path.glob("arriero-*")
    kill(train)
    eventually(lambda: not is_alive(int(job.read_text())), what="its end over there")
