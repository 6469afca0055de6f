"""Every key of a model: its name, what it takes, its default and its meaning."""

from dataclasses import replace
from typing import Any, Final, get_args

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import UsageSetting

from ...text.addresses import MAX_UNIX_PATH, is_base_url, is_unix_path, path_of, unix_path
from ...text.command_line import split_command, without_comments
from ..yaml.tree import Node
from .fault_keys import MODEL_FAULT_KEYS
from .json_schema import TEXT, mapping, text_like
from .price_keys import PRICES
from .reader import NOT_YET, Key, Kind, Place, Wrong
from .types import (
    ALL_STAY,
    BOOLEAN,
    KEY_STAYS,
    OBJECT,
    PORT_AND_KEY_STAY,
    PORT_STAYS,
    choice,
    integer,
    listed,
    named,
    nested,
    read_key,
    read_text,
    seconds,
    text,
)

# Longest name of a model, in characters; it stands in lines of progress and in topics of events.
MAX_NAME: Final = 200

# Never removed or set by a filter: it says where a request goes.
PROTECTED: Final = "model"


def is_name(name: str) -> bool:
    """Whether `name` can be asked for."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


NAME: Final = text(
    f"1 to {MAX_NAME} printable characters",
    is_name,
    pattern=rf"^[^\u0000-\u001f\u007f]{{1,{MAX_NAME}}}$",
)


def read_later(node: Node, place: Place) -> Node:
    """Keep the tree: it is read once the macros are known."""
    return node


MACROS: Final = Kind(
    "a mapping of names to values",
    mapping(TEXT, names="^(?!(?:PORT|PID|MODEL_ID)$)[a-zA-Z0-9_-]{1,63}$"),
    read_later,
)

# What is left when the lines of comment are gone is not only blanks.
_SAYS_SOMETHING: Final = r"(?:^|\n)(?![^\S\n]*#)[ \t]*[^ \t\n]"


def _read_command(node: Node, place: Place, keep: frozenset[str]) -> tuple[str, ...]:
    """Lines of comment go first: what they say of macros does not count."""
    if isinstance(node.value, str):
        bare = without_comments(node.text)
        node = node._replace(value=bare, text=bare)
    return split_command(read_text(node, place, "a command", keep=keep))


def _command(node: Node, place: Place) -> tuple[str, ...]:
    command = _read_command(node, place, PORT_AND_KEY_STAY)
    if not command:
        raise Wrong(place.problem(node, "there is no command; write how to start it"))
    return command


def _stop_command(node: Node, place: Place) -> tuple[str, ...]:
    return _read_command(node, place, ALL_STAY)


def _proxy(node: Node, place: Place, keep: frozenset[str] = PORT_STAYS) -> str:
    found = read_text(node, place, "a URL", keep=keep).strip().rstrip("/")
    if not is_base_url(found.replace("${PORT}", "1")):
        if "@" in found:  # the user and password of somebody
            raise Wrong(place.problem(node, "this is not a URL such as http://127.0.0.1:9000"))
        raise place.wrong(node, "a URL, such as http://127.0.0.1:9000")
    return found


def _proxy_or_socket(node: Node, place: Place) -> str:
    found = read_text(node, place, "a URL", keep=PORT_STAYS).strip()
    path = unix_path(found)
    if path is None:
        return _proxy(node, place)
    if not is_unix_path(path):
        raise place.wrong(node, f"unix: and a path of at most {MAX_UNIX_PATH} bytes")
    return found


_HTTP_URL: Final = r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/?#]+[^\s?#]*\s*$"

URL: Final = Kind(
    "a URL, or unix: and a path",
    text_like(
        rf"{_HTTP_URL}|^\s*unix:[^\s\x00-\x1f]",
        "a URL, such as http://127.0.0.1:9000, or unix: and the path of a socket",
        ["string"],
    ),
    _proxy_or_socket,
)

# Of a server that somebody else starts: there is no port to be chosen.
PEER_URL: Final = Kind(
    "a URL",
    text_like(_HTTP_URL, "a URL, such as http://127.0.0.1:9000", ["string"]),
    lambda node, place: _proxy(node, place, frozenset()),
)


def _check(node: Node, place: Place) -> str:
    """Return the path, or ``none``."""
    found = read_text(node, place, "a path", keep=PORT_STAYS).strip()
    path = found if found == "none" else path_of(found)
    if path is None:
        raise place.wrong(node, "a path such as /health, or none")
    return path


def _variable(node: Node, place: Place) -> tuple[str, str]:
    """A value is never shown in a message: it may be a secret."""
    if isinstance(node.value, list | dict):
        raise Wrong(place.problem(node, "this is not NAME=value"))
    entry = read_text(node, place, "NAME=value", keep=PORT_AND_KEY_STAY, is_secret=True)
    name, equals, value = entry.partition("=")
    if not name or not equals:
        raise Wrong(place.problem(node, "this is not NAME=value"))
    return name, value


def _names_in_a_text(node: Node, place: Place) -> tuple[str, ...]:
    words = {word.strip() for word in read_text(node, place).split(",")}
    return tuple(sorted(words - {"", PROTECTED}))


_MODE: Final = {mode: mode for mode in ("off", "comment", "heartbeat", "reasoning")}
MODE: Final = choice(_MODE, {"false": "off", "no": "off"})
STRICT: Final = choice(
    {"false": "off", "true": "on", "force": "force"},
    {"off": "off", "no": "off", "on": "on", "yes": "on"},
)

FILTER_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "stripParams",
        Kind("names with commas between them", TEXT, _names_in_a_text),
        (),
        "Keys that are removed from the body of requests; a.b is b within a. model never is.",
        field="strip_params",
        written="",
        other="strip_params",
    ),
    Key(
        "setParams",
        OBJECT,
        None,
        "Keys that are set in the body of requests; a.b is b within a. model never is.",
        field="set_params",
    ),
    Key(
        "setParamsByID",
        named(OBJECT, "a mapping of names to mappings", expand_names=True),
        None,
        "setParams for requests that use this name, which becomes an alias; it may hold macros.",
        field="set_params_by_id",
    ),
)
PEER_FILTER_KEYS: Final = tuple(replace(key, other=None) for key in FILTER_KEYS)


def timeout_keys(response_header_s: int, acts: str = NOT_YET) -> tuple[Key[Any], ...]:
    """Return the keys of `timeouts`; 0 is no limit.

    Args:
        response_header_s: Default of ``responseHeader``.
        acts: Since when ``connect`` and ``responseHeader`` act: those of peers do.
    """
    owner = "timeouts." if acts == NOT_YET else "peer."
    return (
        Key(
            "connect",
            seconds(),
            30,
            "Longest time to connect.",
            acts=acts,
            field=f"{owner}connect_s",
        ),
        Key(
            "keepalive",
            seconds(),
            30,
            "Silence after which TCP asks whether the server is still there.",
            field="keepalive_s",
        ),
        Key(
            "responseHeader",
            seconds(),
            response_header_s,
            "Longest time from the request to the head of the answer.",
            acts=acts,
            field=f"{owner}response_header_s" if acts == NOT_YET else f"{owner}header_s",
        ),
        Key(
            "tlsHandshake", seconds(), 10, "Longest time to agree on TLS.", field="tls_handshake_s"
        ),
        Key(
            "expectContinue",
            seconds(),
            1,
            "Longest time to wait for 100 Continue.",
            field="expect_continue_s",
        ),
        Key(
            "idleConn",
            seconds(),
            90,
            "How long a connection that nobody uses is kept.",
            field="idle_connection_s",
        ),
    )


UPSTREAM: Final = choice({word: word for word in get_args(UpstreamKind) if word != "unknown"})
USAGE: Final = Key(
    "usage",
    choice({word: word for word in get_args(UsageSetting)}),
    "auto",
    "Whether streams are asked for their usage: if the server is known to take that (auto), "
    "always (inject), never (observe).",
    acts="0.1",
    field="route.usage",
)

_KINDS_OF_INPUT: Final = listed(
    choice({word: word for word in ("text", "audio", "image")}), "text, audio or image"
)

CAPABILITY_KEYS: Final[tuple[Key[Any], ...]] = (
    Key("in", _KINDS_OF_INPUT, (), "What it takes.", field="capabilities.takes"),
    Key("out", _KINDS_OF_INPUT, (), "What it gives.", field="capabilities.gives"),
    Key("tools", BOOLEAN, False, "It calls tools.", field="capabilities.tools"),
    Key("reranker", BOOLEAN, False, "It ranks documents.", field="capabilities.reranker"),
    Key(
        "context", integer(0, 2**40), 0, "Longest context, in tokens.", field="capabilities.context"
    ),
)

COMPAT_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "ignoreWebsockets",
        BOOLEAN,
        False,
        "Its web sockets never start it, do not wait in line, and do not count as requests.",
        field="ignore_websockets",
    ),
)

MODEL_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "cmd",
        Kind("a command", text_like(_SAYS_SOMETHING, "a command"), _command),
        (),
        "How to start its server; ${PORT} is a free port, ${API_KEY} a key that is made for each "
        "start. There is no shell.",
        acts="0.1",
        field="launch.command",
        required=True,
    ),
    Key(
        "cmdStop",
        Kind("a command", TEXT, _stop_command),
        (),
        "Run to stop its server, in the place of SIGTERM; ${PID} is its process id.",
        acts="0.1",
        field="launch.stop_argv",
        without="it gets SIGTERM",
    ),
    Key(
        "proxy",
        URL,
        "http://127.0.0.1:${PORT}",
        "Where its server answers. Left out, it is the socket of a llama-server whose --host ends "
        "in .sock, too; write unix:/path for others.",
        acts="0.1",
        field="launch.endpoint",
    ),
    Key(
        "aliases",
        listed(NAME, "names"),
        (),
        "Other names by which requests may ask for it.",
        acts="0.1",
        field="route.aliases",
    ),
    Key(
        "env",
        listed(
            Kind("NAME=value", text_like("^[^=]+=", "NAME=value", ["string"]), _variable),
            "NAME=value",
        ),
        (),
        "Added to the environment of its server.",
        acts="0.1",
        field="launch.env",
    ),
    Key(
        "apiKey",
        Kind("a key", TEXT, lambda node, place: read_key(node, place, KEY_STAYS)),
        "",
        "Sent to its server as Authorization: Bearer, in the place of the client's.",
        acts="0.1",
        field="launch.wanted",
        without="the one that stands in cmd or env (--api-key, LLAMA_API_KEY, VLLM_API_KEY, or "
        "${API_KEY}); without apiKeys and any of these the client's own",
    ),
    Key(
        "checkEndpoint",
        Kind(
            "a path, or none",
            # Of a full URL only the path counts.
            text_like(
                r"^\s*(?:https?://[!-~]*|(?:[!\x22$&-~]|%[0-9A-Fa-f]{2})*)\s*$",
                "a path such as /health, or none",
            ),
            _check,
        ),
        "/health",
        "Asked until it answers 2xx: then the model is ready. none: when it accepts connections.",
        acts="0.1",
        field="launch.health_url",
    ),
    Key(
        "ttl",
        seconds(-1),
        -1,
        "It is unloaded after so long without a request; 0 never, -1 as globalTTL says.",
        acts="0.1",
        field="ttl_s",
    ),
    Key(
        "useModelName",
        text("a name"),
        None,
        "The name by which its server knows it; put into requests as model.",
        acts="0.1",
        field="route.send_as",
        without="the name stays as the client wrote it",
    ),
    Key(
        "name",
        text(strip=True),
        "",
        "What people call it; shown in listings.",
        acts="0.1",
        field="route.name",
    ),
    Key(
        "description",
        text(strip=True),
        "",
        "A few words on it; shown in listings.",
        acts="0.1",
        field="route.description",
    ),
    Key(
        "unlisted",
        BOOLEAN,
        False,
        "Left out of listings; it still answers.",
        acts="0.1",
        field="route.unlisted",
    ),
    Key(
        "healthCheckTimeout",
        seconds(),
        None,
        "As the global key, for this model; 0 means the global value. "
        "llama-swap does not look at this one.",
        acts="0.1",
        field="health_check_timeout_s",
        without="the global value",
    ),
    Key(
        "unloadTimeout",
        seconds(),
        None,
        "As the global key, for this model; 0 means the global value.",
        acts="0.1",
        field="unload_timeout_s",
        without="the global value",
    ),
    *MODEL_FAULT_KEYS,
    Key(
        "progress",
        MODE,
        None,
        "As the global key, for this model.",
        acts="0.1",
        field="route.progress",
        without="the global value",
    ),
    Key(
        "sendLoadingState",
        BOOLEAN,
        None,
        "As the global key, for this model.",
        acts="0.1",
        field="route.progress",
        without="the global value",
    ),
    Key(
        "strict",
        STRICT,
        None,
        "As the global key, for this model.",
        acts="0.1",
        field="route.strict",
        without="the global value",
    ),
    Key(
        "macros",
        MACROS,
        None,
        "As the global key, for this model. They take the place of global ones of that name.",
        acts="0.1",
        field="launch.command",
        without="none",
    ),
    Key(
        "concurrencyLimit",
        integer(-(2**31), 2**31),
        0,
        "Most requests that it gets at a time; 0 or less: not said (llama-swap takes 10 then).",
        field="concurrency_limit",
    ),
    Key("metadata", OBJECT, None, "Shown in listings as it is.", field="metadata"),
    Key(
        "kind",
        UPSTREAM,
        None,
        "What its server is.",
        acts="0.1",
        field="route.kind",
        without="it is asked, once it runs",
    ),
    USAGE,
    Key(
        "prices",
        PRICES,
        None,
        "What it costs, in US dollars for a million tokens; this goes before the global prices.",
        without="as the global prices say, or the list",
    ),
    nested("filters", FILTER_KEYS, "What is changed in the body of requests."),
    nested("timeouts", timeout_keys(0), "Of connections to its server, in seconds; 0 is none."),
    nested("compat", COMPAT_KEYS, "For servers that are different."),
    nested("capabilities", CAPABILITY_KEYS, "What it can do, for listings."),
)
