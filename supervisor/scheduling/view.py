"""What others may ask the engine: how models, devices and the queue stand. Changes nothing."""

import math
from typing import NamedTuple

from arriero.protocol.control.models import ExplainReply
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import DeviceStatus, ModelStatus, QueueEntry, State

from .attempts import Attempts
from .comebacks import Comebacks
from .leases import WorkerLeases
from .orders import Orders, StandingOrders
from .room.explain import explanation
from .room.placement import Placement
from .room.turn_order import TurnOrder
from .states.model_table import ModelTable
from .waiters import QueueNews, Waiters


class RunningModel(NamedTuple):
    """A model that has a process.

    Attributes:
        model: Its name.
        pid: The process.
        swap: Number of its start.
        serves: It is ready.
        sleeps: It is asleep.
    """

    model: str
    pid: int
    swap: int
    serves: bool
    sleeps: bool = False


class ModelOutlook(NamedTuple):
    """What is known of how soon a model is likely to be started.

    Attributes:
        model: Its name.
        use: How much it was used lately.
        start_s: How long its starts took; None if that is not known.
        runs: It has a process.
        stays: It never makes room for another one.
    """

    model: str
    use: float
    start_s: float | None
    runs: bool
    stays: bool


class ModelDemand(NamedTuple):
    """How a model stands, for who has to choose between this machine and others.

    Attributes:
        state: See `EngineView.standing`.
        running: Requests that run on it, as far as that was reported.
        waiting: Requests that wait for it.
        most: Requests that may run on it; 0: any number.
        fraction: Share of its start that is done; None if it is not starting, or not known.
        eta_s: Seconds until it is ready, likewise.
        start_s: How long its starts took; None if that is not known.
        loads_s: Seconds that all loads here take that are under way or waited for.
    """

    state: State
    running: int
    waiting: int
    most: int
    fraction: float | None
    eta_s: float | None
    start_s: float | None
    loads_s: float = 0.0


