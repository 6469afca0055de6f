"""Runs one cell of the matrix on real processes, and says what became of its clients. Doing."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .blame import Blame, Circumstances, blame
from .clients import Client, chat, real_chat
from .endings import Ending, judge
from .injecting import begun
from .leftovers import descriptors, left_over, orphans
from .matrix import LASTS_S, Cell, Fault, Situation, Target, parse
from .rig import NotSo, Rig
from .situations import GATE_AFTER_S, bring_about, clients_of, configuration

FIRST_PROBE_S = 0.2  # what is hit may answer for some milliseconds
LATE_S = 0.5  # after the fault has begun the late clients come
PROBE_EVERY_S = 0.5  # one more probe, until one gets a good answer

# Seconds from the end of a fault after which a client that has heard no end hangs: longer than all
# limits that arriero has for these situations. Some have to wait until arriero has started again:
# where a start takes long because the machine is busy, there is time for some of them.
HANG_S = 40.0
_STARTS = 4

_NO_TLS = 127  # exit code of glibc's "cannot allocate memory for thread-local data: ABORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a cell has shown.

    Attributes:
        cell: Which one.
        endings: How many clients ended how.
        blamed: How many of these only arriero is to blame for.
        ours: What these looked like.
        good_s: Seconds from the fault to the next good answer; infinite if there was none.
        left: What was left over, in words.
        restarts: Supervisors that had to be started besides the first.
    """

    cell: Cell
    endings: dict[Ending, int]
    blamed: int = 0
    ours: tuple[str, ...] = ()
    good_s: float = 0.0
    left: tuple[str, ...] = ()
    restarts: int = 0

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        endings = {one.value: count for one, count in self.endings.items() if count}
        return asdict(self) | {"cell": str(self.cell), "endings": endings}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Result":
        """The result that was written so."""
        endings = {one: found["endings"].get(one.value, 0) for one in Ending}
        texts = {name: tuple(found[name]) for name in ("ours", "left")}
        return cls(**found | texts | {"cell": parse(found["cell"]), "endings": endings})

    @property
    def bad(self) -> bool:
        """Whether it breaks a promise."""
        return bool(self.blamed or self.left) or math.isinf(self.good_s)


async def run_cell(cell: Cell, folder: Path) -> Result:
    """Run `cell` in `folder`, which is made.

    Raises:
        NotSo: The situation did not come about; says what is missing.
    """
    rig = Rig(folder, configuration(cell, folder), piped=cell.fault is not Fault.DISK_LOG)
    try:
        rig.start()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.keep_running)
            await rig.up()
            start_s = trio.current_time() - began
            result = await _run(cell, rig, HANG_S + _STARTS * start_s)
            nursery.cancel_scope.cancel()
        return result
    finally:
        rig.close()


