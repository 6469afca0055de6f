"""Models on the nodes of a real Ray cluster, through a real supervisor and real workers."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest
from test_adoption import kill, serve_again
from train_starter import train_starter
from trains import Train, alive, eventually

from tests.cluster.chats import LONG_STREAM, START_S, asked, frames, until
from tests.cluster.nodes import PYTHON, Cluster

pytestmark = pytest.mark.timeout(400)

# What is promised: seconds from the loss of a node to an answer from another one.
AGAIN_S = 25.0


@pytest.fixture(scope="module")
def config(cluster: Cluster, llama: Callable[..., str]) -> dict[str, Any]:
    models = {
        "tiny": {"cmd": llama("tiny", LONG_STREAM)},
        "small": {"cmd": llama("small")},
        "picky": {"cmd": llama("tiny"), "ray": {"resources": {"rare": 1}}},
        "rarer": {"cmd": llama("tiny"), "ray": {"resources": {"rarer": 1}}},
    }
    return {
        "progress": "reasoning",
        "progressDelay": "0s",
        "launcher": "ray",
        "ray": {"address": cluster.address},
        "healthCheckTimeout": 60,
        "groups": {"all": {"swap": False, "members": list(models)}},
        "models": models,
    }


@pytest.fixture(scope="module")
def start(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Callable[..., Train]]:
    """A function that starts an arriero beside the cluster."""
    with train_starter(tmp_path_factory.mktemp("trains"), python=str(PYTHON)) as begin:
        yield lambda config, **more: begin(config, environ=cluster.environ, **more)


@pytest.fixture(scope="module")
def train(start: Callable[..., Train], config: dict[str, Any]) -> Train:
    return start(config)


def servers(cluster: Cluster) -> list[psutil.Process]:
    """All llama-servers, on whichever node.

    One that fails, if only at its end, is two for a moment: its library forks to call a debugger.
    """
    found = []
    for process in cluster.processes():
        with suppress(psutil.NoSuchProcess):
            if is_server(process) and not is_server(process.parent()):
                found.append(process)
    return found


def is_server(process: psutil.Process | None) -> bool:
    return process is not None and process.name().startswith("llama-server")


def places(cluster: Cluster) -> list[psutil.Process]:
    """All actors, on whichever node."""
    return [it for it in cluster.processes() if it.name().startswith("ray::NodePlace")]


def server_of(cluster: Cluster, train: Train, model: str) -> psutil.Process:
    port = train.model(model)["endpoint"].rpartition(":")[2]
    found = []
    for server in servers(cluster):
        with suppress(psutil.NoSuchProcess):  # others may be on their way out
            if port in server.cmdline():
                found.append(server)
    (one,) = found
    return one


def runs_on(cluster: Cluster, train: Train, model: str) -> str:
    return cluster.node_of(server_of(cluster, train, model))


def beside_each_other(train: Train, cluster: Cluster) -> set[str]:
    """Have two models run on two nodes, and return these: Ray promises nothing, but tries to."""
    nodes: set[str] = set()
    for _ in range(4):
        assert asked(train, "small").status_code == 200
        assert asked(train, "tiny").status_code == 200
        nodes = {runs_on(cluster, train, model) for model in ("tiny", "small")}
        if len(nodes) == 2:
            break
        train.ask("unload", model="tiny")
    return nodes


def memory(cluster: Cluster) -> dict[str, int]:
    """Return what the processes of a start take, in MiB: of several the largest."""
    parts = {"ray.tether": 0, "ray.bridge": 0, "ray::NodePlace": 0, "ray.agent": 0, "reaper": 0}
    for process in cluster.processes():
        words = " ".join(process.cmdline())
        for part in parts:
            if part in words:
                parts[part] = max(parts[part], process.memory_info().rss // 1024**2)
    return parts


def test_two_models_run_on_two_nodes(train: Train, cluster: Cluster) -> None:
    began = time.monotonic()
    told = "\n".join(frames(train, "small", max_tokens=4))
    print(f"figure: first answer after {time.monotonic() - began:.1f} s")
    assert "small: ready after" in told  # all else may take less time than is told of
    assert told.endswith("data: [DONE]")
    assert beside_each_other(train, cluster) == {"one", "two"}
    print("figure: MiB of resident memory:", memory(cluster))
    assert train.model("tiny")["host"] == os.uname().nodename
    # Nobody uses a server without the key of its start.
    place = train.model("tiny")["endpoint"]
    url = f"{place}/v1/chat/completions"
    assert httpx.post(url, json={"messages": []}, timeout=START_S).status_code == 401


def test_node_is_lost_in_mid_stream(train: Train, cluster: Cluster) -> None:
    beside_each_other(train, cluster)
    lines = frames(train, "tiny", max_tokens=100_000, ignore_eos=True)
    until(lines, '"content"')
    server, other = server_of(cluster, train, "tiny"), server_of(cluster, train, "small")
    node = cluster.node_of(server)
    left = cluster.children(node)
    assert server in left

    cluster.kill(node)
    began = time.monotonic()
    rest = list(lines)
    ended_s = time.monotonic() - began
    answer = asked(train, "tiny", within_s=AGAIN_S)
    again_s = time.monotonic() - began
    print(f"figure: the stream ended after {ended_s:.1f} s, the next answer came {again_s:.1f} s")

    assert any('"error"' in line for line in rest[-3:]), rest[-3:]
    assert answer.status_code == 200
    assert runs_on(cluster, train, "tiny") != node
    eventually(lambda: not alive(left), what="nothing is left on the lost node")
    assert sorted(it.pid for it in servers(cluster)) == sorted(
        [server_of(cluster, train, "tiny").pid, other.pid]
    )
    cluster.add(f"{node}-again", cpus=2)


def test_place_that_nobody_wants_any_more_is_ended(train: Train, cluster: Cluster) -> None:
    """Ray would keep it for ever, and give it to nobody."""
    lines = frames(train, "picky", max_tokens=4)
    until(lines, "waiting for a machine: no machine has 1 of rare")
    assert asked(train, "tiny").status_code == 200
    kill(train)
    serve_again(train, env=cluster.environ)

    assert asked(train, "tiny").status_code == 200
    eventually(lambda: "arriero-picky is nobody's" in train.log_text(), what="the end of its wish")
    assert "arriero-tiny is nobody's" not in train.log_text()
    assert asked(train, "tiny").status_code == 200


def test_waiter_is_served_when_a_node_joins(train: Train, cluster: Cluster) -> None:
    lines = frames(train, "picky", max_tokens=4)
    until(lines, "waiting for a machine: no machine has 1 of rare")
    assert train.model("picky")["state"] == "starting"

    cluster.add("rare", cpus=1, rare=1)
    began = time.monotonic()
    rest = list(lines)
    print(f"figure: answered {time.monotonic() - began:.1f} s after the node had joined")
    assert rest[-1] == "data: [DONE]"
    assert runs_on(cluster, train, "picky") == "rare"
    train.ask("unload", model="picky")


def test_stranger_on_the_port_of_a_node_gets_no_prompts(train: Train, cluster: Cluster) -> None:
    lines = frames(train, "rarer", max_tokens=4)
    until(lines, "waiting for a machine: no machine has 1 of rarer")
    tethers = [it for it in train.children() if "arriero.supervisor.ray.tether" in it.cmdline()]
    orders = [json.loads(it.environ()["ARRIERO_TETHER"]) for it in tethers]
    (order,) = (it for it in orders if it["model"] == "rarer")
    with socket.create_server(("127.0.0.1", order["port"])):  # it was free when it was chosen
        cluster.add("rarer", cpus=1, rarer=1)
        told = "\n".join(lines)
        assert '"error"' not in told
        assert told.endswith("data: [DONE]")
        assert str(order["port"]) not in server_of(cluster, train, "rarer").cmdline()
    assert "model.again model=rarer" in train.log.read_text()
    train.ask("unload", model="rarer")


def test_bridge_is_killed(train: Train, cluster: Cluster) -> None:
    assert asked(train, "tiny").status_code == 200
    assert asked(train, "small").status_code == 200
    before = {it.pid for it in servers(cluster)}
    (bridge,) = [it for it in train.children() if "arriero.supervisor.ray.bridge" in it.cmdline()]
    ended = server_of(cluster, train, "small")

    bridge.kill()
    assert asked(train, "tiny").status_code == 200
    train.ask("unload", model="small")
    eventually(lambda: not ended.is_running(), what="the end of small")
    assert asked(train, "small").status_code == 200
    assert before - {ended.pid} < {it.pid for it in servers(cluster)}
    assert len(servers(cluster)) == len(before)


def test_killed_tether_ends_its_server(train: Train, cluster: Cluster) -> None:
    assert asked(train, "tiny").status_code == 200
    server = server_of(cluster, train, "tiny")
    psutil.Process(train.model("tiny")["pid"]).kill()
    assert asked(train, "tiny").status_code == 200
    eventually(lambda: not server.is_running(), what="the end of the first server")
    server_of(cluster, train, "tiny")


def test_frozen_node_is_left(train: Train, cluster: Cluster) -> None:
    """As if its network were gone: it is alone, and nobody can tell whether it runs."""
    assert asked(train, "tiny").status_code == 200
    server = server_of(cluster, train, "tiny")
    node = cluster.node_of(server)
    lines = frames(train, "tiny", max_tokens=100_000, ignore_eos=True)
    until(lines, '"content"')
    with cluster.frozen(node):
        began = time.monotonic()
        rest = list(lines)
        ended_s = time.monotonic() - began
        assert any("cannot be reached any more" in line for line in rest[-3:]), rest[-3:]
        assert asked(train, "tiny", within_s=AGAIN_S).status_code == 200
        again_s = time.monotonic() - began
        print(f"figure: frozen: the stream ended after {ended_s:.1f} s, an answer {again_s:.1f} s")
        assert runs_on(cluster, train, "tiny") != node
    eventually(lambda: not alive([server]), what="the end of what nobody holds")
    assert server_of(cluster, train, "tiny") != server


def test_killed_supervisor_takes_its_models_along(train: Train, cluster: Cluster) -> None:
    assert asked(train, "tiny").status_code == 200
    before = servers(cluster)
    kill(train)
    log_begin = train.log.stat().st_size
    serve_again(train, env=cluster.environ)

    assert asked(train, "tiny").status_code == 200
    eventually(lambda: not alive(before), what="the end of what it had started")
    assert servers(cluster) == [server_of(cluster, train, "tiny")]
    told = train.log.read_bytes()[log_begin:]
    assert (told.count(b"model.starting"), told.count(b"ray.placed")) == (1, 1)


@pytest.mark.parametrize("moment", ["model.starting", "ray.placed", "a server", "model.ready"])
def test_supervisor_is_killed_during_a_start(train: Train, cluster: Cluster, moment: str) -> None:
    """And the next one as well, so that two have started something that nobody holds."""
    for _ in range(2):
        train.ask("unload", model="tiny")
        eventually(lambda: not servers(cluster), what="a cluster on which nothing runs")
        log_begin = train.log.stat().st_size
        train.ask("swap", model="tiny", wait=False)

        def has_come(log_begin: int = log_begin) -> bool:
            if moment == "a server":
                return bool(servers(cluster))
            return moment.encode() in train.log.read_bytes()[log_begin:]

        eventually(has_come, within_s=START_S, what=moment)
        kill(train)
        serve_again(train, env=cluster.environ)
    assert asked(train, "tiny").status_code == 200
    now = server_of(cluster, train, "tiny")
    # What was under way ends with its lease. A place that has no agent by then ends by itself.
    eventually(lambda: servers(cluster) == [now], what="the end of all others")
    eventually(lambda: len(places(cluster)) == 1, within_s=60, what="the end of their places")
    assert now.is_running()


def test_nothing_is_left_in_the_end(train: Train, cluster: Cluster) -> None:
    assert asked(train, "tiny").status_code == 200
    assert train.stop() == 0
    eventually(lambda: not servers(cluster), what="the end of the last one")


def test_kept_models_go_on_under_the_next_supervisor(
    start: Callable[..., Train], config: dict[str, Any], cluster: Cluster
) -> None:
    train = start(config | {"adopt": True})
    assert asked(train, "tiny").status_code == 200
    server = server_of(cluster, train, "tiny")
    kill(train)
    serve_again(train, env=cluster.environ)

    assert train.model("tiny")["state"] == "ready"
    assert asked(train, "tiny").status_code == 200
    assert servers(cluster) == [server]
    train.ask("unload", model="tiny")
    eventually(lambda: not servers(cluster), what="its end")
