"""Messages of the control socket: requests of scripts, and replies.

One request is one frame of JSON, sent by a plain REQ socket; the answer is one frame of JSON.
``cmd`` distinguishes the requests. Every reply has ``ok``; a refusal has ``error`` beside it.
"""

from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias

import msgspec

from .events import Decision
from .machine import GpuSample, Hardware, SystemSample
from .records import (
    ALL_RECORDS,
    CaptureEntry,
    KeptCapture,
    NumberedRecord,
    RecordFilter,
    RecordsSpan,
    RequestRecord,
    SpeedHistogram,
    UsageRow,
    Viewer,
)
from .values import (
    VERSION,
    ConfigChanges,
    ConfigStatus,
    DeviceStatus,
    ErrorInfo,
    KeepStatus,
    MessageValue,
    ModelFit,
    ModelStatus,
    PeerStatus,
    ProfileStatus,
    QueueEntry,
    StoreStatus,
    WorkerStatus,
)

SortColumn: TypeAlias = Literal[
    "id",
    "time",
    "model",
    "req_path",
    "resp_status_code",
    "resp_content_type",
    "cached",
    "prompt",
    "generated",
    "drafted",
    "prompt_speed",
    "gen_speed",
    "duration",
]
"""What the table of records can be sorted by, in llama-swap's words."""

UsageKey: TypeAlias = Literal["day", "model", "key"]
"""What totals can be told apart by."""

# Most workers that may run: more than any machine has use for, fewer than would choke one.
MAX_WORKERS: Final = 64

# Connections of each worker: a table in shared memory. One unsigned number of 32 bits for each
# worker, in the machine's order of bytes, at the place of its number, from 1. 0 means that no
# worker accepts there; otherwise it is one more than the connections. A worker writes its own place
# only; the supervisor clears that of one that has ended.
SLOT_BYTES: Final = 4
TABLE_BYTES: Final = SLOT_BYTES * (MAX_WORKERS + 1)


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True, tag_field="cmd"):
    """Base of all requests."""

    v: int = VERSION


class PingRequest(ControlRequest, frozen=True, kw_only=True, tag="ping"):
    """Check that the supervisor is there."""


class StatusRequest(ControlRequest, frozen=True, kw_only=True, tag="status"):
    """The models, their waiters, and the workers."""


class SwapRequest(ControlRequest, frozen=True, kw_only=True, tag="swap"):
    """Make `model` ready, stopping others if need be.

    Attributes:
        model: Its id or an alias.
        wait: Answer when it is ready or has failed; False answers as soon as it is on its way.
    """

    model: str
    wait: bool = True


class UnloadRequest(ControlRequest, frozen=True, kw_only=True, tag="unload"):
    """Stop a model.

    Attributes:
        model: Its id or an alias; None stops all.
        mode: `drain` lets running requests finish, `now` cuts them.
    """

    model: str | None = None
    mode: Literal["drain", "now"] = "drain"


class HoldRequest(ControlRequest, frozen=True, kw_only=True, tag="hold"):
    """Keep a device free of models, for something else.

    Models on it finish what they have, and end.

    Attributes:
        device: ``ram``, ``gpu0``, ...; None: all.
        for_s: Seconds until it is used again; None: until `release`.
        wait: Answer when it is free; False answers at once.
    """

    device: str | None = None
    for_s: float | None = None
    wait: bool = True


class ReleaseRequest(ControlRequest, frozen=True, kw_only=True, tag="release"):
    """Let models use a device again.

    Attributes:
        device: The device; None: all that are held.
    """

    device: str | None = None


class PinRequest(ControlRequest, frozen=True, kw_only=True, tag="pin"):
    """Have a model stay while it is loaded: it does not go for others, and not when idle.

    Refused where memory does not decide.

    Attributes:
        model: Its id or an alias.
        pinned: False: it is to be as the configuration says again.
    """

    model: str
    pinned: bool = True


