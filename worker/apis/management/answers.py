"""Shapes of the JSON that is asked of this program itself; those of llama-swap where it has them.

A member that is `UNSET` is left out.
"""

from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from arriero.protocol.machine import GpuSample, SystemSample
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import State
from arriero.protocol.worker_config import SeenFacts

ModelValue: TypeAlias = Literal["unloaded", "loading", "loaded", "sleeping"]
EntryKind: TypeAlias = Literal["model", "alias", "peer", "selector", "profile"]


class JsonAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all of these."""


# --- models --------------------------------------------------------------------------------------


class LoadValue(JsonAnswer, frozen=True, kw_only=True):
    """Whether a model is loaded."""

    value: ModelValue


class EntryArchitecture(JsonAnswer, frozen=True, kw_only=True):
    """What a model takes and gives, as OpenRouter says it."""

    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    modality: str | UnsetType = UNSET


class EntryAbilities(JsonAnswer, frozen=True, kw_only=True):
    """What a model can do; what it cannot do is left out."""

    vision: bool | UnsetType = UNSET
    audio_transcriptions: bool | UnsetType = UNSET
    audio_speech: bool | UnsetType = UNSET
    image_generation: bool | UnsetType = UNSET
    image_to_image: bool | UnsetType = UNSET
    function_calling: bool | UnsetType = UNSET
    reranker: bool | UnsetType = UNSET


class EntryMeta(JsonAnswer, frozen=True, kw_only=True):
    """What no other API has.

    Attributes:
        llamaswap: Kind of the name (`EntryKind`) and what belongs to it; `metadata` of the
            configuration.
        n_ctx: The longest context, in tokens, if the configuration says it, or else its server.
        last_seen: What its server told when it last ran.
    """

    llamaswap: dict[str, Raw]
    n_ctx: int | UnsetType = UNSET
    last_seen: SeenFacts | UnsetType = UNSET


class ModelEntry(JsonAnswer, frozen=True, kw_only=True):
    """A name that requests may give as their model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    architecture: EntryArchitecture | UnsetType = UNSET
    capabilities: EntryAbilities | UnsetType = UNSET
    supported_parameters: tuple[str, ...] | UnsetType = UNSET
    context_length: int | UnsetType = UNSET
    meta: EntryMeta
    status: LoadValue


class ModelList(JsonAnswer, frozen=True, kw_only=True):
    """All names, sorted."""

    object: Literal["list"] = "list"
    data: tuple[ModelEntry, ...]


class RunningEntry(JsonAnswer, frozen=True, kw_only=True):
    """A model that has a process.

    Attributes:
        cmd: How it is started, with secrets hidden.
        proxy: Where it answers.
        ttl: Seconds.
        memory, pin: Where memory decides; see `ModelStatus`.
    """

    model: str
    state: State
    cmd: str
    proxy: str
    ttl: float
    name: str
    description: str
    memory: dict[str, int] | UnsetType = UNSET
    pin: str | UnsetType = UNSET


class RunningList(JsonAnswer, frozen=True, kw_only=True):
    """The models that have a process, sorted."""

    running: tuple[RunningEntry, ...]


# --- requests ------------------------------------------------------------------------------------


class UsageEntry(JsonAnswer, frozen=True, kw_only=True):
    """What some requests have used together; see `UsageRow`.

    Attributes:
        key: Stands for the key of their client; empty without keys.
        cost_usd: Dollars, as a text, so that nobody rounds them.
    """

    day: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    requests: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: str
    unpriced: int


class ActivityList(JsonAnswer, frozen=True, kw_only=True):
    """The last requests, the newest first.

    Attributes:
        next: Ask with `before=` this for those before them; not there if there are none.
    """

    requests: tuple[RequestRecord, ...]
    next: int | UnsetType = UNSET


class UsageList(JsonAnswer, frozen=True, kw_only=True):
    """What requests have used.

    Attributes:
        rows: The newest day first, then by model and key.
        total: All rows together.
        is_cut: There are more of them; ask for less.
    """

    rows: tuple[UsageEntry, ...]
    total: UsageEntry
    is_cut: bool


class HistorySpan(JsonAnswer, frozen=True, kw_only=True):
    """What the requests of a span of time have come to; see `RecordsSpan`.

    Attributes:
        cost_usd: Dollars, as a text, so that nobody rounds them.
    """

    t: float
    requests: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: str
    queue_ms: float
    load_ms: float


class HistoryList(JsonAnswer, frozen=True, kw_only=True):
    """What requests have come to over time.

    Attributes:
        since, until: Unix times.
        step_s: Seconds of each span.
        spans: Those in which requests came, the oldest first.
    """

    since: float
    until: float
    step_s: int
    spans: tuple[HistorySpan, ...]


class RowTokens(JsonAnswer, frozen=True, kw_only=True):
    """The tokens of a request, in llama-swap's words; -1: not known."""

    cache_tokens: int
    draft_tokens: int
    draft_acc_tokens: int
    input_tokens: int
    output_tokens: int
    prompt_per_second: float
    tokens_per_second: float


