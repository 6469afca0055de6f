"""Launchers: commands that start a model on another machine, as templates; and Ray.

`launchers.guard` fills them in.
"""

from collections.abc import Mapping
from typing import Final

from ...text.addresses import MAX_UNIX_PATH, is_base_url, is_unix_path, unix_path
from ...text.command_line import join_command, split_command
from ..yaml.tree import Node
from .immutable import immutable
from .json_schema import TEXT, or_macro
from .macros import escaped
from .reader import Place, ValueType, Wrong
from .sections import key, section
from .types import NOTHING, named, read_text, text, unless_empty

# What is started without any; a name that none of `launchers` may have.
LOCAL: Final = "local"
RAY: Final = "ray"
BUILT_IN: Final = (LOCAL, RAY)

# Where a model of a cluster answers: on the machine that was found.
RAY_PLACE: Final = "http://${HOST}:${PORT}"

# More than any machine has.
_MOST: Final = 10_000

# In a start: the command of the model as words of its own, or as one text for a shell.
COMMAND_WORDS: Final = "${COMMAND}"
COMMAND_LINE: Final = "${COMMAND_LINE}"

# A name that no other start has, for whoever keeps a list of what runs. And the machine on which
# the model runs, by its own word.
START_ID: Final = "${START_ID}"
HOST: Final = "${HOST}"

_START_STAY: Final = frozenset({"COMMAND", "COMMAND_LINE", "START_ID", "PORT"})
_STOP_STAY: Final = frozenset({"START_ID", "HOST", "PORT", "PID"})
_PLACE_STAYS: Final = frozenset({"START_ID", "HOST", "PORT"})


def _start(node: Node, place: Place) -> tuple[str, ...]:
    words = split_command(read_text(node, place, "a command", keep=_START_STAY))
    if not words:
        raise Wrong(place.problem(node, "there is no command; write how to start it"))
    if COMMAND_WORDS not in words and not any(COMMAND_LINE in word for word in words):
        message = (
            "nothing says where the model's command goes; write ${COMMAND} as a word of its own, "
            "or ${COMMAND_LINE} for what is handed to a shell, as ssh does"
        )
        raise Wrong(place.problem(node, message))
    if any(COMMAND_WORDS in word and word != COMMAND_WORDS for word in words):
        message = "${COMMAND} is several words; within a word write ${COMMAND_LINE}"
        raise Wrong(place.problem(node, message))
    return words


_START: Final = ValueType(
    "a command", TEXT, _start, lambda words: escaped(join_command(words), _START_STAY)
)
_STOP: Final[ValueType[tuple[str, ...]]] = unless_empty(
    ValueType(
        "a command",
        TEXT,
        lambda node, place: split_command(read_text(node, place, "a command", keep=_STOP_STAY)),
        lambda words: escaped(join_command(words), _STOP_STAY),
    )
)


def _place(node: Node, place: Place) -> str:
    found = read_text(node, place, "a URL", keep=_PLACE_STAYS).strip().rstrip("/")
    sample = found.replace("${PORT}", "1").replace(HOST, "host").replace(START_ID, "id")
    path = unix_path(sample)
    if path is not None and not is_unix_path(path):
        raise place.wrong(node, f"unix: and a path of at most {MAX_UNIX_PATH} bytes")
    if path is None and not is_base_url(sample):
        raise place.wrong(node, "a URL, such as http://box2:${PORT}, or unix: and a path")
    return found


_PLACE: Final[ValueType[str]] = unless_empty(
    ValueType("a URL, or unix: and a path", TEXT, _place, lambda url: escaped(url, _PLACE_STAYS))
)


@immutable
class LauncherConfig:
    """Starts models elsewhere, by a program such as ssh, srun or kubectl.

    Attributes:
        launcher: Its name.
    """

    launcher: str
    start: tuple[str, ...] = key(
        _START,
        (),
        "Runs a model's cmd on another machine for as long as it runs itself, its input and output "
        "passed through: ${COMMAND} stands for the words of cmd, ${COMMAND_LINE} for all of them "
        "as one text for a shell, ${START_ID} for a name that no other start has.",
        lacking="there is no start; write a command such as ssh box2 ${COMMAND_LINE}",
        is_secret=True,
    )
    stop: tuple[str, ...] = key(
        _STOP,
        (),
        "Run to stop a model, and when start has ended unasked; may hold ${START_ID}, ${HOST}, "
        "${PORT} and ${PID}, the process id of start.",
        without="the input of start is closed, which ends what it has started",
        is_secret=True,
    )
    endpoint: str = key(
        _PLACE,
        "",
        "Where a model answers, seen from here, unless its own proxy says otherwise: ${HOST} is "
        "the machine on which it was started, by that machine's own word.",
        without="as the proxy of the model says",
    )


def _count(node: Node, place: Place) -> float:
    wanted = f"a number from 0 to {_MOST}"
    found = place.scalar(node, wanted).typed
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= _MOST:
        raise place.wrong(node, wanted)
    return float(found)


_COUNT: Final = ValueType(
    "a number", or_macro({"type": "number", "minimum": 0, "maximum": _MOST}), _count
)


@immutable
class RayKeys:
    """The cluster of the launcher `ray`."""

    address: str = key(
        text("an address", lambda found: bool(found.strip()), pattern=r"\S"),
        "auto",
        "host:port of the head of the cluster; auto is that of the node on this machine. This "
        "machine has to be a node of it, too, if only one without processors.",
    )


RAY_KEYS: Final = section(RayKeys)


@immutable
class RayNeeds:
    """What a model needs of a machine, for the launcher `ray`; memory is as for others."""

    cpus: float = key(_COUNT, 1.0, "Processors that it has for itself.")
    gpus: float | None = key(
        _COUNT,
        None,
        "GPUs that it has for itself, or a share of one.",
        without="one for each that stands under memory",
    )
    resources: Mapping[str, float] = key(
        named(_COUNT, "a mapping of resources to numbers"),
        NOTHING,
        "What else its machine has to have, by the names that ray start was told.",
    )


RAY_NEEDS: Final = section(RayNeeds)

LAUNCHERS: Final = named(
    section(LauncherConfig, named_by="launcher").type, "a mapping of names to launchers"
)
