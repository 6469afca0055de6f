"""One model of the configuration: its keys, and how its server is started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from arriero.digests import sha256
from arriero.protocol.records import Prices, UpstreamKind
from arriero.protocol.worker_config import ProgressMode, Strictness, Timeouts, UsageSetting

from ..llamacpp.api_key import API_KEY, WantedKey, wanted_key
from ..llamacpp.command import server_options
from ..text.addresses import unix_path
from .schema.immutable import immutable
from .schema.launcher_types import (
    HOST,
    LOCAL,
    RAY,
    RAY_NEEDS,
    RAY_PLACE,
    START_ID,
    LauncherConfig,
    RayNeeds,
)
from .schema.macros import Macro
from .schema.memory_types import AMOUNTS, ON_BLOCKED, PIN, BlockedRule, PinSetting
from .schema.model_types import (
    CHECK_ENDPOINT,
    COMMAND,
    ENVIRONMENT,
    MACROS,
    MODE,
    NAME,
    ON_FAILURE,
    SET_PARAMS,
    SET_PARAMS_BY_ID,
    STOP_COMMAND,
    STRICT,
    STRIP_PARAMS,
    UPSTREAM,
    URL,
    USAGE,
    OnFailure,
)
from .schema.price_types import PRICES
from .schema.reader import Key, ValueType
from .schema.sections import key, nested, section
from .schema.types import (
    BOOLEAN,
    KEY_STAYS,
    NOTHING,
    OBJECT,
    SECONDS,
    Data,
    adjusted,
    converted,
    duration,
    integer,
    key_for_server,
    listed,
    seconds,
    text,
    unless_empty,
    words,
)

T = TypeVar("T")

PORT: Final = "${PORT}"
PID: Final = "${PID}"
_OVER_SOCKET: Final = "http://localhost"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_SERVER_KEY: Final = "LLAMA_API_KEY"
_USUAL_PROXY: Final = "http://127.0.0.1:${PORT}"

_GLOBAL: Final = "the global value"
_AS_GLOBAL: Final = "As the global key, for this model"
_NAME_OR_NONE: Final[ValueType[str | None]] = converted(
    text("a name"), lambda name: name or None, lambda name: name or ""
)
UP_TO_A_DAY: Final = duration(1, 24 * 3600, or_none=True)


def mode_of(loading_state: bool | None) -> ProgressMode:
    """Return what llama-swap's way to say `progress` means; None: it is not said."""
    if loading_state is None:
        return "heartbeat"
    return "reasoning" if loading_state else "off"


def _inherited(type_: ValueType[T], default: T, more: str = ".", unset: object = None) -> T:
    """Declare a key whose global value holds where it is left out, or says `unset`."""
    return key(type_, default, f"{_AS_GLOBAL}{more}", without=_GLOBAL, inherits=True, unset=unset)


@dataclass(frozen=True, slots=True)
class LaunchConfig:
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
        host: Where it runs, by that machine's own word; empty: not known, or here.
        template: What starts `command` on another machine, with that still left out.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)  # may hold keys
    endpoint: str
    health_url: str | None
    port: int | None
    stop_command: tuple[str, ...] = field(default=(), repr=False)  # may hold keys, too
    wanted: WantedKey = field(default=WantedKey(), repr=False)
    socket: str | None = None
    host: str = ""
    template: tuple[str, ...] = field(default=(), repr=False)  # may hold keys, too

    @property
    def base_url(self) -> str:
        """`endpoint` as HTTP knows it: what is asked over a unix socket needs a host as well."""
        return self.endpoint if self.socket is None else _OVER_SOCKET

    def stop_argv(self, pid: int) -> tuple[str, ...]:
        """Return `stop_command` for the process `pid`."""
        return tuple(word.replace(PID, str(pid)) for word in self.stop_command)

    @property
    def wants_host(self) -> bool:
        """Whether where it will answer is known only when its machine is."""
        return HOST in self.endpoint

    def on(self, host: str) -> "LaunchConfig":
        """Return the same start, on the machine `host`."""
        endpoint = self.endpoint.replace(HOST, host)
        return replace(
            self,
            host=host,
            endpoint=endpoint,
            health_url=self.health_url and self.health_url.replace(HOST, host),
            port=_port_here(endpoint),
            stop_command=tuple(word.replace(HOST, host) for word in self.stop_command),
        )


