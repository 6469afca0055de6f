"""Messages between a worker and the supervisor.

A worker that holds a lease on a model sends requests to it without asking. It asks
(`Want`) only when it has none, and gives the lease back (`Release`) after a
`Revoke`, once its last request on that model has ended. The messages of one worker arrive in the
order in which they were sent, both ways: a `Grant` is always read before the `Revoke` of the
same lease, so a request that was promised a model is counted before the model can be taken away.

A worker's message has two frames: the token that it was started with, and the message. The token
proves that it is the process that the supervisor has started; the supervisor reads nothing of what
comes with another, and answers to wherever the last message with it came from. So a connection
that was lost is replaced by the next message, and no other process can take a worker's place.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from .records import InflightRequest, RawCapture, RequestRecord, UpstreamKind
from .values import LEASE_VERSION, LOCAL, ErrorInfo, MessageValue, Snapshot, State
from .worker_config import WorkerConfig

ListenerKind: TypeAlias = Literal["listen", "plain", "admin"]
"""What a socket is for on which workers listen: clients; those who speak no TLS, though others do;
administrators, and then none of the others answers what takes their scope."""

CancelResult: TypeAlias = Literal["cancelled", "finished", "forbidden", "unknown"]
"""Outcome of a request to cancel: it ends now; it has ended before; it belongs to another
caller; no worker knows it."""


class LeaseMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all lease messages."""

    v: int = LEASE_VERSION


# --- worker to supervisor ---------------------------------------------------------------------


class HeldLease(MessageValue, frozen=True, kw_only=True):
    """A lease that a worker has of an earlier supervisor.

    Attributes:
        model: The model's id.
        lease: Its number.
        endpoint: Where its requests are sent to.
        places: Numbers of the requests that run on it, where their number is limited.
    """

    model: str
    lease: int
    endpoint: str
    places: tuple[int, ...] = ()


class HeldSelection(MessageValue, frozen=True, kw_only=True):
    """A request that runs on the target that an earlier supervisor has selected.

    Attributes:
        ask, selector, is_model: As in `Select`.
        target: As in `Selected`.
    """

    ask: int
    selector: str
    target: str
    is_model: bool = False


class HeldClaim(MessageValue, frozen=True, kw_only=True):
    """A claim that an earlier supervisor has granted. Attributes as in `Claim`."""

    caller: str
    key: str
    request_id: str


class HeldKey(MessageValue, frozen=True, kw_only=True):
    """A request that runs with a key with limits. Attributes as in `KeyQuery`."""

    ask: int
    key: str


class Hello(LeaseMessage, frozen=True, kw_only=True, tag="hello"):
    """A worker's first message to a supervisor, repeated until it is welcomed.

    Attributes:
        worker: Its number.
        pid: Its process id.
        holds: Its leases.
        selected: Targets that were selected for its requests.
        claimed: Its claims.
        keys: Requests that run with keys with limits.
        waits: Numbers of the requests that wait, by model; each is said again as `Want`.
    """

    worker: int
    pid: int
    holds: tuple[HeldLease, ...] = ()
    selected: tuple[HeldSelection, ...] = ()
    claimed: tuple[HeldClaim, ...] = ()
    keys: tuple[HeldKey, ...] = ()
    waits: dict[str, tuple[int, ...]] = {}


class Want(LeaseMessage, frozen=True, kw_only=True, tag="want"):
    """A request needs `model`.

    Idempotent by `request`: it may be repeated.

    Attributes:
        request: Number of the request, unique within the worker.
        model: The model's id.
    """

    request: int
    model: str


class Leave(LeaseMessage, frozen=True, kw_only=True, tag="leave"):
    """`request` no longer waits: its client has gone.

    Or it no longer runs, on a model that takes a limited number of requests.
    """

    request: int


class Release(LeaseMessage, frozen=True, kw_only=True, tag="release"):
    """The lease number `lease` is given back; nothing runs on it any more."""

    model: str
    lease: int


class KeepAlive(LeaseMessage, frozen=True, kw_only=True, tag="keep-alive"):
    """A request has ended that wants its model to be kept for `keep_s` at most.

    That holds until another request runs on it; its ``ttl`` may be shorter.

    Attributes:
        model: The model.
        lease: Number of the lease that the request ran on.
        keep_s: Seconds.
        in_flight: Requests of this worker that still run on the model.
    """

    model: str
    lease: int
    keep_s: float
    in_flight: int


class Broken(LeaseMessage, frozen=True, kw_only=True, tag="broken"):
    """A connection to the leased endpoint was refused: its process may be gone."""

    model: str
    lease: int


