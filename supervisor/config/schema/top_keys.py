"""Every key of the configuration: its name, what it takes, its default and its meaning."""

from typing import Any, Final

from arriero.protocol.control import MAX_WORKERS
from arriero.protocol.worker_config import DEFAULT_MARKER

from ...text.addresses import Address, parse_address
from ..yaml.tree import Node
from .access_keys import ACCESS_KEYS
from .fault_keys import TOP_FAULT_KEYS
from .json_schema import mapping, or_macro, text_like
from .model_keys import MACROS, MODE, MODEL_KEYS, STRICT, is_name, read_later
from .price_keys import PRICE_LIST, PRICES_BY_GLOB
from .reader import NEVER, Key, Kind, Place, Wrong
from .routing_keys import (
    GROUPS,
    MATRIX,
    PEERS,
    PROFILES,
    ROUTING_KEYS,
    SELECTORS,
)
from .stream_keys import MARKER, OLD_MARKERS, STREAM_KEYS
from .types import (
    BOOLEAN,
    PATTERN,
    choice,
    duration,
    integer,
    is_storable,
    listed,
    nested,
    read_text,
    seconds,
    section,
    text,
)

__all__ = ["MODEL_KEYS", "TOP_KEYS", "is_name"]

# Requests for such a path under /upstream ask for a part of a page, not for a model.
IGNORED_PATHS: Final = (r"\.(js|json|css|png|gif|jpg|jpeg|ico|txt)$",)
SESSION_HEADERS: Final = ("X-Session-ID", "X-Litellm-Session-Id")


def _listen(node: Node, place: Place) -> Address:
    address = parse_address(read_text(node, place).strip())
    if address is None:
        raise place.wrong(node, "host:port, such as 127.0.0.1:8080, :8080 or [::1]:8080")
    return address


def _workers(node: Node, place: Place) -> int:
    takes = f"a whole number from 1 to {MAX_WORKERS}, or auto"
    value = place.scalar(node, takes).typed
    if value == "auto":
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise place.wrong(node, takes)
    return value


def _api_key(node: Node, place: Place) -> str:
    """A key is never shown in a message."""
    value = place.scalar(node, "a key", is_secret=True)
    found = value.text
    if not found or value.typed is None or not is_storable(found):
        raise Wrong(place.problem(node, "this key is empty; write one, or leave it out"))
    if any(char.isspace() for char in found):
        raise Wrong(place.problem(node, "this key holds a blank, which no client can send"))
    return found


_LISTEN_SCHEMA: Final = text_like(
    r"^\s*(?:\[.+\]|[A-Za-z0-9._-]*):[0-9]{1,5}\s*$",
    "host:port, such as 127.0.0.1:8080, :8080 or [::1]:8080",
    ["string"],
)
_WORKERS_SCHEMA: Final = or_macro(
    {"type": "integer", "minimum": 1, "maximum": MAX_WORKERS}, {"const": "auto"}
)

_TIME_FORMATS: Final = (
    "ansic", "unixdate", "rubydate", "rfc822", "rfc822z", "rfc850", "rfc1123", "rfc1123z",
    "rfc3339", "rfc3339nano", "kitchen", "stamp", "stampmilli", "stampmicro", "stampnano",
)  # fmt: skip


_STORE_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "path",
        text("the path of a file", lambda path: bool(path.strip()), pattern=r"\S"),
        None,
        "SQLite file in which the list of requests is kept.",
        field="store_path",
        without="in memory",
    ),
)
_ACTIVITY_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "session_id",
        listed(text("the name of a header", strip=True), "names of headers"),
        None,
        "Headers that name a session, in the order in which they are looked at; [] for none.",
        field="session_headers",
        written=list(SESSION_HEADERS),
    ),
)
_UI_KEYS: Final = (nested("activity", _ACTIVITY_KEYS, "The page with the list of requests."),)
_PERFORMANCE_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "disabled", BOOLEAN, False, "Processor, memory and GPUs are not sampled.", field="sampling"
    ),
    Key(
        "every",
        duration(5, 24 * 3600),
        5.0,
        "How often they are.",
        field="sampling_s",
        written="5s",
    ),
)
_ON_STARTUP_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "preload",
        listed(text("a model"), "models"),
        (),
        "Models, or their aliases, that are loaded at the start.",
        acts="0.1",
        field="preload",
    ),
)
_HOOKS_KEYS: Final = (nested("on_startup", _ON_STARTUP_KEYS, "At the start."),)
_UPSTREAM_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "ignorePaths",
        listed(PATTERN, "regular expressions"),
        (),
        "Requests under /upstream for such paths never start a model; [] is as if left out.",
        field="ignore_paths",
        written=list(IGNORED_PATHS),
    ),
)