class ActivityRow(JsonAnswer, frozen=True, kw_only=True):
    """What became of a request, in llama-swap's words.

    Attributes:
        timestamp: When it came, to the second (RFC 3339).
        has_capture: There is more of it under ``/api/captures/<id>``.
        error_msg: Why it failed.
        metadata: What else is known: `request_id`, `outcome`, `key`, and `selector` if it named
            another one than its model.
    """

    id: int
    timestamp: str
    model: str
    req_path: str
    resp_content_type: str
    resp_status_code: int
    tokens: RowTokens
    duration_ms: int
    has_capture: bool
    error_msg: str | UnsetType = UNSET
    metadata: dict[str, str] | UnsetType = UNSET


class ActivityPage(JsonAnswer, frozen=True, kw_only=True):
    """A page of them."""

    data: tuple[ActivityRow, ...]
    page: int
    limit: int
    total: int
    total_pages: int


class SpeedBins(JsonAnswer, frozen=True, kw_only=True, rename={"bin_size": "binSize"}):
    """How a speed is distributed, in llama-swap's words; see `SpeedHistogram`."""

    bins: tuple[int, ...]
    min: float
    max: float
    bin_size: float
    p50: float
    p95: float
    p99: float


class ActivityStats(JsonAnswer, frozen=True, kw_only=True):
    """Totals of requests, in llama-swap's words."""

    total_requests: int
    total_input_tokens: int
    total_output_tokens: int
    total_cache_tokens: int
    prompt_histogram: SpeedBins | None
    gen_histogram: SpeedBins | None


class CaptureInfo(JsonAnswer, frozen=True, kw_only=True):
    """A capture in a list."""

    id: int
    timestamp: str
    request_id: str
    model: str
    req_path: str
    resp_status_code: int
    size_bytes: int


class CaptureList(JsonAnswer, frozen=True, kw_only=True):
    """The captures that the key may see, the newest first; `next` as in `ActivityList`."""

    data: tuple[CaptureInfo, ...]
    next: int | UnsetType = UNSET


class CapturedExchange(JsonAnswer, frozen=True, kw_only=True):
    """A request and the response to it, in llama-swap's words; bodies are in Base64.

    Attributes:
        is_cut: There was more of one of the bodies.
    """

    id: int
    req_path: str
    req_headers: dict[str, str]
    req_body: bytes
    resp_headers: dict[str, str]
    resp_body: bytes
    is_cut: bool


class EndedRequest(JsonAnswer, frozen=True, kw_only=True):
    """What has come of a wish to end a request."""

    request_id: str
    interrupted: bool
    message: str


class RequestName(JsonAnswer, frozen=True, kw_only=True):
    """Which request is meant."""

    request_id: str


# --- the machine ---------------------------------------------------------------------------------


class PerformanceInfo(JsonAnswer, frozen=True, kw_only=True):
    """Samples of the machine, the oldest first."""

    enabled: Literal[True] = True
    sys_stats: tuple[SystemSample, ...]
    gpu_stats: tuple[GpuSample, ...]


# --- profiles, and the rest ----------------------------------------------------------------------


class ProfileEntry(JsonAnswer, frozen=True, kw_only=True):
    """What names mean while it is chosen; a name that leads nowhere is off."""

    id: str
    description: str
    pins: dict[str, str | None]


class ProfileList(JsonAnswer, frozen=True, kw_only=True):
    """The profiles, sorted, and which one is chosen."""

    active: str | None
    profiles: tuple[ProfileEntry, ...]


class ProfileName(JsonAnswer, frozen=True, kw_only=True):
    """The profile that is to be chosen; null or nothing: none."""

    name: str | None


class ActiveProfile(JsonAnswer, frozen=True, kw_only=True):
    """The profile that is chosen."""

    active: str | None


class DoneMessage(JsonAnswer, frozen=True, kw_only=True):
    """It was done."""

    msg: Literal["ok"] = "ok"


class ApiDescription(JsonAnswer, frozen=True, kw_only=True):
    """All routes, as the OpenAPI Specification 3.1 has them."""

    openapi: str
    info: dict[str, Raw]
    servers: tuple[dict[str, str], ...]
    security: tuple[dict[str, tuple[str, ...]], ...]
    paths: dict[str, Raw]
    components: dict[str, Raw]


OLLAMA_VERSION: Final = "0.11.0"
"""The version of Ollama whose API is spoken here: the first whose `think` may be low, medium or
high. Clients refuse older ones: Copilot in VS Code wants 0.6.4 (microsoft/vscode-copilot-release,
issue 8461), and thinking is told apart since 0.9.0 (Ollama's release notes)."""


class VersionInfo(JsonAnswer, frozen=True, kw_only=True):
    """Versions; what an installed package does not know is empty.

    Attributes:
        version: Of Ollama, whose clients ask for this; see `OLLAMA_VERSION`.
        arriero: Of this program.
    """

    version: str = OLLAMA_VERSION
    arriero: str
    commit: str = ""
    build_date: str = ""
