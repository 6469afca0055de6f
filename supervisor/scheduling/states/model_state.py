"""State of each model and waiter. Changed by the parts of the engine only."""

import math
from typing import Final

import msgspec

from arriero.protocol.events import EndReason
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import LOCAL, ErrorInfo, ModelStatus, Phase, Progress, State

from ...memory.sizes import ModelSize
from ..messages.events import Spec, Waiter
from ..states.backoff import Backoff

# A fraction never reaches this before `ready`: a full bar that goes on waiting is a lie.
_FULLEST: Final = 0.99

# Number of a lease that a worker of an earlier supervisor may hold: it has not said so yet. As long
# as that is so, nothing is taken away from it.
UNTOLD: Final = 0

# The same of one that will never say so: it speaks another version, and is only seen to end.
MUTE: Final = -1

# Seconds after which the use of a model counts half: what was asked for in the last half hour is
# likely to be asked for again.
_USE_HALVES_S: Final = 1800.0


class QueuedWaiter(msgspec.Struct):
    """One waiter in the queue.

    Attributes:
        waiter: Its request or script.
        model: For what.
        since: Since when, on trio's clock.
        number: Rises with each one that arrives.
        came_untold: It came before all workers of an earlier supervisor had said what they run: if
            there is no place for it after all, it is refused like all who find none.
    """

    waiter: Waiter
    model: str
    since: float
    number: int
    came_untold: bool = False