class Report(LeaseMessage, frozen=True, kw_only=True, tag="report"):
    """The worker lives; sent every second and in answer to `Probe`.

    Attributes:
        in_flight: Requests that run now, by model; models without any are left out.
        used: Models that finished a request since the last report.
        heard: Models that are not silent since then: bytes came from them, or wait to be taken,
            or they wait for the rest of a request.
        probe: Number of the probe that is answered; 0 when there was none.
        generation: Of the configuration that the worker follows.
    """

    in_flight: dict[str, int]
    used: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    probe: int = 0
    generation: int = 0


class Resync(LeaseMessage, frozen=True, kw_only=True, tag="resync"):
    """Events were missed: please send a snapshot."""


class Finished(LeaseMessage, frozen=True, kw_only=True, tag="finished"):
    """Requests have ended, in any way. Each is reported once, to each supervisor.

    Attributes:
        number: Of the message, rising; answered by `Noted`. 0: no answer is wanted.
        again: An earlier supervisor may have got them.
        records: One for each request.
    """

    number: int = 0
    again: bool = False
    records: tuple[RequestRecord, ...]


class Claim(LeaseMessage, frozen=True, kw_only=True, tag="claim"):
    """Claim an ``Idempotency-Key``, unless a request runs with it.

    Answered by `Claimed`. What a worker has claimed is free when the worker has gone.

    Attributes:
        ask: Number of the query, unique within the worker.
        caller: Digest of the client's API key; empty without keys.
        key: The key of idempotency.
        request_id: Of the request.
    """

    ask: int
    caller: str
    key: str
    request_id: str


class Unclaim(LeaseMessage, frozen=True, kw_only=True, tag="unclaim"):
    """The request with that claim has ended."""

    caller: str
    key: str
    request_id: str


class Select(LeaseMessage, frozen=True, kw_only=True, tag="select"):
    """A request names `selector`: which of its targets shall answer?

    Answered by `Selected`.

    Attributes:
        ask: Number of the query, unique within the worker.
        selector: The selector's name; or that of a model, if it `is_model`.
        is_model: Several machines have it, and these are the targets; see `WorkerConfig.places`.
        prefix: Equal for requests whose prompts begin alike; empty if that is of no use.
        tried: Targets where this request has failed.
    """

    ask: int
    selector: str
    is_model: bool = False
    prefix: str = ""
    tried: tuple[str, ...] = ()


class Deselect(LeaseMessage, frozen=True, kw_only=True, tag="deselect"):
    """The request for which `Select` number `ask` was sent has ended."""

    ask: int


class WakePeer(LeaseMessage, frozen=True, kw_only=True, tag="wake-peer"):
    """A request waits for the machine of `peer`, which does not answer: wake it."""

    peer: str


class KeyQuery(LeaseMessage, frozen=True, kw_only=True, tag="key-query"):
    """A request shows a key with limits: may it run?

    Answered by `KeyAnswer`; if it may, it counts until `KeyLeft`.

    Attributes:
        ask: Number of the query, unique within the worker.
        key: The key's name.
    """

    ask: int
    key: str


class KeyLeft(LeaseMessage, frozen=True, kw_only=True, tag="key-left"):
    """The request for which `KeyQuery` number `ask` was sent has ended."""

    ask: int


class PeerFailed(LeaseMessage, frozen=True, kw_only=True, tag="peer-failed"):
    """A peer could not answer a request. One that it answers is told by its record alone.

    Attributes:
        peer: Its id.
        model: The model's name there.
        failure: `unreachable`: no connection, or that has ended; `silent`: nothing came in time;
            `error`: what came says that it failed.
        why: In words.
    """

    peer: str
    model: str
    failure: Literal["unreachable", "silent", "error"]
    why: str


class Peek(LeaseMessage, frozen=True, kw_only=True, tag="peek"):
    """Where does `model` answer, if it is ready? Starts nothing, and keeps nothing.

    Answered by `Peeked`.

    Attributes:
        ask: Number of the query, unique within the worker.
        model: The model's id.
    """

    ask: int
    model: str


class ThereQuery(LeaseMessage, frozen=True, kw_only=True, tag="there-query"):
    """How do the models of peers stand?

    Answered by `There`.

    Attributes:
        ask: Number of the query, unique within the worker.
    """

    ask: int


class ProfileOrder(LeaseMessage, frozen=True, kw_only=True, tag="profile-order"):
    """Choose a profile, for all workers.

    Answered by `ProfileAnswer`.

    Attributes:
        ask: Number of the query, unique within the worker.
        profile: Its name; None for none.
    """

    ask: int
    profile: str | None


class CancelQuery(LeaseMessage, frozen=True, kw_only=True, tag="cancel-query"):
    """End a request that this worker does not know.

    Answered by `CancelAnswer`.

    Attributes:
        ask: Number of the query, unique within the worker.
        request_id: Of the request that is to end.
        caller: The client, as in `Claim`.
        peer: The address from which it is asked.
    """

    ask: int
    request_id: str
    caller: str
    peer: str = ""


