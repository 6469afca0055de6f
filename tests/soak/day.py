"""One long day of a whole arriero: clients of all kinds, kills, reloads, and somebody who counts.

Doing. The worker with the number 1 and the models are killed now and then; the supervisor and the
worker with the number 2 live through the whole day, and it is these that must not grow.
"""

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import trio

from arriero.supervisor.models.start.output_log import OutputLog
from tests.faults.clients import chat
from tests.faults.leftovers import descriptors, left_over
from tests.faults.rig import NotSo, Rig, first_port, footprint, scripted, zombies

from . import activities
from .activities import MODELS, Activity, Day
from .slope import Trend, trend

# How often which activity is chosen.
SHARES: Mapping[Activity, int] = {
    activities.streams: 6,
    activities.asks: 4,
    activities.uploads: 2,
    activities.leaves: 3,
    activities.cancels: 2,
    activities.reads_slowly: 2,
    activities.sends_half: 2,
    activities.opens_websocket: 2,
    activities.reads_pages: 2,
}

CLIENTS = 10  # who are there all day, each with one activity at a time

# Share of the day after which the counting begins: pools, caches and the heap have filled.
WARM_UP = 0.3

# From this length on, in seconds, the logs of models are full from the beginning: else they would
# still fill when the counting begins. So many lines of each are kept.
LONG_DAY_S = 600.0
LOG_LINES = OutputLog.MAX_LINES

# Seconds between two of these, on the average.
KILL_EVERY_S = 12.0
RELOAD_EVERY_S = 8.0

# The grain of each figure: less growth in a whole day is none. Connections come and go.
GRAINS = {
    "descriptors": 4.0,
    "threads": 2.0,
    "sockets": 4.0,
    "zombies": 1.0,
    "temporary files": 2.0,
}
MEMORY_SHARE = 0.05  # of what it was

# Lines of the log that say that something was wrong with arriero, and those that say that a kill
# was noticed.
_WRONG = re.compile(r" ERROR |Traceback|Error: |CRITICAL")


@dataclass(slots=True)
class Findings:
    """What a day has shown.

    Attributes:
        done: Activity -> how often.
        wrong: What clients saw that nobody had injected, and how often.
        first: When each of those was seen first, as the log writes it.
        lines: Lines of the log that should not be there.
        left: What was left over in the end.
        trends: (process, figure) -> how it went.
        kills: How many there were.
    """

    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    trends: dict[tuple[str, str], Trend] = field(default_factory=dict)
    kills: int = 0

    def note(self, text: str) -> None:
        """A client saw something that nobody had injected."""
        self.wrong[text] += 1
        self.first.setdefault(text, datetime.now().astimezone().isoformat(timespec="milliseconds"))

    @property
    def problems(self) -> list[str]:
        """All that is not as it should be, in words."""
        grown = [f"{who}: {what} grow" for (who, what), one in self.trends.items() if one.grows]
        wrong = [
            f"{count} x {text} (first at {self.first[text]})"
            for text, count in self.wrong.most_common(20)
        ]
        return grown + wrong + [f"log: {line}" for line in self.lines[:20]] + self.left


def configuration(ttl: int = 300) -> dict[str, Any]:
    """Return what arriero is configured with: two groups of three models that take turns."""
    models = {name: {"cmd": scripted(name, "--load-s", "0.1"), "ttl": ttl} for name in MODELS}
    return {
        "workers": 2,
        "startPort": first_port(),
        "progress": "reasoning",
        "progressDelay": "0s",
        "unloadTimeout": 5,
        "models": models,
        "groups": {
            "left": {"members": list(MODELS[:3]), "swap": True, "exclusive": False},
            "right": {"members": list(MODELS[3:]), "swap": True, "exclusive": False},
        },
    }