async def _run(cell: Cell, rig: Rig, patience_s: float) -> Result:
    in_thread = trio.to_thread.run_sync
    gate = rig.folder / "gate"
    answered, waiting = clients_of(cell, gate)
    everybody = [*answered, *waiting]
    before = await in_thread(descriptors, rig)
    slow = cell.target is Target.LLAMA_SERVER  # its words cost time, and as much as there is
    limit_s = LASTS_S[cell.fault] + patience_s * (2 if slow else 1)
    probe = _Probe(rig.port, partial(_ask_anew, cell, "b" if waiting else "a"))
    left = []
    async with trio.open_nursery() as nursery, trio.open_nursery() as crowd:

        def come(clients: list[Client]) -> None:
            for client in clients:
                crowd.start_soon(client.run, rig.port)

        await bring_about(cell, rig, come, answered, waiting, nursery)
        pids = await in_thread(rig.worker_pids)
        held = await in_thread(rig.holders, pids)
        victim = await in_thread(_victim, cell, rig, held)
        generation = rig.generation
        async with begun(cell.fault, victim):
            if any(client.ended.is_set() for client in everybody):
                raise NotSo("not in time: a client has its answer before the fault")
            started = trio.current_time()
            nursery.start_soon(probe.run, started + FIRST_PROBE_S)
            if cell.fault is Fault.SIGKILL and cell.target is Target.SUPERVISOR:
                left += await orphans(rig, generation)
            await trio.sleep_until(started + LATE_S)
            come([client for client in everybody if client.late])
            await trio.sleep(0.2)
            held |= await in_thread(rig.holders, pids)
            await trio.sleep_until(started + LASTS_S[cell.fault] + GATE_AFTER_S)
            gate.touch()
            with trio.CancelScope(deadline=started + limit_s):
                for client in everybody:
                    await client.ended.wait()
            crowd.cancel_scope.cancel()
        with trio.CancelScope(deadline=started + limit_s):
            await probe.good.wait()
        nursery.cancel_scope.cancel()
    aborted = await in_thread(_was_aborted, cell, rig)
    left += await left_over(rig, before)
    endings = dict.fromkeys(Ending, 0)
    ours = []
    # Who aborts has held what nobody was seen to hold: it was accepted, and gone in that moment.
    unseen = victim if aborted and cell.target is Target.WORKER else 0
    for client in everybody:
        assert client.answer is not None
        ending = judge(client.answer, client.wanted)
        endings[ending] += 1
        found = Circumstances(
            fault=cell.fault,
            target=cell.target,
            held_by_target=held.get(client.local_port, unseen) == victim,
            aborted=aborted,
            streams=client.streams,
            begun=client.begun,
        )
        if blame(ending, found) is Blame.OURS:
            ours.append(_describe(ending, client))
    return Result(
        cell=cell,
        endings=endings,
        blamed=len(ours),
        ours=tuple(f"{count} x {text}" for text, count in Counter(ours).items()),
        good_s=probe.at - started,
        left=tuple(left),
        restarts=len(rig.exits),
    )


def _victim(cell: Cell, rig: Rig, held: dict[int, int]) -> int:
    match cell.target:
        case Target.SUPERVISOR:
            return rig.pid
        case Target.WORKER:  # the one that has most to lose
            return Counter(held.values()).most_common(1)[0][0]
        case Target.MODEL | Target.LLAMA_SERVER:
            return int(rig.model("b" if cell.situation is Situation.LOADING else "a")["pid"])


def _was_aborted(cell: Cell, rig: Rig) -> bool:
    """Whether its C library has ended the process, as glibc and libzmq do without memory."""
    if cell.target is Target.SUPERVISOR:
        return any(code < 0 or code == _NO_TLS for code in rig.exits)
    died = re.findall(r"worker\.died .*", rig.log.read_text(errors="replace"))
    return any("by signal" in line or f"code {_NO_TLS}" in line for line in died)


def _describe(ending: Ending, client: Client) -> str:
    answer = client.answer
    assert answer is not None
    what = f"{'late ' * client.late}{'stream' if client.streams else 'plain'} {answer.status}"
    tail = answer.body[-160:].decode(errors="replace")
    tail = "" if ending is Ending.CUT else f", at the end {tail!r}"
    return f"{ending.value}: {what} after {client.took_s:.0f} s{tail}"


def _ask_anew(cell: Cell, model: str) -> Client:
    if cell.target is Target.LLAMA_SERVER:
        return real_chat(tokens=5, stream=False)
    return chat(model, stream=False)


class _Probe:
    """Asks again and again, whatever became of the last question, until it gets a good answer.

    Attributes:
        good: There was one.
        at: When, on the clock of trio; infinite before that.
    """

    def __init__(self, port: int, client: Callable[[], Client]) -> None:
        self.good = trio.Event()
        self.at = math.inf
        self._port = port
        self._client = client

    async def run(self, begins_at: float) -> None:
        await trio.sleep_until(begins_at)
        async with trio.open_nursery() as nursery:
            while not self.good.is_set():
                nursery.start_soon(self._ask)
                with trio.move_on_after(PROBE_EVERY_S):
                    await self.good.wait()
            nursery.cancel_scope.cancel()

    async def _ask(self) -> None:
        client = self._client()
        await client.run(self._port)
        assert client.answer is not None
        if judge(client.answer, client.wanted) is Ending.WHOLE and not self.good.is_set():
            self.at = trio.current_time()
            self.good.set()
