"""Routes that ask this program itself, as they are declared."""

from typing import Final

from arriero.protocol.machine import Hardware
from arriero.protocol.records import RequestRecord

from ...errors import (
    FoundElsewhere,
    NotStartedHere,
    RelayError,
    UnknownModel,
    UnknownProfile,
    UnknownRequest,
)
from ...http.route_declaration import EVENTS, HTML, TEXT, Access, RouteDeclaration
from .answers import (
    ActiveProfile,
    ActivityList,
    ActivityPage,
    ActivityStats,
    ApiDescription,
    CapturedExchange,
    CaptureList,
    DoneMessage,
    EndedRequest,
    HistoryList,
    ModelEntry,
    ModelList,
    PerformanceInfo,
    ProfileList,
    ProfileName,
    RequestName,
    RunningList,
    UsageList,
    VersionInfo,
)
from .page_routes import PAGE_ROUTES, UnloadQuery
from .queries import (
    ActivityQuery,
    CapturesQuery,
    ExportQuery,
    HistoryQuery,
    LogQuery,
    PerformanceQuery,
    QueryShape,
    RowsQuery,
    StatsQuery,
    UsageQuery,
)

_GET: Final = ("GET",)


def _shows(
    path: str,
    summary: str,
    response: type | str,
    *,
    access: Access = "read",
    is_visited: bool = False,
    also: tuple[str, ...] = (),
    query: type[QueryShape] | None = None,
    errors: tuple[type[RelayError], ...] = (),
) -> RouteDeclaration:
    return RouteDeclaration(
        path=path,
        summary=summary,
        methods=_GET,
        access=access,
        response=response,
        is_visited=is_visited,
        also=also,
        query=query,
        errors=errors,
    )


HEALTH: Final = tuple(
    RouteDeclaration(
        path=path,
        summary="OK, as long as this program answers; says nothing of models.",
        methods=_GET,
        access="open",
        is_visited=True,
        response=TEXT,
    )
    for path in ("/health", "/wol-health")
)
ICON: Final = RouteDeclaration(
    path="/favicon.ico",
    summary="An icon, for browsers.",
    methods=_GET,
    access="open",
    is_visited=True,
    response="image/svg+xml",
)
VERSION: Final = _shows("/api/version", "The version of this program.", VersionInfo, access="key")
DESCRIPTION: Final = _shows(
    "/openapi.json", "All routes, as OpenAPI 3.1.", ApiDescription, access="key"
)

MODELS: Final = tuple(
    _shows(path, "All names of models.", ModelList, access="key", is_visited=True)
    for path in ("/v1/models", "/models")
)
MODEL: Final = tuple(
    _shows(f"{path}/{{name...}}", "One of them.", ModelEntry, access="key", errors=(UnknownModel,))
    for path in ("/v1/models", "/models")
)
RUNNING: Final = _shows("/running", "What runs.", RunningList, is_visited=True)
UNLOAD: Final = _shows(
    "/unload", "Stop all models; answers when they have ended.", TEXT, access="admin"
)
UNLOAD_ALL: Final = RouteDeclaration(
    path="/api/models/unload",
    access="admin",
    summary="Stop all models; answers when they have ended.",
    response=DoneMessage,
)
UNLOAD_ONE: Final = RouteDeclaration(
    path="/api/models/unload/{name...}",
    access="admin",
    summary="Stop a model; answers when it has ended.",
    response=TEXT,
    query=UnloadQuery,
    errors=(UnknownModel, NotStartedHere),
)

