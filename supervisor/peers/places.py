"""Machines that have the same model: which of them answers a request. Pure.

Asked by workers for names that several machines have, and for no others. What was sent by this
program is counted from the choice to the end of the request: what other machines tell of how much
they do is a second old, and nothing at all of some.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from arriero.protocol.control.models import PlaceStanding

from ..config.names import PeerModels
from ..scheduling.view import ModelDemand
from .choice import LOCAL, Candidate, Ranking, choose
from .state import PeerStates, expected_wait_s
from .told import NOTHING_TOLD, ThereModel

# Requests that are counted. Those beyond, more than any machine serves, are answered uncounted.
MAX_COUNTED: Final = 100_000


class Places:
    """Chooses machines, and counts what they were sent."""

    def __init__(
        self,
        names: Callable[[], PeerModels],
        local: Callable[[str], ModelDemand | None],
        peers: PeerStates,
        now: Callable[[], float],
        instance: str = "",
        *,
        most: int = MAX_COUNTED,
    ) -> None:
        """Build it.

        Args:
            names: Gives the names of models of peers, and which several machines have.
            local: Tells how a model here stands, by its id; None if there is none.
            peers: What is known of the others.
            now: The time.
            instance: A number of this arriero, as it tells it to others.
            most: Requests that are counted at the most.
        """
        self._names = names
        self._local = local
        self._peers = peers
        self._now = now
        self._instance = instance
        self._most = most
        self._running: dict[tuple[str, int], str] = {}
        self._counts: dict[str, int] = {}

    def select(
        self, owner: str, ask: int, name: str, *, prefix: str = "", tried: Collection[str] = ()
    ) -> str:
        """Return the place for a request, by its name as a target; empty if none is left.

        If none can be reached it is one that can be woken; or the first one, which will say why.

        Args:
            owner: The worker.
            ask: Number of its query, to be given back to `end`.
            name: The model.
            prefix: How the prompt begins; see `Select`.
            tried: Places where the request has failed.
        """
        ranking = self.rank(name, prefix, tried)
        target = ranking.targets[0] if ranking.targets else self._last_resort(name, tried)
        if target:
            self.hold(owner, ask, target)
            if (found := self._names().resolve(target)) is not None:
                self._peers.sent(found[0].peer, found[1], self._now())
        return target

    def explain(self, name: str) -> tuple[tuple[PlaceStanding, ...], str]:
        """Return how a model stands in each of its places, the first one asked before others.

        And why it is the first, in words.
        """
        found = {one.target: one for one in self._candidates(name)}
        ranking = self.rank(name)
        rest = [target for target in found if target not in ranking.targets]
        standings = [
            PlaceStanding(
                target=one.target,
                host=one.host,
                state=one.state or "",
                running=one.running,
                waiting=one.waiting,
                wait_s=round(one.wait_s, 1),
                usable=one.usable,
                why=self._why_not(one),
            )
            for one in (found[target] for target in (*ranking.targets, *rest))
        ]
        return tuple(standings), ranking.reason

    def rank(self, name: str, prefix: str = "", tried: Collection[str] = ()) -> Ranking:
        """Return the places of a model in order, and why the first one is the first."""
        return choose(name, self._candidates(name), key=prefix.encode(), tried=tried)

    def hold(self, owner: str, ask: int, target: str) -> None:
        """Count a request that runs on `target`, as this or an earlier supervisor has chosen."""
        if len(self._running) >= self._most:
            return
        self.end(owner, ask)  # it was asked twice
        self._running[owner, ask] = target
        self._counts[target] = self._counts.get(target, 0) + 1

    def end(self, owner: str, ask: int) -> None:
        """Count a request no more."""
        target = self._running.pop((owner, ask), None)
        if target is not None:
            self._counts[target] -= 1
            if not self._counts[target]:
                del self._counts[target]

    def lost(self, owner: str) -> None:
        """Count none of those of a worker that is gone."""
        for worker, ask in [key for key in self._running if key[0] == owner]:
            self.end(worker, ask)

    def counts(self) -> Mapping[str, int]:
        """Return how many requests of ours run, by place."""
        return dict(self._counts)

    def _last_resort(self, name: str, tried: Collection[str]) -> str:
        targets = self._names().places.get(name, ())
        untried = [target for target in targets if target not in tried]
        sleepers = [it for it in (*untried, *targets) if self._can_be_woken(it)]
        return next(iter(sleepers), "" if tried else next(iter(targets), ""))

    def _can_be_woken(self, target: str) -> bool:
        found = self._names().resolve(target)
        return found is not None and bool(found[0].wake.mac)

    def _candidates(self, name: str) -> list[Candidate]:
        found = (self._candidate(target) for target in self._names().places.get(name, (name,)))
        return [one for one in found if one is not None]

    def _candidate(self, target: str) -> Candidate | None:
        ours = self._counts.get(target, 0)
        if (here := self._local(target)) is not None:
            told = ThereModel(
                state=here.state,
                running=here.running,
                waiting=here.waiting,
                slots=here.most,
                fraction=here.fraction,
                eta_s=here.eta_s,
                start_s=here.start_s,
            )
            ident = self._instance
            return _candidate_of(target, LOCAL, ident, told, ours, here.loads_s, usable=True)
        known = self._names().resolve(target)
        if known is None:
            return None
        peer, model = known
        state = self._peers.find(peer.peer)
        there = NOTHING_TOLD if state is None else state.model(model)
        loads_s = 0.0 if state is None else state.loads_s
        usable = state is None or state.is_usable(model, self._now())
        ident = "" if state is None else state.ident
        return _candidate_of(target, peer.peer, ident, there, ours, loads_s, usable=usable)

    def _why_not(self, one: Candidate) -> str:
        """Return why a place is not asked, in words; empty if it is."""
        known = None if one.usable else self._names().resolve(one.target)
        state = None if known is None else self._peers.find(known[0].peer)
        if known is None or state is None:
            return ""
        own = state.of_models.get(known[1])
        return state.circuit.why or (own.why if own is not None else "") or state.why


def _candidate_of(
    target: str,
    host: str,
    ident: str,
    there: ThereModel,
    ours: int,
    loads_s: float,
    *,
    usable: bool,
) -> Candidate:
    there = msgspec.structs.replace(there, running=max(there.running, ours))
    return Candidate(
        target=target,
        host=host,
        ident=ident,
        state=there.state,
        running=there.running,
        waiting=there.waiting,
        slots=there.slots,
        wait_s=expected_wait_s(there, loads_s),
        usable=usable,
    )
