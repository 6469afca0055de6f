"""A whole configuration, as immutable values that cannot be wrong. Each field is a key."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from itertools import chain
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from arriero.protocol.control.running import MAX_WORKERS
from arriero.protocol.worker_config import (
    DEFAULT_MARKER,
    IGNORED_PATHS,
    SESSION_HEADERS,
    HeaderRules,
    ProgressMode,
    Strictness,
    TlsFiles,
)

from ..errors import Problem
from ..pricing.by_pattern import PricesByGlob, PriceSource
from ..pricing.price_list import PriceList
from ..text.addresses import Address, UnixAddress
from .model_config import MODEL, UP_TO_A_DAY, ModelConfig
from .names import PEERS, PROFILES, SELECTORS, PeerConfig, PeerModels, Profile, Selector
from .routing import MEMORY, ROUTING, MemoryKeys, Routing, RoutingKeys
from .schema.access_types import (
    ADMIN_LISTEN,
    API_KEYS,
    CONTROL_LISTEN,
    CORS,
    CURVE_KEYS,
    HOSTS,
    LISTEN,
)
from .schema.header_types import MARKER, rules
from .schema.immutable import immutable
from .schema.json_schema import or_macro
from .schema.key_types import CLIENT_KEYS, KeyConfig
from .schema.launcher_types import LAUNCHERS, LOCAL, RAY_KEYS, LauncherConfig, RayKeys
from .schema.macros import Macro
from .schema.model_types import MACROS, MODE, NAME, ON_FAILURE, PEER_URL, STRICT, OnFailure
from .schema.price_types import PRICE_LIST, PRICES_BY_GLOB
from .schema.reader import FIRST, NOT_YET, Place, ValueType
from .schema.rule_types import RULES, RuleConfig
from .schema.sections import inline, key, nested, section
from .schema.types import (
    BOOLEAN,
    FILE,
    NOTHING,
    PATTERN,
    SECONDS,
    adjusted,
    choice,
    converted,
    duration,
    integer,
    lax,
    listed,
    named,
    size,
    text,
    words,
)
from .yaml.tree import Node

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogSource: TypeAlias = Literal["proxy", "upstream", "both", "none"]


# llama-swap's values, where what is written makes no sense: its time for a process to end, its
# least time to get ready, and its number of rows.
_UNLOAD_TIMEOUT_S: Final = 10.0
_LEAST_HEALTH_CHECK_S: Final = 15.0
_METRICS_ROWS: Final = 1000

_MIB: Final = 1024**2
_DAY_S: Final = 24 * 3600

# --- what the keys take -------------------------------------------------------------------------


def _workers(node: Node, place: Place) -> int:
    takes = f"a whole number from 1 to {MAX_WORKERS}, or auto"
    value = place.scalar(node, takes).typed
    if value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise place.wrong(node, takes)
    return value


_WORKERS: Final = ValueType(
    "a number, or auto",
    or_macro({"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}, {"const": "auto"}),
    _workers,
    lambda count: count or "auto",
)


_LEVELS: Final[ValueType[LogLevel]] = choice(
    {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}, {"warning": "warning"}
)
_LOG_LEVEL: Final = lax(replace(_LEVELS, write=str))
_TIME_FORMATS: Final = choice(
    {
        name: name
        for name in (
            "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z",
            "rfc3339", "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
        )
    },
    {"": ""},
)  # fmt: skip
_TIME_FORMAT: Final = lax(_TIME_FORMATS)


def _distinct(headers: tuple[str, ...]) -> tuple[str, ...]:
    """Return `headers` without repetitions: the first spelling counts, as they have no case."""
    found: dict[str, str] = {}
    for header in headers:
        if header:
            found.setdefault(header.lower(), header)
    return tuple(found.values())


_SESSION_ID: Final = adjusted(
    listed(text("the name of a header", strip=True), "names of headers"), _distinct
)


_NUMBER: Final = integer(-(2**31), 2**31)

# --- parts --------------------------------------------------------------------------------------


@immutable
class Logging:
    """What arriero writes of itself."""

    level: LogLevel | None = key(
        _LOG_LEVEL,
        None,
        "Least important lines that arriero writes of itself; --log-level is stronger.",
        name="logLevel",
        written="info",
    )
    time_format: str = key(
        _TIME_FORMAT,
        "",
        "How the time stands before such a line; empty for a usual one.",
        name="logTimeFormat",
        written="",
    )
    to_stdout: LogSource = key(
        words(*get_args(LogSource)),
        "proxy",
        "Whose lines are written, on standard error: arriero's own (proxy), those of models, "
        "both or none.",
        name="logToStdout",
    )
    requests: bool = key(
        BOOLEAN,
        False,
        "Each request gets a line in arriero's own log when it has been answered.",
        name="logRequests",
    )


@immutable
class ActivityConfig:
    """What is kept of requests, and sampled of the machine."""

    metrics_rows: int = key(
        adjusted(_NUMBER, lambda rows: rows if rows > 0 else _METRICS_ROWS),
        _METRICS_ROWS,
        "Requests that are remembered while there is no store, for its file cannot be written; "
        "0 or less means 1000.",
        name="metricsMaxInMemory",
        acts=FIRST,
    )
    capture_mb: int = key(
        adjusted(integer(-(2**31), 2**20, "megabytes"), lambda megabytes: max(0, megabytes)),
        0,
        "Room for requests and answers that are kept whole, without keys, in MB; 0 or less keeps "
        "none.",
        name="captureBuffer",
        acts=FIRST,
    )
    store_path: str | None = key(
        FILE,
        None,
        "SQLite file in which the list of requests is kept.",
        name="store.path",
        without="activity.sqlite in the state folder",
        acts=FIRST,
    )
    store_rows: int = key(
        integer(1, 10**7, "requests"),
        100_000,
        "Most requests that are kept there; totals of them are kept for three years.",
        name="store.rows",
        acts=FIRST,
    )
    store_age_s: float = key(
        duration(60, 3650 * _DAY_S),
        90.0 * _DAY_S,
        "How long they are kept.",
        name="store.age",
        written="2160h",
        acts=FIRST,
    )
    store_bytes: int = key(
        size(_MIB, 1024 * 1024 * _MIB),
        256 * _MIB,
        "What they may take on disk, what captureBuffer says not counted; the oldest go first.",
        name="store.size",
        acts=FIRST,
    )
    capture_body_bytes: int = key(
        size(_MIB // 1024, 2 * _MIB),
        256 * 1024,
        "Longest body that is kept whole with captureBuffer; of longer ones the beginning.",
        name="store.captureBody",
        acts=FIRST,
    )
    session_headers: tuple[str, ...] = key(
        _SESSION_ID,
        SESSION_HEADERS,
        "Headers that name a session, in the order in which pages look at them; told by "
        "/api/events. [] for none.",
        name="ui.activity.session_id",
        acts=FIRST,
    )
    sampling: bool = key(
        converted(BOOLEAN, lambda disabled: not disabled, lambda sampling: not sampling),
        True,
        "Processor, memory and GPUs are not sampled.",
        name="performance.disabled",
        acts=FIRST,
    )
    sampling_s: float = key(
        duration(5, _DAY_S),
        5.0,
        "How often they are.",
        name="performance.every",
        acts=FIRST,
    )


_LOGGING: Final = section(Logging)
_ACTIVITY: Final = section(
    ActivityConfig,
    acts=NOT_YET,
    within={
        "store": "Where requests are kept.",
        "ui": "What the pages show.",
        "ui.activity": "The page with the list of requests.",
        "performance": "Samples of the machine.",
    },
)

# --- the whole ----------------------------------------------------------------------------------


@immutable
class Config:
    """A whole configuration.

    Attributes:
        written_models: All models, as the file has them.
        models: Those of them that are started here.
        remotes: Those that are simply there: they have a proxy, and no command.
        routing: Which models run beside which.
        listed: The list that `price_list` names, if it is in a file; read by `load_config`.
        files: What it was read from.
        tls: What clients are shown, by the command line; None: they speak without TLS.
        warnings: What can be used, but is surely not what was meant.
        notes: Keys that are used and that nothing acts on.
        peer_models: The names of the models of peers.
    """

    listen: Address = key(LISTEN, Address("127.0.0.1", 8080), "Where clients are answered.")
    ollama_listen: Address | None = key(
        LISTEN,
        None,
        "Where clients are answered as well: 127.0.0.1:11434 for those of Ollama that know no "
        "other address.",
        without="nowhere",
    )
    admin_listen: Address | UnixAddress | None = key(
        ADMIN_LISTEN,
        None,
        "Where what needs the scope admin is answered, and then nowhere else: another address, or "
        "unix:/path/of/a/socket, which arriero's user alone may use.",
        without="as listen",
    )
    control_listen: Address | None = key(
        CONTROL_LISTEN,
        None,
        "Where commands of other machines are answered, encrypted, for those who have a key; "
        "events at the port after it.",
        name="control.listen",
        without="nowhere: only on this machine, to its own user",
    )
    control_key: str | None = key(
        FILE,
        None,
        "The file of arriero's own key for that; `arriero keygen FILE` makes it.",
        name="control.key",
        without="none: nothing is answered there",
    )
    control_clients: tuple[str, ...] = key(
        CURVE_KEYS,
        (),
        "Public keys of those who may: they may do everything.",
        name="control.clients",
    )
    workers: int = key(_WORKERS, 0, "Worker processes; auto is one for each core.")
    health_check_timeout_s: float = key(
        adjusted(SECONDS, lambda found_s: max(found_s, _LEAST_HEALTH_CHECK_S)),
        120.0,
        "Longest time from the start of a model to its being ready; below 15 counts as 15.",
        is_folded=True,
    )
    unload_timeout_s: float = key(
        adjusted(SECONDS, lambda found_s: found_s or _UNLOAD_TIMEOUT_S),
        10.0,
        "Time that a model's process gets to end before it is killed; 0 means 10.",
        is_folded=True,
    )
    scrape_metrics: bool = key(
        BOOLEAN,
        False,
        "What model servers tell at /metrics (llama-server with --metrics) stands in /metrics "
        "here, with the label model. It keeps a llama-server with --sleep-idle-seconds awake.",
        is_folded=True,
    )
    hung_after_s: float = key(
        UP_TO_A_DAY,
        60.0,
        "A model that is asked, but for so long says nothing, uses no processor time and does not "
        "answer its check either, is killed and started again; 0: never.",
        is_folded=True,
    )
    drain_limit_s: float = key(
        UP_TO_A_DAY,
        600.0,
        "Requests of a model that has to stop are ended when none of them has got any further for "
        "so long; 0: never.",
        written="10m",
        is_folded=True,
    )
    on_failure: OnFailure = key(
        ON_FAILURE,
        "restore",
        "When a model cannot be started, those that were stopped for it are started again "
        "(restore), or not (none).",
        is_folded=True,
    )
    memory: MemoryKeys = inline(MEMORY)
    launcher: str = key(
        NAME,
        LOCAL,
        "What starts models: local, ray, or one of launchers.",
        is_folded=True,
    )
    launchers: Mapping[str, LauncherConfig] = key(
        LAUNCHERS,
        NOTHING,
        "Commands that start models on other machines, by names.",
        without="none",
    )
    ray: RayKeys = nested(RAY_KEYS, "The cluster of the launcher ray (docs/launchers.md).")
    adopt: bool = key(
        BOOLEAN,
        False,
        "A supervisor that is started again, whatever ended the last one, takes over its models "
        "and its running requests; otherwise all end with it.",
    )
    supervisor_grace_s: float = key(
        duration(1, 3600),
        30.0,
        "With adopt: how long they go on without a supervisor.",
        name="supervisorGrace",
    )
    ttl_s: float = key(SECONDS, 0.0, "Default of ttl.", name="globalTTL", is_folded=True)
    start_port: int = key(integer(1, 65535, "a port"), 5800, "First port for ${PORT}.")
    progress: ProgressMode | None = key(
        MODE,
        None,
        "How a waiting client is told of progress, unless its request says otherwise.",
        written="heartbeat",
        is_folded=True,
    )
    send_loading_state: bool | None = key(
        BOOLEAN,
        None,
        "llama-swap's way to say progress: reasoning (true) or off (false); progress is stronger.",
        without="as progress says",
        is_folded=True,
    )
    progress_delay_s: float | None = key(
        duration(0, 3600),
        None,
        "Silence before progress begins.",
        without="1s for reasoning, 10s for the others",
    )
    heartbeat_s: float = key(
        duration(1, 300, or_none=True),
        10.0,
        "Longest silence of a stream; 0: no heartbeat ever.",
        name="heartbeatInterval",
    )
    marker: str = key(
        MARKER, DEFAULT_MARKER, "What each line of progress begins with.", name="progressMarker"
    )
    old_markers: tuple[str, ...] = key(
        listed(MARKER, "markers"),
        (),
        "What lines began with before the marker was changed: they are taken out of requests, too.",
        name="progressMarkersOld",
    )
    details: bool = key(
        BOOLEAN,
        True,
        "Numbers for programs (swap_progress) in each chunk of progress.",
        name="progressDetails",
    )
    strict: Strictness = key(
        STRICT,
        "off",
        "true: nothing but comments is added to streams, unless a request asks for more; "
        "force: not even then.",
        is_folded=True,
    )
    nonstream_hold_s: float = key(
        duration(1, 3600),
        240.0,
        "Longest wait of a request that does not stream, for its model; after that 503.",
        written="4m",
    )
    nonstream_blanks: bool = key(
        choice({"off": False, "whitespace": True}, {"false": False, "no": False}),
        False,
        "whitespace: a request that does not stream gets 200 early, and a blank now and then, "
        "which JSON allows. Its errors have that status, too.",
        name="nonstreamKeepalive",
    )
    upstream_idle_s: float = key(
        duration(1, _DAY_S), 3600.0, "Longest silence of a server that answers.", written="1h"
    )
    upstream_stall_s: float = key(
        duration(1, _DAY_S),
        3600.0,
        "The same, its comments and heartbeats not counted.",
        written="1h",
    )
    end_silence_s: float = key(
        duration(1, _DAY_S),
        10.0,
        "Longest silence of a stream that has said why it ends (finish_reason); then it is ended.",
    )
    max_retry_wait_s: float = key(
        duration(0, 3600),
        20.0,
        "Longest Retry-After of a server that is waited for; 0 never waits.",
    )
    max_body_bytes: int = key(
        size(_MIB // 16, 1024 * _MIB),
        64 * _MIB,
        "Longest body of a request; forms with files, passed on as they come, may be longer.",
    )
    body_memory_bytes: int = key(
        size(_MIB, 1024 * 1024 * _MIB),
        512 * _MIB,
        "What the bodies of all requests of a worker may take together; over it 503.",
    )
    save_slots_limit_bytes: int = key(
        size(_MIB, 1024 * 1024 * _MIB),
        16 * 1024 * _MIB,
        "What the prompt caches that saveSlots keeps may take on disk, those of all models "
        "together; the oldest go first.",
    )
    keep_in_ram_bytes: int = key(
        size(0, 16384 * 1024 * _MIB),
        0,
        "What files of models that are likely to be wanted again may take in main memory, while "
        "nobody else needs it: they start from there. 0GiB: none are kept.",
        name="keepInRam",
    )
    trailers: bool = key(BOOLEAN, True, "Streams end with trailers: tokens, cost and outcome.")
    request_headers: HeaderRules = nested(
        rules("a request"), "On the way to a server.", name="headers.request", is_secret=True
    )
    response_headers: HeaderRules = nested(
        rules("an answer"), "On the way to a client.", name="headers.response", is_secret=True
    )
    rules: tuple[RuleConfig, ...] = key(
        RULES,
        (),
        "What is changed in the bodies of requests, in this order, after the filters of their "
        "models.",
    )
    logging: Logging = inline(_LOGGING)
    activity: ActivityConfig = inline(_ACTIVITY)
    traces: bool = key(
        BOOLEAN,
        False,
        "Spans of each request go to a collector of OpenTelemetry; needs arriero[otel]. What the "
        "environment says in OTEL_EXPORTER_OTLP_* holds.",
        name="telemetry.traces",
    )
    traces_endpoint: str | None = key(
        PEER_URL,
        None,
        "Where that is, by OTLP over HTTP; stronger than OTEL_EXPORTER_OTLP_ENDPOINT.",
        name="telemetry.endpoint",
        without="as the environment says, else http://localhost:4318",
    )
    aliases_in_list: bool = key(
        BOOLEAN, False, "Aliases are listed, too.", name="includeAliasesInList"
    )
    api_keys: tuple[str, ...] = key(
        API_KEYS,
        (),
        "Keys that are good for everything. If there are any, or any clientKeys, a client has to "
        "show one.",
        is_secret=True,
    )
    client_keys: Mapping[str, KeyConfig] = key(
        CLIENT_KEYS,
        NOTHING,
        "Others, by their names, with rights and limits; `arriero key new laptop` makes them.",
        without="none",
    )
    allowed_hosts: tuple[str, ...] = key(
        HOSTS,
        (),
        "Names by which clients may reach arriero, besides localhost and those it listens on: a "
        "web page could have any other. .example.org: all under it, too; '*': any.",
    )
    cors: bool | tuple[str, ...] = key(
        CORS,
        (),
        "Origins whose pages may ask, from a browser, besides those of this machine (localhost, "
        "app://, file://, tauri://, vscode-webview://). true: pages of all sites; false: none.",
    )
    public_without_keys: bool = key(
        BOOLEAN,
        False,
        "Whoever reaches this machine may use it without a key, and that is meant: no warning.",
    )
    macros: tuple[Macro, ...] = key(
        MACROS,
        (),
        "Values for ${name}. One may use those before it; ${env.NAME} is of the environment.",
        without="none",
        is_folded=True,
    )
    preload: tuple[str, ...] = key(
        listed(text("a model"), "models"),
        (),
        "Models, or their aliases, that are loaded at the start.",
        name="hooks.on_startup.preload",
    )
    default_models: tuple[str, ...] = key(
        listed(text("a model"), "models"),
        (),
        "Models, or their aliases, that come back when nobody has asked for anything for idleFor.",
        name="default.models",
    )
    default_after_s: float = key(
        duration(1, _DAY_S),
        600.0,
        "How long it has to be quiet before they do.",
        name="default.idleFor",
        written="10m",
    )
    ignore_paths: tuple[str, ...] = key(
        adjusted(
            listed(PATTERN, "regular expressions"), lambda patterns: patterns or IGNORED_PATHS
        ),
        IGNORED_PATHS,
        "Requests under /upstream for such paths never start a model; [] is as if left out.",
        name="upstream.ignorePaths",
    )
    written_models: Mapping[str, ModelConfig] = key(
        named(MODEL.type, "a mapping of names to models", names="^.{1,200}$"),
        NOTHING,
        "The models, by the names that requests give.",
        name="models",
        without="none",
    )
    profiles: Mapping[str, Profile] = key(
        PROFILES, NOTHING, "What names mean, one profile at a time.", without="none"
    )
    selectors: Mapping[str, Selector] = key(
        SELECTORS,
        NOTHING,
        "Names that stand for one of several models.",
        without="none",
    )
    peers: Mapping[str, PeerConfig] = key(
        PEERS, NOTHING, "Other servers, to which requests are passed on.", without="none"
    )
    prices: PricesByGlob = key(
        PRICES_BY_GLOB,
        (),
        "What models cost, in US dollars for a million tokens: by patterns of their ids, of their "
        "aliases, or of <peer>/<model>; the first one that fits counts.",
        without="none",
    )
    price_list: PriceSource | None = key(
        PRICE_LIST, None, "A list for models whose prices are not written here.", without="none"
    )
    written_routing: RoutingKeys = inline(ROUTING)

    models: Mapping[str, ModelConfig] = field(default_factory=dict, compare=False)
    remotes: Mapping[str, ModelConfig] = field(default_factory=dict, compare=False)
    routing: Routing = field(default_factory=Routing)
    listed: PriceList | None = field(default=None, repr=False)
    files: tuple[str, ...] = field(default=(), compare=False)
    tls: TlsFiles | None = field(default=None, compare=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    notes: tuple[Problem, ...] = field(default=(), compare=False)
    _names: Mapping[str, ModelConfig] = field(init=False, repr=False, compare=False)
    _remote: Mapping[str, ModelConfig] = field(init=False, repr=False, compare=False)
    peer_models: PeerModels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        aliases = {alias: model for model in self.models.values() for alias in model.aliases}
        names = MappingProxyType(aliases | dict(self.models))  # an id is stronger than an alias
        remote = {alias: model for model in self.remotes.values() for alias in model.aliases}
        remote.update(self.remotes)
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "_remote", MappingProxyType(remote))
        object.__setattr__(self, "peer_models", self.peer_models_with({}))

    def peer_models_with(self, told: Mapping[str, Iterable[str]]) -> PeerModels:
        """Return the names of models of peers.

        Args:
            told: What watched peers say that they have, by peer.
        """
        targets = (name for it in self.selectors.values() for name in it.targets)
        pinned = (name for it in self.profiles.values() for name in it.pins.values() if name)
        local = self._remote.keys() | self._names.keys()
        return PeerModels(self.peers.values(), local, told, chain(targets, pinned), self.models)

    @property
    def asks_for_keys(self) -> bool:
        """Whether a client has to show a key."""
        return bool(self.api_keys or self.client_keys)

    def resolve(self, name: str) -> ModelConfig | None:
        """Return the model of that id or alias, if it is started here."""
        return self._names.get(name)

    def resolve_remote(self, name: str) -> ModelConfig | None:
        """Return the model of that id or alias, if it is simply there."""
        return self._remote.get(name)

    def resolve_peer(self, name: str) -> tuple[PeerConfig, str] | None:
        """Return the peer that serves `name`, and its own name for that; models here come first."""
        return self.peer_models.resolve(name)

    def suggest(self, name: str) -> tuple[str, ...]:
        """Return names that look like `name`, the best first."""
        return tuple(difflib.get_close_matches(name[:200], self._names, 3))


CONFIG: Final = section(
    Config,
    within={
        "control": "Commands of other machines.",
        "headers": "Header fields that are changed on their way.",
        "hooks": "What is done when something happens.",
        "hooks.on_startup": "At the start.",
        "default": "Models that come back when it is quiet.",
        "upstream": "Requests under /upstream.",
        "telemetry": "What is told to others.",
    },
)