def _port_here(endpoint: str) -> int | None:
    """Return the port of a base URL, if that is of this machine."""
    parts = urlsplit(endpoint)
    return parts.port if parts.hostname in _LOOPBACK else None


@immutable
class Filters:
    """What is changed in the body of a request. Names are paths: ``a.b`` is b within a."""

    strip_params: tuple[str, ...] = key(
        STRIP_PARAMS,
        (),
        "Keys that are removed from the body of requests; a.b is b within a. model never is.",
        other="strip_params",
    )
    set_params: Mapping[str, Data] = key(
        SET_PARAMS,
        NOTHING,
        "Keys that are set in the body of requests; a.b is b within a. model never is.",
    )
    set_params_by_id: Mapping[str, Mapping[str, Data]] = key(
        SET_PARAMS_BY_ID,
        NOTHING,
        "setParams for requests that use this name, which becomes an alias; it may hold macros.",
        name="setParamsByID",
    )


FILTERS: Final = section(Filters)


TIMEOUTS: Final = section(
    Timeouts,
    connect_s=Key(SECONDS, 30.0, "Longest time to connect."),
    keepalive_s=Key(
        SECONDS,
        30.0,
        "Silence after which TCP asks whether the server is still there, if that is on another "
        "machine.",
    ),
    response_header_s=Key(SECONDS, 0.0, "Longest time from the request to the head of the answer."),
    tls_handshake_s=Key(SECONDS, 10.0, "Longest time to agree on TLS."),
    expect_continue_s=Key(
        SECONDS,
        1.0,
        "Longest time to wait for 100 Continue before a form is sent, if its client waits for "
        "that; 0 does not wait.",
    ),
    idle_connection_s=Key(
        SECONDS,
        None,
        "How long a connection that nobody uses is kept.",
        name="idleConn",
        without="1 second, or 30 with TLS",
    ),
)

Media: TypeAlias = Literal["text", "audio", "image"]
_MEDIA: Final[ValueType[tuple[Media, ...]]] = listed(
    words("text", "audio", "image"), "text, audio or image"
)


@immutable
class Capabilities:
    """What a model can do, for listings."""

    takes: tuple[Media, ...] = key(_MEDIA, (), "What it takes.", name="in")
    gives: tuple[Media, ...] = key(_MEDIA, (), "What it gives.", name="out")
    tools: bool = key(BOOLEAN, False, "It calls tools.")
    reranker: bool = key(BOOLEAN, False, "It ranks documents.")
    context: int = key(integer(0, 2**40), 0, "Longest context, in tokens.")


CAPABILITIES: Final = section(Capabilities)


