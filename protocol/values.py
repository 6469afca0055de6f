"""Parts of messages: errors, progress, states, snapshots.

All are immutable `msgspec` structs. Times are seconds; `t` is Unix time, everything else that
ends in ``_s`` is a duration. Sizes are bytes. ``None`` means "not known".
"""

from typing import Literal, TypeAlias

import msgspec

from .errors import LocalProtocolError

VERSION = 1
"""Of what scripts read and write: control messages and events."""

LEASE_VERSION = 2
"""Of the messages between workers and supervisor, which may be of two installations with `adopt`.

New fields that have a default need no other one, unless it is wrong to read past them: 2 has keys
with rights, without which a worker of version 1 would let in whoever comes. A worker that speaks
another version is not understood, and finishes its requests by itself."""

LOCAL = "local"
"""The host on which the supervisor runs. An instance of a model is named by host, model and start
(`swap`), so that there may be more machines one day."""

HOPS_FIELD = "X-Arriero-Hops"
"""Header of requests that go from one machine to the next: where they have been. Whoever finds
itself there refuses them; whoever is asked with it at all tells of its own models only."""

State: TypeAlias = Literal["stopped", "starting", "ready", "draining", "stopping", "asleep"]
"""State of the process of one model.

`draining` finishes its requests and admits no new ones; `stopping` got its signal to end, or to
fall asleep; `asleep` has given back most of its memory, and is woken by the next request.
A model that failed is `stopped` with an error beside it.
"""

Phase: TypeAlias = Literal[
    "waiting",
    "draining",
    "stopping",
    "placing",
    "starting",
    "loading",
    "warming",
    "restoring",
    "waking",
]
"""Phase of a wanted model on its way to `ready`.

`waiting` is the pause before a crashed model is started again; `draining` and `stopping` concern
the model that makes room (`Progress.other`); the rest concern the wanted model itself: `placing` is
the wait for a machine, where a launcher finds one; `restoring` its prompt cache, `waking` from its
sleep.
"""