class CancelOutcome(LeaseMessage, frozen=True, kw_only=True, tag="cancel-outcome"):
    """The answer to `CancelOrder`."""

    ask: int
    result: CancelResult


class PreviewOutcome(LeaseMessage, frozen=True, kw_only=True, tag="preview-outcome"):
    """The answer to `PreviewOrder`.

    Attributes:
        ask: Number of the query.
        problem: Why nothing would go upstream; empty if something would, and then there are:
        model: Id of the model.
        path: Path and query.
        body: What is sent.
        is_changed: It is another one than came.
    """

    ask: int
    problem: str = ""
    model: str = ""
    path: str = ""
    body: str = ""
    is_changed: bool = False


class Captured(LeaseMessage, frozen=True, kw_only=True, tag="captured"):
    """A request has ended, and is kept with its response: its record was said before."""

    capture: RawCapture


class InflightWish(LeaseMessage, frozen=True, kw_only=True, tag="inflight-wish"):
    """Somebody wants to know which requests run, in all workers; or nobody does any more."""

    wanted: bool


class InflightReport(LeaseMessage, frozen=True, kw_only=True, tag="inflight-report"):
    """These requests run here now."""

    requests: tuple[InflightRequest, ...]


FromWorker: TypeAlias = (
    Hello
    | Want
    | Leave
    | Release
    | KeepAlive
    | Broken
    | Report
    | Resync
    | Finished
    | Claim
    | Unclaim
    | Select
    | Deselect
    | WakePeer
    | KeyQuery
    | KeyLeft
    | PeerFailed
    | Peek
    | ThereQuery
    | ProfileOrder
    | CancelQuery
    | CancelOutcome
    | PreviewOutcome
    | Captured
    | InflightWish
    | InflightReport
)


# --- supervisor to worker ---------------------------------------------------------------------


class Welcome(LeaseMessage, frozen=True, kw_only=True, tag="welcome"):
    """Configuration and state: the answer to `Hello`, repeated after a reload.

    Attributes:
        config: The configuration in force.
        snapshot: How all models stand.
        pid: Of the supervisor.
    """

    config: WorkerConfig
    snapshot: Snapshot
    pid: int = 0


class Resynced(LeaseMessage, frozen=True, kw_only=True, tag="resynced"):
    """The answer to `Resync`."""

    snapshot: Snapshot


class Grant(LeaseMessage, frozen=True, kw_only=True, tag="grant"):
    """`request` may go to `endpoint`, and so may all later ones until `Revoke`.

    Attributes:
        more: Further requests that waited for it; each of them is granted as `request` is.
        lease: Number of the lease. A grant with another number than the one that the worker holds
            on this model replaces it: the worker forgets the old number and any `Revoke` of it
            (a `Release` of the old number that is under way is ignored by the supervisor). The
            requests that run on the same endpoint go on being counted.
        endpoint: Base URL, such as ``http://127.0.0.1:5801``.
        waited_s: Seconds between the `Want` of `request` and this.
        kind: Of the server there, as configured or detected.
        api_key: Sent to it; empty for none. Only here: the endpoint is public, this is not.
        host: Where its process runs.
        swap: Number of the start of that process.
    """

    request: int
    model: str
    lease: int
    endpoint: str
    waited_s: float
    kind: UpstreamKind = "unknown"
    more: tuple[int, ...] = ()
    api_key: str = ""
    host: str = LOCAL
    swap: int = 0


class Refuse(LeaseMessage, frozen=True, kw_only=True, tag="refuse"):
    """`request` will not get its model, and neither will `more`."""

    request: int
    model: str
    error: ErrorInfo
    more: tuple[int, ...] = ()


class Revoke(LeaseMessage, frozen=True, kw_only=True, tag="revoke"):
    """Give the lease back.

    Attributes:
        when_idle: True: go on admitting requests, and give it back at the first moment at which
            none runs. False: admit no more, and give it back when the running ones have ended.
        error: Ends the running ones with it, now.
    """

    model: str
    lease: int
    when_idle: bool
    error: ErrorInfo | None = None


class Void(LeaseMessage, frozen=True, kw_only=True, tag="void"):
    """The process behind `lease` has ended; nothing is given back.

    Ignored by a worker that holds another number by then.
    """

    model: str
    lease: int


class Probe(LeaseMessage, frozen=True, kw_only=True, tag="probe"):
    """Ask for a `Report`."""

    probe: int


class InflightOrder(LeaseMessage, frozen=True, kw_only=True, tag="inflight-order"):
    """Say which requests run, now and whenever that changes, a few times a second; or no more."""

    wanted: bool


class Finish(LeaseMessage, frozen=True, kw_only=True, tag="finish"):
    """Accept no more connections, finish what runs, then end."""


class Away(LeaseMessage, frozen=True, kw_only=True, tag="away"):
    """The supervisor ends, and the next one comes at once: wait for it."""


