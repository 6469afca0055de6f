"""A thousand machines under traffic, some of which fail, in virtual time.

The clock jumps from event to event. What chooses is the real function; what a choice takes is
measured in real time.
"""

import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from .bound import ClairvoyantBound
from .fronts import Fronts
from .hosts import Conversation, Host
from .plan import Catalogue, Plan

# Seconds after which one for whom there is no place, or whose answer broke off, asks again.
_AGAIN_S: Final = 1.0

# Reports of a host that are missed until it is left out.
_MISSED: Final = 3.0

# A load is in vain if the model left memory of the same host so many seconds before.
_TO_AND_FRO_S: Final = 60.0


class Spread:
    """Many durations, to about one percent, in little memory."""

    _STEP = math.log(1.01)

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self.count += 1
        self.sum += value
        self._counts[math.floor(math.log(value) / self._STEP) if value > 1e-9 else -10_000] += 1

    def at(self, share: float) -> float:
        """Return what so many of them are at most; 0 of none."""
        left = share * self.count
        for step in sorted(self._counts):
            left -= self._counts[step]
            if left <= 0.0:
                return 0.0 if step == -10_000 else math.exp((step + 1) * self._STEP)
        return 0.0


@dataclass
class Outcome:
    """What came of a simulation, without its warm-up.

    Attributes:
        requests: That were asked.
        warm: That came to a host whose copy was ready.
        bound: Share of them that could have been, see bound.py.
        decisions: Seconds of the processor that each choice took.
        waits: Seconds from the request to the beginning of its answer.
        cold_waits: Those of requests that were no warm hits.
        loads: That were begun.
        first_loads: Loads of models that no other host had in memory.
        to_and_fro: Loads of models that had left the same host a minute before at most.
        queued_in_vain: Requests that had to wait at a host while another one had a free slot.
        later_turns, at_home: Of conversations, after the first one; and those that came to the
            host that had answered the one before.
        failures: Of hosts.
        lost_copies: That were ready there.
        broken: Answers that broke off.
        rerouted: Waits of requests that were passed on: from a host that failed while they waited
            there, or that could not be reached.
        open, open_s: Requests that waited at the end, and how long the first of them had.
        nowhere: Times that there was no host at all.
        seconds: Of real time, for the whole run.
    """

    requests: int = 0
    warm: int = 0
    bound: float = 0.0
    decisions: Spread = field(default_factory=Spread)
    waits: Spread = field(default_factory=Spread)
    cold_waits: Spread = field(default_factory=Spread)
    loads: int = 0
    first_loads: int = 0
    to_and_fro: int = 0
    queued_in_vain: int = 0
    later_turns: int = 0
    at_home: int = 0
    failures: int = 0
    lost_copies: int = 0
    broken: int = 0
    rerouted: Spread = field(default_factory=Spread)
    open: int = 0
    open_s: float = 0.0
    nowhere: int = 0
    seconds: float = 0.0

    @property
    def warm_share(self) -> float:
        """Share of requests that were warm hits."""
        return self.warm / max(1, self.requests)