async def live_through(seconds: float, folder: Path, seed: int) -> Findings:
    """Run one day of so many seconds in `folder`, which is made."""
    findings = Findings()
    config = configuration()
    rig = Rig(folder, config)
    day = Day(rig, random.Random(seed))
    samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        rig.start()
        await rig.up()
        if seconds >= LONG_DAY_S:
            for model in MODELS:
                await chat(model, stream=False, say=LOG_LINES).run(rig.port)
        before = await trio.to_thread.run_sync(descriptors, rig)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_count, day, seconds, samples)
            nursery.start_soon(_break_things, day)
            nursery.start_soon(_reload, day, config, findings)
            with trio.CancelScope(deadline=trio.current_time() + seconds):
                async with trio.open_nursery() as crowd:
                    for _ in range(CLIENTS):
                        crowd.start_soon(_live, day, findings)
            nursery.cancel_scope.cancel()
        findings.kills = len(day.injections.times)
        await trio.sleep(1.0)  # the last clients are noticed to have gone
        findings.left = await left_over(rig, before)
        findings.lines = wrong_lines(rig.log.read_text(errors="replace"))
    finally:
        rig.close()
    for (who, what), values in samples.items():
        grain = GRAINS.get(what) or MEMORY_SHARE * max(values[0][1], 1.0)
        findings.trends[who, what] = trend(values, grain)
    return findings


def wrong_lines(log: str) -> list[str]:
    """Return the lines that say that something is wrong with arriero. Deciding."""
    return [line for line in log.splitlines() if _WRONG.search(line)]


async def _live(day: Day, findings: Findings) -> None:
    kinds, weights = list(SHARES), list(SHARES.values())
    while True:
        (activity,) = day.rng.choices(kinds, weights)
        try:
            wrong = await activity(day)
        except OSError as exc:
            wrong = f"refused: {exc}"
        name = activity.__name__
        findings.done[name] += 1
        if wrong is not None:
            findings.note(f"{name}: {wrong}")
        await trio.sleep(day.rng.uniform(0, 0.5))


async def _break_things(day: Day) -> None:
    """Kill a model or the worker 1, now and then."""
    while True:
        await trio.sleep(day.rng.uniform(0.5, 1.5) * KILL_EVERY_S)
        with suppress(NotSo, ProcessLookupError):
            if pid := await trio.to_thread.run_sync(_victim, day):
                day.injections.times.append(trio.current_time())
                os.kill(pid, signal.SIGKILL)


def _victim(day: Day) -> int:
    if day.rng.random() < 0.3:
        found = day.rig.ask("workers")["workers"]
        return next((int(one["pid"]) for one in found if one["worker"] == 1), 0)
    running = [int(one["pid"]) for one in day.rig.ask("status")["models"] if one.get("pid")]
    return day.rng.choice(running) if running else 0


async def _reload(day: Day, config: dict[str, Any], findings: Findings) -> None:
    """Write the configuration with something else in it, now and then, and have it read."""
    while True:
        await trio.sleep(day.rng.uniform(0.5, 1.5) * RELOAD_EVERY_S)
        models = configuration(ttl=day.rng.choice((100, 200, 300)))["models"]
        day.rig.write(config | {"models": models})
        findings.done["reload"] += 1
        answer = await trio.to_thread.run_sync(lambda: day.rig.ask("reload", within_s=60))
        if not answer["ok"]:
            findings.note(f"reload: {answer}")


async def _count(
    day: Day, seconds: float, samples: dict[tuple[str, str], list[tuple[float, float]]]
) -> None:
    """Measure those that live all day, a few hundred times after the warm-up."""
    began = trio.current_time()
    await trio.sleep(WARM_UP * seconds)
    every_s = max(0.5, seconds / 400)
    while True:
        with suppress(NotSo, OSError, psutil.NoSuchProcess):
            found = await trio.to_thread.run_sync(_figures, day.rig)
            for key, value in found.items():
                samples.setdefault(key, []).append((trio.current_time() - began, value))
        await trio.sleep(every_s)


def _figures(rig: Rig) -> dict[tuple[str, str], float]:
    workers = rig.ask("workers")["workers"]
    pids = {f"worker {one['worker']}": int(one["pid"]) for one in workers if one["worker"] == 2}
    pids["supervisor"] = rig.pid
    found: dict[tuple[str, str], float] = {}
    for who, pid in pids.items():
        measured = footprint(pid)
        found[who, "descriptors"] = measured.fds
        found[who, "threads"] = measured.threads
        found[who, "memory, KiB"] = measured.own_kib
        found[who, "sockets"] = sockets(pid)
        found[who, "zombies"] = zombies(pid)
    found["all", "temporary files"] = sum(1 for _ in (rig.folder / "tmp").rglob("*"))
    return found


def sockets(pid: int) -> int:
    """How many descriptors of a process are sockets."""
    count = 0
    folder = Path("/proc") / str(pid) / "fd"
    for name in os.listdir(folder):
        with suppress(OSError):
            count += os.readlink(folder / name).startswith("socket:")
    return count
