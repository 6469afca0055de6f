"""What is known of peers: their models, how these stand, and whether they are asked. Pure.

A list is kept when its machine is away: it comes back with the same models, as a rule. How models
stand is forgotten then. Times are those of the caller's clock, but for `listed_at`.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from arriero.protocol.values import PeerLink, PeerModelStatus, PeerStatus, State

from ..config.names import PeerConfig
from ..text.redact import masked_text
from .choice import Candidate
from .circuit import CIRCUIT_LIMITS, Circuit, CircuitLimits, Failure
from .told import NOTHING_TOLD, ThereModel, ToldList

# Models of one peer, each with errors of its own, whose circuits are remembered.
_MOST_FAILING: Final = 100

# In the public state of one peer.
_SHOWN_RUNNING: Final = 50
_SHOWN_FAILING: Final = 10

# Seconds until a model is ready whose machine does not tell how long that takes, and how long a
# request keeps its slot.
_START_S: Final = 30.0
_WAKE_S: Final = 3.0
_TURN_S: Final = 5.0

_NOT_LOADED: Final = frozenset({"stopped", "draining", "stopping"})

# Slots of a model whose machine does not tell.
_SLOTS: Final = 4


class KeptList(msgspec.Struct, frozen=True, kw_only=True):
    """The last list of a peer.

    Attributes:
        models: Their names.
        listed_at: Unix time at which it came.
        left_out: See `ToldList`.
    """

    models: tuple[str, ...] = ()
    listed_at: float | None = None
    left_out: int = 0


class PeerState:
    """What is known of one peer.

    Attributes:
        peer: As in the configuration.
        kept: Its last list.
        link: Whether it answers.
        is_arriero: Its list was one of this program.
        is_followed: It tells how its models stand, as that changes.
        failures: Requests that it has not answered.
        circuit: Whether it is asked.
        why: Why it does not answer, or has no list; empty if all is well.
        loads_s: Seconds that all loads there take that are under way or waited for.
        instance: The number that an arriero has told of itself; empty: none was told.
        unfollowed: Why how its models stand cannot be followed; empty if it is, or was not tried.
    """

    def __init__(self, peer: PeerConfig, limits: CircuitLimits) -> None:
        self.peer = peer
        self.kept = KeptList()
        self.link: PeerLink = "unknown"
        self.is_arriero = False
        self.is_followed = False
        self.failures = 0
        self.why = ""
        self.unfollowed = ""
        self.instance = ""
        self._place = masked_text(peer.url)  # who may use it is no part of it
        self.circuit = Circuit(limits)
        self.of_models: dict[str, Circuit] = {}  # of those that have failed
        self.listed: Mapping[str, ThereModel] = {}
        self.followed: Mapping[str, ThereModel] = {}
        self.loads_s = 0.0

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models, as far as they are known."""
        return self.kept.models if self.peer.is_watched else self.peer.models

    @property
    def ident(self) -> str:
        """What others call it as well: its own number, or else where it is."""
        return self.instance or self._place

    def model(self, name: str) -> ThereModel:
        """Return how a model there stands."""
        return self.followed.get(name) or self.listed.get(name) or NOTHING_TOLD

    def is_usable(self, model: str, now: float) -> bool:
        """Whether a request for that model there may be sent: all may, or one may try.

        None has to try whether a watched peer can be reached: it is asked for its list, and a
        request that waits for a frozen machine waits for a minute.
        """
        own = self.of_models.get(model)
        if self.peer.is_watched:
            is_there = self.circuit.phase(now) == "closed"
        else:
            is_there = self.circuit.is_usable(now)
        return is_there and (own is None or own.is_usable(now))

    def candidate(self, name: str, now: float) -> Candidate:
        """Return this machine as one that may answer a request.

        Args:
            name: Of the model there.
            now: The time.
        """
        there = self.model(name)
        return Candidate(
            target=f"{self.peer.peer}/{name}",
            host=self.peer.peer,
            ident=self.ident,
            state=there.state,
            running=there.running,
            waiting=there.waiting,
            slots=there.slots,
            wait_s=expected_wait_s(there),
            usable=self.is_usable(name, now),
        )

    def forget_standing(self) -> None:
        """Forget how its models stand."""
        self.listed = self.followed = {}
        self.is_followed = False
        self.loads_s = 0.0

    def follow(self, models: Mapping[str, ThereModel], instance: str = "") -> None:
        """Take over how its models stand, as it tells, and its number."""
        self.instance = instance or self.instance
        self.followed, self.is_followed, self.unfollowed = models, True, ""
        self.loads_s = sum([load_s(there) for there in models.values()])

    def status(self, now: float, unix_now: float) -> PeerStatus:
        """Return the public state."""
        phase = self.circuit.phase(now)
        known = {**self.listed, **self.followed} if self.peer.is_watched else {}
        running = [
            PeerModelStatus(
                model=name,
                state=there.state,
                running=there.running,
                waiting=there.waiting,
                fraction=there.fraction,
                eta_s=there.eta_s,
            )
            for name, there in sorted(known.items())
            if there.state is not None and there.state != "stopped"
        ]
        failing = [name for name, it in self.of_models.items() if it.phase(now) != "closed"]
        until = self.circuit.until
        return PeerStatus(
            peer=self.peer.peer,
            url=masked_text(self.peer.url),
            kind="arriero" if self.is_arriero else self.peer.kind,
            watched=self.peer.is_watched,
            link=self.link,
            followed=self.is_followed,
            circuit=phase,
            failures=self.failures,
            why=self.circuit.why or self.why or self.unfollowed,
            retry_at=None if phase == "closed" else float(round(unix_now + until - now)),
            models=len(self.models),
            left_out=self.kept.left_out,
            listed_at=self.kept.listed_at,
            running=tuple(running[:_SHOWN_RUNNING]),
            failing=tuple(sorted(failing)[:_SHOWN_FAILING]),
        )


