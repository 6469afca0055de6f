"""What the engine remembers of each model and each waiter. Changed by `engine.py` only."""

import math
from dataclasses import dataclass, field

from arriero.protocol.values import ErrorInfo, ModelStatus, Progress, State

from .backoff import Backoff
from .happenings import Spec, Waiter


@dataclass(slots=True)
class Wait:
    """One waiter in the queue.

    Attributes:
        waiter: Who waits.
        model: For what.
        since: Since when, on trio's clock.
    """

    waiter: Waiter
    model: str
    since: float


@dataclass(slots=True)
class Slot:
    """All that is known of one model.

    Attributes:
        spec: What the configuration says.
        state: What its process does, since `since`.
        swap: Number of the attempt that state and progress belong to, begun at `swap_since`.
        pid, endpoint: Of the process; None without one.
        up_at: When the process began to serve.
        leases: Owner -> number of its lease.
        recalled: Owners that were told to give their lease back.
        in_flight: Owner -> requests that run, as it reported.
        used_at: When a request was last seen running.
        admits: While draining: do the leases that are out still admit requests?
        unloading: Draining because somebody asked for it, or by its ttl: there is no way back.
        error: Why the last start failed or the process went away.
        failures: In a row; `not_before` is the end of the pause after the last one.
        progress: Set from its turn (or its pause) until it is ready.
    """

    spec: Spec
    state: State = "stopped"
    since: float = 0.0
    swap: int = 0
    swap_since: float = 0.0
    pid: int | None = None
    endpoint: str | None = None
    up_at: float | None = None
    leases: dict[str, int] = field(default_factory=dict)
    recalled: set[str] = field(default_factory=set)
    in_flight: dict[str, int] = field(default_factory=dict)
    used_at: float = 0.0
    admits: bool = True
    unloading: bool = False
    error: ErrorInfo | None = None
    failures: int = 0
    not_before: float = 0.0
    progress: Progress | None = None

    def drop_lease(self, owner: str) -> None:
        """`owner` has no lease any more."""
        self.leases.pop(owner, None)
        self.recalled.discard(owner)
        self.in_flight.pop(owner, None)

    def lose_process(self, now: float, backoff: Backoff) -> None:
        """The process is gone, and with it all that depended on it."""
        if self.up_at is not None and now - self.up_at >= backoff.forgiven_after_s:
            self.failures = 0
        self.leases.clear()
        self.recalled.clear()
        self.in_flight.clear()
        self.pid = self.endpoint = self.up_at = self.progress = None
        self.unloading = False

    def fail(self, error: ErrorInfo, now: float, backoff: Backoff) -> None:
        """The process could not be started, or went by itself."""
        self.error = error
        self.failures += 1
        self.not_before = now + backoff.pause_s(self.failures)

    def idle_until(self) -> float:
        """Return when a ready model has been idle for its whole ttl; infinity if never."""
        if not self.spec.ttl_s or any(self.in_flight.values()):
            return math.inf
        return self.used_at + self.spec.ttl_s

    def status(self, now: float, unix_now: float) -> ModelStatus:
        """Return all that anybody may know."""
        return ModelStatus(
            model=self.spec.model,
            state=self.state,
            since=unix_now - (now - self.since),
            swap=self.swap,
            pid=self.pid,
            endpoint=self.endpoint,
            in_flight=sum(self.in_flight.values()),
            progress=self.progress,
            error=self.error,
            retry_in_s=max(0.0, self.not_before - now),
        )
