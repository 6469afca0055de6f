"""Asks the supervisor, in a thread of its own: what is drawn waits for no answer."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeAlias

import msgspec
import zmq

from arriero.protocol.control.base import ControlReply, ControlRequest, Refusal
from arriero.protocol.control.models import (
    HoldReply,
    HoldRequest,
    LogsReply,
    LogsRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
    UnloadReply,
    UnloadRequest,
)
from arriero.protocol.control.requests import CancelReply, CancelRequest
from arriero.protocol.control.running import StatusReply, StatusRequest

from ...text.printable import clean
from ..connection import ControlConnection, open_link
from ..find_sockets import AnswerOverdue, SupervisorUnreachable
from ..place import SupervisorPlace
from ..render.requests import cancelled_line
from ..render.text import held_line, refusal_line, unloaded_line

# Seconds for an answer from memory, and for one that may wait for models: it goes on without.
_ANSWER_S: Final = 5.0
_WORK_S: Final = 1.0


class Unreached(msgspec.Struct, frozen=True):
    """The supervisor did not say how things stand."""


class WishDone(msgspec.Struct, frozen=True):
    """What a wish has come to, in words."""

    text: str


Heard: TypeAlias = StatusReply | LogsReply | WishDone | Unreached


class Asker:
    """Asks one thing after the other.

    Args:
        place: Of the supervisor's sockets.
        tell: Called with each answer, in the thread.
    """

    def __init__(self, place: SupervisorPlace, tell: Callable[[Heard], None]) -> None:
        self._place = place
        self._tell = tell
        self._wishes: SimpleQueue[ControlRequest] = SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def ask(self, request: ControlRequest) -> None:
        """Ask as soon as what was asked before is answered."""
        self._wishes.put(request)

    def _run(self) -> None:
        with open_link(self._place) as link:
            while True:
                request = self._wishes.get()
                try:
                    heard = answered(link, request)
                except (SupervisorUnreachable, zmq.ZMQError) as exc:
                    is_look = isinstance(request, StatusRequest | LogsRequest)
                    heard = Unreached() if is_look else WishDone(str(exc))
                self._tell(heard)


def answered(link: ControlConnection, request: ControlRequest) -> Heard:
    """Ask, and return the answer, or what it says.

    Raises:
        SupervisorUnreachable: There is none.
    """
    reply: ControlReply
    match request:
        case StatusRequest():
            reply = link.ask(request, StatusReply, within_s=_ANSWER_S)
        case LogsRequest():
            reply = link.ask(request, LogsReply, within_s=_ANSWER_S)
        case SwapRequest():
            reply = link.ask(request, SwapReply, within_s=_ANSWER_S)
        case CancelRequest():
            reply = link.ask(request, CancelReply, within_s=_ANSWER_S)
        case HoldRequest() | ReleaseRequest():
            reply = link.ask(request, HoldReply, within_s=_ANSWER_S)
        case UnloadRequest(model=model):
            try:
                reply = link.ask(request, UnloadReply, within_s=_WORK_S)
            except AnswerOverdue:  # it was heard: that takes as long as it takes
                return WishDone(f"unloading {clean(model or 'all models')}")
        case _:
            raise AssertionError(f"nobody asks for {request!r} here")
    match reply:
        case StatusReply() | LogsReply():
            return reply
        case Refusal() if isinstance(request, LogsRequest):
            return LogsReply(lines=())  # its model has gone meanwhile
        case Refusal() if isinstance(request, StatusRequest):
            return Unreached()  # too busy
        case Refusal(error=error):
            return WishDone(refusal_line(error))
        case SwapReply(model=model, state=state):
            text = "is ready" if state == "ready" else "will be loaded"
            return WishDone(f"{clean(model)} {text}")
        case UnloadReply():
            return WishDone(unloaded_line(reply))
        case CancelReply():
            return WishDone(cancelled_line(reply))
        case HoldReply() if isinstance(request, HoldRequest):
            return WishDone(held_line(reply, None))
        case HoldReply(devices=names):
            return WishDone(f"models may use {', '.join(map(clean, names))} again")
        case _:
            raise AssertionError(f"nothing was asked that gives {reply!r}")
