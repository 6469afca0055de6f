"""Proxies with models of one's own: arriero or llama-swap, started for one measurement."""

import json
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.paths import SCRIPTED_UPSTREAM

from ..machine import find
from .servers import Target, free_port, running, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy that runs.

    Attributes:
        port: Where it answers.
        sockets: Folder of the sockets; of arriero only.
        process: Its first process.
        target: What it is a fresh copy of.
    """

    port: int
    sockets: Path
    process: psutil.Process
    target: Target


@contextmanager
def proxy(
    target: Target,
    folder: Path,
    models: Mapping[str, Mapping[str, object]],
    *,
    together: bool = False,
    more: Mapping[str, object] | None = None,
) -> Generator[Proxy, None, None]:
    """Run a proxy like `target` with these models.

    Args:
        target: Which, of which code, with how many workers.
        folder: New folder for its files.
        models: Name -> keys of a model, which mean the same to both.
        together: All models may run at the same time.
        more: More keys of the configuration.
    """
    values = dict(more or {})
    if together:
        group = {"swap": False, "exclusive": False, "members": list(models)}
        values["groups"] = {"all": group}
    if target.kind == "arriero":
        with serve(folder, models, workers=target.workers, code=target.code, values=values) as (
            process,
            port,
            sockets,
        ):
            yield Proxy(
                port=port, sockets=sockets, process=psutil.Process(process.pid), target=target
            )
        return
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(json.dumps(values | {"startPort": free_port(), "models": models}))
    port = free_port()
    command = [find("llama-swap") or "llama-swap", "--config", str(config)]
    command += ["--listen", f"127.0.0.1:{port}"]
    with running(command, folder / "log", port=port) as process:
        yield Proxy(port=port, sockets=folder, process=psutil.Process(process.pid), target=target)


def scripted(name: str, *arguments: str, stamps: Path | None = None) -> dict[str, object]:
    """Return the keys of a model that loads and answers as `arguments` say.

    Args:
        name: Of the model.
        arguments: Of the scripted upstream.
        stamps: File in which it notes when what happened.
    """
    command: Sequence[str] = (
        sys.executable,
        str(SCRIPTED_UPSTREAM),
        "--port",
        "${PORT}",
        "--name",
        name,
    )
    if stamps:
        command = (*command, "--stamp", str(stamps))
    return model(" ".join((*command, *arguments)))


def model(command: str) -> dict[str, object]:
    """Return the keys of a model that is started so."""
    return {"cmd": command, "proxy": "http://127.0.0.1:${PORT}"}


def read_stamps(stamps: Path) -> dict[str, int]:
    """Return what a scripted model noted: event -> Unix time in nanoseconds."""
    lines = (line.split() for line in stamps.read_text().splitlines())
    return {event: int(at) for event, at in lines}