class EngineView:
    """Answers questions; it shows every change at once."""

    def __init__(
        self,
        table: ModelTable,
        *,
        placement: Placement,
        turn_order: TurnOrder,
        attempts: Attempts,
        waiters: Waiters,
        queue_news: QueueNews,
        leases: WorkerLeases,
        comebacks: Comebacks,
        orders: Orders,
    ) -> None:
        self._all, self._live, self._asleep = table.all, table.live, table.asleep
        self._placement = placement
        self._turn_order = turn_order
        self._attempts = attempts
        self._waiters = waiters
        self._queue_news = queue_news
        self._leases = leases
        self._comebacks = comebacks
        self._orders = orders

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {entry.state}" for name, entry in self._all.items())
        return f"<EngineView {states}; {len(self._waiters.queue)} waiting>"

    def queue(self) -> tuple[QueueEntry, ...]:
        """Return the models that are waited for, in the order of turns."""
        return self._queue_news.told

    def models(self, now: float, unix_now: float) -> tuple[ModelStatus, ...]:
        """Return the public state of all models, in configured order."""
        told = self._placement.told
        return tuple(told(entry, entry.status(now, unix_now)) for entry in self._all.values())

    def devices(self, now: float) -> tuple[DeviceStatus, ...]:
        """Return the public state of the devices that limit models."""
        return self._placement.devices(now)

    def on_device(self, device: str | None) -> set[str]:
        """Return the models that have a process and memory of `device`; of any, for None."""
        return self._placement.on_device(device)

    def is_unsized(self, model: str) -> bool:
        """Return whether the size of `model` is to be estimated."""
        entry = self._all.get(model)
        return self.counts_memory and entry is not None and entry.size is None

    def knows(self, model: str) -> bool:
        """Return whether there is such a model (by id, not by alias).

        Models that have to go count.
        """
        return model in self._all

    def state(self, model: str) -> State:
        """Return the state of the process of `model`."""
        return self._all[model].state

    def standing(self, model: str) -> State:
        """Return the state of `model`; one that is to end, whatever happens, is stopping."""
        entry = self._all[model]
        return "stopping" if entry.is_leaving else entry.state

    def demand(self, model: str) -> ModelDemand | None:
        """Return how `model` stands; None if there is none of that id."""
        entry = self._all.get(model)
        if entry is None:
            return None
        progress = entry.progress
        return ModelDemand(
            state=self.standing(model),
            running=sum(entry.in_flight.values()),
            waiting=self._waiters.queue.count(model),
            most=entry.spec.most,
            fraction=None if progress is None else progress.fraction,
            eta_s=None if progress is None else progress.eta_s,
            start_s=entry.start_s,
            loads_s=self._loads_s(),
        )

    def _loads_s(self) -> float:
        """Return the seconds that loads take that are under way or waited for, as far as known."""
        wanted = {name for name, entry in self._live.items() if entry.state == "starting"}
        left_s = 0.0
        for name in wanted.union(self._waiters.queue.models()):
            entry = self._all.get(name)
            if entry is not None and entry.state not in {"ready", "asleep"}:
                progress = entry.progress
                eta_s = None if progress is None else progress.eta_s
                left_s += (entry.start_s or 0.0) if eta_s is None else eta_s
        return left_s

    def where_ready(self, model: str) -> tuple[str, UpstreamKind]:
        """Return where `model` answers, and what; empty unless it is ready."""
        entry = self._live.get(model)
        if entry is None or entry.state != "ready" or entry.endpoint is None:
            return "", "unknown"
        return entry.endpoint, entry.kind

    def swap(self, model: str) -> int:
        """Return the number of the start that `model`'s state belongs to."""
        return self._all[model].swap

    def vitals(self, model: str) -> tuple[int, int, int]:
        """Return counts for the model: of requests, signs of life, and refused connections.

        All that is not known to be silence counts as a sign of life.
        """
        entry = self._all.get(model)
        return (0, 0, 0) if entry is None else (entry.asks, entry.heard, entry.refused)

    def up_since(self, model: str) -> float | None:
        """Return since when the process of `model` serves; None if it does not."""
        entry = self._live.get(model)
        return None if entry is None else entry.up_at

    def has_ended(self, model: str, swap: int) -> bool:
        """Return whether the process of the start `swap` is gone."""
        entry = self._live.get(model) or self._asleep.get(model)
        return entry is None or entry.swap != swap

    def running(self) -> list[str]:
        """Return the models whose process exists or is about to."""
        return [*self._live, *self._asleep]

    def stale(self) -> tuple[str, ...]:
        """Return the models whose process was started with an older command."""
        there = self._live | self._asleep
        return tuple(name for name, entry in there.items() if entry.is_stale)

    def coming_back(self) -> set[str]:
        """Return the stopped models that may be started again by themselves."""
        return self._comebacks.possible()

    def may_retry(self, model: str, now: float) -> bool:
        """Return whether `model` stopped by a failure, and the pause after that is over."""
        entry = self._all.get(model)
        return (
            entry is not None
            and entry.state == "stopped"
            and entry.error is not None
            and not entry.put_away
            and now >= entry.not_before
        )

    def quiet_since(self) -> float:
        """Return since when nobody has asked for anything; infinity while somebody waits."""
        waits = bool(len(self._waiters.queue))
        runs = any(entry.places or any(entry.in_flight.values()) for entry in self._live.values())
        if waits or runs:
            return math.inf
        return max(self._waiters.asked_at, self._leases.used_at)

    def leases_of(self, owner: str) -> tuple[str, ...]:
        """Return the models on which `owner` holds a lease."""
        return tuple(name for name, entry in self._live.items() if owner in entry.leases)

    @property
    def counts_memory(self) -> bool:
        """True if memory decides."""
        return self._placement.room is not None

    @property
    def awaits_memory(self) -> bool:
        """True if memory of a process that is gone or asleep has not come back yet."""
        return self._placement.awaits_memory()

    def orders(self) -> StandingOrders:
        """Return what another engine that goes on with this one's models has to be told."""
        return self._orders.standing()

    def running_models(self) -> list[RunningModel]:
        """Return the models that have a process."""
        return [
            RunningModel(
                name, entry.pid, entry.swap, entry.up_at is not None, entry.state == "asleep"
            )
            for name, entry in (*self._live.items(), *self._asleep.items())
            if entry.pid is not None
        ]

    def outlooks(self, now: float) -> list[ModelOutlook]:
        """Return the outlook of each model."""
        return [
            ModelOutlook(
                name, entry.use_at(now), entry.start_s, not entry.is_at_rest, entry.is_protected
            )
            for name, entry in self._all.items()
            if not entry.removed
        ]

    def awaiting_room(self) -> tuple[str, ...]:
        """Return the models that are started as soon as others have ended, in their order."""
        return tuple(
            name
            for name, entry in self._attempts.turning.items()
            if entry.state == "stopped"
            and entry.progress is not None
            and entry.progress.phase in {"draining", "stopping"}
        )

    def starting(self) -> tuple[str, ...]:
        """Return the models that are being started."""
        return tuple(name for name, entry in self._live.items() if entry.state == "starting")

    def explain(self, model: str, now: float) -> ExplainReply:
        """Return the course of a request for `model`, changing nothing."""
        turns, is_contested = self._turn_order.supposed(model, now)
        return explanation(
            self._all[model],
            turns,
            now,
            policy=self._placement.policy,
            live=self._live,
            is_contested=is_contested,
            blockage=self._placement.blockage(model),
        )

    def gone_for(self, model: str) -> tuple[str, ...]:
        """Return the names of the models that were evicted for `model`."""
        return tuple(entry.spec.model for entry in self._comebacks.gone_for(model))