class LogsRequest(ControlRequest, frozen=True, kw_only=True, tag="logs"):
    """The last lines that the process of a model wrote, or arriero itself.

    Attributes:
        model: Its id or an alias; None gives those of all models.
        lines: How many at the most, 1 to 10,000.
        own: The log of arriero is meant.
        bytes: How many bytes at the most, of text; None for as many as are given at once.
    """

    model: str | None = None
    lines: int = 100
    own: bool = False
    bytes: int | None = None


class ExplainRequest(ControlRequest, frozen=True, kw_only=True, tag="explain"):
    """Explain how a request for `model` would be served now."""

    model: str


class PreviewRequest(ControlRequest, frozen=True, kw_only=True, tag="preview"):
    """Say what would go upstream for a request of a client, with the configuration in force.

    Attributes:
        body: Of that request: JSON.
        path: Its path.
        headers: Fields of its head, names and values.
    """

    body: str
    path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()


class ReloadRequest(ControlRequest, frozen=True, kw_only=True, tag="reload"):
    """Read the configuration again, and put in force what changed.

    Attributes:
        dry_run: Only report what would change.
        drain: Models that run with an older command end after their running requests, and are
            started with the new one by the next request. Otherwise they go on as they are.
    """

    dry_run: bool = False
    drain: bool = False


class CancelRequest(ControlRequest, frozen=True, kw_only=True, tag="cancel"):
    """End a running request of any caller.

    Attributes:
        request_id: Its id, as in ``X-Request-Id``.
    """

    request_id: str


class ActivityRequest(ControlRequest, frozen=True, kw_only=True, tag="activity"):
    """The records of the last requests.

    Attributes:
        limit: How many at the most, 1 to 1,000.
        request_id: Only the newest one with this id; None for all.
        where: Which of all records are meant.
    """

    limit: int = 100
    request_id: str | None = None
    where: RecordFilter = ALL_RECORDS


class RowsRequest(ControlRequest, frozen=True, kw_only=True, tag="rows"):
    """A page of the table of records.

    Attributes:
        where: Which of all records are meant.
        sort: The column by which they are sorted; see `SortColumn`.
        descending: The greatest first.
        page: Number of the page, from 1.
        limit: Records of a page, 1 to 1,000.
    """

    where: RecordFilter = ALL_RECORDS
    sort: SortColumn = "id"
    descending: bool = True
    page: int = 1
    limit: int = 25


class SpeedsRequest(ControlRequest, frozen=True, kw_only=True, tag="speeds"):
    """Totals of records, and how fast prompts and answers were.

    Attributes:
        where: Which of all records are meant.
    """

    where: RecordFilter = ALL_RECORDS


class UsageRequest(ControlRequest, frozen=True, kw_only=True, tag="usage"):
    """What requests have used: totals, which outlive the records that they were made from.

    Attributes:
        by: What has a row of its own.
        since, until: Days of UTC, such as ``2026-11-29``, both included; None: all.
        models: Ids of models; none: all.
        keys: Names of keys; none: all.
        viewer: See `RecordFilter`.
    """

    by: tuple[UsageKey, ...] = ("day", "model", "key")
    since: str | None = None
    until: str | None = None
    models: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    viewer: Viewer | None = None


class HistoryRequest(ControlRequest, frozen=True, kw_only=True, tag="history"):
    """What requests have come to over time: totals for each span of `step_s`.

    Attributes:
        since, until: Unix times, the first included.
        step_s: Whole seconds; there are 1,000 spans at the most. Spans begin at multiples of it.
        where: Which records; its own times count as well.
    """

    since: float
    until: float
    step_s: int
    where: RecordFilter = ALL_RECORDS


class DecisionsRequest(ControlRequest, frozen=True, kw_only=True, tag="decisions"):
    """What was decided of late, and has happened: the last events of these kinds."""


