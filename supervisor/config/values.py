"""What a configuration says, as immutable values that cannot be wrong."""

import difflib
import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from arriero.protocol.records import Prices, UpstreamKind
from arriero.protocol.worker_config import (
    HeaderRules,
    ProgressMode,
    Strictness,
    UsageSetting,
)

from ..errors import Problem
from ..llamacpp.api_key import API_KEY, WantedKey, wanted_key
from ..placement.matrix import Matrix
from ..placement.policy import Group
from ..pricing.by_pattern import PricesByGlob, PriceSource
from ..pricing.price_list import PriceList
from ..text.addresses import Address, unix_path
from .schema.types import Data

PORT: Final = "${PORT}"
PID: Final = "${PID}"
_OVER_SOCKET: Final = "http://localhost"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


OnFailure: TypeAlias = Literal["restore", "none"]
LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]

_V = TypeVar("_V")


def frozen(mapping: Mapping[str, _V] | None = None) -> Mapping[str, _V]:
    """Return `mapping`, or an empty one, as something that nobody can change."""
    return MappingProxyType(dict(mapping or {}))


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of one model, with its port chosen.

    Attributes:
        command: Program and arguments.
        env: Added to the environment.
        endpoint: Base URL at which it will answer, or ``unix:`` and the path of a socket.
        health_url: What to ask until it is ready; None: it is ready when it accepts connections.
        port: The TCP port of `endpoint`, if that is on this machine.
        stop_command: Program and arguments that end it; may hold ``${PID}``. Empty: SIGTERM.
        wanted: The key that it wants to be shown.
        socket: The path of `endpoint`, if that is a unix socket.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)  # may hold keys
    endpoint: str
    health_url: str | None
    port: int | None
    stop_command: tuple[str, ...] = field(default=(), repr=False)  # may hold keys, too
    wanted: WantedKey = field(default=WantedKey(), repr=False)
    socket: str | None = None

    @property
    def base_url(self) -> str:
        """`endpoint` as HTTP knows it: what is asked over a unix socket needs a host as well."""
        return self.endpoint if self.socket is None else _OVER_SOCKET

    def stop_argv(self, pid: int) -> tuple[str, ...]:
        """Return `stop_command` for the process `pid`."""
        return tuple(word.replace(PID, str(pid)) for word in self.stop_command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is changed in the body of a request. Keys are paths: ``a.b`` is b within a.

    Attributes:
        strip_params: Keys that are removed, sorted.
        set_params: Keys that are set.
        set_params_by_id: The same, for requests that used this name.
    """

    strip_params: tuple[str, ...] = ()
    set_params: Mapping[str, Data] = field(default_factory=frozen)
    set_params_by_id: Mapping[str, Mapping[str, Data]] = field(default_factory=frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a connection to a server may take, in seconds; 0 is no limit."""

    connect_s: int = 30
    keepalive_s: int = 30
    response_header_s: int = 0
    tls_handshake_s: int = 10
    expect_continue_s: int = 1
    idle_connection_s: int = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a model can do, for listings.

    Attributes:
        takes, gives: Of text, audio and image.
        tools: It calls tools.
        reranker: It ranks documents.
        context: Longest context, in tokens; 0 means not known.
    """

    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    tools: bool = False
    reranker: bool = False
    context: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model. ``${PORT}`` and ``${API_KEY}`` in texts are filled in by each start: see `launch`.

    Attributes:
        model: Its id.
        command: Program and arguments.
        proxy: Base URL, or ``unix:`` and a path.
        aliases: Other names.
        name: What people call it; may be empty.
        description: For listings; may be empty.
        unlisted: It is left out of listings.
        env: Added to the environment.
        check_endpoint: Path that answers 2xx when it is ready; None: nothing is asked.
        ttl_s: Unloaded after so many idle seconds; 0 never.
        use_model_name: Put into the request's `model` field; None leaves it.
        health_check_timeout_s: Longest time from spawn to ready.
        unload_timeout_s: Time between SIGTERM and SIGKILL.
        progress: How waiting clients are told, unless a request says otherwise.
        strict: See the wire format.
        fingerprint: Hash of what determines how it loads.
        stop_command: Run to stop it; ``${PID}`` in it is its process id. Empty: SIGTERM.
        port: The first port that is tried for ``${PORT}``; None: it does not use that.
        concurrency_limit: Most requests at a time; 0 means not set.
        ignore_websockets: Web sockets never start it and do not count.
        metadata: For listings.
        capabilities: For listings.
        filters: What is changed in requests.
        timeouts: Of connections to it.
        kind: What its server is; None: it is asked.
        usage: Whether streams are asked for their usage.
        prices: What it costs; None: as is said elsewhere.
        hung_after_s: How long it may show no sign of life while it is asked; 0: for ever.
        drain_limit_s: How long its last requests may get no further; 0: for ever.
        on_failure: What becomes of those that were stopped for it if it cannot be started.
        api_key: Sent to it; empty: the one that its command or environment tells, if one does.
    """

    model: str
    command: tuple[str, ...] = field(repr=False)  # may hold keys, as `env` may
    proxy: str
    aliases: tuple[str, ...]
    name: str
    description: str
    unlisted: bool
    env: tuple[tuple[str, str], ...] = field(repr=False)
    check_endpoint: str | None
    ttl_s: float
    use_model_name: str | None
    health_check_timeout_s: float
    unload_timeout_s: float
    progress: ProgressMode
    strict: Strictness
    fingerprint: str
    stop_command: tuple[str, ...] = field(default=(), repr=False)
    port: int | None = field(default=None, compare=False)  # others coming and going move it
    concurrency_limit: int = 0
    ignore_websockets: bool = False
    metadata: Mapping[str, Data] = field(default_factory=frozen)
    capabilities: Capabilities = Capabilities()
    filters: Filters = Filters()
    timeouts: Timeouts = Timeouts()
    kind: UpstreamKind | None = None
    usage: UsageSetting = "auto"
    prices: Prices | None = None
    hung_after_s: float = 60.0
    drain_limit_s: float = 600.0
    on_failure: OnFailure = "restore"
    api_key: str = field(default="", repr=False)

    @property
    def wants_port(self) -> bool:
        """Whether a free port has to be chosen for a start."""
        return any(PORT in word for word in (*self.command, *(value for _, value in self.env)))

    def launch(
        self, port: int | None, key: str = API_KEY, inherited: Mapping[str, str] | None = None
    ) -> Launch:
        """Return a start of it.

        Args:
            port: For ``${PORT}``; None is for models whose `wants_port` is false.
            key: For ``${API_KEY}``.
            inherited: The environment that it gets besides its own.
        """

        def fill(text: str) -> str:
            return text.replace(PORT, str(port)).replace(API_KEY, key)

        endpoint = fill(self.proxy)
        socket = unix_path(endpoint)
        if socket is not None:
            socket = os.path.abspath(socket)
            endpoint = f"unix:{socket}"
        parts = urlsplit(endpoint)
        check = self.check_endpoint
        base_url = endpoint if socket is None else _OVER_SOCKET
        command = tuple(fill(word) for word in self.command)
        env = tuple((name, fill(value)) for name, value in self.env)
        return Launch(
            command=command,
            env=env,
            endpoint=endpoint,
            health_url=None if check is None else base_url + fill(check),
            port=parts.port if socket is None and parts.hostname in _LOOPBACK else None,
            stop_command=tuple(fill(word) for word in self.stop_command),
            wanted=self._wanted(key, command, dict(env), inherited or {}),
            socket=socket,
        )

    def _wanted(
        self,
        key: str,
        command: tuple[str, ...],
        env: Mapping[str, str],
        inherited: Mapping[str, str],
    ) -> WantedKey:
        """Return the key that it wants to be shown; `key` is that of this start."""
        if self.api_key:
            return WantedKey(self.api_key.replace(API_KEY, key))
        is_vllm = None if self.kind is None else self.kind == "vllm"
        wanted = wanted_key(command, env, inherited, is_vllm=is_vllm)
        words = (*self.command, *(value for _, value in self.env))
        if wanted == WantedKey() and any(API_KEY in word for word in words):
            return WantedKey(key)
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another server, to which requests for its models are passed on.

    Attributes:
        peer: Its id; ``<peer>/<model>`` always names one of its models.
        proxy: Base URL.
        models: What it serves.
        api_key: Sent in the place of the client's; empty: none.
        filters, timeouts: As for models.
        kind: What it speaks.
        usage: Whether streams are asked for their usage.
        prices: Of its models, by patterns of their names there.
        forward_auth: Without an `api_key`, the client's own is sent.
        region: Of Bedrock; empty: as in the name of its host.
    """

    peer: str
    proxy: str
    models: tuple[str, ...]
    api_key: str = field(repr=False)
    filters: Filters
    timeouts: Timeouts
    kind: UpstreamKind = "openai"
    usage: UsageSetting = "auto"
    prices: PricesByGlob = ()
    forward_auth: bool = False
    region: str = ""


class PeerModels:
    """The names by which models of peers are found.

    ``<peer>/<model>`` always is; the bare name only if no other peer has it, and no model here.

    Attributes:
        table: The peer and its own name for the model, by each of the names.
    """

    def __init__(self, peers: Iterable[Peer], local: Container[str]) -> None:
        qualified = {
            f"{peer.peer}/{model}": (peer, model) for peer in peers for model in peer.models
        }
        bare: dict[str, list[str]] = {}
        for full, (_, model) in qualified.items():
            bare.setdefault(model, []).append(full)
        found = {
            model: qualified[full[0]]
            for model, full in bare.items()
            if len(full) == 1 and model not in local
        }
        self._qualified = qualified
        self._bare = bare
        self.table = frozen(found | qualified)  # a qualified name is stronger

    def resolve(self, name: str) -> tuple[Peer, str] | None:
        """Return the peer, and its own name for the model."""
        return self.table.get(name)

    def having(self, model: str) -> tuple[str, ...]:
        """Return ``<peer>/<model>`` for each peer that has `model`."""
        return tuple(self._bare.get(model, ()))

    def is_qualified(self, name: str) -> bool:
        """Whether `name` is ``<peer>/<model>``."""
        return name in self._qualified

    def qualified(self, name: str) -> str | None:
        """Return ``<peer>/<model>`` for `name`."""
        found = self.table.get(name)
        return None if found is None else f"{found[0].peer}/{found[1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What names mean while this profile is chosen; None: nothing answers to the name."""

    profile: str
    description: str
    pins: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """A name that stands for one of several models.

    Attributes:
        selector: The name.
        strategy: How one is chosen.
        targets: Of which.
        spillover: Requests of one target before the next one is started.
        name, description, unlisted, metadata: For listings.
    """

    selector: str
    strategy: Literal["pin", "warm", "spillover"]
    targets: tuple[str, ...]
    spillover: int = 1
    name: str = ""
    description: str = ""
    unlisted: bool = False
    metadata: Mapping[str, Data] = field(default_factory=frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which models run beside which, and who comes first.

    Attributes:
        router: What decides: groups or the matrix.
        groups: As written; models in none of them are in the group of all others.
        matrix: Compiled; None without one.
        priority: Id of a model -> priority; the higher one gets its turn first.
    """

    router: Literal["group", "matrix"] = "group"
    groups: tuple[Group, ...] = ()
    matrix: Matrix | None = None
    priority: Mapping[str, int] = field(default_factory=frozen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logging:
    """What arriero writes of itself.

    Attributes:
        level: Least important lines; None: not said.
        time_format: Name of the time stamp's form; empty: none.
        to_stdout: Whose lines.
        requests: Accepted for llama-swap's sake.
    """

    level: LogLevel | None = None
    time_format: str = ""
    to_stdout: Literal["proxy", "upstream", "both", "none"] = "proxy"
    requests: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What is kept of requests, and sampled of the machine.

    Attributes:
        metrics_rows: Rows kept in memory.
        capture_mb: Size of the cache of requests and answers; 0: nothing is captured.
        store_path: SQLite file; None: memory.
        session_headers: Headers that name a session, in order.
        sampling: Whether the machine is sampled, every `sampling_s`.
    """

    metrics_rows: int = 1000
    capture_mb: int = 5
    store_path: str | None = None
    session_headers: tuple[str, ...] = ()
    sampling: bool = True
    sampling_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration.

    Attributes:
        models: By id, in the order of the file.
        listen: Where clients are answered.
        workers: Number of worker processes.
        start_port: First port for ``${PORT}``.
        progress_delay_s: Silence before progress; None: the mode's own.
        heartbeat_s: Longest silence of a stream; 0 for no heartbeat ever.
        marker: What each line of progress begins with.
        details: Whether numbers for programs are added.
        old_markers: What lines began with before.
        nonstream_hold_s: Longest wait of a request that does not stream.
        nonstream_blanks: Such a request gets blanks meanwhile.
        upstream_idle_s: Longest silence of a server that answers.
        upstream_stall_s: The same, comments and heartbeats not counted.
        max_retry_wait_s: Longest ``Retry-After`` that is waited for.
        max_body_bytes: Longest body of a request that is read as a whole.
        body_memory_bytes: What all of them may take together, in each worker.
        trailers: Streams end with trailers.
        cors: Origins whose pages may ask; True: all; False: none.
        allowed_hosts: Names of this server, besides those that it listens on.
        public_without_keys: It may be reached from anywhere without a key.
        request_headers, response_headers: Fields that are changed on their way up and down.
        prices: What models cost, by patterns of their names.
        price_list: Where a list of further prices comes from.
        listed: That list, if it is in a file; read by `load_config`.
        routing: Which models run beside which.
        peers, profiles, selectors: By id, in the order of the file.
        preload: Models that are loaded at the start.
        api_keys: If there are any, a client has to show one.
        aliases_in_list: Aliases are listed, too.
        ignore_paths: Regular expressions: requests under ``/upstream`` that never start a model.
        logging, activity: What is written, and what is kept.
        files: What it was read from.
        peer_models: The names of the models of peers.
        warnings: What can be used, but is surely not what was meant.
        notes: Keys that are used and that nothing acts on.
    """

    models: Mapping[str, ModelConfig]
    listen: Address
    workers: int
    start_port: int
    progress_delay_s: float | None
    heartbeat_s: float
    marker: str
    details: bool
    old_markers: tuple[str, ...] = ()
    nonstream_hold_s: float = 240.0
    nonstream_blanks: bool = False
    upstream_idle_s: float = 3600.0
    upstream_stall_s: float = 3600.0
    max_retry_wait_s: float = 20.0
    max_body_bytes: int = 64 * 1024**2
    body_memory_bytes: int = 512 * 1024**2
    trailers: bool = True
    cors: bool | tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    public_without_keys: bool = False
    request_headers: HeaderRules = field(default=HeaderRules(), repr=False)  # may hold keys
    response_headers: HeaderRules = field(default=HeaderRules(), repr=False)
    prices: PricesByGlob = ()
    price_list: PriceSource | None = None
    listed: PriceList | None = field(default=None, repr=False)
    routing: Routing = Routing()
    peers: Mapping[str, Peer] = field(default_factory=frozen)
    profiles: Mapping[str, Profile] = field(default_factory=frozen)
    selectors: Mapping[str, Selector] = field(default_factory=frozen)
    preload: tuple[str, ...] = ()
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    aliases_in_list: bool = False
    ignore_paths: tuple[str, ...] = ()
    logging: Logging = Logging()
    activity: Activity = Activity()
    files: tuple[str, ...] = field(default=(), compare=False)
    warnings: tuple[Problem, ...] = field(default=(), compare=False)
    notes: tuple[Problem, ...] = field(default=(), compare=False)
    _names: Mapping[str, ModelConfig] = field(init=False, repr=False, compare=False)
    peer_models: PeerModels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        aliases = {alias: model for model in self.models.values() for alias in model.aliases}
        names = MappingProxyType(aliases | dict(self.models))  # an id is stronger than an alias
        object.__setattr__(self, "_names", names)
        object.__setattr__(self, "peer_models", PeerModels(self.peers.values(), names))

    def resolve(self, name: str) -> ModelConfig | None:
        """Return the model of that id or alias."""
        return self._names.get(name)

    def resolve_peer(self, name: str) -> tuple[Peer, str] | None:
        """Return the peer that serves `name`, and its own name for that; models here come first."""
        return self.peer_models.resolve(name)

    def suggest(self, name: str) -> tuple[str, ...]:
        """Return names that look like `name`, the best first."""
        return tuple(difflib.get_close_matches(name[:200], self._names, 3))
