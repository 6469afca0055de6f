"""Inputs (`Event`) and outputs (`Command`) of the engine: plain immutable values.

An event that comes from a message of the lease protocol has that message's verb in the past
(`Want`: `Wanted`), a command that becomes one has its verb with an object (`Grant`: `GrantLease`).

Times are seconds of trio's clock. A *lease* is the right
of one worker to send requests to one model without asking; a *waiter* is one request (or one
script) that waits for a model.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from arriero.protocol.events import AnyEvent
from arriero.protocol.lease import HeldLease
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import LOCAL, ErrorInfo, Progress

from ...memory.devices import DeviceReading
from ...memory.sizes import Amounts, ModelSize
from ...placement.policy import PlacementPolicy

Pin: TypeAlias = Literal["", "always", "manual"]
OnBlocked: TypeAlias = Literal["wait", "refuse", "use"]


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's settings of one model.

    Attributes:
        model: Its id.
        start_limit_s: Longest time from spawn to ready.
        stop_grace_s: Time between SIGTERM and SIGKILL.
        ttl_s: Idle time after which it is unloaded; 0 means never.
        priority: A model with a higher one gets its turn earlier.
        launch: Another text when it is to be started otherwise.
        drain_limit_s: How long its last requests may get no further; 0 means for ever.
        restores: If it cannot be started, those that were stopped for it are started again.
        most: Requests that run on it at a time, at most; 0 means any number.
        size: Where memory decides: what it needs; None: it is estimated when it is first wanted.
        start_s: How long its starts take, if that is known.
        pin: Whether it stays once it is there, and whether it is there at any time.
        on_blocked: What becomes of its waiters while it cannot have room, whoever else went.
        instead: With `use`: the model that serves them.
        sleeps: Where it can, it is put to sleep in the place of being stopped for another one.
        sleep_size: What it keeps while it sleeps; unknown: nobody can tell; None: it will be seen.
    """

    model: str
    start_limit_s: float = 120.0
    stop_grace_s: float = 10.0
    ttl_s: float = 0.0
    priority: int = 0
    launch: str = ""
    drain_limit_s: float = 0.0
    restores: bool = True
    most: int = 0
    size: ModelSize | None = None
    start_s: float | None = None
    pin: Pin = ""
    on_blocked: OnBlocked = "wait"
    instead: str = ""
    sleeps: bool = False
    sleep_size: ModelSize | None = None


class Waiter(msgspec.Struct, frozen=True):
    """A request or script that waits for a model.

    Attributes:
        owner: Name of the worker (its identity on the lease socket), or of a script's request.
        request: Number of the request, unique within the owner.
        takes_lease: True for workers; a script only wants the model to be ready.
        is_asked: False if nobody has asked for it: it is quiet all the same.
    """

    owner: str
    request: int
    takes_lease: bool = True
    is_asked: bool = True


# --- events -------------------------------------------------------------------------------------


class Wanted(msgspec.Struct, frozen=True):
    """`waiter` wants `model`. Repeating it changes nothing."""

    waiter: Waiter
    model: str


class Left(msgspec.Struct, frozen=True):
    """`waiter` waits no more; if it was granted a place, that is free."""

    waiter: Waiter


class OwnerLost(msgspec.Struct, frozen=True):
    """A worker is gone, with its waiters and leases."""

    owner: str


class Released(msgspec.Struct, frozen=True):
    """A worker gave a lease back."""

    owner: str
    model: str
    lease: int


class Reported(msgspec.Struct, frozen=True):
    """The load of a worker.

    Models without requests are left out of `in_flight`.

    Attributes:
        owner: The worker.
        in_flight: Requests that run, by model.
        used: Models that finished a request since the last report.
        heard: Models whose servers are not silent since then.
    """

    owner: str
    in_flight: Mapping[str, int]
    used: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()


class KeptAlive(msgspec.Struct, frozen=True):
    """A request has ended that wants its model to be kept for `keep_s` at most.

    Attributes:
        owner: The worker.
        model: The model.
        lease: Number of the lease that the request ran on.
        keep_s: Seconds.
        in_flight: Requests of the worker that still run on it.
    """

    owner: str
    model: str
    lease: int
    keep_s: float
    in_flight: int


class Spawned(msgspec.Struct, frozen=True):
    """The process of a start exists, on `host`.

    It may replace an earlier one, in the same start.
    """

    model: str
    swap: int
    pid: int
    endpoint: str
    host: str = LOCAL


