"""Models: to start and end them, to hold devices free; their logs, and their profiles."""

from typing import Literal

import msgspec

from ..values import DeviceStatus, MessageValue, ModelFit, ProfileStatus
from .base import ControlReply, ControlRequest


class SwapRequest(ControlRequest, frozen=True, kw_only=True, tag="swap"):
    """Make `model` ready, stopping others if need be.

    Attributes:
        model: Its id or an alias.
        wait: Answer when it is ready or has failed; False answers as soon as it is on its way.
    """

    model: str
    wait: bool = True


class SwapReply(ControlReply, frozen=True, kw_only=True):
    """The model is ready (or, with ``wait`` false, on its way).

    Attributes:
        took_s: Seconds from the request until it was ready; 0.0 when it was ready before.
    """

    model: str
    state: str
    endpoint: str | None = None
    took_s: float = 0.0


class UnloadRequest(ControlRequest, frozen=True, kw_only=True, tag="unload"):
    """Stop a model.

    Attributes:
        model: Its id or an alias; None stops all.
        mode: `drain` lets running requests finish, `now` cuts them.
    """

    model: str | None = None
    mode: Literal["drain", "now"] = "drain"


class UnloadReply(ControlReply, frozen=True, kw_only=True):
    """These models were running and have ended."""

    unloaded: tuple[str, ...]
    took_s: float


class HoldRequest(ControlRequest, frozen=True, kw_only=True, tag="hold"):
    """Keep a device free of models, for something else.

    Models on it finish what they have, and end.

    Attributes:
        device: ``ram``, ``gpu0``, ...; None: all.
        for_s: Seconds until it is used again; None: until `release`.
        wait: Answer when it is free; False answers at once.
    """

    device: str | None = None
    for_s: float | None = None
    wait: bool = True


class HoldReply(ControlReply, frozen=True, kw_only=True):
    """These devices are kept free of models, or were until now.

    Attributes:
        devices: The devices; ``all`` where memory does not decide.
        unloaded: Models that ended for it.
        took_s: Seconds until they had.
    """

    devices: tuple[str, ...]
    unloaded: tuple[str, ...] = ()
    took_s: float = 0.0


class ReleaseRequest(ControlRequest, frozen=True, kw_only=True, tag="release"):
    """Let models use a device again.

    Attributes:
        device: The device; None: all that are held.
    """

    device: str | None = None


class PinRequest(ControlRequest, frozen=True, kw_only=True, tag="pin"):
    """Have a model stay while it is loaded: it does not go for others, and not when idle.

    Refused where memory does not decide.

    Attributes:
        model: Its id or an alias.
        pinned: False: it is to be as the configuration says again.
    """

    model: str
    pinned: bool = True


class ExplainRequest(ControlRequest, frozen=True, kw_only=True, tag="explain"):
    """Explain how a request for `model` would be served now."""

    model: str


class PlaceStanding(MessageValue, frozen=True, kw_only=True):
    """How a model stands at one of the machines that have it.

    Attributes:
        target: Its name there: its id here, or ``<peer>/<model>``.
        host: The peer's id; empty for this machine.
        state: Of its process; empty if that is not known.
        running: Requests that run on it, as far as that is known.
        waiting: Requests that wait for it.
        wait_s: Expected seconds until a new request would begin there.
        usable: It is asked: it was reached lately, or is tried again.
        why: Why it is not; empty if it is.
    """

    target: str
    host: str
    state: str
    running: int
    waiting: int
    wait_s: float
    usable: bool
    why: str = ""


class ExplainReply(ControlReply, frozen=True, kw_only=True):
    """The course that a request for `model` would take.

    Attributes:
        state: Of its process, now; empty if that is another machine's.
        action: `serve`, `join`, `start`, `swap` or `wait`; `pass` if another machine answers.
        stops: Models that would have to go first.
        ahead: Models that get their turn earlier.
        why: The same, in words.
        devices: Where memory decides: those that limit models.
        models: There: this model, and all that have memory.
        start_s: How long its start takes, if that is known.
        places: Where several machines have it: all of them, the one that would answer first.
        why_there: Why that is the first, in words.
    """

    model: str
    state: str
    action: Literal["serve", "join", "start", "swap", "wait", "pass"]
    stops: tuple[str, ...]
    ahead: tuple[str, ...]
    why: str
    devices: tuple[DeviceStatus, ...] = ()
    models: tuple[ModelFit, ...] = ()
    start_s: float | None = None
    places: tuple[PlaceStanding, ...] = ()
    why_there: str = ""


class LogsRequest(ControlRequest, frozen=True, kw_only=True, tag="logs"):
    """The last lines that the process of a model wrote, or arriero itself.

    Attributes:
        model: Its id or an alias; None gives those of all models.
        lines: How many at the most, 1 to 10,000.
        own: The log of arriero is meant.
        bytes: How many bytes at the most, of text; None for as many as are given at once.
    """

    model: str | None = None
    lines: int = 100
    own: bool = False
    bytes: int | None = None


class LogsLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a model's log, or of our own; then it has no model."""

    t: float
    model: str
    stream: str
    line: str


class LogsReply(ControlReply, frozen=True, kw_only=True):
    """The lines, oldest first.

    Attributes:
        lines: The lines.
        seq: Number of the last `log` event (or `own` event) that is contained in them, so that a
            follower knows which of the events that it got meanwhile are new; 0 when there was
            none.
    """

    lines: tuple[LogsLine, ...]
    seq: int = 0


class ProfilesRequest(ControlRequest, frozen=True, kw_only=True, tag="profiles"):
    """The profiles, and which of them is chosen."""


class ProfilesReply(ControlReply, frozen=True, kw_only=True):
    """The profiles, by their names.

    Attributes:
        active: The one that is chosen; None for none.
        profiles: All of them.
    """

    active: str | None
    profiles: tuple[ProfileStatus, ...]


class ProfileRequest(ControlRequest, frozen=True, kw_only=True, tag="profile"):
    """Choose `profile`; None for none. Answered once all workers follow."""

    profile: str | None