class ModelState(msgspec.Struct):
    """The state of one model.

    Attributes:
        spec: Its settings.
        state: Of its process, since `since`.
        swap: Number of the attempt that state and progress belong to, begun at `swap_since`.
        pid, endpoint: Of the process; None without one.
        kind: Of its server, or the last one; known once it serves.
        up_at: When the process began to serve.
        leases: Owner -> number of its lease.
        recalled: Owners that were asked to give their lease back.
        in_flight: Owner -> requests that run, as it reported.
        used_at: When a request was last seen running.
        admits: While draining: do the leases that are out still admit requests?
        unloading: Draining on request, or by its ttl: there is no way back.
        error: Why the last start failed or the process went away.
        failures: In a row; `not_before` is the end of the pause after the last one.
        progress: Set from its turn (or its pause) until it is ready.
        launch: The `Spec.launch` that its process was started with; None without one.
        removed: The configuration does not have it any more: it is forgotten when it has stopped.
        goes_for: The model for which it is evicted, until that is ready, or has failed.
        remark: Why it is started, if not for a waiter.
        asks, heard, refused: Rise when workers report requests, signs of life, and connections
            that were refused.
        still_s: Last report of how long none of its requests has made progress.
        cut_at: While draining: when its requests were ended.
        killed: It is not asked to end, but killed.
        not_ready: While starting: the last report of why it is not ready yet.
        keep_s: What the last request said how long it is to be kept at most, when idle.
        places: Waiters that were granted one of the places that `Spec.most` allows.
        size: What it needs, as far as that is known; None: it is not estimated yet.
        sizing_until: How long an estimate is waited for; None: none was asked for.
        grew: It was started again with a raised size, since it last served.
        start_s: How long its starts took.
        went_for: The model for which it was evicted last, and when; None: it was started since.
        put_away: It was unloaded on request: it is not started again by itself.
        used, used_until: Its use, each one counting half after `_USE_HALVES_S`, and when that was.
        goes_to_sleep: While stopping: it is being put to sleep. While draining: it sleeps already.
        wakes: While starting: it is being woken.
        reason: Why it goes; None while it does not.
        sleep_size: What it keeps while it sleeps, as far as that is known; None: it will be seen.
        sleep_seen_by: While asleep: how long the model that it made room for waits for a look that
            shows what it gave back.
        is_pinned: It was ordered to stay while it is loaded.
        is_placing: While starting: it has no machine yet, which has no limit but its waiters'.
        placed_at: While starting: when it had one.
        host: Where its process is.
    """

    spec: Spec
    state: State = "stopped"
    since: float = 0.0
    swap: int = 0
    swap_since: float = 0.0
    pid: int | None = None
    endpoint: str | None = None
    kind: UpstreamKind = "unknown"
    up_at: float | None = None
    leases: dict[str, int] = msgspec.field(default_factory=dict)
    recalled: set[str] = msgspec.field(default_factory=set)
    in_flight: dict[str, int] = msgspec.field(default_factory=dict)
    used_at: float = 0.0
    admits: bool = True
    unloading: bool = False
    error: ErrorInfo | None = None
    failures: int = 0
    not_before: float = 0.0
    progress: Progress | None = None
    launch: str | None = None
    removed: bool = False
    goes_for: str | None = None
    remark: str = ""
    asks: int = 0
    heard: int = 0
    refused: int = 0
    still_s: float = 0.0
    cut_at: float | None = None
    killed: bool = False
    not_ready: str = ""
    keep_s: float = math.inf
    places: set[Waiter] = msgspec.field(default_factory=set)
    size: ModelSize | None = None
    sizing_until: float | None = None
    grew: bool = False
    start_s: float | None = None
    went_for: tuple[str, float] | None = None
    put_away: bool = False
    used: float = 0.0
    used_until: float = 0.0
    goes_to_sleep: bool = False
    wakes: bool = False
    reason: EndReason | None = None
    sleep_size: ModelSize | None = None
    sleep_seen_by: float | None = None
    is_pinned: bool = False
    is_placing: bool = False
    placed_at: float | None = None
    host: str = LOCAL

    def __post_init__(self) -> None:
        self.size, self.start_s = self.spec.size, self.spec.start_s
        self.sleep_size = self.spec.sleep_size

    @property
    def pin(self) -> str:
        """Whether it stays for others: as configured, or `manual` if that was ordered; or empty."""
        return self.spec.pin or ("manual" if self.is_pinned else "")

    @property
    def is_protected(self) -> bool:
        """True if it never goes for another one."""
        return bool(self.pin) and not self.is_leaving and self.state != "stopped"

    @property
    def is_busy(self) -> bool:
        """True if requests run on it, as far as that was reported."""
        return any(self.in_flight.values())

    def started_in(self, seconds: float) -> None:
        """Note how long a start took: the newest counts as much as all before it."""
        self.start_s = seconds if self.start_s is None else (self.start_s + seconds) / 2

    def use_at(self, now: float) -> float:
        """Return how much it was used lately."""
        return self.used * math.exp2((self.used_until - now) / _USE_HALVES_S)

    def use(self, now: float) -> None:
        """Count a use."""
        self.used, self.used_until = self.use_at(now) + 1.0, now

    def is_full(self) -> bool:
        """Return whether no further request may run on it, as far as is known."""
        most = self.spec.most
        return most > 0 and (len(self.places) >= most or self.is_untold)

    @property
    def is_untold(self) -> bool:
        """True if a worker has not said yet what it runs on it."""
        return UNTOLD in self.leases.values()

    @property
    def is_at_rest(self) -> bool:
        """True if it does not run: it takes a turn to make it serve."""
        return self.state in {"stopped", "asleep"}

    def pauses(self, now: float) -> bool:
        """Return whether it is in its pause after a failure."""
        return self.state == "stopped" and now < self.not_before

    @property
    def is_stale(self) -> bool:
        """True if the next start would use another command."""
        return self.launch is not None and self.launch != self.spec.launch

    @property
    def is_leaving(self) -> bool:
        """True if its process ends, whatever happens."""
        return self.state == "stopping" or (self.state == "draining" and self.unloading)

    @property
    def can_be_put_to_sleep(self) -> bool:
        """True if it sleeps in the place of an end: if only another model needs its place.

        A llama-server falls asleep by itself alone.
        """
        return (
            self.spec.sleeps
            and self.state in {"ready", "draining"}
            and self.kind != "llama-server"
            and not (self.unloading or self.is_stale)
        )

    def follow(self, spec: Spec) -> None:
        """Follow the new settings `spec`."""
        if spec.launch != self.spec.launch:  # what failed was another command
            self.error = None
            self.failures, self.not_before = 0, 0.0
            self.grew = False
        if spec.size != self.spec.size or spec.launch != self.spec.launch:
            self.size, self.sizing_until = spec.size, None
        if spec.sleep_size != self.spec.sleep_size or spec.launch != self.spec.launch:
            self.sleep_size = spec.sleep_size
        if self.removed:  # it is back before it was gone, so it need not go
            self.removed = self.unloading = False
        self.spec = spec

    def drop_lease(self, owner: str) -> None:
        """Remove the lease of `owner`."""
        self.leases.pop(owner, None)
        self.recalled.discard(owner)
        self.in_flight.pop(owner, None)
        if self.places:  # nothing runs without a lease
            self.places = {waiter for waiter in self.places if waiter.owner != owner}

    def lose_process(self, now: float, backoff: Backoff) -> None:
        """Forget the process, and all that depended on it."""
        if self.up_at is not None:
            self.forgive(now - self.up_at, backoff)
        self.leases.clear()
        self.recalled.clear()
        self.in_flight.clear()
        self.places.clear()
        self.keep_s = math.inf
        self.pid = self.endpoint = self.up_at = self.progress = self.launch = None
        self.cut_at = self.sleep_seen_by = None
        self.host = LOCAL
        self.still_s = 0.0
        self.unloading = self.killed = self.goes_to_sleep = self.wakes = False
        self.remark = self.not_ready = ""

    def forgive(self, well_s: float, backoff: Backoff) -> None:
        """Forget earlier failures: the process worked for long enough."""
        if well_s >= backoff.forgiven_after_s:
            self.failures = 0

    def give_up(self, error: ErrorInfo, well_s: float, now: float, backoff: Backoff) -> None:
        """Count a failure of a process that still runs; it worked for `well_s`."""
        self.forgive(well_s, backoff)
        self.up_at = None  # it served no longer than that
        self.fail(error, now, backoff)

    def fail(self, error: ErrorInfo, now: float, backoff: Backoff) -> None:
        """Count a failure: no start, or an end of its own accord."""
        self.error = error
        self.failures += 1
        self.not_before = now + backoff.pause_s(self.failures)

    def begin_attempt(self, number: int, now: float) -> None:
        """Begin an attempt; `number` stays until the process ends.

        So a process that sleeps keeps the number that it has.
        """
        self.swap = self.swap if self.state == "asleep" else number
        self.swap_since = now
        self.is_placing, self.placed_at = False, None
        self.progress = Progress(
            model=self.spec.model,
            swap=number,
            phase="starting",
            elapsed_s=0.0,
            detail=self.remark,
        )

    def is_there(self, now: float) -> None:
        """Note that its process exists, on a machine that was found if need be."""
        if self.is_placing:
            self.is_placing, self.placed_at = False, now

    def start_since(self) -> float:
        """Return since when it starts, on the machine that it has."""
        return self.since if self.placed_at is None else self.placed_at

    def start_deadline(self) -> float:
        """Return when its start has taken too long."""
        return math.inf if self.is_placing else self.start_since() + self.spec.start_limit_s

    def get_to(
        self,
        phase: Phase,
        now: float,
        *,
        other: str | None = None,
        requests: int | None = None,
        eta_s: float | None = None,
        detail: str = "",
    ) -> Progress | None:
        """Note the phase of the attempt; return it if it is new."""
        known = self.progress
        if known is not None and (
            (known.phase, known.other, known.requests, known.detail)
            == (phase, other, requests, self.remark or detail)
        ):
            return None
        return self.follow_progress(
            Progress(
                model=self.spec.model,
                swap=self.swap,
                phase=phase,
                other=other,
                requests=requests,
                eta_s=eta_s,
                elapsed_s=now - self.swap_since,
                detail=detail,
            )
        )

    def follow_progress(self, progress: Progress) -> Progress:
        """Note `progress`; return it with a fraction that does not fall."""
        if self.remark:
            progress = msgspec.structs.replace(progress, detail=self.remark)
        known = self.progress.fraction if self.progress is not None else None
        if known is not None or progress.fraction is not None:
            fraction = min(_FULLEST, max(known or 0.0, progress.fraction or 0.0))
            progress = msgspec.structs.replace(progress, fraction=fraction)
        self.progress = progress
        return progress

    def idle_until(self) -> float:
        """Return the end of a ready model's ttl; infinity for never."""
        if self.pin or self.places or self.is_busy:
            return math.inf
        return self.used_at + min(self.spec.ttl_s or math.inf, self.keep_s)

    def status(self, now: float, unix_now: float) -> ModelStatus:
        """Return the public state."""
        is_ready = self.state == "ready"
        idle_until = self.idle_until() if is_ready else math.inf
        return ModelStatus(
            model=self.spec.model,
            state=self.state,
            since=unix_now - (now - self.since),
            swap=self.swap,
            pid=self.pid,
            endpoint=self.endpoint,
            host=self.host,
            in_flight=sum(self.in_flight.values()),
            progress=self.progress,
            error=self.error,
            retry_in_s=max(0.0, self.not_before - now),
            stale=self.is_stale,
            removed=self.removed,
            idle_since=unix_now - (now - self.used_at) if is_ready and not self.is_busy else None,
            pin_ordered=self.is_pinned,
            unloads_at=None if idle_until == math.inf else unix_now + idle_until - now,
            start_s=self.start_s,
        )