class Progressed(msgspec.Struct, frozen=True):
    """The start of a model made progress."""

    progress: Progress


class NotReady(msgspec.Struct, frozen=True):
    """The process of a start is not ready yet.

    `why` has the reason and the remedy.
    """

    model: str
    swap: int
    why: str


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """The process of `model` that an earlier supervisor has started goes on.

    Attributes:
        model: The model; it is stopped, as far as the engine knows, or the configuration has it
            no more.
        swap: Number of its start, by that supervisor.
        pid: Of the process.
        endpoint: Its base URL.
        kind: Its program.
        launch: As `Spec.launch` was then. Another one has to go, after its running requests.
        owners: Workers of that supervisor. Each of them may have a lease, until it has said which
            ones it has (`LeasesHeld`), or is gone.
        mute: Workers that will not say so.
        unloading: It was to end after its running requests.
        serves: It is ready; else it starts.
        age_s: For how long it has run.
        went: Models that were stopped for it.
        host: Where it runs.
    """

    model: str
    swap: int
    pid: int
    endpoint: str
    kind: UpstreamKind
    launch: str
    owners: tuple[str, ...] = ()
    mute: tuple[str, ...] = ()
    unloading: bool = False
    serves: bool = True
    age_s: float = 0.0
    went: tuple[str, ...] = ()
    host: str = LOCAL


class LeasesHeld(msgspec.Struct, frozen=True):
    """A worker of an earlier supervisor has said which leases it holds.

    Attributes:
        owner: The worker.
        leases: Those that it has.
        waits: Numbers of its requests that wait, by model.
    """

    owner: str
    leases: tuple[HeldLease, ...]
    waits: Mapping[str, tuple[int, ...]] = {}


class BecameReady(msgspec.Struct, frozen=True):
    """The process of a start serves; `kind` is its program."""

    model: str
    swap: int
    kind: UpstreamKind = "unknown"


class FellAsleep(msgspec.Struct, frozen=True):
    """The process of a start sleeps: it was told to, or does so by itself when it is idle."""

    model: str
    swap: int


class WokeUp(msgspec.Struct, frozen=True):
    """The process of a start that slept was woken by somebody else."""

    model: str
    swap: int


class SleepFailed(msgspec.Struct, frozen=True):
    """The process of a start cannot be put to sleep, or cannot be woken."""

    model: str
    swap: int


class ProcessEnded(msgspec.Struct, frozen=True):
    """The whole process group of a start is gone, or never existed.

    Attributes:
        model: Whose it was.
        swap: Which start.
        error: Why.
        out_of: The devices of which there was not enough, if it ended for that; ``gpu`` for any of
            its GPUs.
        crashed: It may have, for it crashed while it loaded and its last words are lost: that it
            did is believed if a device had no more to give.
    """

    model: str
    swap: int
    error: ErrorInfo
    out_of: tuple[str, ...] = ()
    crashed: bool = False


class Hung(msgspec.Struct, frozen=True):
    """The process of a start hangs. It worked for `well_s` before."""

    model: str
    swap: int
    error: ErrorInfo
    well_s: float


class Failing(msgspec.Struct, frozen=True):
    """The process of a start responds with errors only.

    See `Hung` for `well_s`.
    """

    model: str
    swap: int
    error: ErrorInfo
    well_s: float


class Refused(msgspec.Struct, frozen=True):
    """The server of `model` has refused a worker's connection."""

    model: str


class Stalled(msgspec.Struct, frozen=True):
    """No running request of a model made progress for `still_s`."""

    model: str
    swap: int
    still_s: float


class Sized(msgspec.Struct, frozen=True):
    """The size of a model was estimated, or what it uses was seen.

    Attributes:
        model: The model.
        size: An estimate, or what its processes have used at most.
        swap: The start that was seen; 0: none, it is an estimate.
        serves: It was ready by then: it needs no more than that.
        sleeps: It was asleep: that is what it keeps.
    """

    model: str
    size: ModelSize
    swap: int = 0
    serves: bool = False
    sleeps: bool = False


class DevicesRead(msgspec.Struct, frozen=True):
    """A look at the machine's devices.

    Attributes:
        found: The devices.
        foreign: What others than models use of each.
        began_at: When the look began.
    """

    found: Mapping[str, DeviceReading]
    foreign: Amounts
    began_at: float