class MessageValue(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts of messages."""


class ErrorInfo(MessageValue, frozen=True, kw_only=True):
    """The reason of a failure, in words that clients may read.

    Attributes:
        code: For programs: `unknown_model`, `model_load_failed`, `model_load_timeout`,
            `model_unavailable`, `model_hung`, `model_evicted`, `concurrency_limit`,
            `unknown_profile`, `unknown_device`, `remote_model`, `memory_not_counted`,
            `bad_request`, `bad_config`, `unknown_command`, `internal`.
        message: For people: what was attempted, why it failed, what would do. Never holds a
            command line or an environment.
        transient: True when the same request may well succeed a little later.
        did_you_mean: Names that exist and look like the one that was asked for.
        position: Place in line of a request that may not wait in it; 0 where there is no line.
    """

    code: str
    message: str
    transient: bool = False
    did_you_mean: tuple[str, ...] = ()
    position: int = 0


class Progress(MessageValue, frozen=True, kw_only=True):
    """One step on the way of `model` to ready.

    Attributes:
        model: The model that is wanted, as in the configuration.
        swap: Number of this attempt, unique within an epoch.
        phase: The current phase.
        other: The model that has to make room, in `draining` and `stopping`.
        requests: Requests that run on `other`, in `draining`, as workers last reported.
        fraction: Share of the whole start that is done, 0.0 to below 1.0, never falling within
            one swap.
        eta_s: Seconds until ready.
        bytes_done: Bytes of the model files that were read.
        bytes_total: Bytes of the model files.
        elapsed_s: Seconds since the swap began.
        detail: A few words for people; may be empty.
    """

    model: str
    swap: int
    phase: Phase
    elapsed_s: float
    other: str | None = None
    requests: int | None = None
    fraction: float | None = None
    eta_s: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.fraction is not None and not 0.0 <= self.fraction <= 1.0:
            raise LocalProtocolError(f"cannot report {self.fraction} as progress: not within 0..1")


class QueueEntry(MessageValue, frozen=True, kw_only=True):
    """A model with waiters.

    Entries are in the order in which the models get their turn.

    Attributes:
        model: The model.
        waiting: How many requests wait for it; 0: somebody has ordered it, and no request waits.
        is_full: It serves, and they wait until one that runs on it has ended.
    """

    model: str
    waiting: int
    is_full: bool = False


class ModelStatus(MessageValue, frozen=True, kw_only=True):
    """The public state of one model.

    Attributes:
        model: Its id in the configuration.
        state: Of its process.
        since: Unix time at which it entered that state.
        swap: Number of the start that the state belongs to; 0 before the first one.
        pid: Process id of the running process.
        endpoint: Its base URL, such as ``http://127.0.0.1:5801``; None unless it runs.
        in_flight: Requests that workers reported as running on it.
        progress: Set from its first waiter until it is ready.
        error: Reason why the last start failed or the process ended; cleared by a success.
        retry_in_s: Seconds until a crashed model may be started again; 0.0 when it may be now.
        host: Where it runs.
        stale: Its process runs with an older command than the configuration in force has.
        removed: The configuration does not have it any more: it finishes what it has, and is gone.
        memory: Where memory decides: what is reserved for it, or, while it is stopped, what it
            would take: device -> bytes.
        memory_source: Where that comes from: `declared`, `learned`, `estimated` or `unknown`.
        pin: `always` or `manual`: it does not go for others; else empty.
        idle_since: Unix time at which a request was last seen running on it, while it is ready and
            none does.
        pin_ordered: It does not because that was ordered, and not (only) by the configuration.
        unloads_at: Unix time at which it is unloaded if nobody uses it before; None: not by itself.
        start_s: How long its start takes, if that is known.
    """

    model: str
    state: State
    since: float
    swap: int = 0
    pid: int | None = None
    endpoint: str | None = None
    in_flight: int = 0
    progress: Progress | None = None
    error: ErrorInfo | None = None
    retry_in_s: float = 0.0
    host: str = LOCAL
    stale: bool = False
    removed: bool = False
    memory: dict[str, int] | None = None
    memory_source: str | None = None
    pin: str = ""
    idle_since: float | None = None
    unloads_at: float | None = None
    pin_ordered: bool = False
    start_s: float | None = None


class DeviceStatus(MessageValue, frozen=True, kw_only=True):
    """Memory of one device, in bytes.

    Attributes:
        device: ``ram``, ``gpu0``, ...
        total: What it has, or what was declared.
        reserve: What stays free of that.
        foreign: What others than models use.
        reserved: What models have.
        free: What is left for models now.
        held: It is kept free of models.
        held_s: Seconds until it is not any more; None: until it is released.
        name: What it calls itself.
        host: Where it is.
    """

    device: str
    total: int
    reserve: int
    foreign: int
    reserved: int
    free: int
    held: bool = False
    held_s: float | None = None
    name: str = ""
    host: str = LOCAL


class KeptModel(MessageValue, frozen=True, kw_only=True):
    """A model whose files are kept in main memory.

    Attributes:
        model: Its name.
        size: Bytes of its files.
        held: Those that are in memory.
    """

    model: str
    size: int
    held: int


class KeepStatus(MessageValue, frozen=True, kw_only=True):
    """What is kept in main memory for later starts.

    Attributes:
        limit: Bytes, as configured.
        room: What memory has room for now, of that.
        held: What is kept.
        locked: It cannot be dropped.
        remark: Why it can, or why nothing more is read.
        models: The most worthy first.
    """

    limit: int
    room: int
    held: int
    locked: bool
    remark: str = ""
    models: tuple[KeptModel, ...] = ()


class StoreStatus(MessageValue, frozen=True, kw_only=True):
    """How the store of records stands.

    Attributes:
        path: Its file; empty while it is in memory only.
        rows: How many records there are.
        captures: How many of them have a capture.
        size_bytes: What they take.
        waiting: Records that are not written yet.
        lost: Records that are not there, and never will be: there was no place for them.
        problem: Why nothing can be written now, or not to its file; empty if all is well.
        pid: Of its process; 0 without one.
    """

    path: str
    rows: int
    captures: int
    size_bytes: int
    waiting: int
    lost: int
    problem: str = ""
    pid: int = 0


class ModelFit(MessageValue, frozen=True, kw_only=True):
    """One model in the explanation of a start.

    Attributes:
        model: The model.
        state: Of its process.
        memory: What it has, or would take: device -> bytes.
        source: Where that comes from.
        verdict: `starts`, `goes`, `sleeps` (it makes room so), `stays`, or `ends` (it is on its way
            out already).
        why: In words.
        start_s: How long its start takes, if that is known: what it costs to bring it back.
    """

    model: str
    state: State
    memory: dict[str, int]
    source: str
    verdict: Literal["starts", "goes", "sleeps", "stays", "ends"]
    why: str
    start_s: float | None = None


CircuitPhase: TypeAlias = Literal["closed", "open", "half-open"]
"""Whether a peer is asked: it is; it is not, for it has failed; one request may try again."""

PeerLink: TypeAlias = Literal["up", "away", "unknown"]
"""Whether a peer answered when it was asked last; `unknown`: it was not asked."""


class PeerModelStatus(MessageValue, frozen=True, kw_only=True):
    """How a model at a peer stands.

    Attributes:
        model: Its name there.
        state: Of its process.
        running: Requests that run on it, of all who use that peer.
        waiting: Requests that wait for it.
        fraction: Share of its start that is done; None if it is not starting, or not known.
        eta_s: Seconds until it is ready, likewise.
    """

    model: str
    state: State
    running: int = 0
    waiting: int = 0
    fraction: float | None = None
    eta_s: float | None = None


class PeerStatus(MessageValue, frozen=True, kw_only=True):
    """Another machine, as seen from here.

    Attributes:
        peer: Its id in the configuration.
        url: Where it answers, without secrets.
        kind: What it is: `arriero`, or the kind in the configuration.
        watched: Its models are those of its own list (`models: auto`).
        link: Whether it answers.
        followed: How its models stand is told by itself, as it changes.
        circuit: Whether it is asked.
        failures: How often requests could not be answered by it, since this program began.
        why: What went wrong last; empty if all is well.
        retry_at: Unix time from which on it is asked again, unless the circuit is closed.
        models: How many models it has.
        left_out: Names of its list that are not used: there are too many, or they are no names.
        listed_at: Unix time of the last list; None: there was none.
        running: Those of its models that have a process, the first of them by name.
        failing: Models there that are not asked for, since they fail: the first of them.
    """

    peer: str
    url: str
    kind: str
    watched: bool = False
    link: PeerLink = "unknown"
    followed: bool = False
    circuit: CircuitPhase = "closed"
    failures: int = 0
    why: str = ""
    retry_at: float | None = None
    models: int = 0
    left_out: int = 0
    listed_at: float | None = None
    running: tuple[PeerModelStatus, ...] = ()
    failing: tuple[str, ...] = ()


class WorkerStatus(MessageValue, frozen=True, kw_only=True):
    """One worker process.

    Attributes:
        worker: Its number, from 1; a replacement keeps the number.
        pid: Its process id.
        state: `starting` until its `Hello`, then `serving`.
        in_flight: Requests that it reported as running, over all models.
        leases: Models on which it holds a lease.
    """

    worker: int
    pid: int
    state: Literal["starting", "serving", "draining"]
    in_flight: int = 0
    leases: tuple[str, ...] = ()


class ModelChange(MessageValue, frozen=True, kw_only=True):
    """Changes of one model by a reload; `keys` are those of the file."""

    model: str
    keys: tuple[str, ...]


class ConfigChanges(MessageValue, frozen=True, kw_only=True):
    """Differences between two configurations. Names only: values may be secret.

    Attributes:
        added: Models that answer from now on.
        removed: Models that refuse requests, finish what they have, and end.
        relaunch: Models that are started otherwise from now on. One that runs goes on as it is,
            unless it was asked to drain.
        adjusted: Models of which something changes at once, without a start. A model may be in
            `relaunch` as well.
        settings: Keys outside of the models that change at once.
        needs_restart: Keys of which the old value stays in force until arriero is started anew.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    relaunch: tuple[ModelChange, ...] = ()
    adjusted: tuple[ModelChange, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if nothing changes before a restart."""
        return not (self.added or self.removed or self.relaunch or self.adjusted or self.settings)


class FailedReload(MessageValue, frozen=True, kw_only=True):
    """An attempt to reload that changed nothing.

    Attributes:
        t: Unix time.
        problems: Mistakes, with file, line and column: the first of them.
        more: How many there are beyond these.
    """

    t: float
    problems: tuple[str, ...]
    more: int = 0


class ConfigStatus(MessageValue, frozen=True, kw_only=True):
    """The configuration in force.

    Attributes:
        generation: Rises by one with every reload that changes something, and with every other
            profile; begins at 1.
        loaded_at: Unix time at which it came into force.
        files: Its source files.
        needs_restart: Keys that differ in the files, and wait for arriero to be started anew.
        failed: The last attempt to reload, if that failed.
        warnings: Number of things in it that are surely not meant, or that nothing acts on.
        findings: The first of them, each with its place; the log has all.
        profile: The profile that is chosen; None for none.
    """

    generation: int
    loaded_at: float
    files: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    failed: FailedReload | None = None
    warnings: int = 0
    findings: tuple[str, ...] = ()
    profile: str | None = None


class ProfileStatus(MessageValue, frozen=True, kw_only=True):
    """What names mean while a profile is chosen.

    Attributes:
        id: The profile's name.
        description: A few words on it; may be empty.
        pins: Name -> what answers to it; None: nobody does.
    """

    id: str
    description: str = ""
    pins: dict[str, str | None] = msgspec.field(default_factory=dict)


class Snapshot(MessageValue, frozen=True, kw_only=True):
    """Everything at one moment; the events that follow it begin at ``seq + 1``.

    Attributes:
        epoch: Changes with every start of the supervisor.
        seq: Number of the last event that is contained in this.
        t: Unix time.
        models: In the order of the configuration.
        queue: In the order in which the models get their turn.
    """

    epoch: str
    seq: int
    t: float
    models: tuple[ModelStatus, ...]
    queue: tuple[QueueEntry, ...] = ()
