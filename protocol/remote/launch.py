"""Messages about a model's server on another machine.

Three speak: the *tether*, a process beside the supervisor for each such start; the *bridge*, which
asks Ray for a place; and the *agent* on the node, which runs the server. Tether and bridge speak
over a unix socket, a line of JSON each. Tether and agent speak over TCP with CURVE, a frame of
MessagePack each: lines of output are bytes.

Tether and agent repeat themselves once a second, and a message that comes twice changes nothing: so
none has to arrive. What they say is also what keeps the server alive. An agent that hears nothing
for `LEASE_S` ends its server; a tether that hears nothing for `LOST_S` takes that as done. So a
server that nobody can reach is never believed to be gone while it runs.
"""

from collections.abc import Callable
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from ..errors import RemoteProtocolError
from ..read_json import UNREADABLE

LAUNCH_VERSION: Final = 1
"""Of these messages. All machines have the same: what speaks another is refused."""

BEAT_S: Final = 1.0
"""Seconds between two messages of the tether."""

LEASE_S: Final = 8.0
"""Seconds of silence after which an agent ends its server. A switch that learns its ports anew
takes a second or two, and the tether of a busy machine is late by less."""

LOST_S: Final = 11.0
"""Seconds of silence after which a tether takes the server for ended: the lease, and what an end by
SIGKILL takes."""

MAX_LAUNCH_BYTES: Final = 1024**2
"""Longest message. Linux allows 128 kB for one argument of a command."""

# How much of a broken message is shown in an error.
_SHOWN_BYTES: Final = 120


class LaunchMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of all these."""

    v: int = LAUNCH_VERSION


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a start needs of a machine.

    Attributes:
        cpus: Processors; 0: it takes none away from others.
        gpus: GPUs, or a share of one.
        memory: Bytes of main memory.
        resources: Others, by the names that the cluster's operator gave them.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    memory: int = 0
    resources: dict[str, float] = {}


# --- tether and bridge --------------------------------------------------------------------------


class Placed(LaunchMessage, frozen=True, kw_only=True):
    """An agent waits on a machine.

    Attributes:
        node: The machine, as Ray knows it.
        name: As people know it.
        host: Its address.
        port: Where the agent listens.
        key: The agent's public key.
    """

    node: str
    name: str
    host: str
    port: int
    key: str


class PlaceWanted(LaunchMessage, frozen=True, kw_only=True):
    """The first message of a tether: find a place.

    The end of the connection means that it is over, and all there is of it is to end.

    Attributes:
        model: The model. There is one agent for it at a time: an earlier one has to go first.
        demand: What it needs.
        key: The tether's public key; the agent listens to no other.
        placed: It has a place already, and the bridge is another one than that which found it.
    """

    model: str
    demand: Demand
    key: str
    placed: Placed | None = None


class MachineLost(LaunchMessage, frozen=True, kw_only=True):
    """The last message of a tether whose agent is gone.

    Attributes:
        node: Where that was.
    """

    node: str


class PlacePending(LaunchMessage, frozen=True, kw_only=True):
    """There is no place yet.

    Attributes:
        why: In words.
    """

    why: str


class PlaceRefused(LaunchMessage, frozen=True, kw_only=True):
    """There will be none.

    Attributes:
        why: In words; what would do.
    """

    why: str


# --- agent, for who has started it --------------------------------------------------------------


class AgentOrder(LaunchMessage, frozen=True, kw_only=True):
    """What an agent is told on its standard input.

    Attributes:
        host: The address to listen on.
        key: The tether's public key.
    """

    host: str
    key: str


class AgentUp(LaunchMessage, frozen=True, kw_only=True):
    """What an agent writes to its standard output.

    Attributes:
        port: Where it listens.
        key: Its public key.
    """

    port: int
    key: str


# --- tether to agent ----------------------------------------------------------------------------


class ServerHold(LaunchMessage, frozen=True, kw_only=True):
    """Go on; or end.

    Attributes:
        command: Program and arguments. Empty once it has begun.
        env: Added to the environment.
        port: Where it will listen; 0: that is not known.
        ends: It is to end now, in good order.
        seen: The end has been heard of: the agent is not needed any more.
    """

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    port: int = 0
    ends: bool = False
    seen: bool = False


# --- agent to tether ----------------------------------------------------------------------------


class ServerHeld(LaunchMessage, frozen=True, kw_only=True):
    """How it stands.

    Attributes:
        begun: It runs.
        done, total: Bytes of its files that it has read, and of all of them.
    """

    begun: bool = False
    done: int = 0
    total: int = 0


class Wrote(LaunchMessage, frozen=True, kw_only=True):
    """Lines of its output, without line ends.

    Attributes:
        stream: Which output.
        lines: In order.
        lost: Lines before these that came too fast.
    """

    stream: Literal["stdout", "stderr"]
    lines: tuple[bytes, ...]
    lost: int = 0


class ServerOver(LaunchMessage, frozen=True, kw_only=True):
    """It has ended, and nothing is left of it. Said until the tether has `seen` it.

    Attributes:
        code: Its exit code; -N is a signal. None: it could not be started.
        why: In words, then.
    """

    code: int | None
    why: str = ""


ToBridge: TypeAlias = PlaceWanted | MachineLost
FromBridge: TypeAlias = Placed | PlacePending | PlaceRefused
FromAgent: TypeAlias = ServerHeld | Wrote | ServerOver

_encode_json: Final = msgspec.json.Encoder().encode
_encode_packed: Final = msgspec.msgpack.Encoder().encode
_to_bridge: Final[msgspec.json.Decoder[ToBridge]] = msgspec.json.Decoder(ToBridge)
_from_bridge: Final[msgspec.json.Decoder[FromBridge]] = msgspec.json.Decoder(FromBridge)
_agent_order: Final[msgspec.json.Decoder[AgentOrder]] = msgspec.json.Decoder(AgentOrder)
_agent_up: Final[msgspec.json.Decoder[AgentUp]] = msgspec.json.Decoder(AgentUp)
_hold: Final[msgspec.msgpack.Decoder[ServerHold]] = msgspec.msgpack.Decoder(ServerHold)
_from_agent: Final[msgspec.msgpack.Decoder[FromAgent]] = msgspec.msgpack.Decoder(FromAgent)


_T = TypeVar("_T", bound=LaunchMessage)


def line_of(message: LaunchMessage) -> bytes:
    """Return `message` as one line of JSON, with its end."""
    return _encode_json(message) + b"\n"


def packed(message: LaunchMessage) -> bytes:
    """Return `message` as a frame between tether and agent."""
    return _encode_packed(message)


def read_to_bridge(line: bytes) -> ToBridge:
    """Read what a tether says to the bridge.

    Raises:
        RemoteProtocolError: For anything that this version cannot read; so for all that follow.
    """
    return _read(_to_bridge.decode, line)


def read_from_bridge(line: bytes) -> FromBridge:
    """Read what the bridge says to a tether."""
    return _read(_from_bridge.decode, line)


def read_agent_order(line: bytes) -> AgentOrder:
    """Read what an agent is told."""
    return _read(_agent_order.decode, line)


def read_agent_up(line: bytes) -> AgentUp:
    """Read what an agent says of itself."""
    return _read(_agent_up.decode, line)


def read_hold(frame: bytes) -> ServerHold:
    """Read what a tether says to its agent."""
    return _read(_hold.decode, frame)


def read_from_agent(frame: bytes) -> FromAgent:
    """Read what an agent says to its tether."""
    return _read(_from_agent.decode, frame)


def _read(decode: Callable[[bytes], _T], data: bytes) -> _T:
    if len(data) > MAX_LAUNCH_BYTES:
        raise RemoteProtocolError(
            f"cannot read a message of {len(data)} bytes: the limit is {MAX_LAUNCH_BYTES}"
        )
    try:
        message = decode(data)
    except UNREADABLE as exc:
        raise RemoteProtocolError(f"cannot read {data[:_SHOWN_BYTES]!r}: {exc}") from exc
    if message.v != LAUNCH_VERSION:
        raise RemoteProtocolError(
            f"cannot read a message of version {message.v}: this side speaks {LAUNCH_VERSION}; "
            "install the same arriero on all machines"
        )
    return message
