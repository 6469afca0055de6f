"""What is known of the supervisor, from its answers and events. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from arriero.protocol.control.models import LogsLine
from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    AnyEvent,
    InflightChanged,
    ProgressMade,
    QueueChanged,
    StateChanged,
    status_after,
)
from arriero.protocol.records import InflightRequest
from arriero.protocol.values import ModelStatus, QueueEntry

# Seconds over which the speed of an answer is measured.
_SPEED_S: Final = 2.0


class _Speed(msgspec.Struct):
    since: float
    tokens: int
    per_s: float | None = None


class TrainView(msgspec.Struct):
    """All that is known.

    Attributes:
        status: The last answer; None before the first.
        models: By id, in the order of the configuration, as events have changed them.
        queue: In the order of turns.
        log: The last lines of what is followed, oldest first.
        is_connected: The supervisor is there.
    """

    status: StatusReply | None = None
    models: dict[str, ModelStatus] = msgspec.field(default_factory=dict)
    queue: tuple[QueueEntry, ...] = ()
    log: tuple[LogsLine, ...] = ()
    is_connected: bool = False
    _running: dict[str, tuple[InflightRequest, ...]] = msgspec.field(default_factory=dict)
    _speeds: dict[str, _Speed] = msgspec.field(default_factory=dict)

    def take_status(self, status: StatusReply) -> None:
        """Know the whole state anew."""
        if self.status is not None and self.status.epoch != status.epoch:
            self._running.clear()
            self._speeds.clear()
        self.status = status
        self.models = {one.model: one for one in status.models}
        self.queue = status.queue
        self.is_connected = True

    def take(self, event: AnyEvent) -> bool:
        """Know what happened.

        Returns:
            Whether only a new status tells all that it means.
        """
        match event:
            case StateChanged(model=model):
                if (old := self.models.get(model)) is None:
                    return True
                self.models[model] = status_after(event, old)
                return True
            case ProgressMade(model=model):
                if (old := self.models.get(model)) is None:
                    return True
                self.models[model] = status_after(event, old)
                return False
            case QueueChanged(queue=queue):
                self.queue = queue
                return False
            case InflightChanged(worker=worker, requests=requests):
                self._take_running(worker, requests, event.t)
                return False
            case _:
                return True

    def _take_running(self, worker: str, requests: tuple[InflightRequest, ...], now: float) -> None:
        for gone in {one.id for one in self._running.pop(worker, ())} - {o.id for o in requests}:
            self._speeds.pop(gone, None)
        if requests:
            self._running[worker] = requests
        for one in requests:
            if one.ttft_ms is None:
                continue
            speed = self._speeds.get(one.id)
            if speed is None:
                began = one.t + one.ttft_ms / 1000
                per_s = one.output_tokens / (now - began) if now - began >= _SPEED_S else None
                self._speeds[one.id] = _Speed(now, one.output_tokens, per_s)
            elif now - speed.since >= _SPEED_S:
                speed.per_s = max(0, one.output_tokens - speed.tokens) / (now - speed.since)
                speed.since, speed.tokens = now, one.output_tokens

    def requests(self) -> list[InflightRequest]:
        """Return the requests that run, the oldest first."""
        found = [one for requests in self._running.values() for one in requests]
        return sorted(found, key=lambda one: (one.t, one.id))

    def speed(self, request_id: str) -> float | None:
        """Return how many tokens a second it has written of late; None: not known yet."""
        speed = self._speeds.get(request_id)
        return None if speed is None else speed.per_s

    def total_speed(self) -> float:
        """Return how many tokens a second all of them write."""
        return sum(speed.per_s or 0.0 for speed in self._speeds.values())

    def in_flight(self, model: ModelStatus) -> int:
        """Return how many requests run on a model, or wait for it in a worker."""
        running = sum(
            one.model == model.model and one.phase not in {"queue", "load"}
            for requests in self._running.values()
            for one in requests
        )
        return running or (0 if self._running else model.in_flight)

    def waiting(self, model: str) -> int:
        """Return how many requests wait for a model."""
        return sum(entry.waiting for entry in self.queue if entry.model == model)


def newest(lines: Iterable[LogsLine], count: int) -> tuple[LogsLine, ...]:
    """Return the last of these lines."""
    kept = tuple(lines)
    return kept[len(kept) - min(count, len(kept)) :]