@immutable
class ModelConfig:
    """One model. ``${PORT}`` and ``${API_KEY}`` in texts are filled in by each start: see `launch`.

    Attributes:
        model: Its id.
        port: The first port that is tried for ``${PORT}``; None: it does not use that.
        templates: What starts it elsewhere; None: it is started here.
    """

    model: str
    port: int | None = field(default=None, compare=False)  # others coming and going move it
    templates: LauncherConfig | None = field(default=None, repr=False)  # may hold keys

    command: tuple[str, ...] = key(
        COMMAND,
        (),
        "How to start its server; ${PORT} is a free port, ${API_KEY} a key that is made for each "
        "start. There is no shell.",
        name="cmd",
        without="with a proxy, nothing is started: it is simply there",
        is_secret=True,  # it may hold keys, as `env` may
    )
    stop_command: tuple[str, ...] = key(
        STOP_COMMAND,
        (),
        "Run to stop its server, in the place of SIGTERM; ${PID} is its process id.",
        name="cmdStop",
        without="it gets SIGTERM",
        is_secret=True,
    )
    proxy: str = key(
        URL,
        _USUAL_PROXY,
        "Where its server answers. Left out, it is the socket of a llama-server whose --host ends "
        "in .sock, too; write unix:/path for others.",
    )
    aliases: tuple[str, ...] = key(
        listed(NAME, "names"), (), "Other names by which requests may ask for it."
    )
    env: tuple[tuple[str, str], ...] = key(
        ENVIRONMENT, (), "Added to the environment of its server.", is_secret=True
    )
    api_key: str = key(
        unless_empty(key_for_server(KEY_STAYS)),
        "",
        "Sent to its server as Authorization: Bearer, in the place of the client's.",
        without="the one that stands in cmd or env (--api-key, LLAMA_API_KEY, VLLM_API_KEY, or "
        "${API_KEY}); without apiKeys and any of these the client's own",
        is_secret=True,
    )
    check_endpoint: str | None = key(
        CHECK_ENDPOINT,
        "/health",
        "Asked until it answers 2xx: then the model is ready. none: when it accepts connections.",
    )
    ttl_s: float = key(
        seconds(-1),
        -1.0,
        "It is unloaded after so long without a request; 0 never, -1 as globalTTL says.",
        inherits=True,
        unset=-1.0,
    )
    memory: Mapping[str, int] = key(
        AMOUNTS,
        NOTHING,
        "What it needs of each device, such as {gpu0: 18GiB, ram: 2GiB}.",
        without="what it was seen to use, else an estimate from its files and options",
    )
    pin: PinSetting = key(
        PIN,
        "",
        "Where memory decides: it does not go for other models, and has no ttl. always: it is "
        "loaded at the start, and again when it has ended; manual: once it is loaded.",
        without="it goes when others need the place",
    )
    on_blocked: BlockedRule = key(
        ON_BLOCKED,
        BlockedRule(),
        "While it cannot have room, whoever else went (pinned models, devices that are held, other "
        "programs), its requests wait, are refused, or use another model.",
    )
    send_as: str | None = key(
        _NAME_OR_NONE,
        None,
        "The name by which its server knows it; put into requests as model.",
        name="useModelName",
        without="the name stays as the client wrote it",
    )
    name: str = key(text(strip=True), "", "What people call it; shown in listings.")
    description: str = key(text(strip=True), "", "A few words on it; shown in listings.")
    unlisted: bool = key(BOOLEAN, False, "Left out of listings; it still answers.")
    health_check_timeout_s: float = _inherited(
        SECONDS,
        120.0,
        "; 0 means the global value. llama-swap does not look at this one.",
        unset=0.0,
    )
    unload_timeout_s: float = _inherited(SECONDS, 10.0, "; 0 means the global value.", unset=0.0)
    scrape_metrics: bool = _inherited(BOOLEAN, False)
    hung_after_s: float = _inherited(UP_TO_A_DAY, 60.0)
    drain_limit_s: float = _inherited(UP_TO_A_DAY, 600.0)
    on_failure: OnFailure = _inherited(ON_FAILURE, "restore")
    launcher: str = _inherited(NAME, LOCAL)
    ray: RayNeeds = nested(RAY_NEEDS, "What it needs of a machine, with the launcher ray.")
    sleep: bool = key(
        BOOLEAN,
        False,
        "Its server is put to sleep in the place of being stopped for another model, and woken by "
        "the next request (vLLM with --enable-sleep-mode); or it falls asleep by itself "
        "(llama-server with --sleep-idle-seconds), and makes room then. Where memory decides, it "
        "sleeps if the other one has room beside what it keeps.",
    )
    sleep_memory: Mapping[str, int] = key(
        AMOUNTS,
        NOTHING,
        "What it keeps of each device while it sleeps, such as {gpu0: 1GiB, ram: 18GiB}.",
        without="what it was seen to keep; of a container that is not seen, so it is stopped",
    )
    save_slots: bool = key(
        BOOLEAN,
        False,
        "Prompt caches of a llama-server with --slot-save-path are saved before it stops, and "
        "restored after the next start.",
    )
    progress: ProgressMode = _inherited(MODE, "heartbeat")
    send_loading_state: bool | None = key(
        BOOLEAN, None, f"{_AS_GLOBAL}.", without=_GLOBAL, is_folded=True
    )
    strict: Strictness = _inherited(STRICT, "off")
    macros: tuple[Macro, ...] = key(
        MACROS,
        (),
        f"{_AS_GLOBAL}. They take the place of global ones of that name.",
        without="none",
        is_folded=True,
    )
    concurrency_limit: int = key(
        adjusted(integer(-(2**31), 2**31), lambda found: max(0, found)),
        0,
        "Most requests that it gets at a time; a further one gets 429, unless it came while the "
        "model was not loaded: then it waits. 0 or less: any number (llama-swap takes 10 then).",
    )
    metadata: Mapping[str, Data] = key(OBJECT, NOTHING, "Shown in listings as it is.")
    kind: UpstreamKind | None = key(
        UPSTREAM, None, "What its server is.", without="it is asked, once it runs"
    )
    usage: UsageSetting = key(
        USAGE,
        "auto",
        "Whether streams are asked for their usage: if the server is known to take that (auto), "
        "always (inject), never (observe).",
    )
    prices: Prices | None = key(
        PRICES,
        None,
        "What it costs, in US dollars for a million tokens; this goes before the global prices.",
        without="as the global prices say, or the list",
    )
    filters: Filters = nested(FILTERS, "What is changed in the body of requests.")
    timeouts: Timeouts = nested(TIMEOUTS, "Of connections to its server, in seconds; 0 is none.")
    ignore_websockets: bool = key(
        BOOLEAN,
        False,
        "Its web sockets never start it, do not wait in line, and do not count as requests.",
        name="compat.ignoreWebsockets",
    )
    capabilities: Capabilities = nested(CAPABILITIES, "What it can do, for listings.")

    @property
    def is_remote(self) -> bool:
        """Whether it is simply there, and nothing is started for it."""
        return not self.command

    @property
    def fingerprint(self) -> str:
        """Hash of what determines how it loads."""
        what: tuple[object, ...] = (self.command, self.proxy, self.env)
        if self.is_elsewhere:
            found = self.templates
            what += (self.launcher, found and (found.start, found.endpoint))
        return sha256(repr(what).encode()).hexdigest()

    @property
    def is_elsewhere(self) -> bool:
        """Whether a launcher starts it, so that it takes nothing of this machine."""
        return self.launcher != LOCAL and not self.is_remote

    @property
    def is_on_ray(self) -> bool:
        """Whether it is started on a node of a Ray cluster."""
        return self.launcher == RAY and not self.is_remote

    @property
    def ends_elsewhere(self) -> bool:
        """Whether what serves may be no process of this machine, or none that we have started."""
        return bool(self.stop_command) or self.is_elsewhere

    @property
    def place(self) -> str:
        """Where it answers: by its own proxy; else, if it has none of its own, its launcher's."""
        theirs = self.templates.endpoint if self.templates is not None else ""
        if self.is_on_ray:
            theirs = RAY_PLACE
        return theirs if theirs and self.proxy == _USUAL_PROXY else self.proxy

    @property
    def wants_port(self) -> bool:
        """Whether a free port has to be chosen for a start."""
        words = (*self.command, *self._start, *(value for _, value in self.env))
        return any(PORT in word for word in words)

    def launch(
        self,
        port: int | None,
        key: str = API_KEY,
        inherited: Mapping[str, str] | None = None,
        start_id: str = START_ID,
    ) -> LaunchConfig:
        """Return a start of it.

        Args:
            port: For ``${PORT}``; None is for models whose `wants_port` is false.
            key: For ``${API_KEY}``.
            inherited: The environment that it gets besides its own.
            start_id: For ``${START_ID}``.
        """

        def fill(text: str) -> str:
            return text.replace(PORT, str(port)).replace(API_KEY, key)

        endpoint = fill(self.place).replace(START_ID, start_id)
        socket = unix_path(endpoint)
        if socket is not None:
            socket = os.path.abspath(socket)
            endpoint = f"unix:{socket}"
        check = self.check_endpoint
        base_url = endpoint if socket is None else _OVER_SOCKET
        command = tuple(fill(word) for word in self.command)
        env = tuple((name, fill(value)) for name, value in self.env)
        wanted = self._wanted(key, command, dict(env), {} if self.is_elsewhere else inherited or {})
        if self.is_on_ray and wanted == WantedKey() and server_options(command, dict(env)):
            # Others reach it there, too; llama-server takes a key from its environment.
            env += ((_SERVER_KEY, key),)
            wanted = WantedKey(key)
        return LaunchConfig(
            command=command,
            env=env,
            endpoint=endpoint,
            health_url=None if check is None else base_url + fill(check),
            port=_port_here(endpoint) if socket is None else None,
            stop_command=tuple(fill(word).replace(START_ID, start_id) for word in self._stop),
            wanted=wanted,
            socket=socket,
            template=tuple(
                word.replace(PORT, str(port)).replace(START_ID, start_id) for word in self._start
            ),
        )

    @property
    def _start(self) -> tuple[str, ...]:
        return () if self.templates is None else self.templates.start

    @property
    def _stop(self) -> tuple[str, ...]:
        theirs = () if self.templates is None else self.templates.stop
        return self.stop_command or theirs

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


MODEL: Final = section(
    ModelConfig,
    named_by="model",
    within={"compat": "For servers that are different."},
    either=("cmd", "proxy"),
)
