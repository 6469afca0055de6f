"""Many models on several devices under traffic, in virtual time; and what each decision takes.

One honest worker, and processes that do as they are told. The clock jumps from event to event.
"""

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.memory.devices import Budget
from arriero.supervisor.memory.policy import ByMemory
from arriero.supervisor.memory.sizes import ModelSize
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    Command,
    Event,
    GrantLease,
    ProcessEnded,
    RefuseWaiter,
    Released,
    Reported,
    RevokeLease,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    Waiter,
    Wanted,
)

GIB: Final = 1024**3
_ENDED: Final = ErrorInfo(code="model_unavailable", message="it ended", transient=True)
_OWNER: Final = "w"


@dataclass
class Outcome:
    """What came of a simulation.

    Attributes:
        decisions_s: What each event took, of the processor's time.
        waits_s: How long each request waited, in virtual time.
        starts: Starts of each model.
        most_reserved: Device -> most that was reserved there, as a share of it.
        refused: Requests that were refused.
    """

    decisions_s: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)
    most_reserved: dict[str, float] = field(default_factory=dict)
    refused: int = 0

    def percentile_ms(self, share: float) -> float:
        """Milliseconds that so many of the decisions took at most."""
        ranked = sorted(self.decisions_s)
        return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class Simulation:
    """`models` models on `devices` devices of 24 GiB."""

    def __init__(self, *, models: int, devices: int, seed: int = 1) -> None:
        self._random = rng = random.Random(seed)
        budgets = {f"gpu{n}": Budget(24 * GIB) for n in range(devices)} | {"ram": Budget(256 * GIB)}
        self._names = [f"m{n}" for n in range(models)]
        self._start_s: dict[str, float] = {}
        specs = []
        for number, name in enumerate(self._names):
            size = rng.choice([2, 3, 5, 8, 14, 20])
            amounts = {f"gpu{number % devices}": size * GIB, "ram": GIB}
            if size == 20 and devices > 1:  # dealt out over two
                amounts[f"gpu{(number + 1) % devices}"] = size * GIB
            self._start_s[name] = size / 2
            specs.append(
                Spec(
                    model=name,
                    size=ModelSize(amounts, "declared"),
                    start_s=size / 2,
                    pin="manual" if number == 0 else "",
                )
            )
        self.engine = Engine(specs, policy=ByMemory(budgets=budgets, finds=False))
        self.outcome = Outcome()
        self.now = 0.0
        self._future: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0
        self._numbers = 0
        self._running: Counter[str] = Counter()
        self._leases: dict[str, int] = {}
        self._recalled: dict[str, int] = {}  # model -> lease that is given back when it is idle
        self._asked: dict[Waiter, float] = {}
        self._processes: dict[str, int] = {}
        self._wakes_at = float("inf")

    def run(self, requests: int, per_s: float) -> Outcome:
        """Send so many requests, of which the popular models get most, and see them through."""
        weights = [1 / (rank + 1) for rank in range(len(self._names))]
        at = 0.0
        for model in self._random.choices(self._names, weights, k=requests):
            at += self._random.expovariate(per_s)
            self._later(at, partial(self._ask, model))
        self._later(1.0, self._report)
        while self._future and (self._asked or self._numbers < requests or any(self._running)):
            self.now, _, happen = heapq.heappop(self._future)
            happen()
        return self.outcome

    def _later(self, at: float, happen: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._future, (at, self._planned, happen))

    def _in(self, seconds: float, happen: Callable[[], None]) -> None:
        self._later(self.now + seconds, happen)

    def _tell(self, event: Event) -> None:
        began = time.thread_time()  # what others do on this machine does not count
        commands = self.engine.handle(event, self.now)
        self.outcome.decisions_s.append(time.thread_time() - began)
        for command in commands:
            self._obey(command)
        deadline = self.engine.next_deadline(self.now)
        if deadline < self._wakes_at:
            self._wakes_at = deadline
            self._later(deadline, self._wake)

    def _wake(self) -> None:
        self._wakes_at = float("inf")
        self._tell(TimePassed())

    def _ask(self, model: str) -> None:
        self._numbers += 1
        if model in self._leases and model not in self._recalled:
            self._begin(model)
            return
        waiter = Waiter(_OWNER, self._numbers)
        self._asked[waiter] = self.now
        self._tell(Wanted(waiter, model))

    def _begin(self, model: str) -> None:
        self._running[model] += 1
        self._in(self._random.expovariate(1 / 2.0), lambda: self._finish(model))

    def _finish(self, model: str) -> None:
        self._running[model] -= 1
        if not self._running[model]:
            del self._running[model]
            self._give_back(model)

    def _give_back(self, model: str) -> None:
        if model in self._recalled and not self._running[model]:
            lease = self._recalled.pop(model)
            self._leases.pop(model, None)
            self._tell(Released(_OWNER, model, lease))

    def _report(self) -> None:
        self._tell(Reported(_OWNER, dict(self._running)))
        self._in(1.0, self._report)

    def _obey(self, command: Command) -> None:
        match command:
            case Spawn(model, swap, _):
                assert model not in self._processes, "started twice"
                self._processes[model] = swap
                self.outcome.starts[model] += 1
                self._check()
                self._in(self._start_s[model], lambda: self._get_ready(model, swap))
            case Terminate(model, swap, _):
                assert not self._running[model], "a running request was cut"
                self._in(0.2, lambda: self._end(model, swap))
            case GrantLease(waiter, model, lease):
                self.outcome.waits_s.append(self.now - self._asked.pop(waiter))
                self._leases[model] = lease
                self._recalled.pop(model, None)
                self._begin(model)
            case RefuseWaiter(waiter):
                del self._asked[waiter]
                self.outcome.refused += 1
            case RevokeLease(_, model, lease):
                self._recalled[model] = lease
                self._in(0.0, lambda: self._give_back(model))
            case _:
                pass

    def _check(self) -> None:
        for device in self.engine.view.devices(self.now):
            share = device.reserved / device.total
            most = self.outcome.most_reserved.get(device.device, 0.0)
            self.outcome.most_reserved[device.device] = max(most, share)

    def _get_ready(self, model: str, swap: int) -> None:
        if self._processes.get(model) == swap:
            self._tell(Spawned(model, swap, swap, f"http://{model}"))
            self._tell(BecameReady(model, swap))

    def _end(self, model: str, swap: int) -> None:
        del self._processes[model]
        self._leases.pop(model, None)
        self._tell(ProcessEnded(model, swap, _ENDED))


def show(requests: int = 100_000, per_s: float = 2.0) -> None:
    """Print the figures of the large simulation."""
    began = time.perf_counter()
    outcome = Simulation(models=200, devices=8).run(requests, per_s)
    ranked = sorted(outcome.waits_s)
    print(
        f"{requests:,} requests, {len(outcome.decisions_s):,} decisions in "
        f"{time.perf_counter() - began:.0f} s; decision p50 {outcome.percentile_ms(0.5):.3f} ms, "
        f"p99 {outcome.percentile_ms(0.99):.3f} ms, most {outcome.percentile_ms(1):.1f} ms; "
        f"starts {sum(outcome.starts.values()):,}; refused {outcome.refused}; "
        f"waits p50 {ranked[len(ranked) // 2]:.1f} s, most {ranked[-1]:.0f} s (virtual); "
        f"fullest device {max(outcome.most_reserved.values()):.0%}"
    )


if __name__ == "__main__":
    show()
