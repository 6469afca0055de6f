"""Models that a launcher starts, as tests look at them."""

import json
from pathlib import Path
from typing import Any

import psutil
import trio

from arriero.protocol.lease import Grant
from arriero.supervisor.scheduling.messages.events import Released, UnloadRequested
from tests.paths import SCRIPTED_UPSTREAM
from tests.supervisor.train import SERVER, Train


def config(folder: Path, launcher: dict[str, str], *options: str) -> str:
    """A model `m` that one launcher starts, and that answers on this machine."""
    said = {"endpoint": "http://127.0.0.1:${PORT}"} | launcher
    model: dict[str, Any] = {
        "cmd": f"{SERVER} --stamp {folder / 'stamps'} {' '.join(options)}",
        "launcher": "there",
        "env": ["GREETING=a b"],
    }
    launchers = json.dumps({"there": said})
    return f"launchers: {launchers}\nmodels: {json.dumps({'m': model})}"


def stamps(folder: Path) -> list[str]:
    """What the servers did."""
    return [line.split()[0] for line in (folder / "stamps").read_text().splitlines()]


def servers(folder: Path) -> list[psutil.Process]:
    """The servers that run."""
    found = []
    for one in psutil.process_iter(["cmdline"]):
        words = one.info["cmdline"] or ()
        if str(SCRIPTED_UPSTREAM) in words[1:3] and str(folder / "stamps") in words:
            found.append(one)
    return found


async def is_gone(process: psutil.Process) -> None:
    """Wait until a process has ended."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
        await trio.sleep(0.01)


async def turn(train: Train) -> Grant:
    """Have one request served."""
    grant = await train.ask("m")
    assert isinstance(grant, Grant), grant
    train.dispatcher.handle(Released("w1", "m", grant.lease))
    return grant


async def unload(train: Train) -> None:
    """Have it stopped."""
    train.dispatcher.handle(UnloadRequested("m"))
    await is_stopped(train)


async def is_stopped(train: Train) -> None:
    """Wait until it is."""
    await train.dispatcher.wait_until(lambda engine: engine.state("m") == "stopped")
