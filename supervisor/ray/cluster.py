"""The only file that imports Ray. What the bridge needs of it, with types.

All but `RayPlace.begin` and `RayPlace.end` blocks while it asks the head of the cluster.
"""

import logging
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Final, Protocol, cast

import ray
from ray import exceptions
from ray._private import state

from arriero.protocol.remote.launch import LAUNCH_VERSION, Demand

from .actor import PlaceHolder
from .demand import RayNode

# Calls of one actor at a time: `end` must not wait for `begin`.
_AT_A_TIME: Final = 4

_MAX_REASON: Final = 300


class PlaceTaken(Exception):
    """There is a place of that name already."""


class PlaceLost(Exception):
    """The actor of a place has died, or cannot be made. The text says why."""


class RayUnreachable(Exception):
    """There is no cluster, or it does not let us in. The text says why."""


class _Method(Protocol):
    def remote(self, *args: object) -> Awaitable[object]: ...


class _Actor(Protocol):
    begin_here: _Method
    end: _Method


class NodePlace(PlaceHolder):
    """The same, with what only Ray knows of its node."""

    def begin_here(self, version: int, key: str) -> bytes:
        """See `PlaceHolder.begin`."""
        node = ray.get_runtime_context().get_node_id()
        return self.begin(version, node, ray.util.get_node_ip_address(), key)


class RayPlace:
    """A place on some machine, or the wish for one.

    Attributes:
        is_found: There is a machine, as far as is known.
    """

    def __init__(self, actor: _Actor, *, is_found: bool) -> None:
        self._actor = actor
        self.is_found = is_found

    async def begin(self, key: str) -> bytes:
        """Return the line of `PlaceHolder.begin`, when there is a machine.

        Raises:
            PlaceLost: There will be none.
        """
        try:
            line = cast(bytes, await self._actor.begin_here.remote(LAUNCH_VERSION, key))
            self.is_found = True
            return line
        except exceptions.RayError as exc:
            raise PlaceLost(_reason(exc)) from exc

    async def end(self) -> None:
        """End what runs there; return when it has.

        Raises:
            PlaceLost: It is gone already.
        """
        try:
            await self._actor.end.remote()
        except exceptions.RayError as exc:
            raise PlaceLost(_reason(exc)) from exc

    def kill(self) -> None:
        """Give it up, and what runs there with it."""
        with suppress(ValueError, exceptions.RayError):  # it is gone already
            ray.kill(self._actor, no_restart=True)


def connect(address: str, namespace: str) -> None:
    """Connect to the cluster that the node on this machine belongs to.

    Raises:
        RayUnreachable: That cannot be done.
    """
    try:
        ray.init(
            address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, RuntimeError, ValueError, exceptions.RayError) as exc:
        raise RayUnreachable(_reason(exc)) from exc


def make(name: str, demand: Demand, avoid: Collection[str]) -> RayPlace:
    """Wish for a place; `RayPlace.begin` waits for it.

    Args:
        name: No other place has it.
        demand: What it needs.
        avoid: Machines that it must not be on.

    Raises:
        PlaceTaken: Another place has that name.
        PlaceLost: Ray cannot be asked.
    """
    options: dict[str, object] = {
        "name": name,
        "lifetime": "detached",
        "max_restarts": 0,
        "max_concurrency": _AT_A_TIME,
        "scheduling_strategy": "SPREAD",
        "num_cpus": demand.cpus,
        "num_gpus": demand.gpus,
        "memory": demand.memory,
        "resources": demand.resources,
    }
    if avoid:
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoid))})"}
    try:
        return RayPlace(ray.remote(NodePlace).options(**options).remote(), is_found=False)
    except ValueError as exc:  # Ray's own error of that kind is one of Ray's as well
        if "already" not in str(exc):
            raise
        raise PlaceTaken(name) from exc
    except exceptions.RayError as exc:
        raise PlaceLost(_reason(exc)) from exc


def find(name: str) -> RayPlace | None:
    """Return the place of that name; None if there is none."""
    try:
        return RayPlace(ray.get_actor(name), is_found=True)
    except ValueError:
        return None
    except exceptions.RayError as exc:
        raise PlaceLost(_reason(exc)) from exc


def names() -> list[str]:
    """Return the names of all places of this supervisor, and of earlier ones in its place.

    Raises:
        PlaceLost: Ray cannot be asked.
    """
    try:
        return cast(list[str], ray.util.list_named_actors())
    except exceptions.RayError as exc:
        raise PlaceLost(_reason(exc)) from exc


def nodes() -> list[RayNode]:
    """Return the machines of the cluster that live."""
    free = state.available_resources_per_node()
    return [
        RayNode(node["NodeID"], node["Resources"], free.get(node["NodeID"], {}))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _reason(exc: Exception) -> str:
    """Return why, in one line."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return (lines[-1] if lines else type(exc).__name__)[:_MAX_REASON]
