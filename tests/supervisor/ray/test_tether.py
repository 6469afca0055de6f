"""A tether with a real agent, and a bridge that has a place for it. No Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trio

from arriero.protocol.remote.launch import (
    AgentOrder,
    Demand,
    Placed,
    PlacePending,
    PlaceWanted,
    line_of,
    read_agent_up,
    read_to_bridge,
)
from arriero.supervisor.ray.words import TetherOrder, read_word, variable_for_tether
from tests.paths import ROOT

PATIENCE_S = 30.0


def started(part: str, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"arriero.supervisor.ray.{part}"],
        cwd=ROOT,
        env=os.environ | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def asked(bridge: trio.SocketStream) -> PlaceWanted:
    line = b""
    while not line.endswith(b"\n"):
        line += await bridge.receive_some()
    wanted = read_to_bridge(line)
    assert isinstance(wanted, PlaceWanted)
    return wanted


async def test_tether_is_what_its_server_is(tmp_path: Path) -> None:
    door = trio.socket.socket(trio.socket.AF_UNIX)
    await door.bind(str(tmp_path / "ray.sock"))
    door.listen()
    listener = trio.SocketListener(door)
    order = TetherOrder(
        bridge=str(tmp_path / "ray.sock"),
        model="m",
        command=("sh", "-c", "echo out $WORD; echo err >&2; echo 'arriero-tether {}'; exit 7"),
        env={"WORD": "llama"},
        memory={"ram": 5, "gpu0": 7},
        cpus=1.0,
        gpus=1.0,
        resources={"rare": 1.0},
    )
    async with listener:
        with (
            trio.fail_after(2 * PATIENCE_S),
            started("tether", variable_for_tether(order)) as tether,
        ):
            await (await listener.accept()).aclose()  # a bridge that dies
            async with await listener.accept() as bridge:
                wanted = await asked(bridge)
                assert wanted.demand == Demand(cpus=1, gpus=1, memory=5, resources={"rare": 1})
                await bridge.send_all(line_of(PlacePending(why="no machine has 1 GPU")))
                with started("agent", {}) as agent:
                    assert agent.stdin is not None
                    assert agent.stdout is not None
                    agent.stdin.write(line_of(AgentOrder(host="127.0.0.1", key=wanted.key)))
                    agent.stdin.flush()
                    up = read_agent_up(agent.stdout.readline())
                    placed = Placed(
                        node="n", name="box", host="127.0.0.1", port=up.port, key=up.key
                    )
                    await bridge.send_all(line_of(placed))
                    assert await bridge.receive_some() == b""  # it lives as long as its tether
                    assert await trio.to_thread.run_sync(agent.wait, PATIENCE_S) == 0
            out, err = await trio.to_thread.run_sync(tether.communicate)
    lines = out.splitlines()
    words = [word for line in lines if (word := read_word(line)) is not None]
    assert [line for line in lines if read_word(line) is None] == [
        b"out llama",
        b" arriero-tether {}",
    ]
    assert words[0] == PlacePending(why="there is no connection to Ray yet")
    assert words[-2:] == [PlacePending(why="no machine has 1 GPU"), placed]
    assert err == b"err\n"
    assert tether.returncode == 7