class HoldRequested(msgspec.Struct, frozen=True):
    """`device` (None: all) shall be free of models, for `for_s` or until it is released."""

    device: str | None
    for_s: float | None = None


class ReleaseRequested(msgspec.Struct, frozen=True):
    """`device` (None: all) may be used again."""

    device: str | None


class PinRequested(msgspec.Struct, frozen=True):
    """`model` shall not go for others while it is loaded; or may, as it is configured."""

    model: str
    is_pinned: bool


class UnloadRequested(msgspec.Struct, frozen=True):
    """`model` shall end after its running requests, or `at_once`."""

    model: str
    at_once: bool = False


class Reconfigured(msgspec.Struct, frozen=True):
    """Another configuration is in force.

    Attributes:
        specs: Of all models that there are from now on, in the order of the configuration.
        drain: Models that run with an older command shall end after their running requests.
        policy: Decides which models can run together; None keeps the present one.
    """

    specs: tuple[Spec, ...]
    drain: bool = False
    policy: PlacementPolicy | None = None


class ShuttingDown(msgspec.Struct, frozen=True):
    """Everything shall end; no model is granted any more."""

    at_once: bool = False


class TimePassed(msgspec.Struct, frozen=True):
    """A deadline of the engine has come."""


Event: TypeAlias = (
    Wanted
    | Left
    | OwnerLost
    | Released
    | Reported
    | KeptAlive
    | Spawned
    | Progressed
    | NotReady
    | BecameReady
    | Adopted
    | LeasesHeld
    | FellAsleep
    | WokeUp
    | SleepFailed
    | ProcessEnded
    | Hung
    | Failing
    | Refused
    | Stalled
    | Sized
    | DevicesRead
    | HoldRequested
    | ReleaseRequested
    | PinRequested
    | UnloadRequested
    | Reconfigured
    | ShuttingDown
    | TimePassed
)


# --- commands -----------------------------------------------------------------------------------


class Spawn(msgspec.Struct, frozen=True):
    """Start the process of `model`.

    `Spawned` follows, then `BecameReady`; always `ProcessEnded`.

    `why` has the reason of the start, if that is no waiter.
    """

    model: str
    swap: int
    why: str = ""


class Terminate(msgspec.Struct, frozen=True):
    """End the process of that start: SIGTERM, then SIGKILL after `grace_s`."""

    model: str
    swap: int
    grace_s: float


class EstimateSize(msgspec.Struct, frozen=True):
    """Estimate the size of `model`; `Sized` follows."""

    model: str


class RaiseSize(msgspec.Struct, frozen=True):
    """Remember that `model` needs at least `amounts`: there was not enough for it."""

    model: str
    amounts: Amounts


class PutToSleep(msgspec.Struct, frozen=True):
    """Put the process of that start to sleep. `FellAsleep` or `SleepFailed` follows."""

    model: str
    swap: int


class Wake(msgspec.Struct, frozen=True):
    """Wake the process of that start. `BecameReady` or `SleepFailed` follows."""

    model: str
    swap: int


class GrantLease(msgspec.Struct, frozen=True):
    """`waiter` may use the model, served by a `kind`.

    `lease` is 0 for a script.
    """

    waiter: Waiter
    model: str
    lease: int
    endpoint: str
    waited_s: float
    kind: UpstreamKind = "unknown"


class RefuseWaiter(msgspec.Struct, frozen=True):
    """`waiter` will not get the model."""

    waiter: Waiter
    model: str
    error: ErrorInfo


class RevokeLease(msgspec.Struct, frozen=True):
    """Take back a worker's lease; an `error` ends its requests."""

    owner: str
    model: str
    lease: int
    when_idle: bool
    error: ErrorInfo | None = None


class VoidLease(msgspec.Struct, frozen=True):
    """Notify a worker that the process behind its lease is gone."""

    owner: str
    model: str
    lease: int


class Announce(msgspec.Struct, frozen=True):
    """Publish an event."""

    event: AnyEvent


Act: TypeAlias = (
    Spawn
    | Terminate
    | PutToSleep
    | Wake
    | EstimateSize
    | RaiseSize
    | GrantLease
    | RefuseWaiter
    | RevokeLease
    | VoidLease
)

Command: TypeAlias = Act | Announce
