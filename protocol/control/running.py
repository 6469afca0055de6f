"""The supervisor itself: how all stands, its workers, its end."""

from typing import Final

from ..events import Decision
from ..values import (
    ConfigStatus,
    DeviceStatus,
    KeepStatus,
    ModelStatus,
    PeerStatus,
    QueueEntry,
    StoreStatus,
    WorkerStatus,
)
from .base import ControlReply, ControlRequest

# Most workers that may run: more than any machine has use for, fewer than would choke one.
MAX_WORKERS: Final = 64

# Connections of each worker: a table in shared memory. One unsigned number of 32 bits for each
# worker, in the machine's order of bytes, at the place of its number, from 1. 0 means that no
# worker accepts there; otherwise it is one more than the connections. A worker writes its own place
# only; the supervisor clears that of one that has ended.
SLOT_BYTES: Final = 4
TABLE_BYTES: Final = SLOT_BYTES * (MAX_WORKERS + 1)


class PingRequest(ControlRequest, frozen=True, kw_only=True, tag="ping"):
    """Check that the supervisor is there."""


class PingReply(ControlReply, frozen=True, kw_only=True):
    """The supervisor is there.

    Attributes:
        version: Of the program.
        epoch: Of its events.
        pid: Of the supervisor.
        uptime_s: Seconds since it started.
    """

    version: str
    epoch: str
    pid: int
    uptime_s: float


class StatusRequest(ControlRequest, frozen=True, kw_only=True, tag="status"):
    """The models, their waiters, and the workers."""


class StatusReply(ControlReply, frozen=True, kw_only=True):
    """The whole state.

    `seq` is the number of the last event that is contained in it.

    Attributes:
        listen: Address on which clients are answered, such as ``127.0.0.1:8080``.
        url: The same for programs of this machine, such as ``http://127.0.0.1:8080``.
        control_requests: Requests that the control socket has answered so far, this one included.
        lease_requests: Times that a worker had to ask for a model; warm requests add nothing.
        config: The configuration in force.
        devices: Where memory decides: those that limit models.
        kept: With ``keepInRam``: which files are kept in main memory.
        store: Where records of requests are kept.
        peers: Other machines, in the order of the configuration.
        instance: A number of this arriero, which stays the same; empty before there was one.
    """

    version: str
    epoch: str
    seq: int
    t: float
    uptime_s: float
    listen: str
    models: tuple[ModelStatus, ...]
    queue: tuple[QueueEntry, ...]
    workers: tuple[WorkerStatus, ...]
    control_requests: int
    lease_requests: int
    config: ConfigStatus
    devices: tuple[DeviceStatus, ...] = ()
    kept: KeepStatus | None = None
    store: StoreStatus | None = None
    url: str = ""
    peers: tuple[PeerStatus, ...] = ()
    instance: str = ""


class WorkersRequest(ControlRequest, frozen=True, kw_only=True, tag="workers"):
    """The worker processes."""


class WorkersReply(ControlReply, frozen=True, kw_only=True):
    """The worker processes, by number."""

    workers: tuple[WorkerStatus, ...]


class ScaleRequest(ControlRequest, frozen=True, kw_only=True, tag="scale"):
    """Run that many workers from now on, 1 to `MAX_WORKERS`."""

    workers: int


class DecisionsRequest(ControlRequest, frozen=True, kw_only=True, tag="decisions"):
    """What was decided of late, and has happened: the last events of these kinds."""


class DecisionsReply(ControlReply, frozen=True, kw_only=True):
    """The last 200 decisions, or fewer if they are long.

    Attributes:
        decisions: As they were published, the oldest first.
    """

    decisions: tuple[Decision, ...]


class ShutdownRequest(ControlRequest, frozen=True, kw_only=True, tag="shutdown"):
    """End the supervisor in good order, like SIGTERM."""


class RestartRequest(ControlRequest, frozen=True, kw_only=True, tag="restart"):
    """Replace the supervisor by a new process, which goes on with its models and requests.

    Refused without ``adopt``, or with a configuration that cannot be used.
    """