class ConfigRequest(ControlRequest, frozen=True, kw_only=True, tag="config"):
    """The files of the configuration as they are now, without secrets, and what is wrong in them.

    Nothing is changed. What a reload would change is told as well.
    """


class CapturesRequest(ControlRequest, frozen=True, kw_only=True, tag="captures"):
    """The last captures, without what was captured.

    Attributes:
        limit: How many at the most, 1 to 1,000.
        most_id: Only those up to this number; None for all.
        caller: Only those of this client, as in `RawCapture`; None for all.
        request_id: Only that of this request; None for all.
    """

    limit: int = 100
    most_id: int | None = None
    caller: str | None = None
    request_id: str | None = None


class CaptureRequest(ControlRequest, frozen=True, kw_only=True, tag="capture"):
    """What was captured of one request.

    Attributes:
        id: Number of its record.
        caller: As in `CapturesRequest`: that of another client is not there.
    """

    id: int
    caller: str | None = None


class WorkersRequest(ControlRequest, frozen=True, kw_only=True, tag="workers"):
    """The worker processes."""


class ScaleRequest(ControlRequest, frozen=True, kw_only=True, tag="scale"):
    """Run that many workers from now on, 1 to `MAX_WORKERS`."""

    workers: int


class ProfilesRequest(ControlRequest, frozen=True, kw_only=True, tag="profiles"):
    """The profiles, and which of them is chosen."""


class ProfileRequest(ControlRequest, frozen=True, kw_only=True, tag="profile"):
    """Choose `profile`; None for none. Answered once all workers follow."""

    profile: str | None


class MetricsRequest(ControlRequest, frozen=True, kw_only=True, tag="metrics"):
    """All metrics, in the words of Prometheus.

    Attributes:
        open_metrics: In the form of OpenMetrics.
        gzip: Compressed.
    """

    open_metrics: bool = False
    gzip: bool = False


class PerformanceRequest(ControlRequest, frozen=True, kw_only=True, tag="performance"):
    """Samples of the machine.

    Attributes:
        after: Only those that are younger than this moment; None: all that are kept.
    """

    after: datetime | None = None


class HardwareRequest(ControlRequest, frozen=True, kw_only=True, tag="hardware"):
    """What the machine is."""


class ShutdownRequest(ControlRequest, frozen=True, kw_only=True, tag="shutdown"):
    """End the supervisor in good order, like SIGTERM."""


class RestartRequest(ControlRequest, frozen=True, kw_only=True, tag="restart"):
    """Replace the supervisor by a new process, which goes on with its models and requests.

    Refused without ``adopt``, or with a configuration that cannot be used.
    """


AnyRequest: TypeAlias = (
    PingRequest
    | StatusRequest
    | SwapRequest
    | UnloadRequest
    | HoldRequest
    | ReleaseRequest
    | PinRequest
    | LogsRequest
    | ExplainRequest
    | PreviewRequest
    | ReloadRequest
    | CancelRequest
    | ActivityRequest
    | RowsRequest
    | SpeedsRequest
    | HistoryRequest
    | DecisionsRequest
    | ConfigRequest
    | UsageRequest
    | CapturesRequest
    | CaptureRequest
    | WorkersRequest
    | ScaleRequest
    | ProfilesRequest
    | ProfileRequest
    | MetricsRequest
    | PerformanceRequest
    | HardwareRequest
    | ShutdownRequest
    | RestartRequest
)


