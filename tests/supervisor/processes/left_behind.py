"""A supervisor that was killed, and what it has left."""

import subprocess
import sys
from pathlib import Path

# Ten lines at a time: each sleep is a process.
COUNTS = (
    "n=0; while :; do m=$((n+10));"
    " while [ $n -lt $m ]; do n=$((n+1)); echo line $n; done; sleep 0.02; done"
)

# A supervisor with two processes that write their own numbers for ever: one is entrusted.
SUPERVISOR = """
import os, sys, trio
from pathlib import Path
from arriero.supervisor.processes.process import start_process
from arriero.supervisor.processes.reaper import Refuge, open_reaper
from arriero.supervisor.processes.spawn import SpawnSpec

async def main(folder, grace_s, card, script):
    refuge = Refuge(Path(folder), float(grace_s))
    async with open_reaper(refuge) as reaper, trio.open_nursery() as n:
        both = [start_process(SpawnSpec(argv=("sh", "-c", script)), reaper) for _ in "ab"]
        for one in both:
            n.start_soon(one.run, lambda stream, line: None)
        both[0].entrust(os.fsencode(card))
        print(reaper.pid, both[0].pid, both[1].pid, flush=True)
        await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""


def killed_supervisor(
    folder: Path, grace_s: float, *, card: str = "a card", script: str = COUNTS
) -> tuple[int, int, int]:
    """Run a supervisor and kill it; return reaper, the entrusted process, and the other one."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder), str(grace_s), card, script],
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        reaper, entrusted, other = map(int, supervisor.stdout.readline().split())
        supervisor.kill()
    return reaper, entrusted, other
