"""Whether another program has taken the port of a start, or its socket, before it could listen."""

import os
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

import trio
from msgspec.structs import replace

from arriero.protocol.values import ErrorInfo

from ...config.load import LaunchConfig, ModelConfig
from ...processes.port_owner import listens_on, stranger_at, stranger_on
from .exit_reason import load_failed


class Stranger(NamedTuple):
    """A process in the place of a model's.

    Attributes:
        pid: The process.
        place: What it has, in words.
    """

    pid: int
    place: str


async def stranger_in_place(
    config: ModelConfig, launch: LaunchConfig, pid: int, *, listens_itself: bool
) -> Stranger | None:
    """Return who has the place of the process `pid`, if another one has.

    With a stop command of the operator, it may well be no process of ours that serves.
    """
    if config.ends_elsewhere:
        return None
    if launch.socket is not None:
        place = f"socket {os.path.basename(launch.socket)!r}"  # clients read it: no folders
        look = partial(stranger_at, launch.socket, pid)
    elif launch.port is not None:
        place = f"port {launch.port}"
        host = urlsplit(launch.endpoint).hostname or ""
        if listens_on(launch.port, host, pid):  # as nearly always
            return None
        look = partial(stranger_on, launch.port, host, pid)
    else:
        return None
    stranger = await trio.to_thread.run_sync(partial(look, listens_itself=listens_itself))
    return None if stranger is None else Stranger(stranger, place)


def displaced(config: ModelConfig, place: str) -> ErrorInfo:
    """Return why a start fails whose `place` another program has."""
    taken = f"another program took its {place} while it was starting"
    if config.wants_port:
        why = f"{taken}; ask again: another port is chosen for each start"
        failed = load_failed(config.model, why)
        return replace(failed, code="model_unavailable", transient=True)
    why = f"{taken}; stop that program, or write ${{PORT}} into cmd and proxy"
    return load_failed(config.model, why)