TOP_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "listen",
        Kind("host:port", _LISTEN_SCHEMA, _listen),
        Address("127.0.0.1", 8080),
        "Where clients are answered.",
        acts="0.1",
        field="config.listen",
        written="127.0.0.1:8080",
    ),
    Key(
        "workers",
        Kind("a number, or auto", _WORKERS_SCHEMA, _workers),
        0,
        "Worker processes; auto is one for each core.",
        acts="0.1",
        field="config.workers",
        written="auto",
    ),
    Key(
        "healthCheckTimeout",
        seconds(),
        120,
        "Longest time from the start of a model to its being ready; below 15 counts as 15.",
        acts="0.1",
        field="health_check_timeout_s",
    ),
    Key(
        "unloadTimeout",
        seconds(),
        10,
        "Time that a model's process gets to end before it is killed; 0 means 10.",
        acts="0.1",
        field="unload_timeout_s",
    ),
    *TOP_FAULT_KEYS,
    Key("globalTTL", seconds(), 0, "Default of ttl.", acts="0.1", field="ttl_s"),
    Key(
        "startPort",
        integer(1, 65535, "a port"),
        5800,
        "First port for ${PORT}.",
        acts="0.1",
        field="start_port",
    ),
    Key(
        "progress",
        MODE,
        None,
        "How a waiting client is told of progress, unless its request says otherwise.",
        acts="0.1",
        field="route.progress",
        written="heartbeat",
    ),
    Key(
        "sendLoadingState",
        BOOLEAN,
        None,
        "llama-swap's way to say progress: reasoning (true) or off (false); progress is stronger.",
        acts="0.1",
        field="route.progress",
        without="as progress says",
    ),
    Key(
        "progressDelay",
        duration(0, 3600),
        None,
        "Silence before progress begins.",
        acts="0.1",
        field="progress_delay_s",
        without="1s for reasoning, 10s for the others",
    ),
    Key(
        "heartbeatInterval",
        duration(1, 300, or_none=True),
        10.0,
        "Longest silence of a stream; 0: no heartbeat ever.",
        acts="0.1",
        field="heartbeat_s",
        written="10s",
    ),
    Key(
        "progressMarker",
        MARKER,
        DEFAULT_MARKER,
        "What each line of progress begins with.",
        acts="0.1",
        field="config.marker",
    ),
    OLD_MARKERS,
    Key(
        "progressDetails",
        BOOLEAN,
        True,
        "Numbers for programs (swap_progress) in each chunk of progress.",
        acts="0.1",
        field="config.details",
    ),
    Key(
        "strict",
        STRICT,
        "off",
        "true: nothing but comments is added to streams, unless a request asks for more; "
        "force: not even then.",
        acts="0.1",
        field="route.strict",
        written=False,
    ),
    *STREAM_KEYS,
    Key(
        "logLevel",
        choice(
            {"debug": "debug", "info": "info", "warn": "warning", "error": "error"},
            {"warning": "warning"},
        ),
        None,
        "Least important lines that arriero writes of itself; --log-level is stronger.",
        acts="0.1",
        field="logging.level",
        written="info",
    ),
    Key(
        "logTimeFormat",
        choice({name: name for name in _TIME_FORMATS}, {"": ""}),
        "",
        "How the time stands before such a line; empty for no time.",
        field="time_format",
    ),
    Key(
        "logToStdout",
        choice({word: word for word in ("proxy", "upstream", "both", "none")}),
        "proxy",
        "Whose lines are written: arriero's own (proxy), those of model servers, both or none.",
        field="to_stdout",
    ),
    Key(
        "logRequests",
        BOOLEAN,
        False,
        "An old key of llama-swap, which does nothing there, either.",
        acts=NEVER,
        field="logging.requests",
    ),
    Key(
        "metricsMaxInMemory",
        integer(-(2**31), 2**31),
        1000,
        "Requests that are remembered without a store; 0 or less means 1000.",
        acts="0.1",
        field="metrics_rows",
    ),
    Key(
        "captureBuffer",
        integer(-(2**31), 2**20, "megabytes"),
        5,
        "Room for captured requests and answers, in MB; 0 or less captures nothing.",
        field="capture_mb",
    ),
    nested("store", _STORE_KEYS, "Where requests are kept."),
    nested("ui", _UI_KEYS, "What the pages show."),
    nested("performance", _PERFORMANCE_KEYS, "Samples of the machine."),
    Key(
        "includeAliasesInList", BOOLEAN, False, "Aliases are listed, too.", field="aliases_in_list"
    ),
    Key(
        "apiKeys",
        listed(Kind("a key", text_like(r"^\S+$", "a key, without blanks"), _api_key), "keys"),
        (),
        "If there are any, a client has to show one of them.",
        acts="0.1",
        field="api_keys",
    ),
    *ACCESS_KEYS,
    Key(
        "macros",
        MACROS,
        None,
        "Values for ${name}. One may use those before it; ${env.NAME} is of the environment.",
        acts="0.1",
        field="launch.command",
        without="none",
    ),
    nested("hooks", _HOOKS_KEYS, "What is done when something happens."),
    nested("upstream", _UPSTREAM_KEYS, "Requests under /upstream."),
    Key(
        "models",
        Kind(
            "a mapping of names to models",
            mapping(section(MODEL_KEYS).schema, names="^.{1,200}$"),
            read_later,
            each=section(MODEL_KEYS),
        ),
        None,
        "The models, by the names that requests give.",
        acts="0.1",
        field="config.models",
        without="none",
    ),
    Key("profiles", PROFILES, None, "What names mean, one profile at a time.", without="none"),
    Key(
        "selectors", SELECTORS, None, "Names that stand for one of several models.", without="none"
    ),
    Key("peers", PEERS, None, "Other servers, to which requests are passed on.", without="none"),
    Key(
        "prices",
        PRICES_BY_GLOB,
        (),
        "What models cost, in US dollars for a million tokens: by patterns of their ids, of their "
        "aliases, or of <peer>/<model>; the first one that fits counts.",
        without="none",
    ),
    Key(
        "priceList",
        PRICE_LIST,
        None,
        "A list for models whose prices are not written here.",
        without="none",
    ),
    Key(
        "groups",
        GROUPS,
        None,
        "The older place of routing.router.settings.groups.",
        acts="0.1",
        field="config.routing",
        without="none",
        instead="routing.router.settings.groups",
    ),
    Key(
        "matrix",
        MATRIX,
        None,
        "The older place of routing.router.settings.matrix.",
        acts="0.1",
        field="config.routing",
        without="none",
        instead="routing.router.settings.matrix",
    ),
    nested("routing", ROUTING_KEYS, "Which models run beside which, and who comes first."),
)
