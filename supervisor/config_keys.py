"""Every key of the configuration: its name, what it takes, its default and its meaning."""

from dataclasses import replace
from typing import Any, Final

from arriero.protocol.control import MAX_WORKERS

from .addresses import Address, is_base_url, parse_address, path_of
from .commandline import split_command, without_comments
from .config_reading import (
    PORT_STAYS,
    Key,
    Place,
    Wrong,
    boolean,
    choice,
    duration,
    integer,
    is_storable,
    items,
    template,
    text,
)
from .yamltree import Node

_YEAR_S: Final = 366 * 24 * 3600

# Longest name of a model, in characters; it stands in lines of progress and in topics of events.
MAX_NAME: Final = 200


def is_name(name: str) -> bool:
    """Whether `name` can be asked for."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _later(node: Node, place: Place) -> Node:
    """Keep the tree: it is read once the macros are known."""
    return node


def _listen(node: Node, place: Place) -> Address:
    address = parse_address(text(node, place).strip())
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


def _marker(node: Node, place: Place) -> str:
    found = text(node, place)
    printable = all(" " <= char <= "~" for char in found)
    if not 4 <= len(found) <= 32 or not printable or not found.endswith(" "):
        raise place.wrong(node, "4 to 32 printable ASCII characters that end with a blank")
    return found


def _stripped(node: Node, place: Place) -> str:
    return text(node, place).strip()


def _command(node: Node, place: Place) -> tuple[str, ...]:
    """Lines of comment go first: what they say of macros does not count."""
    if isinstance(node.value, str):
        bare = without_comments(node.text)
        node = replace(node, value=bare, text=bare)
    command = split_command(template(node, place))
    if not command:
        raise Wrong(place.problem(node, "there is no command; write how to start it"))
    return command


def _proxy(node: Node, place: Place) -> str:
    found = template(node, place).strip().rstrip("/")
    if not is_base_url(found.replace("${PORT}", "1")):
        if "@" in found:  # the user and password of somebody
            raise Wrong(place.problem(node, "this is not a URL such as http://127.0.0.1:9000"))
        raise place.wrong(node, "a URL, such as http://127.0.0.1:9000")
    return found


def _check(node: Node, place: Place) -> str:
    """Return the path, or ``none``."""
    found = template(node, place).strip()
    path = found if found == "none" else path_of(found)
    if path is None:
        raise place.wrong(node, "a path such as /health, or none")
    return path


def _name(node: Node, place: Place) -> str:
    name = text(node, place)
    if not is_name(name):
        raise place.wrong(node, f"1 to {MAX_NAME} printable characters")
    return name


def _variable(node: Node, place: Place) -> tuple[str, str]:
    """A value is never shown in a message: it may be a secret."""
    if isinstance(node.value, list | dict):
        raise Wrong(place.problem(node, "this is not NAME=value"))
    entry = place.scalar(node, "NAME=value", keep=PORT_STAYS, is_secret=True).text
    name, equals, value = entry.partition("=")
    if not name or not equals or not is_storable(entry):
        raise Wrong(place.problem(node, "this is not NAME=value"))
    return name, value


_MODE: Final = "off, comment, heartbeat or reasoning"
_READ_MODE: Final = choice(
    {mode: mode for mode in ("off", "comment", "heartbeat", "reasoning")},
    {"false": "off", "no": "off"},
)
_STRICT: Final = choice(
    {"false": "off", "true": "on", "force": "force"},
    {"off": "off", "no": "off", "on": "on", "yes": "on"},
)

TOP_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "listen",
        "host:port",
        _listen,
        Address("127.0.0.1", 8080),
        "Where clients are answered.",
    ),
    Key("workers", "a number or auto", _workers, 0, "Worker processes; auto is one for each core."),
    Key(
        "healthCheckTimeout",
        "seconds",
        integer(1, _YEAR_S),
        120,
        "Longest time from the start of a model to its being ready.",
    ),
    Key(
        "unloadTimeout",
        "seconds",
        integer(0, _YEAR_S),
        10,
        "Time that a model's process gets to end before it is killed; 0 means 10.",
    ),
    Key("globalTTL", "seconds", integer(0, _YEAR_S), 0, "Default of ttl."),
    Key("startPort", "a port", integer(1, 65535), 5800, "First port for ${PORT}."),
    Key("progress", _MODE, _READ_MODE, None, "How a waiting client is told of progress."),
    Key(
        "sendLoadingState",
        "true or false",
        boolean,
        None,
        "llama-swap's key: true means progress: reasoning, false means progress: off.",
    ),
    Key(
        "progressDelay",
        "a duration",
        duration(0, 3600),
        None,
        "Silence before progress begins; 1s for reasoning and 10s for the others by default.",
    ),
    Key(
        "heartbeatInterval",
        "1s to 60s",
        duration(1, 60),
        10.0,
        "Longest silence of a stream that waits.",
    ),
    Key(
        "progressMarker",
        "4 to 32 characters, the last one a blank",
        _marker,
        "[swap-progress] ",
        "What each line of progress begins with.",
    ),
    Key(
        "progressDetails",
        "true or false",
        boolean,
        True,
        "Numbers for programs (swap_progress) in each chunk of progress.",
    ),
    Key(
        "strict",
        "false, true or force",
        _STRICT,
        "off",
        "true: nothing but comments is added to streams, unless a request asks for more; "
        "force: not even then.",
    ),
    Key("macros", "a mapping of names to values", _later, None, "Values for ${name}."),
    Key("models", "a mapping of names to models", _later, None, "The models."),
)

MODEL_KEYS: Final[tuple[Key[Any], ...]] = (
    Key("cmd", "a command", _command, (), "How to start its server; ${PORT} is a free port."),
    Key(
        "proxy",
        "a URL",
        _proxy,
        "http://127.0.0.1:${PORT}",
        "Where its server answers.",
    ),
    Key("aliases", "a list of names", items(_name, "names"), (), "Other names of the model."),
    Key(
        "env",
        "a list of NAME=value",
        items(_variable, "NAME=value"),
        (),
        "Added to its environment.",
    ),
    Key(
        "checkEndpoint",
        "a path or none",
        _check,
        "/health",
        "Asked until it answers 2xx: then the model is ready. none: it is ready at once.",
    ),
    Key(
        "ttl",
        "seconds",
        integer(-1, _YEAR_S),
        -1,
        "Unloaded after so long without a request; 0 never, -1 as globalTTL says.",
    ),
    Key("useModelName", "a name", text, None, "Name that is sent to its server as model."),
    Key("name", "a text", _stripped, "", "What people call it; shown in listings."),
    Key("description", "a text", _stripped, "", "A few words on it; shown in listings."),
    Key("unlisted", "true or false", boolean, False, "Left out of listings; still answers."),
    Key("healthCheckTimeout", "seconds", integer(1, _YEAR_S), None, "As above, for this model."),
    Key("unloadTimeout", "seconds", integer(0, _YEAR_S), None, "As above, for this model."),
    Key("progress", _MODE, _READ_MODE, None, "As above, for this model."),
    Key("sendLoadingState", "true or false", boolean, None, "As above, for this model."),
    Key("strict", "false, true or force", _STRICT, None, "As above, for this model."),
    Key("macros", "a mapping of names to values", _later, None, "As above, for this model."),
)