class PeerLost(LeaseMessage, frozen=True, kw_only=True, tag="peer-lost"):
    """A peer did not answer a question of the supervisor: it is not asked any more.

    What waits there for a first byte, and may go elsewhere, goes there now.

    Attributes:
        peer: Its id.
    """

    peer: str


class Noted(LeaseMessage, frozen=True, kw_only=True, tag="noted"):
    """`Finished` number `number` is kept, and so are all before it."""

    number: int


class Claimed(LeaseMessage, frozen=True, kw_only=True, tag="claimed"):
    """The answer to `Claim`.

    Attributes:
        ask: Number of the query.
        taken_by: Id of the request that runs with the same key; empty if there is none, and the
            claim holds.
    """

    ask: int
    taken_by: str = ""


class Selected(LeaseMessage, frozen=True, kw_only=True, tag="selected"):
    """The answer to `Select`.

    Attributes:
        ask: Number of the query.
        target: Name of the model, as the selector has it; empty if all of them are about to end,
            or there is none but those that were tried.
    """

    ask: int
    target: str = ""


class KeyAnswer(LeaseMessage, frozen=True, kw_only=True, tag="key-answer"):
    """The answer to `KeyQuery`.

    Attributes:
        ask: Number of the query.
        error: Why it may not run; None if it may.
        again_s: Seconds until it may.
    """

    ask: int
    error: ErrorInfo | None = None
    again_s: float = 0.0


class Peeked(LeaseMessage, frozen=True, kw_only=True, tag="peeked"):
    """The answer to `Peek`.

    Attributes:
        ask: Number of the query.
        endpoint, kind, api_key: As in `Grant`; `endpoint` is empty unless the model is ready.
    """

    ask: int
    endpoint: str = ""
    kind: UpstreamKind = "unknown"
    api_key: str = ""


class There(LeaseMessage, frozen=True, kw_only=True, tag="there"):
    """The answer to `ThereQuery`.

    Attributes:
        ask: Number of the query.
        states: ``<peer>/<model>`` -> state. Those that are stopped, or of which nothing is known,
            are left out.
    """

    ask: int
    states: dict[str, State] = {}


class ProfileAnswer(LeaseMessage, frozen=True, kw_only=True, tag="profile-answer"):
    """The answer to `ProfileOrder`, once all workers follow.

    Attributes:
        ask: Number of the query.
        error: There is no such profile; None if it is chosen.
    """

    ask: int
    error: ErrorInfo | None = None


class CancelOrder(LeaseMessage, frozen=True, kw_only=True, tag="cancel"):
    """End a request, if it is yours.

    Answered by `CancelOutcome`.

    Attributes:
        ask: Number of the query.
        request_id: Of the request.
        caller: The client, as in `Claim`; None for the owner of the machine, who may end all.
        peer: The address from which it is asked; empty for that owner.
    """

    ask: int
    request_id: str
    caller: str | None
    peer: str = ""


class PreviewOrder(LeaseMessage, frozen=True, kw_only=True, tag="preview"):
    """Say what would go upstream for a request.

    Answered by `PreviewOutcome`.

    Attributes:
        ask: Number of the query.
        path: Of the request.
        headers: Fields of its head.
        body: JSON.
    """

    ask: int
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str


class CancelAnswer(LeaseMessage, frozen=True, kw_only=True, tag="cancel-answer"):
    """The answer to `CancelQuery`."""

    ask: int
    result: CancelResult


FromSupervisor: TypeAlias = (
    Welcome
    | Resynced
    | Grant
    | Refuse
    | Revoke
    | Void
    | Probe
    | Finish
    | Away
    | PeerLost
    | Noted
    | Claimed
    | Selected
    | KeyAnswer
    | Peeked
    | There
    | ProfileAnswer
    | CancelOrder
    | PreviewOrder
    | CancelAnswer
    | InflightOrder
)


# --- orders to the zygote, from which the first workers are forked -------------------------------

# They go over a pair of unix sockets that keep messages apart (SOCK_SEQPACKET). An order is one
# message, in JSON, with the open files beside it (SCM_RIGHTS); the answer is the process id of the
# worker, in digits. There is never more than one order on the way.

# An order has a few options and a path of a unix socket, which has 107 bytes at the most.
MAX_ORDER_BYTES: Final = 4096
MAX_ORDER_FILES: Final = 16


class ForkOrder(msgspec.Struct, frozen=True):
    """One worker to start.

    Attributes:
        options: Its command line, without the program.
        files: The numbers under which it has the files that come with this message.
        is_last: The zygote itself becomes it.
        mark: A variable of its environment, ``NAME=VALUE``, for who looks at it from outside.
    """

    options: tuple[str, ...]
    files: tuple[int, ...]
    is_last: bool
    mark: str