class PeerStates:
    """What is known of all peers."""

    def __init__(
        self,
        limits: CircuitLimits = CIRCUIT_LIMITS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Build it: there are none.

        Args:
            limits: Of all circuits.
            chance: Gives numbers from 0 to below 1, to spread pauses.
        """
        self._limits = limits
        self._chance = chance
        self._states: dict[str, PeerState] = {}

    def follow(self, peers: Iterable[PeerConfig]) -> None:
        """Know the peers of a configuration: of one that is another by now nothing is known."""
        old, self._states = self._states, {}
        for peer in peers:
            state = old.get(peer.peer)
            if state is None or not _is_same(state.peer, peer):
                state = PeerState(peer, self._limits)
            state.peer = peer
            self._states[peer.peer] = state

    def find(self, peer: str) -> PeerState | None:
        """Return what is known of a peer; None if there is none of that id."""
        return self._states.get(peer)

    def told(self) -> Mapping[str, tuple[str, ...]]:
        """Return the models of watched peers, by peer."""
        return {
            name: state.kept.models for name, state in self._states.items() if state.peer.is_watched
        }

    def there(self) -> dict[str, State]:
        """Return the states of models of watched peers, by ``<peer>/<model>``.

        Those that are stopped, or of which nothing is known, are left out.
        """
        return {
            f"{name}/{model}": told.state
            for name, state in self._states.items()
            if state.peer.is_watched
            for model in state.kept.models
            if (told := state.model(model)).state is not None and told.state != "stopped"
        }

    def kept(self) -> Mapping[str, KeptList]:
        """Return the last lists, by peer."""
        return {
            name: state.kept
            for name, state in self._states.items()
            if state.peer.is_watched and state.kept.listed_at is not None
        }

    def restore(self, peer: str, kept: KeptList) -> None:
        """Take over a list that was kept, unless there is a newer one."""
        state = self._states.get(peer)
        if state is not None and state.peer.is_watched and state.kept.listed_at is None:
            state.kept = kept

    def statuses(self, now: float, unix_now: float) -> tuple[PeerStatus, ...]:
        """Return the public state of all."""
        return tuple(state.status(now, unix_now) for state in self._states.values())

    # --- what we have asked ---------------------------------------------------------------------

    def listed(self, peer: str, told: ToldList, now: float, unix_now: float) -> bool:
        """Take a list over; return whether there are other models than before."""
        state = self._states.get(peer)
        if state is None:
            return False
        models = tuple(told.models)
        is_other = set(models) != set(state.kept.models)
        state.kept = KeptList(
            models=models if is_other else state.kept.models,
            listed_at=float(round(unix_now)),
            left_out=told.left_out,
        )
        state.listed = told.models
        state.is_arriero = told.is_arriero
        state.link = "up"
        state.why = ""
        state.circuit.answered(now)
        return is_other

    def unlisted(self, peer: str, why: str, now: float) -> None:
        """Note that a peer answers, but not with a list: the last one stays."""
        if (state := self._states.get(peer)) is not None:
            state.link = "up"
            state.why = why
            state.forget_standing()
            state.circuit.answered(now)

    def has_none(self, peer: str, why: str) -> None:
        """Note that a peer has no models, and never will."""
        if (state := self._states.get(peer)) is not None:
            state.kept = KeptList()
            state.link, state.why = "up", why
            state.forget_standing()

    def is_away(self, peer: str, why: str, now: float) -> None:
        """Note that a peer did not answer a question of ours. Its models stay known."""
        if (state := self._states.get(peer)) is not None:
            state.link = "away"
            state.why = why
            state.forget_standing()
            state.circuit.failed("unreachable", why, now, self._chance())

    # --- what requests have seen ----------------------------------------------------------------

    def failed(self, peer: str, model: str, failure: Failure, why: str, now: float) -> bool:
        """Note that a request could not be answered.

        Args:
            peer: Who was asked.
            model: For which model, by its name there.
            failure: Of which kind it was: what is unreachable is the machine, all else the model.
            why: In words.
            now: The time.

        Returns:
            Whether the peer is not asked any more, and was until now.
        """
        state = self._states.get(peer)
        if state is None:
            return False
        state.failures += 1
        if failure == "unreachable":
            before = state.circuit.phase(now)
            state.circuit.failed(failure, why, now, self._chance())
            return before != "open" and state.circuit.phase(now) == "open"
        circuit = state.of_models.get(model)
        if circuit is None:
            if len(state.of_models) >= _MOST_FAILING:
                del state.of_models[next(iter(state.of_models))]
            circuit = state.of_models[model] = Circuit(self._limits)
        circuit.failed(failure, why, now, self._chance())
        if failure == "error":  # the machine has answered
            state.circuit.succeeded(now)
        return False

    def succeeded(self, peer: str, model: str, now: float) -> None:
        """Note that a request was answered."""
        state = self._states.get(peer)
        if state is None:
            return
        state.circuit.succeeded(now)
        if (own := state.of_models.get(model)) is not None:
            own.succeeded(now)
            if own.phase(now) == "closed":
                del state.of_models[model]

    def sent(self, peer: str, model: str, now: float) -> None:
        """Note that a request is sent to a model there: if it tries, no other one does."""
        if (state := self._states.get(peer)) is not None:
            state.circuit.sent(now)
            if (own := state.of_models.get(model)) is not None:
                own.sent(now)


def load_s(there: ThereModel) -> float:
    """Return the seconds that a load takes that is under way or waited for; 0 without one."""
    if there.state == "starting" or (there.waiting and there.state in _NOT_LOADED):
        return (there.start_s or 0.0) if there.eta_s is None else there.eta_s
    return 0.0


def expected_wait_s(there: ThereModel, loads_s: float = 0.0) -> float:
    """Return the seconds until a new request would begin on a model.

    Args:
        there: How it stands.
        loads_s: What all loads of that machine take: one that is yet to begin has to wait for them,
            since they share its disk, and its memory may be what they were given.
    """
    slots = there.slots or _SLOTS
    queued_s = max(0, there.running + there.waiting + 1 - slots) / slots * _TURN_S
    start_s = _START_S if there.start_s is None else there.start_s
    match there.state:
        case "ready" | None:
            return queued_s
        case "starting":
            left_s = start_s * (1 - (there.fraction or 0.0))
            return max(queued_s, left_s if there.eta_s is None else there.eta_s)
        case "asleep":
            return queued_s + min(start_s, _WAKE_S)
        case _:  # it is not there, or is about to go
            return queued_s + start_s + max(0.0, loads_s - load_s(there))


def _is_same(old: PeerConfig, new: PeerConfig) -> bool:
    """Whether what is known of one peer holds for another one."""
    return (old.url, old.is_watched) == (new.url, new.is_watched)
