"""One machine in virtual time: copies of models in its memory, loads one after the other.

It stands for an arriero and its engine, which has a simulation of its own
(tests/supervisor/scheduling/simulation.py). Who leaves memory is decided by the same function, at
the same costs.
"""

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from arriero.protocol.values import State
from arriero.supervisor.memory.victims import Evictable, cheapest
from arriero.supervisor.peers.told import ThereModel

from .plan import Catalogue, Plan

# As in supervisor/scheduling/room/room.py.
_LITTLE_USE: Final = 0.01
_BUSY: Final = 1e9

_FOREVER: Final = float("inf")


class Conversation:
    """A client with a model and a prompt that grows; it has one request at a time.

    Attributes:
        model: Its rank.
        key: Stands for the beginning of the prompt.
        left: Turns that are left, with this one.
        home: Host that answered the turn before; -1: there was none.
        asked_at: When this turn was asked.
        front: Number of the front that has it.
        host: Host that has it.
        tried: Targets that have failed for it.
        warm: This turn came to a copy that was ready.
    """

    __slots__ = ("asked_at", "front", "home", "host", "key", "left", "model", "tried", "warm")

    def __init__(self, model: int, key: bytes, left: int) -> None:
        self.model = model
        self.key = key
        self.left = left
        self.home = self.host = -1
        self.asked_at = 0.0
        self.front = 0
        self.tried: set[str] = set()
        self.warm = False


class Copy:
    """A model at a host: in memory, or wanted there."""

    __slots__ = ("model", "ready_at", "running", "state", "use", "used_at", "waiting")

    def __init__(self, model: int) -> None:
        self.model = model
        self.state: State = "stopped"
        self.ready_at = _FOREVER
        self.running: dict[Conversation, None] = {}  # a set has no order of its own
        self.waiting: deque[Conversation] = deque()
        self.use = 0.0
        self.used_at = 0.0