class Cluster:
    """All of it. It is the `World` of its hosts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = 0.0
        self.outcome = Outcome()
        self._rng = random.Random(plan.seed + 1)
        self._models = Catalogue(plan)
        self._hosts = [
            Host(number, plan, self._models, self, self._rng) for number in range(plan.hosts)
        ]
        self._fronts = Fronts(plan, self._models, self._hosts)
        self._bound = ClairvoyantBound(plan.warm_up_s, plan.models)
        self._future: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0
        self._conversations = 0
        self._left_at: dict[tuple[int, int], float] = {}
        self._open: dict[Conversation, float] = {}
        self._ranks = range(plan.models)
        self._counts_from = plan.warm_up_s
        self._fill()

    def _fill(self) -> None:
        """Begin with what is popular in memory."""
        for model, count in enumerate(self._models.needed):
            left = count
            for number in self._models.places[model]:
                left -= self._hosts[number].hold(model)
                if not left:
                    break
        for host in self._hosts:
            self._fronts.hear(host, self.now)

    def run(self, each_second: Callable[[float], None] = lambda second: None) -> Outcome:
        """Let it all happen.

        Args:
            each_second: Told each second of virtual time.
        """
        plan, rng = self.plan, self._rng
        began = time.perf_counter()
        for host in self._hosts:
            self.later(rng.random() * plan.stale_s, partial(self._report, host))
        self.later(0.0, self._start_conversation)
        for _ in range(round(plan.per_s * plan.think_s * (1 - 1 / plan.turns))):  # some go on
            self.later(rng.expovariate(1 / plan.think_s), partial(self._ask, self._conversation()))
        if plan.fails_per_h > 0:
            self.later(self._until_failure(), self._fail)
        second = 0.0
        while self._future:
            at, _, happen = heapq.heappop(self._future)
            if at >= plan.seconds:
                break
            self.now = at
            if at >= second:
                each_second(second)
                second += 1.0
            happen()
        window = plan.seconds - plan.warm_up_s
        self.outcome.bound = self._bound.share(
            plan.hosts * plan.memory_gb * window,
            self._models.size_gb,
            window,
            plan.answer_s / plan.slots,
        )
        self.outcome.open = len(self._open)
        self.outcome.open_s = plan.seconds - min(self._open.values(), default=plan.seconds)
        self.outcome.seconds = time.perf_counter() - began
        return self.outcome

    # --- the world of a host ---------------------------------------------------------------------

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen."""
        self._planned += 1
        heapq.heappush(self._future, (self.now + seconds, self._planned, happen))

    def began(self, asked: Conversation) -> None:
        """A turn is being answered."""
        del self._open[asked]
        if self._counts and asked.asked_at >= self._counts_from:
            wait_s = self.now - asked.asked_at
            self.outcome.waits.add(wait_s)
            if not asked.warm:
                self.outcome.cold_waits.add(wait_s)
            if asked.tried:
                self.outcome.rerouted.add(wait_s)

    def ended(self, asked: Conversation) -> None:
        """It was answered."""
        self._fronts.count(asked.front, asked.host, asked.model, -1)
        asked.home = asked.host
        asked.left -= 1
        if asked.left:
            self.later(self._rng.expovariate(1 / self.plan.think_s), partial(self._ask, asked))

    def loads(self, host: Host, model: int) -> None:
        """A load has begun."""
        left_at = self._left_at.pop((host.number, model), -math.inf)
        if self._counts:
            self.outcome.loads += 1
            self.outcome.first_loads += not any(
                self._hosts[number].has(model)
                for number in self._fronts.near(model)
                if number != host.number
            )
            self.outcome.to_and_fro += self.now - left_at < _TO_AND_FRO_S

    def evicted(self, host: Host, model: int) -> None:
        """A model has left memory."""
        self._left_at[host.number, model] = self.now

    # --- requests --------------------------------------------------------------------------------

    @property
    def _counts(self) -> bool:
        return self.now >= self._counts_from

    def _start_conversation(self) -> None:
        plan = self.plan
        self.later(self._rng.expovariate(plan.per_s / plan.turns), self._start_conversation)
        self._ask(self._conversation())

    def _conversation(self) -> Conversation:
        rng = self._rng
        (model,) = rng.choices(self._ranks, cum_weights=self._models.weights)
        self._conversations += 1
        turns = 1 + int(math.log(1.0 - rng.random()) / math.log(1 - 1 / self.plan.turns))
        return Conversation(model, self._conversations.to_bytes(8, "big"), turns)

    def _ask(self, asked: Conversation) -> None:
        asked.asked_at = self._open[asked] = self.now
        asked.tried.clear()
        asked.front = self._rng.randrange(self.plan.fronts)
        if self._counts:
            self.outcome.requests += 1
            self._bound.ask(asked.model, self._models.size_gb[asked.model], self.now)
        self._route(asked)

    def _route(self, asked: Conversation) -> None:
        began = time.thread_time_ns()  # what others do on this machine does not count
        found = self._fronts.choose(asked.front, asked.model, asked.key, asked.tried, self.now)
        took = time.thread_time_ns() - began
        if self._counts:
            self.outcome.decisions.add(took / 1e9)
        if not found.targets:
            if self._counts:
                self.outcome.nowhere += 1
            asked.tried.clear()
            self.later(_AGAIN_S, partial(self._route, asked))
            return
        host = self._hosts[int(found.targets[0][1:])]
        self._fronts.send(asked.front, host.number, self.now)
        if not host.is_up:
            self._fronts.fail(asked.front, host.number, self.now)
            asked.tried.add(host.name)
            pause_s = self.plan.connect_s if host.hangs else 0.001
            self.later(pause_s, partial(self._route, asked))
            return
        self._fronts.reached(asked.front, host.number)
        self._fronts.count(asked.front, host.number, asked.model, 1)
        first_try = not asked.tried and self._counts
        asked.host = host.number
        free = host.has_free_slot(asked.model)
        warm = host.arrive(asked)
        if not first_try:
            return
        outcome = self.outcome
        outcome.warm += warm
        if warm and not free:
            outcome.queued_in_vain += any(
                self._hosts[number].has_free_slot(asked.model)
                for number in self._fronts.near(asked.model)
            )
        if asked.home >= 0:
            outcome.later_turns += 1
            outcome.at_home += asked.home == asked.host and warm

    # --- hosts -----------------------------------------------------------------------------------

    def _report(self, host: Host) -> None:
        if host.is_up:
            self._fronts.hear(host, self.now)
            self.later(self.plan.stale_s, partial(self._report, host))

    def _until_failure(self) -> float:
        return self._rng.expovariate(self.plan.hosts * self.plan.fails_per_h / 3600)

    def _fail(self) -> None:
        self.later(self._until_failure(), self._fail)
        host = self._rng.choice(self._hosts)
        if not host.is_up:
            return
        ran, waited, ready = host.fail()
        host.hangs = self._rng.random() < self.plan.hangs
        if self._counts:
            self.outcome.failures += 1
            self.outcome.lost_copies += ready
            self.outcome.broken += len(ran)
        for asked in ran:
            self._fronts.count(asked.front, host.number, asked.model, -1)
            self._fronts.fail(asked.front, host.number, self.now)
            self.later(_AGAIN_S, partial(self._ask, asked))
        for asked in waited:
            self._fronts.count(asked.front, host.number, asked.model, -1)
            asked.tried.add(host.name)
            self._route(asked)
        self.later(_MISSED * self.plan.stale_s, partial(self._miss, host))
        self.later(self.plan.down_s, partial(self._return, host))

    def _miss(self, host: Host) -> None:
        if not host.is_up:
            self._fronts.miss(host.number)

    def _return(self, host: Host) -> None:
        host.is_up = True
        self._report(host)