class ControlReply(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all answers."""

    v: int = VERSION
    ok: bool = True


class PingReply(ControlReply, frozen=True, kw_only=True):
    """The supervisor is there.

    Attributes:
        version: Of the program.
        epoch: Of its events.
        pid: Of the supervisor.
        uptime_s: Seconds since it started.
    """

    version: str
    epoch: str
    pid: int
    uptime_s: float


class StatusReply(ControlReply, frozen=True, kw_only=True):
    """The whole state.

    `seq` is the number of the last event that is contained in it.

    Attributes:
        listen: Address on which clients are answered, such as ``127.0.0.1:8080``.
        url: The same for programs of this machine, such as ``http://127.0.0.1:8080``.
        control_requests: Requests that the control socket has answered so far, this one included.
        lease_requests: Times that a worker had to ask for a model; warm requests add nothing.
        config: The configuration in force.
        devices: Where memory decides: those that limit models.
        kept: With ``keepInRam``: which files are kept in main memory.
        store: Where records of requests are kept.
        peers: Other machines, in the order of the configuration.
        instance: A number of this arriero, which stays the same; empty before there was one.
    """

    version: str
    epoch: str
    seq: int
    t: float
    uptime_s: float
    listen: str
    models: tuple[ModelStatus, ...]
    queue: tuple[QueueEntry, ...]
    workers: tuple[WorkerStatus, ...]
    control_requests: int
    lease_requests: int
    config: ConfigStatus
    devices: tuple[DeviceStatus, ...] = ()
    kept: KeepStatus | None = None
    store: StoreStatus | None = None
    url: str = ""
    peers: tuple[PeerStatus, ...] = ()
    instance: str = ""


class SwapReply(ControlReply, frozen=True, kw_only=True):
    """The model is ready (or, with ``wait`` false, on its way).

    Attributes:
        took_s: Seconds from the request until it was ready; 0.0 when it was ready before.
    """

    model: str
    state: str
    endpoint: str | None = None
    took_s: float = 0.0


class UnloadReply(ControlReply, frozen=True, kw_only=True):
    """These models were running and have ended."""

    unloaded: tuple[str, ...]
    took_s: float


class HoldReply(ControlReply, frozen=True, kw_only=True):
    """These devices are kept free of models, or were until now.

    Attributes:
        devices: The devices; ``all`` where memory does not decide.
        unloaded: Models that ended for it.
        took_s: Seconds until they had.
    """

    devices: tuple[str, ...]
    unloaded: tuple[str, ...] = ()
    took_s: float = 0.0


class LogsLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a model's log, or of our own; then it has no model."""

    t: float
    model: str
    stream: str
    line: str


class LogsReply(ControlReply, frozen=True, kw_only=True):
    """The lines, oldest first.

    Attributes:
        lines: The lines.
        seq: Number of the last `log` event (or `own` event) that is contained in them, so that a
            follower knows which of the events that it got meanwhile are new; 0 when there was
            none.
    """

    lines: tuple[LogsLine, ...]
    seq: int = 0


class PlaceStanding(MessageValue, frozen=True, kw_only=True):
    """How a model stands at one of the machines that have it.

    Attributes:
        target: Its name there: its id here, or ``<peer>/<model>``.
        host: The peer's id; empty for this machine.
        state: Of its process; empty if that is not known.
        running: Requests that run on it, as far as that is known.
        waiting: Requests that wait for it.
        wait_s: Expected seconds until a new request would begin there.
        usable: It is asked: it was reached lately, or is tried again.
        why: Why it is not; empty if it is.
    """

    target: str
    host: str
    state: str
    running: int
    waiting: int
    wait_s: float
    usable: bool
    why: str = ""


class ExplainReply(ControlReply, frozen=True, kw_only=True):
    """The course that a request for `model` would take.

    Attributes:
        state: Of its process, now; empty if that is another machine's.
        action: `serve`, `join`, `start`, `swap` or `wait`; `pass` if another machine answers.
        stops: Models that would have to go first.
        ahead: Models that get their turn earlier.
        why: The same, in words.
        devices: Where memory decides: those that limit models.
        models: There: this model, and all that have memory.
        start_s: How long its start takes, if that is known.
        places: Where several machines have it: all of them, the one that would answer first.
        why_there: Why that is the first, in words.
    """

    model: str
    state: str
    action: Literal["serve", "join", "start", "swap", "wait", "pass"]
    stops: tuple[str, ...]
    ahead: tuple[str, ...]
    why: str
    devices: tuple[DeviceStatus, ...] = ()
    models: tuple[ModelFit, ...] = ()
    start_s: float | None = None
    places: tuple[PlaceStanding, ...] = ()
    why_there: str = ""


class PreviewReply(ControlReply, frozen=True, kw_only=True):
    """What would go upstream.

    Attributes:
        model: Id of the model that would answer; of a selector its first target.
        path: Path and query that it would be asked with.
        body: What it would be sent, but for what the kind of its server adds.
        changed: That is another body than the client's.
    """

    model: str
    path: str
    body: str
    changed: bool


class ReloadReply(ControlReply, frozen=True, kw_only=True):
    """The files can be used.

    Attributes:
        generation: Of the configuration that is in force now.
        applied: It came into force now, in all workers; False: it was a dry run, or nothing is
            different.
        changes: Made, or to be made.
        draining: Models that end because they run with an older command, and were asked to drain.
    """

    generation: int
    applied: bool
    changes: ConfigChanges
    draining: tuple[str, ...] = ()


class CancelReply(ControlReply, frozen=True, kw_only=True):
    """The request ends now, or had ended before."""

    request_id: str
    result: Literal["cancelled", "finished"]


class ActivityReply(ControlReply, frozen=True, kw_only=True):
    """The records, oldest first.

    Attributes:
        records: Of requests that have ended.
        seq: Number of the last `usage` event that is contained in them, as in `LogsReply`; 0 when
            there was none.
        next: Give this as `most_id` for those before them; None if there are none.
    """

    records: tuple[RequestRecord, ...]
    seq: int = 0
    next: int | None = None


class RowsReply(ControlReply, frozen=True, kw_only=True):
    """The page, in its order.

    Attributes:
        rows: Its records.
        total: How many there are on all pages.
    """

    rows: tuple[NumberedRecord, ...]
    total: int


class HistoryReply(ControlReply, frozen=True, kw_only=True):
    """Totals over time.

    Attributes:
        spans: Those in which requests came, the oldest first.
    """

    spans: tuple[RecordsSpan, ...]


class ConfigFile(MessageValue, frozen=True, kw_only=True):
    """A file of the configuration.

    Attributes:
        name: As it was given.
        text: Without secrets and comments; the lines are those of the file.
        is_cut: There is more of it.
    """

    name: str
    text: str
    is_cut: bool = False


class ConfigRemark(MessageValue, frozen=True, kw_only=True):
    """Something to know of a place in a file.

    Attributes:
        kind: `error` keeps it from being used, `warning` is surely not meant, `note` may well be.
        file: Its name.
        line, column: From 1; 0 where something is missing altogether.
        path: The key; may be empty.
        message: What is wrong, and what would do.
    """

    kind: Literal["error", "warning", "note"]
    file: str
    line: int
    column: int
    path: str
    message: str


class KeyStatus(MessageValue, frozen=True, kw_only=True):
    """A client's key in force, what it is good for, and what it has used today (UTC).

    Attributes:
        name, scopes, models, concurrency, daily_tokens, daily_cost: As in the configuration.
        requests: How many have ended.
        tokens: Of prompts and answers.
        cost_usd: As far as prices are known.
    """

    name: str
    scopes: tuple[str, ...]
    models: tuple[str, ...] | None
    concurrency: int
    daily_tokens: int
    daily_cost: Decimal | None
    requests: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)