class World(Protocol):
    """What a host is in.

    Attributes:
        now: Virtual time.
    """

    now: float

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen."""

    def began(self, asked: Conversation) -> None:
        """A turn is being answered."""

    def ended(self, asked: Conversation) -> None:
        """It was answered."""

    def loads(self, host: "Host", model: int) -> None:
        """A load has begun."""

    def evicted(self, host: "Host", model: int) -> None:
        """A model has left memory."""


class Host:
    """One machine.

    Attributes:
        name: As candidates have it.
        is_up: It has not failed.
        hangs: While it is down, connections to it time out.
        copies: What is in memory, or wanted.
        free_gb: Of its memory.
    """

    def __init__(
        self, number: int, plan: Plan, models: Catalogue, world: World, rng: Random
    ) -> None:
        self.number = number
        self.name = f"h{number}"
        self.is_up = True
        self.hangs = False
        self.copies: dict[int, Copy] = {}
        self.free_gb = plan.memory_gb
        self._plan = plan
        self._models = models
        self._world = world
        self._rng = rng
        self._life = 0
        self._loading: Copy | None = None
        self._pending: deque[Copy] = deque()

    def hold(self, model: int) -> bool:
        """Have a model in memory from the start; False if there is no room."""
        if self.free_gb < self._models.size_gb[model] or model in self.copies:
            return False
        copy = self.copies[model] = Copy(model)
        copy.state, copy.ready_at = "ready", 0.0
        copy.use = 2000.0 / (model + 1)
        self.free_gb -= self._models.size_gb[model]
        return True

    def has(self, model: int) -> bool:
        """Whether a model is ready."""
        copy = self.copies.get(model)
        return copy is not None and copy.state == "ready"

    def has_free_slot(self, model: int) -> bool:
        """Whether a request for a model would begin at once."""
        copy = self.copies.get(model)
        return (
            copy is not None
            and copy.state == "ready"
            and len(copy.running) < self._plan.slots
            and not copy.waiting
        )

    def arrive(self, asked: Conversation) -> bool:
        """Take a request; True if the model is ready."""
        copy = self.copies.get(asked.model)
        if copy is None:
            copy = self.copies[asked.model] = Copy(asked.model)
            self._pending.append(copy)
        self._use(copy)
        warm = asked.warm = copy.state == "ready"
        if warm and len(copy.running) < self._plan.slots:
            self._begin(copy, asked)
        else:
            copy.waiting.append(asked)
        self._pump()
        return warm

    def fail(self) -> tuple[list[Conversation], list[Conversation], int]:
        """Lose everything: those that ran, those that waited, and how many copies were ready."""
        copies = self.copies.values()
        ran = [it for copy in copies for it in copy.running]
        waited = [it for copy in copies for it in copy.waiting]
        ready = sum(copy.state == "ready" for copy in copies)
        self._life += 1
        self.copies, self._loading = {}, None
        self._pending.clear()
        self.free_gb = self._plan.memory_gb
        self.is_up = False
        return ran, waited, ready

    def tell(self, copy: Copy) -> ThereModel:
        """Return how a copy stands, as fronts are told."""
        starts = copy.state == "starting"
        return ThereModel(
            state=copy.state,
            running=len(copy.running),
            waiting=len(copy.waiting),
            slots=self._plan.slots,
            eta_s=max(0.0, copy.ready_at - self._world.now) if starts else None,
            start_s=self._models.load_s[copy.model],
        )

    def _use(self, copy: Copy) -> None:
        copy.use = 1.0 + copy.use * math.exp2(
            (copy.used_at - self._world.now) / self._plan.use_halves_s
        )
        copy.used_at = self._world.now

    def _begin(self, copy: Copy, asked: Conversation) -> None:
        copy.running[asked] = None
        self._world.began(asked)
        life = self._life
        self._world.later(
            self._rng.expovariate(1 / self._plan.answer_s),
            lambda: self._end(copy, asked) if life == self._life else None,
        )

    def _end(self, copy: Copy, asked: Conversation) -> None:
        copy.running.pop(asked, None)
        if copy.state == "ready" and copy.waiting:
            self._begin(copy, copy.waiting.popleft())
        elif copy.state == "draining" and not copy.running:
            self._evict(copy)
        self._world.ended(asked)
        if self._pending:
            self._pump()

    def _pump(self) -> None:
        """Begin the next load if there is room; else make room."""
        if self._loading is not None or not self._pending:
            return
        copy = self._pending[0]
        size = self._models.size_gb[copy.model]
        lack = size - self.free_gb - self._leaving_gb()
        if lack > 0 and not self._make_room(lack):
            return  # somebody ends, and it is tried again
        if size > self.free_gb:
            return  # somebody drains
        self._pending.popleft()
        self._loading = copy
        self.free_gb -= size
        seconds = self._models.load_s[copy.model]
        copy.state = "starting"
        copy.ready_at = self._world.now + seconds
        self._world.loads(self, copy.model)
        life = self._life
        self._world.later(seconds, lambda: self._loaded(copy) if life == self._life else None)

    def _loaded(self, copy: Copy) -> None:
        self._loading = None
        copy.state = "ready"
        while copy.waiting and len(copy.running) < self._plan.slots:
            self._begin(copy, copy.waiting.popleft())
        self._pump()

    def _leaving_gb(self) -> float:
        return sum(
            self._models.size_gb[copy.model]
            for copy in self.copies.values()
            if copy.state == "draining"
        )

    def _make_room(self, lack_gb: float) -> bool:
        able = [
            Evictable(self._cost(copy), copy.used_at, str(model), {"gpu": self._bytes(model)})
            for model, copy in self.copies.items()
            if copy.state == "ready" and not copy.waiting
        ]
        going = cheapest({"gpu": int(1e9 * lack_gb) + 1}, able)
        if going is None:
            return False
        for name in going:
            copy = self.copies[int(name)]
            if copy.running:
                copy.state = "draining"
            else:
                self._evict(copy)
        return True

    def _cost(self, copy: Copy) -> float:
        use = copy.use * math.exp2((copy.used_at - self._world.now) / self._plan.use_halves_s)
        cost = self._models.load_s[copy.model] * (_LITTLE_USE + use)
        return cost + _BUSY * (1 + len(copy.running)) if copy.running else cost

    def _bytes(self, model: int) -> int:
        return int(1e9 * self._models.size_gb[model])

    def _evict(self, copy: Copy) -> None:
        self.free_gb += self._models.size_gb[copy.model]
        self._world.evicted(self, copy.model)
        if copy.waiting:  # they came while it drained
            copy.state = "stopped"
            self._pending.append(copy)
        else:
            del self.copies[copy.model]
