"""What the supervisor and a tether say to each other. Pure.

The tether is told what to do by a variable of its environment, which nobody but its user can read.
What it has to say are lines of its standard output, among those of the server: with a first word
that no line of a server may begin with.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.read_json import UNREADABLE, JsonReader
from arriero.protocol.remote.launch import (
    LaunchMessage,
    MachineLost,
    Placed,
    PlacePending,
    ServerHeld,
    line_of,
)

TETHER_VARIABLE: Final = "ARRIERO_TETHER"
BRIDGE_VARIABLE: Final = "ARRIERO_BRIDGE"

# Sockets of a bridge, in the folder of the supervisor's.
BRIDGE_NAME: Final = "ray.sock"

_FIRST_WORD: Final = b"arriero-tether "
_BRIDGES_WORD: Final = b"arriero-bridge "

# Where a model answers is said in no more than that.
_MAX_LINE_BYTES: Final = 4096


class TetherOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a tether is to do.

    Attributes:
        bridge: Path of the bridge's socket.
        model: The model.
        command: Program and arguments of its server.
        env: Added to the environment.
        port: Where it will listen; 0: that is not known.
        memory: Bytes of each device, where that is declared.
        cpus, gpus, resources: What else it needs of a machine.
    """

    bridge: str
    model: str
    command: tuple[str, ...]
    env: dict[str, str]
    port: int = 0
    memory: dict[str, int]
    cpus: float
    gpus: float
    resources: dict[str, float]


class BridgeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a bridge is to do.

    Attributes:
        path: Of its socket.
        address: Of the cluster, as `ray.init` takes it.
        namespace: Of the names that it gives: of no other supervisor.
    """

    path: str
    address: str
    namespace: str


Word: TypeAlias = Placed | PlacePending | ServerHeld | MachineLost

_words: Final[msgspec.json.Decoder[Word]] = msgspec.json.Decoder(Word)
_tether_order: Final = JsonReader(TetherOrder)
_bridge_order: Final = JsonReader(BridgeOrder)


def variable_for_tether(order: TetherOrder) -> dict[str, str]:
    """Return the variable that says `order`."""
    return {TETHER_VARIABLE: msgspec.json.encode(order).decode()}


def variable_for_bridge(order: BridgeOrder) -> dict[str, str]:
    """Return the variable that says `order`."""
    return {BRIDGE_VARIABLE: msgspec.json.encode(order).decode()}


def tether_order(environ: Mapping[str, str]) -> TetherOrder:
    """Return the order in the environment of a tether.

    Raises:
        BadJson: There is none.
    """
    return _tether_order.read(environ.get(TETHER_VARIABLE, ""))


def bridge_order(environ: Mapping[str, str]) -> BridgeOrder:
    """Return the order in the environment of a bridge.

    Raises:
        BadJson: There is none.
    """
    return _bridge_order.read(environ.get(BRIDGE_VARIABLE, ""))


def said_line(word: LaunchMessage) -> bytes:
    """Return `word` as a line, with its end."""
    return _FIRST_WORD + line_of(word)


def bridge_line(text: str) -> bytes:
    """Return what a bridge has to say as a line: Ray writes pages there as well."""
    return _BRIDGES_WORD + " ".join(text.split()).encode() + b"\n"


def read_bridge_line(line: bytes) -> str | None:
    """Return what a bridge says by `line`; None if it is Ray's."""
    if not line.startswith(_BRIDGES_WORD):
        return None
    return line.removeprefix(_BRIDGES_WORD).decode(errors="replace")


def passed_line(line: bytes) -> bytes:
    """Return a line of the server, with its end: it is none of a tether."""
    return (b" " + line if line.startswith(_FIRST_WORD) else line) + b"\n"


def read_word(line: bytes) -> Word | None:
    """Return what a tether says by `line`; None if it is of its server."""
    if not line.startswith(_FIRST_WORD) or len(line) > _MAX_LINE_BYTES:
        return None
    try:
        return _words.decode(line[len(_FIRST_WORD) :])
    except UNREADABLE:
        return None
