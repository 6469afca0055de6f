"""Every key of the configuration: its name, what it takes, its default and its meaning."""

from typing import Any, Final

from .config_reading import (
    Key,
    Place,
    boolean,
    choice,
    duration,
    integer,
    text,
    texts,
    variables,
)
from .yamltree import Node

_YEAR_S: Final = 366 * 24 * 3600
_MODES: Final = ("off", "comment", "heartbeat", "reasoning")

# Most workers: more than any machine has use for, fewer than would choke one.
MAX_WORKERS: Final = 64


def _workers(node: Node, place: Place) -> int:
    if node.value == "auto":
        return 0
    return integer(1, MAX_WORKERS)(node, place)


def _later(node: Node, place: Place) -> Node:
    """Keep the tree: it is read once the macros are known."""
    return node


def _marker(node: Node, place: Place) -> str:
    found = text(node, place)
    printable = all(" " <= char <= "~" for char in found)
    if not 4 <= len(found) <= 32 or not printable or not found.endswith(" "):
        raise place.wrong(node, "4 to 32 printable ASCII characters that end with a blank")
    return found


_MODE: Final = "off, comment, heartbeat or reasoning"
_READ_MODE: Final = choice(*_MODES, false="off")
_STRICT: Final = choice("off", "on", "force", true="on", false="off")

TOP_KEYS: Final[tuple[Key[Any], ...]] = (
    Key("listen", "host:port", text, "127.0.0.1:8080", "Where clients are answered."),
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
        "Time that a model's process gets to end before it is killed.",
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
    Key("cmd", "a command", text, "", "How to start its server; ${PORT} is a free port."),
    Key(
        "proxy",
        "a URL",
        text,
        "http://127.0.0.1:${PORT}",
        "Where its server answers.",
    ),
    Key("aliases", "a list of names", texts, (), "Other names of the model."),
    Key("env", "a list of NAME=value", variables, (), "Added to its environment."),
    Key(
        "checkEndpoint",
        "a path or none",
        text,
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
    Key("healthCheckTimeout", "seconds", integer(1, _YEAR_S), None, "As above, for this model."),
    Key("unloadTimeout", "seconds", integer(0, _YEAR_S), None, "As above, for this model."),
    Key("progress", _MODE, _READ_MODE, None, "As above, for this model."),
    Key("sendLoadingState", "true or false", boolean, None, "As above, for this model."),
    Key("strict", "false, true or force", _STRICT, None, "As above, for this model."),
    Key("macros", "a mapping of names to values", _later, None, "As above, for this model."),
)
