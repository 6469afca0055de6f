"""What is left when all is over: processes, descriptors, sockets, files. Doing."""

from collections.abc import Mapping
from contextlib import suppress

import trio

from .rig import NotSo, Rig, eventually, footprint, zombies

# Seconds that a quiet arriero gets to close what it had open.
SETTLE_S = 8.0

# Seconds that what a killed supervisor leaves gets to go. One is promised; here other things run.
GONE_S = 20.0

# Seconds within which arriero notices that a client has left.
LEAVING_S = 1.0

# Descriptors of a process that has worked, beyond those of one that has not yet: what libraries
# open when they are first used.
SLACK_FDS = 2


def descriptors(rig: Rig) -> dict[str, dict[int, int]]:
    """Role -> process id -> open descriptors. Blocks."""
    found: dict[str, dict[int, int]] = {"supervisor": {}, "worker": {}}
    with suppress(OSError):
        found["supervisor"][rig.pid] = footprint(rig.pid).fds
    for pid in rig.worker_pids():
        with suppress(OSError):
            found["worker"][pid] = footprint(pid).fds
    return found


def grown(before: Mapping[str, Mapping[int, int]], after: Mapping[str, Mapping[int, int]]) -> str:
    """Say which process has more descriptors than before, or nothing. Deciding.

    A process that is new is compared with those of its role.
    """
    found = []
    for role, counts in after.items():
        usual = max(before[role].values())
        for pid, count in counts.items():
            extra = count - before[role].get(pid, usual)
            if extra > SLACK_FDS:
                found.append(f"{role}: {extra} descriptors more")
    return ", ".join(sorted(found))


async def orphans(rig: Rig, generation: int) -> list[str]:
    """Say which processes a killed supervisor has left behind."""

    def gone() -> bool:
        return not rig.marked(generation=generation)

    try:
        await eventually(gone, "the end of its processes", within_s=GONE_S)
    except NotSo:
        return [f"{len(rig.marked(generation=generation))} processes outlive their supervisor"]
    return []


def _unloaded(rig: Rig) -> bool:
    """Stop all models; False when somebody who is just about to leave has started one again."""
    rig.ask("unload", mode="now", within_s=30)
    return all(one["state"] == "stopped" for one in rig.ask("status")["models"])


def _is_quiet(rig: Rig) -> bool:
    status = rig.ask("status")
    return not status["queue"] and not any(one.get("in_flight") for one in status["models"])


async def left_over(rig: Rig, before: Mapping[str, Mapping[int, int]]) -> list[str]:
    """Bring a train that works to rest, then to its end, and say what does not go away."""
    found = []
    await trio.sleep(LEAVING_S)
    with suppress(NotSo):  # of clients that have left the last is noticed in a moment
        await eventually(lambda: _is_quiet(rig), "nobody who waits", within_s=SETTLE_S)
    try:
        await eventually(lambda: _unloaded(rig), "models that have ended")
        await eventually(lambda: len(rig.worker_pids()) == 2, "two workers")
    except NotSo as exc:
        found.append(str(exc))
    else:
        with suppress(NotSo):
            await eventually(
                lambda: _unloaded(rig) and not grown(before, descriptors(rig)),
                "no more descriptors",
                within_s=SETTLE_S,
            )
        if more := await trio.to_thread.run_sync(lambda: grown(before, descriptors(rig))):
            found.append(more)
        if count := await trio.to_thread.run_sync(zombies, rig.pid):
            found.append(f"{count} zombies")
    code = await rig.stop()
    if code != 0:
        found.append("SIGTERM is not obeyed" if code is None else f"exit code {code}")
    with suppress(NotSo):
        await eventually(lambda: not rig.marked(), "the end of all", within_s=GONE_S)
    if left := await trio.to_thread.run_sync(rig.marked):
        found.append(f"{len(left)} processes")
    if files := [path.name for path in (rig.folder / "tmp").rglob("*") if path.is_file()]:
        found.append(f"{len(files)} temporary files")
    if files := [path.name for path in (rig.folder / "state").rglob(".*") if path.is_file()]:
        found.append(f"{len(files)} half-written files in the state folder")
    return found
