"""What those that choose know of the hosts, and their choice.

All of it is indexed by model: a choice looks at a dozen hosts, however many there are. What a host
has told is `Plan.stale_s` old; what a front has sent since then, it knows itself.
"""

import random
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeAlias
from zlib import crc32

import msgspec

from arriero.supervisor.peers.choice import Candidate, Ranking, choose
from arriero.supervisor.peers.circuit import Circuit
from arriero.supervisor.peers.state import expected_wait_s, load_s
from arriero.supervisor.peers.told import ThereModel

from .hosts import Host
from .plan import Catalogue, Plan

# Hosts that have, or load, a model, of which a choice looks at so many; and of the others.
_NEAR, _COLD = 10, 2

_DICE: Final = random.Random(1)

Policy: TypeAlias = Callable[[str, Sequence[Candidate], bytes, Collection[str]], Ranking]


def _by_choice(
    name: str, candidates: Sequence[Candidate], key: bytes, tried: Collection[str]
) -> Ranking:
    return choose(name, candidates, key=key, tried=tried)


def _least(
    name: str, candidates: Sequence[Candidate], key: bytes, tried: Collection[str]
) -> Ranking:
    """Whoever is said to have the least to do; what is not in memory comes last."""
    able = [one for one in candidates if one.usable and one.target not in tried]
    able.sort(key=lambda one: (one.state != "ready", one.wait_s, one.running + one.waiting))
    return Ranking(tuple(one.target for one in able), "least")


def _at_random(
    name: str, candidates: Sequence[Candidate], key: bytes, tried: Collection[str]
) -> Ranking:
    """Any of those that have it in memory."""
    able = [one for one in candidates if one.usable and one.target not in tried]
    warm = [one for one in able if one.state == "ready"] or able
    return Ranking((_DICE.choice(warm).target,) if warm else (), "random")


POLICIES: Final[Mapping[str, Policy]] = {
    "choice": _by_choice,
    "least": _least,
    "random": _at_random,
}


class _Near:
    """Hosts that have a model or load it: what each has told, and their places on a ring."""

    __slots__ = ("ring", "told")

    def __init__(self) -> None:
        self.told: dict[int, ThereModel] = {}
        self.ring: list[tuple[int, int]] = []

    def put(self, host: int, told: ThereModel) -> None:
        if host not in self.told:
            insort(self.ring, (_point(host), host))
        self.told[host] = told

    def remove(self, host: int) -> None:
        if self.told.pop(host, None) is not None:
            del self.ring[bisect_left(self.ring, (_point(host), host))]

    def of(self, key: bytes) -> Sequence[tuple[int, int]]:
        """Return the ones that a choice looks at: neighbours of the key."""
        ring = self.ring
        if len(ring) <= _NEAR:
            return ring
        at = bisect_left(ring, (crc32(key), 0))
        found = ring[at : at + _NEAR]
        return found + ring[: _NEAR - len(found)]


def _point(host: int) -> int:
    return crc32(host.to_bytes(8, "big"))


class Fronts:
    """All fronts: each has heard the same, and has sent something else since."""

    def __init__(self, plan: Plan, models: Catalogue, hosts: Sequence[Host]) -> None:
        self._plan = plan
        self._models = models
        self._hosts = hosts
        self._policy = POLICIES[plan.policy]
        self._near: dict[int, _Near] = {}
        self._told: list[set[int]] = [set() for _ in hosts]  # models that each has told of
        self._loads_s = [0.0] * len(hosts)
        self._silent: set[int] = set()
        # By front and host: requests for each model more than it has told of; and whether it is
        # asked.
        self._sent: list[list[dict[int, int]]] = [[{} for _ in hosts] for _ in range(plan.fronts)]
        self._failing: list[dict[int, Circuit]] = [{} for _ in range(plan.fronts)]

    def hear(self, host: Host, at: float) -> None:
        """Take what a host tells of itself."""
        number = host.number
        self._silent.discard(number)
        now = set(host.copies)
        self._leave(number, self._told[number] - now)
        loads_s = 0.0
        for model, copy in host.copies.items():
            near = self._near.get(model)
            if near is None:
                near = self._near[model] = _Near()
            told = host.tell(copy)
            near.put(number, told)
            loads_s += load_s(told)
        self._loads_s[number] = loads_s
        self._told[number] = now
        for sent in self._sent:
            if sent[number]:
                sent[number] = {}
        for failing in self._failing:
            if (circuit := failing.get(number)) is not None:
                circuit.answered(at)

    def miss(self, number: int) -> None:
        """Take note that a host has not been heard of for a while."""
        self._silent.add(number)
        self._leave(number, self._told[number])
        self._told[number] = set()

    def _leave(self, number: int, models: Collection[int]) -> None:
        for model in models:
            near = self._near[model]
            near.remove(number)
            if not near.told:
                del self._near[model]

    def fail(self, front: int, number: int, now: float) -> None:
        """Take note that a front could not reach a host."""
        circuit = self._failing[front].setdefault(number, Circuit())
        circuit.failed("unreachable", "it is away", now, _DICE.random())

    def send(self, front: int, number: int, now: float) -> None:
        """Take note that a front tries to reach a host."""
        if (circuit := self._failing[front].get(number)) is not None:
            circuit.sent(now)

    def count(self, front: int, number: int, model: int, by: int) -> None:
        """Take note of a request that a front has sent, or that has ended."""
        sent = self._sent[front][number]
        sent[model] = sent.get(model, 0) + by

    def reached(self, front: int, number: int) -> None:
        """Take note that a front has reached a host."""
        self._failing[front].pop(number, None)

    def near(self, model: int) -> Collection[int]:
        """Return the hosts that have told that they have, or load, a model."""
        near = self._near.get(model)
        return () if near is None else near.told

    def choose(
        self, front: int, model: int, key: bytes, tried: Collection[str], now: float
    ) -> Ranking:
        """Return which host gets a request. This is what is measured."""
        sent, failing = self._sent[front], self._failing[front]
        found: list[Candidate] = []
        near = self._near.get(model)
        if near is not None:
            for _, number in near.of(key):
                circuit = failing.get(number)
                usable = circuit is None or circuit.is_usable(now)
                more = sent[number].get(model, 0)
                found.append(self._candidate(number, near.told[number], more, usable))
        cold = ThereModel(
            state="stopped", slots=self._plan.slots, start_s=self._models.load_s[model]
        )
        left = _COLD
        for number in self._models.places[model]:
            circuit = failing.get(number)
            if (
                (near is not None and number in near.told)
                or number in self._silent
                or (circuit is not None and not circuit.is_usable(now))
                or self._hosts[number].name in tried
            ):
                continue
            found.append(self._candidate(number, cold, sent[number].get(model, 0), True))
            left -= 1
            if not left:
                break
        return self._policy(f"m{model}", found, key, tried)

    def _candidate(self, number: int, told: ThereModel, more: int, usable: bool) -> Candidate:
        """Return a host as a candidate, with what was sent there since it has told."""
        if more:
            told = msgspec.structs.replace(told, running=max(0, told.running + more))
        name = self._hosts[number].name
        return Candidate(
            target=name,
            host=name,
            state=told.state,
            running=told.running,
            waiting=told.waiting,
            slots=told.slots,
            wait_s=expected_wait_s(told, self._loads_s[number]),
            usable=usable,
        )