class DecisionsReply(ControlReply, frozen=True, kw_only=True):
    """The last 200 decisions, or fewer if they are long.

    Attributes:
        decisions: As they were published, the oldest first.
    """

    decisions: tuple[Decision, ...]


class ConfigReply(ControlReply, frozen=True, kw_only=True):
    """The configuration.

    Attributes:
        generation: Of that in force.
        files: In the order in which they are merged.
        remarks: By their places; errors are all told before others.
        more: Remarks that are left out.
        changes: What a reload would change; None: the files cannot be used.
        keys: Those with names.
        plain_keys: How many there are without: they are good for everything.
    """

    generation: int
    files: tuple[ConfigFile, ...]
    remarks: tuple[ConfigRemark, ...]
    more: int
    changes: ConfigChanges | None
    keys: tuple[KeyStatus, ...]
    plain_keys: int


class SpeedsReply(ControlReply, frozen=True, kw_only=True):
    """Totals of records, and their speeds.

    Attributes:
        requests: How many records.
        input_tokens, output_tokens, cached_tokens: Of all of them.
        prompt: Speeds at which prompts were read, of the last 50,000; None if none is known.
        output: Speeds at which answers were written, likewise.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    prompt: SpeedHistogram | None = None
    output: SpeedHistogram | None = None


class UsageReply(ControlReply, frozen=True, kw_only=True):
    """What requests have used.

    Attributes:
        rows: The newest day first, then by model and key.
        total: All rows together.
        is_cut: There are more rows, which are not in the total; ask for less.
    """

    rows: tuple[UsageRow, ...]
    total: UsageRow
    is_cut: bool = False


class CapturesReply(ControlReply, frozen=True, kw_only=True):
    """The captures, the newest first.

    Attributes:
        captures: Without what was captured.
        next: As in `ActivityReply`.
    """

    captures: tuple[CaptureEntry, ...]
    next: int | None = None


class CaptureReply(ControlReply, frozen=True, kw_only=True):
    """What was captured of one request.

    Attributes:
        id: Number of its record.
        capture: All of it; bodies are in Base64.
    """

    id: int
    capture: KeptCapture


class WorkersReply(ControlReply, frozen=True, kw_only=True):
    """The worker processes, by number."""

    workers: tuple[WorkerStatus, ...]


class ProfilesReply(ControlReply, frozen=True, kw_only=True):
    """The profiles, by their names.

    Attributes:
        active: The one that is chosen; None for none.
        profiles: All of them.
    """

    active: str | None
    profiles: tuple[ProfileStatus, ...]


class MetricsReply(ControlReply, frozen=True, kw_only=True):
    """The metrics.

    Attributes:
        text: UTF-8, perhaps compressed.
        gzip: It is.
    """

    text: bytes
    gzip: bool


class PerformanceReply(ControlReply, frozen=True, kw_only=True):
    """Samples, the oldest first.

    Attributes:
        enabled: The machine is sampled.
    """

    enabled: bool
    sys_stats: tuple[SystemSample, ...] = ()
    gpu_stats: tuple[GpuSample, ...] = ()


class HardwareReply(ControlReply, frozen=True, kw_only=True):
    """What the machine is; None: that is not known yet, or cannot be."""

    hardware: Hardware | None


class Done(ControlReply, frozen=True, kw_only=True):
    """It was done, or has begun."""


class Refusal(ControlReply, frozen=True, kw_only=True):
    """The request was not carried out; `error` has the reason.

    Attributes:
        error: Why.
        problems: Mistakes of a configuration, with file, line and column.
    """

    error: ErrorInfo
    problems: tuple[str, ...] = ()
    ok: bool = False


def refused(code: str, message: str, problems: tuple[str, ...] = ()) -> Refusal:
    """Return a refusal; see `ErrorInfo` for `code` and `message`."""
    return Refusal(error=ErrorInfo(code=code, message=message), problems=problems)


AnyReply: TypeAlias = (
    PingReply
    | StatusReply
    | SwapReply
    | UnloadReply
    | HoldReply
    | LogsReply
    | ExplainReply
    | PreviewReply
    | ReloadReply
    | CancelReply
    | ActivityReply
    | RowsReply
    | SpeedsReply
    | HistoryReply
    | DecisionsReply
    | ConfigReply
    | UsageReply
    | CapturesReply
    | CaptureReply
    | WorkersReply
    | ProfilesReply
    | MetricsReply
    | PerformanceReply
    | HardwareReply
    | Done
    | Refusal
)