ACTIVITY: Final = _shows(
    "/api/activity", "What has run, the newest first.", ActivityList, query=ActivityQuery
)
EXPORTS: Final = {
    "jsonl": _shows(
        "/api/activity.jsonl",
        "All of what has run, a JSON object a line.",
        "application/x-ndjson",
        query=ExportQuery,
    ),
    "csv": _shows(
        "/api/activity.csv", "All of what has run, as CSV.", "text/csv", query=ExportQuery
    ),
}
HISTORY: Final = _shows(
    "/api/history",
    "What requests have come to over time: totals for each span.",
    HistoryList,
    query=HistoryQuery,
)
USAGE: Final = _shows(
    "/api/usage", "Tokens and cost by day, model and key.", UsageList, query=UsageQuery
)
METRICS_ACTIVITY: Final = _shows(
    "/api/metrics/activity",
    "A page of what has run, for llama-swap's pages.",
    ActivityPage,
    query=RowsQuery,
)
METRICS_STATS: Final = _shows(
    "/api/metrics/stats",
    "Totals and speeds, for llama-swap's pages.",
    ActivityStats,
    query=StatsQuery,
)
CAPTURES: Final = _shows(
    "/api/captures",
    "Which requests of one's own were kept whole; for administrators those of all.",
    CaptureList,
    access="key",
    query=CapturesQuery,
)
CAPTURE: Final = _shows(
    "/api/captures/{number}",
    "A request and its response, without keys.",
    CapturedExchange,
    access="key",
    errors=(UnknownRequest,),
)
ONE_ACTIVITY: Final = _shows(
    "/api/activity/{request_id...}",
    "What became of a request.",
    RequestRecord,
    errors=(UnknownRequest,),
)
CANCEL: Final = RouteDeclaration(
    path="/api/requests/{request_id...}/cancel",
    summary="End a request of one's own.",
    access="infer",
    response=EndedRequest,
    errors=(UnknownRequest,),
)
CANCEL_INFLIGHT: Final = RouteDeclaration(
    path="/api/inflight/{request_id...}/cancel",
    summary="End a request of one's own.",
    access="infer",
    response=DoneMessage,
    errors=(UnknownRequest,),
)
INTERRUPT: Final = RouteDeclaration(
    path="/v1/streaming_query/interrupt",
    summary="End a request of one's own.",
    access="infer",
    request=RequestName,
    response=EndedRequest,
    errors=(UnknownRequest,),
)

METRICS: Final = _shows(
    "/metrics",
    "All metrics, for Prometheus; as OpenMetrics, if that is accepted.",
    "text/plain; version=0.0.4; charset=utf-8",
    is_visited=True,
    also=("application/openmetrics-text; version=1.0.0; charset=utf-8",),
)
PERFORMANCE: Final = _shows(
    "/api/performance",
    "Samples of the machine, of the last hour.",
    PerformanceInfo,
    query=PerformanceQuery,
)
HARDWARE: Final = _shows("/api/hardware", "What the machine is.", Hardware)

LOGS: Final = _shows(
    "/logs",
    "The last lines of the log, as logToStdout says; a browser is led to /ui/.",
    TEXT,
    is_visited=True,
    errors=(FoundElsewhere,),
)
LOG_STREAM: Final = _shows(
    "/logs/stream",
    "The same, and then the lines that come.",
    TEXT,
    is_visited=True,
    query=LogQuery,
)
NAMED_LOG_STREAM: Final = _shows(
    "/logs/stream/{name...}",
    "Lines of proxy (arriero itself), upstream (all models) or a model, and those that come.",
    TEXT,
    is_visited=True,
    query=LogQuery,
)
EVENTS_STREAM: Final = _shows(
    "/api/events", "How models stand, log lines, and requests that run, as it changes.", EVENTS
)

UPSTREAM_ROOT: Final = RouteDeclaration(
    path="/upstream",
    summary="Leads to /ui/models.",
    methods=_GET,
    access="key",
    is_visited=True,
    response=HTML,
    errors=(FoundElsewhere,),
)

PROFILES: Final = _shows("/api/profiles", "The profiles.", ProfileList)
CHOOSE_PROFILE: Final = RouteDeclaration(
    path="/api/profiles/active",
    summary="Choose a profile, or none.",
    access="admin",
    methods=("PUT",),
    request=ProfileName,
    response=ActiveProfile,
    errors=(UnknownProfile,),
)

PAGES: Final[tuple[RouteDeclaration, ...]] = (
    *PAGE_ROUTES,
    *HEALTH,
    ICON,
    VERSION,
    DESCRIPTION,
    *MODELS,
    *MODEL,
    RUNNING,
    UNLOAD,
    UNLOAD_ALL,
    UNLOAD_ONE,
    ACTIVITY,
    *EXPORTS.values(),
    ONE_ACTIVITY,
    HISTORY,
    USAGE,
    METRICS_ACTIVITY,
    METRICS_STATS,
    CAPTURES,
    CAPTURE,
    CANCEL,
    CANCEL_INFLIGHT,
    INTERRUPT,
    METRICS,
    PERFORMANCE,
    HARDWARE,
    LOGS,
    LOG_STREAM,
    NAMED_LOG_STREAM,
    EVENTS_STREAM,
    UPSTREAM_ROOT,
    PROFILES,
    CHOOSE_PROFILE,
)
"""All of them."""


PAGE_ACCESS: Final = {
    (method.encode(), it.path.encode()): it.access
    for it in PAGES
    for name in it.methods
    for method in ((name, "HEAD") if name == "GET" else (name,))
}
"""Who is answered, by method and path."""

OPEN_PAIRS: Final = frozenset(pair for pair, access in PAGE_ACCESS.items() if access == "open")
"""Method and path of what is answered to everybody."""

VISITED: Final = frozenset(it.path.encode() for it in PAGES if it.is_visited)
"""Paths to which a link of another site may lead."""
