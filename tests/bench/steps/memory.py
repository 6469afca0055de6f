"""Memory of a target, as PSS: pages that processes share count once, by parts.

The processes of arriero (supervisor, workers, reaper), of nginx, of llama-swap; not the models.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from ..plan import Plan, Step
from ..targets import servers
from ..targets.load import SMALL_BODY, STREAM_BODY, run_wrk, warm_up
from ..targets.servers import ARRIERO_MARKER, NGINX_MARKER, Target, workers_of

# What stands in the command lines of children that are no models.
_CHILDREN = {
    "arriero": (ARRIERO_MARKER, "reaper_child", "guardian_child", "store_child"),
    "nginx": (NGINX_MARKER,),
    "llama-swap": (),
}

# Seconds after which a target that was asked nothing is at rest: the process of arriero's store has
# looked at its file by then, and ended. After a load it has not.
_REST_S = 6.0

_CONNECTIONS = 64
_STREAMS = 16


def processes(target: Target) -> list[psutil.Process]:
    """Return the processes of `target` itself."""
    assert target.pid is not None
    process = psutil.Process(target.pid)
    return [process, *(one for word in _CHILDREN[target.kind] for one in workers_of(process, word))]


def pss_mb(target: Target) -> float:
    """Return what `target` has in memory, in millions of bytes."""
    return sum(int(one.memory_full_info().pss) for one in processes(target)) / 1e6


def at_rest(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """Right after the start, before the first request."""
    with ExitStack() as stack:
        (started,) = servers.start(stack, folder, [target])
        time.sleep(_REST_S)
        return {"memory": pss_mb(started)}


def after_load(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """After many requests and streams, of which `Plan` says how many, and once idle after that.

    From a start of its own, as at rest: what other steps have left would count as well.
    """
    with ExitStack() as stack:
        (started,) = servers.start(stack, folder, [target])
        for port, body, connections, count in (
            (started.small, SMALL_BODY, _CONNECTIONS, plan.memory_requests),
            (started.stream, STREAM_BODY, _STREAMS, plan.memory_streams),
        ):
            warm_up(port, body)
            done = 0
            deadline = time.monotonic() + plan.memory_within_s
            while done < count and time.monotonic() < deadline:
                done += run_wrk(
                    port, body, connections=connections, seconds=plan.load_s, folder=folder
                ).requests
        time.sleep(_REST_S)
        after = pss_mb(started)
        time.sleep(plan.memory_idle_s)  # the process of arriero's store has ended by then
        return {"memory-after": after, "memory-idle": pss_mb(started)}


PROXIES = ("nginx", "llama-swap", "arriero")

AT_REST = Step(
    name="memory at rest",
    rows=("memory",),
    measure=at_rest,
    kinds=PROXIES,
    sampled=True,
    own=True,
)
AFTER_LOAD = Step(
    name="memory after load",
    rows=("memory-after", "memory-idle"),
    measure=after_load,
    kinds=PROXIES,
    needs=("wrk",),
    once=True,
    own=True,
)
