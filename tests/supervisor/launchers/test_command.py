"""Models that a template starts, by a program that does as Slurm's srun."""

import os
import sys
from pathlib import Path

import psutil
import pytest
import trio

from arriero.protocol.lease import Refuse
from arriero.supervisor.launchers import command
from tests.paths import ROOT
from tests.supervisor.launchers.elsewhere import (
    config,
    is_gone,
    is_stopped,
    servers,
    stamps,
    turn,
    unload,
)
from tests.supervisor.train import open_train

SRUN = f"{sys.executable} {ROOT / 'tests' / 'fakes' / 'srun.py'}"


@pytest.fixture(autouse=True)
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The jobs of the fake, and where it looks for them."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    monkeypatch.setenv("SRUN_JOBS", str(folder))
    return folder


START = f"{SRUN} --job-name=${{START_ID}} --gpus=1 ${{COMMAND}}"
STOP = f"{SRUN} cancel --name=${{START_ID}}"


def task_of(jobs: Path) -> psutil.Process:
    """The task on the "other machine"."""
    (job,) = (path for path in jobs.iterdir() if not path.suffix)
    return psutil.Process(int(job.read_text()))


def cancelled(jobs: Path) -> list[Path]:
    return list(jobs.glob("*.cancelled"))


async def test_machine_is_told_by_the_guard(tmp_path: Path, jobs: Path) -> None:
    there = {"start": START, "endpoint": "http://${HOST}.localhost:${PORT}"}
    phases: list[str] = []
    async with open_train(tmp_path, config(tmp_path, there)) as train:
        look = train.dispatcher.engine.models
        train.want()
        async with trio.open_nursery() as nursery:

            def note() -> None:
                progress = look(0, 0)[0].progress
                if progress is not None:
                    phases.append(progress.phase)

            nursery.start_soon(train.follow, note)
            await train.dispatcher.wait_until(lambda engine: bool(engine.models(0, 0)[0].endpoint))
            nursery.cancel_scope.cancel()
        assert (look(0, 0)[0].endpoint or "").startswith(f"http://{os.uname().nodename}.localhost:")
        assert "placing" in phases


async def test_stop_command_ends_it_in_good_order(tmp_path: Path, jobs: Path) -> None:
    async with open_train(tmp_path, config(tmp_path, {"start": START, "stop": STOP})) as train:
        await turn(train)
        task = task_of(jobs)
        assert os.getsid(task.pid) != os.getsid(0)
        await unload(train)
        assert cancelled(jobs)
        assert stamps(tmp_path)[-2:] == ["term", "exit"]  # before the state says so
        await is_gone(task)


async def test_killed_srun_leaves_nothing_and_is_cleaned_up_after(
    tmp_path: Path, jobs: Path
) -> None:
    async with open_train(tmp_path, config(tmp_path, {"start": START, "stop": STOP})) as train:
        await turn(train)
        task = task_of(jobs)
        (server,), srun = servers(tmp_path), task.parent()
        assert srun is not None
        assert server.environ()["GREETING"] == "a b"
        srun.kill()
        await is_stopped(train)
        assert cancelled(jobs)
        for one in (task, server):
            await is_gone(one)


async def test_environment_here_goes_along_but_for_keys_of_clients(
    tmp_path: Path, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """srun passes on what it has, unless it is told not to; a server here would have it as well."""
    key = "sk-of-clients-0123456789"
    for name, value in (("DOOR_KEY", f"Bearer {key}"), ("OURS", "1"), ("SECRET", "2")):
        monkeypatch.setenv(name, value)
    there = {"start": f"env --unset=SECRET {START}"}
    async with open_train(tmp_path, f"apiKeys: [{key}]\n{config(tmp_path, there)}") as train:
        await turn(train)
        (server,) = servers(tmp_path)
        found = {name: server.environ().get(name) for name in ("DOOR_KEY", "OURS", "SECRET")}
        assert found == {"DOOR_KEY": None, "OURS": "1", "SECRET": None}


@pytest.mark.nightly
async def test_stop_command_that_hangs_is_given_up(
    tmp_path: Path, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "CLEANUP_LIMIT_S", 0.1)
    async with open_train(
        tmp_path, config(tmp_path, {"start": START, "stop": "sleep 300"})
    ) as train:
        await turn(train)
        servers(tmp_path)[0].kill()
        await is_stopped(train)


@pytest.mark.nightly
async def test_its_input_ends_it(tmp_path: Path, jobs: Path) -> None:
    async with open_train(tmp_path, config(tmp_path, {"start": START})) as train:
        await turn(train)
        task = task_of(jobs)
        await unload(train)
        assert stamps(tmp_path)[-2:] == ["term", "exit"]
        await is_gone(task)


async def test_failure_is_told_with_what_was_said(tmp_path: Path) -> None:
    start = "sh -c 'echo ssh: connect to host box2 port 22: refused >&2; exit 255' x ${COMMAND}"
    async with open_train(tmp_path, config(tmp_path, {"start": start})) as train:
        answer = await train.ask("m")
    assert isinstance(answer, Refuse)
    assert "ssh: connect to host box2 port 22: refused" in answer.error.message
