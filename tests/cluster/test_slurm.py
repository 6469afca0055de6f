"""Models that run as jobs of a real Slurm, as docs/launchers.md says it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from typing import Any

import httpx
import psutil
import pytest
from test_adoption import kill, serve_again
from train_starter import train_starter
from trains import Train, alive, eventually

from tests.cluster import slurm
from tests.cluster.chats import LONG_STREAM, START_S, asked, frames, until
from tests.cluster.slurm import Slurm
from tests.paths import ROOT

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not slurm.is_there(), reason="no Slurm: apt install slurmctld slurmd munge"),
]


@pytest.fixture(scope="module")
def cluster() -> Generator[Slurm]:
    cluster = Slurm()
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.close()


def documented() -> dict[str, str]:
    """Return the launcher as the page has it, but for what nodes without GPUs do not have."""
    page = (ROOT / "docs" / "launchers.md").read_text().partition("## Slurm")[2]
    found = {key: re.search(rf"^    {key}: (.*)$", page, re.MULTILINE) for key in ("start", "stop")}
    launcher = {key: line[1] for key, line in found.items() if line is not None}
    asks_for = "--gpus=1 --cpus-per-task=8 --mem=24G"
    assert asks_for in launcher["start"]
    launcher["start"] = launcher["start"].replace(asks_for, "--cpus-per-task=2 --mem=1G")
    return launcher | {"endpoint": "http://127.0.0.1:${PORT}"}


@pytest.fixture(scope="module")
def config(llama: Callable[..., str]) -> dict[str, Any]:
    return {
        "progress": "reasoning",
        "progressDelay": "0s",
        "launchers": {"slurm": documented()},
        "models": {
            "large": {
                "cmd": llama("tiny", LONG_STREAM),
                "launcher": "slurm",
                "env": ["LLAMA_API_KEY=${API_KEY}"],
            }
        },
    }


@pytest.fixture
def start(
    cluster: Slurm, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., Train]]:
    """A function that starts an arriero that may use the cluster, and nothing is left of it."""
    with train_starter(tmp_path_factory.mktemp("trains")) as begin:
        yield lambda config: begin(config, environ=cluster.environ)
    eventually(lambda: not cluster.jobs(), what="the end of all jobs")


def server(train: Train) -> psutil.Process:
    """Return the llama-server, on whichever node."""
    port = train.model("large")["endpoint"].rpartition(":")[2]
    (found,) = (
        it
        for it in psutil.process_iter(["name", "cmdline"])
        if it.info["name"].startswith("llama-server") and port in (it.info["cmdline"] or ())
    )
    return found


def step_of(process: psutil.Process) -> psutil.Process:
    """Return the daemon of Slurm under which `process` runs: all there is of its job on a node."""
    (found,) = (it for it in process.parents() if it.name() == "slurmstepd")
    return found


def test_model_is_a_job_and_waits_for_a_machine(
    start: Callable[..., Train], config: dict[str, Any], cluster: Slurm
) -> None:
    cluster.run("sbatch", "--exclusive", "--nodes=2", "--output=/dev/null", "--wrap=sleep 600")
    eventually(lambda: cluster.jobs("running") == ["wrap"], what="a job that takes all nodes")
    train = start(config)
    told = frames(train, "large", max_tokens=4)
    until(told, "waiting for a machine")
    cluster.run("scancel", "--name=wrap")
    rest = "\n".join(told)

    assert "large: ready after" in rest
    assert rest.endswith("data: [DONE]")
    eventually(lambda: len(cluster.jobs()) == 1, what="the job alone")
    assert cluster.jobs()[0].startswith("arriero-")
    place = train.model("large")["endpoint"]
    url = f"{place}/v1/chat/completions"
    assert httpx.post(url, json={"messages": []}, timeout=START_S).status_code == 401

    train.ask("unload", model="large")
    eventually(lambda: not cluster.jobs(), what="its end")


def test_srun_or_job_ends_and_the_next_request_starts_another(
    start: Callable[..., Train], config: dict[str, Any], cluster: Slurm
) -> None:
    train = start(config)
    assert asked(train, "large").status_code == 200
    first = server(train)
    psutil.Process(train.model("large")["pid"]).kill()
    eventually(lambda: not alive([first]), what="the end of what nobody waits for")
    assert asked(train, "large").status_code == 200
    second = server(train)
    (job,) = eventually(lambda: len(jobs := cluster.jobs()) == 1 and jobs, what="one job")

    cluster.run("scancel", f"--name={job}")
    eventually(lambda: not alive([second]), what="the end of what was cancelled")

    assert asked(train, "large").status_code == 200


def test_node_loses_the_job_and_srun_is_not_told(
    start: Callable[..., Train], config: dict[str, Any], cluster: Slurm
) -> None:
    """Slurm does not miss it for long: srun waits on, while nothing listens any more."""
    train = start(config)
    lines = frames(train, "large", max_tokens=100_000, ignore_eos=True)
    until(lines, '"content"')
    lost = server(train)
    step_of(lost).kill()
    rest = list(lines)
    began = time.monotonic()

    answer = asked(train, "large")

    print(f"figure: answered {time.monotonic() - began:.1f} s after a node had lost its job")
    assert any('"error"' in line for line in rest[-3:]), rest[-3:]
    assert answer.status_code == 200
    assert server(train) != lost
    assert "model.deserted model=large" in train.log_text()


def test_killed_supervisor_leaves_no_job(
    start: Callable[..., Train], config: dict[str, Any], cluster: Slurm
) -> None:
    """What a job has reserved is free again: srun has to be asked to end, not killed."""
    train = start(config)
    assert asked(train, "large").status_code == 200

    kill(train)

    eventually(lambda: not cluster.jobs(), what="the end of its job")
    serve_again(train, env=cluster.environ)
    assert asked(train, "large").status_code == 200


def test_job_goes_on_under_the_next_supervisor(
    start: Callable[..., Train], config: dict[str, Any], cluster: Slurm
) -> None:
    train = start(config | {"adopt": True})
    assert asked(train, "large").status_code == 200
    before, jobs = server(train), cluster.jobs()

    kill(train)
    serve_again(train, env=cluster.environ)

    assert asked(train, "large").status_code == 200
    assert server(train) == before
    assert cluster.jobs() == jobs
    train.ask("unload", model="large")
    eventually(lambda: not cluster.jobs(), what="its end")
