"""The configuration of the workers: names, routes and limits.

The supervisor makes it from the configuration; it comes with every `Welcome`.
"""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from .records import Prices, UpstreamKind
from .values import MessageValue

DEFAULT_MARKER: Final = "swap-progress: "
"""Beginning of each line of progress. No language of markup takes it for its own: not rich, which
reads anything in brackets as a style, and not Markdown, HTML, BBCode or LaTeX."""

FORMER_MARKERS: Final = ("[swap-progress] ",)
"""Earlier defaults: histories that are stored somewhere still have them."""

IGNORED_PATHS: Final = (r"\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)
"""Requests for such a path under ``/upstream`` ask for a part of a page, not for a model."""

SESSION_HEADERS: Final = ("X-Session-ID", "X-Litellm-Session-Id")
"""Headers that name a session, for pages."""

ProgressMode: TypeAlias = Literal["off", "comment", "heartbeat", "reasoning"]
Strictness: TypeAlias = Literal["off", "on", "force"]

Strategy: TypeAlias = Literal["pin", "warm", "spillover"]
"""How a selector chooses one of its targets."""

Scope: TypeAlias = Literal["infer", "read", "admin"]
"""What a key is good for: asking models; seeing what runs and has run; changing that. None of them
includes another."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

UsageSetting: TypeAlias = Literal["auto", "inject", "observe"]
"""When a stream is asked for its usage: if its upstream is known to take that; always; never."""


class BodyFilters(MessageValue, frozen=True, kw_only=True):
    """Changes to the JSON body of requests, in this order.

    Names are paths: ``a.b`` is b within a, ``a.0`` the first item of a.

    Attributes:
        strip_params: Members that are removed.
        set_params: Members that are set, and to which JSON text.
        set_params_by_id: The same for requests that use one of these names.
    """

    strip_params: tuple[str, ...] = ()
    set_params: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    set_params_by_id: dict[str, dict[str, msgspec.Raw]] = msgspec.field(default_factory=dict)


class BodyRule(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """Changes to the JSON body of requests for which all of the conditions hold.

    Names in bodies are paths, as in `BodyFilters`; patterns have ``*``, ``?`` and ``[ab]``.

    Attributes:
        model: A pattern of the model's name, or its id; empty for any.
        path: A pattern of the request's path; empty for any.
        headers: Names of fields, and patterns of their values.
        body: Members, and what they have to be, as JSON: a text is a pattern (``*``: whatever is
            there), null means that there is none, of a list one will do.
        move: Members that go to another place, and where to; what is there goes.
        remove: Members that are removed, after that.
        default: Members that are set if they are not there, after that.
        set: Members that are set, after that.
    """

    model: str = ""
    path: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    move: dict[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()
    default: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    set: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)


class Timeouts(MessageValue, frozen=True, kw_only=True):
    """How long a connection to a server may take. Seconds; 0 is no limit.

    Attributes:
        connect_s: For the connection, without TLS.
        keepalive_s: Silence after which TCP asks whether the other machine is still there; 0 never
            asks.
        response_header_s: From the end of the request to the head of the response.
        tls_handshake_s: To agree on TLS.
        expect_continue_s: For ``100 Continue``, if the client waits for that; 0 does not wait.
        idle_connection_s: How long an unused connection is kept; None: as its kind suggests.
    """

    connect_s: float = 30.0
    keepalive_s: float = 30.0
    response_header_s: float = 0.0
    tls_handshake_s: float = 10.0
    expect_continue_s: float = 1.0
    idle_connection_s: float | None = None


USUAL_TIMEOUTS: Final = Timeouts()

NO_METADATA: Final = msgspec.Raw(b"{}")


class ModelAbilities(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """What a model can do, for listings.

    Attributes:
        takes, gives: `text`, `audio`, `image`.
        tools: It calls tools.
        reranker: It ranks documents.
        context: Its longest context, in tokens; 0: not said.
    """

    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    tools: bool = False
    reranker: bool = False
    context: int = 0


NO_ABILITIES: Final = ModelAbilities()


class SeenFacts(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """What a model's server told when it last ran, with the command of today; 0: it did not.

    Attributes:
        n_ctx: Tokens that one request may have.
        n_ctx_train: Tokens with which the model was trained.
        n_params: Its parameters.
        size: Bytes of its tensors.
        takes: `text`, and `image` or `audio`; empty for text alone.
        tools: Its template for chats has tools.
    """

    n_ctx: int = 0
    n_ctx_train: int = 0
    n_params: int = 0
    size: int = 0
    takes: tuple[str, ...] = ()
    tools: bool = False


class ModelRoute(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a model's configuration that workers need.

    Attributes:
        model: Its id.
        aliases: Its other names.
        send_as: Name to put into the request's `model` field; None leaves the request as it is.
        progress: How a waiting client sees progress, unless its request asks otherwise.
        strict: See ``strict`` in the wire format: caps the mode at `comment`.
        ttl_s: Idle seconds after which it is unloaded; 0 means never.
        name: For people, in listings; may be empty.
        description: For listings; may be empty.
        unlisted: It answers, but listings leave it out.
        kind: Of its server, if configured; else the detected kind comes with the grant.
        usage: When streams are asked for their usage.
        prices: None if they are not known.
        concurrency_limit: Requests that run on it at a time, at most, in all workers: each of them
            asks for a place. 0: any number.
        filters: Changes to bodies; None for none.
        timeouts: Of connections to its server.
        ignore_websockets: Its WebSockets never start it, do not wait, and do not keep it.
        pin: Whether it stays, where memory decides: `always`, `manual` or empty.
        remote: Where it is, if nothing is started for it: it is asked as a peer is.
        command: How its server is started, with secrets hidden.
        metadata: Shown in listings: a JSON object.
        capabilities: What it can do, as configured; see `abilities`.
        last_seen: What it told when it last ran; None: it has not, or told nothing.
    """

    model: str
    aliases: tuple[str, ...] = ()
    send_as: str | None = None
    progress: ProgressMode = "heartbeat"
    strict: Strictness = "off"
    ttl_s: float = 0.0
    name: str = ""
    description: str = ""
    unlisted: bool = False
    kind: UpstreamKind | None = None
    usage: UsageSetting = "auto"
    prices: Prices | None = None
    concurrency_limit: int = 0
    filters: BodyFilters | None = None
    timeouts: Timeouts = USUAL_TIMEOUTS
    ignore_websockets: bool = False
    pin: str = ""
    remote: "PeerRoute | None" = None
    command: str = ""
    metadata: msgspec.Raw = NO_METADATA
    capabilities: ModelAbilities = NO_ABILITIES
    last_seen: SeenFacts | None = None

    @property
    def abilities(self) -> ModelAbilities:
        """What it can do, as configured; what that leaves open, its server has told."""
        written, seen = self.capabilities, self.last_seen
        if seen is None:
            return written
        if written != NO_ABILITIES:
            return msgspec.structs.replace(written, context=written.context or seen.n_ctx)
        gives = ("text",) if seen.takes else ()
        return ModelAbilities(takes=seen.takes, gives=gives, tools=seen.tools, context=seen.n_ctx)


class SelectorRoute(MessageValue, frozen=True, kw_only=True):
    """A name that stands for one of several models.

    Attributes:
        selector: The name.
        strategy: How one is chosen; see `Strategy`.
        targets: Names of models, or of peers' models, in order.
        spillover: Requests of one target before the next one is started.
        name: For people, in listings; may be empty.
        description: For listings; may be empty.
        unlisted: It answers, but listings leave it out.
        metadata: Shown in listings: a JSON object.
    """

    selector: str
    strategy: Strategy
    targets: tuple[str, ...]
    spillover: int = 1
    name: str = ""
    description: str = ""
    unlisted: bool = False
    metadata: msgspec.Raw = NO_METADATA


class ProfileRoute(MessageValue, frozen=True, kw_only=True):
    """What names mean while the profile is chosen.

    Attributes:
        profile: Its name.
        description: A few words on it; may be empty.
        pins: Name -> name of what answers to it; None: nobody does.
    """

    profile: str
    description: str = ""
    pins: dict[str, str | None] = msgspec.field(default_factory=dict)


class PeerRoute(MessageValue, frozen=True, kw_only=True):
    """Another server, to which requests for its models are passed on.

    Attributes:
        peer: Its id.
        url: Its base URL, with or without ``/v1``, without a final slash.
        kind: Of its API.
        usage: When streams are asked for their usage.
        api_key: Sent to it in the place of the client's; empty for none. For Bedrock:
            ``access:secret`` or ``access:secret:session``, or a bearer token without colons.
        region: Of Bedrock, for signatures; empty to read it from the host's name.
        forward_auth: Without an `api_key`, the client's own is sent. This program's keys never are.
        timeouts: Of connections to it.
        filters: Changes to bodies; None for none.
        prices: Of its models, by their name at the peer.
        wake_s: Seconds in which its machine comes up after it was woken; 0: nobody can wake it.
        progress, strict: As in `ModelRoute`, of all its models.
    """

    peer: str
    url: str
    kind: UpstreamKind = "openai"
    usage: UsageSetting = "auto"
    api_key: str = ""
    region: str = ""
    forward_auth: bool = False
    timeouts: Timeouts = Timeouts(response_header_s=60.0)
    filters: BodyFilters | None = None
    prices: dict[str, Prices] = msgspec.field(default_factory=dict)
    wake_s: float = 0.0
    progress: ProgressMode = "heartbeat"
    strict: Strictness = "off"


class PeerModel(MessageValue, frozen=True, kw_only=True):
    """The model of a peer that a name stands for.

    Attributes:
        peer: Its id.
        model: The model's name there.
    """

    peer: str
    model: str


class HeaderRules(MessageValue, frozen=True, kw_only=True):
    """Changes to header fields on their way.

    Attributes:
        remove: Names, in any case.
        set: Names and values, put in after the removing; one that is there is replaced.
    """

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()


class TlsFiles(MessageValue, frozen=True, kw_only=True):
    """What clients are shown, as PEM.

    Attributes:
        cert: Path of the certificate, with those that vouch for it.
        key: Path of its key.
    """

    cert: str
    key: str


class ClientKey(MessageValue, frozen=True, kw_only=True, omit_defaults=True):
    """A key that a client may show, and what it is good for.

    Attributes:
        name: How it is called; the key itself is known to who has it alone.
        sha256: SHA-256 of the key, in small hexadecimal digits.
        scopes: What may be done with it.
        models: Patterns of the names that may be used; None: all.
        is_limited: The supervisor is asked, before each request for a model, whether it may run.
    """

    name: str
    sha256: str
    scopes: tuple[Scope, ...] = ("infer",)
    models: tuple[str, ...] | None = None
    is_limited: bool = False


def plain_key_name(place: int) -> str:
    """Return how records call the key at a place of ``apiKeys``, which are counted from 1.

    That is no name which another key may have, and says nothing of the key: a part of its hash
    would help to guess a weak one.
    """
    return f"apiKeys:{place}"


class WorkerConfig(MessageValue, frozen=True, kw_only=True):
    """The part of the configuration that workers need.

    Attributes:
        generation: See `ConfigStatus`.
        models: In the order of the configuration.
        progress_delay_s: Silence before an early 200; None takes the default of the mode.
        heartbeat_s: Longest silence of a stream; 0 for no heartbeat ever.
        marker: Beginning of every injected line; ends with a blank.
        details: Put the member `swap_progress` into injected chunks.
        api_keys: Keys that are good for everything; see `plain_key_name`. If there are any, or any
            `client_keys`, a client has to show one of them.
        client_keys: Others, with their rights.
        old_markers: Markers of earlier configurations: removed from histories as well.
        nonstream_hold_s: Longest wait of a request that is no stream for its model.
        nonstream_blanks: Such a request gets an early 200 and a blank now and then.
        upstream_idle_s: Longest silence of a responding upstream.
        upstream_stall_s: The same, comments and heartbeats not counted.
        end_silence_s: Longest silence of a stream that has said why it ends.
        max_retry_wait_s: Longest ``Retry-After`` of an upstream that is waited for.
        max_body_bytes: A body that is read as a whole may be so long.
        body_memory_bytes: The bodies of all requests of a worker may be so long together.
        trailers: Streams end with trailers of what they used and cost.
        cors: Origins whose pages may ask, besides those of this machine; True: all; False: none.
        allowed_hosts: Names in ``Host`` that mean this server, besides those of its socket:
            in small letters; ``.example.org`` with all under it; ``*``: any.
        request_headers: Changes on the way up.
        response_headers: Changes on the way down.
        peers: Other servers, by their id.
        peer_models: Names that belong to a peer. Names of models here go first.
        places: Models that several machines have: the names of each of them, that of the model here
            before those of peers. Which one answers is asked of the supervisor.
        selectors: Names that stand for one of several models. They go before those of models.
        profiles: What names can mean.
        profile: The one that is chosen; its pins go before all other names. None for none.
        aliases_in_list: Listings have aliases as well.
        ignore_paths: Patterns of paths under ``/upstream`` that never start a model.
        supervisor_grace_s: How long workers go on without a supervisor; 0: not at all.
        tls: Clients speak TLS; None: they do not.
        rules: Changes to bodies, in this order, after the filters.
        traces: Records say which trace a request belongs to.
        session_headers: Names of headers that name a session; for pages.
        log_requests: Each request gets a line in the log.
        combined_log: What the log of all has: ``proxy``, ``upstream``, ``both`` or ``none``.
        capture_body_bytes: Requests and responses are kept, up to so much of each body; 0: they
            are not.
    """

    generation: int
    models: tuple[ModelRoute, ...]
    progress_delay_s: float | None = None
    heartbeat_s: float = 10.0
    marker: str = DEFAULT_MARKER
    details: bool = True
    api_keys: tuple[str, ...] = ()
    client_keys: tuple[ClientKey, ...] = ()
    old_markers: tuple[str, ...] = ()
    nonstream_hold_s: float = 240.0
    nonstream_blanks: bool = False
    upstream_idle_s: float = 3600.0
    upstream_stall_s: float = 3600.0
    end_silence_s: float = 10.0
    max_retry_wait_s: float = 20.0
    max_body_bytes: int = 64 * 1024**2
    body_memory_bytes: int = 512 * 1024**2
    trailers: bool = True
    cors: bool | tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    request_headers: HeaderRules = HeaderRules()
    response_headers: HeaderRules = HeaderRules()
    peers: dict[str, PeerRoute] = msgspec.field(default_factory=dict)
    peer_models: dict[str, PeerModel] = msgspec.field(default_factory=dict)
    places: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    selectors: tuple[SelectorRoute, ...] = ()
    profiles: tuple[ProfileRoute, ...] = ()
    profile: str | None = None
    aliases_in_list: bool = False
    ignore_paths: tuple[str, ...] = IGNORED_PATHS
    supervisor_grace_s: float = 0.0
    tls: TlsFiles | None = None
    rules: tuple[BodyRule, ...] = ()
    traces: bool = False
    session_headers: tuple[str, ...] = SESSION_HEADERS
    log_requests: bool = False
    combined_log: Literal["proxy", "upstream", "both", "none"] = "proxy"
    capture_body_bytes: int = 0

    @property
    def asks_for_keys(self) -> bool:
        """Whether a client has to show a key."""
        return bool(self.api_keys or self.client_keys)
