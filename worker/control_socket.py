"""The supervisor's control socket, for the few pages that need it: a connection per question.

What each request needs goes over the lease socket; see `supervisor_link`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio
import zmq

from arriero.protocol.codec import decode_reply, encode
from arriero.protocol.control.base import ControlReply, ControlRequest, Refusal
from arriero.protocol.errors import RemoteProtocolError
from arriero.protocol.transport import connected
from arriero.protocol.values import ErrorInfo

from .errors import (
    BadRequest,
    MemoryNotCounted,
    RelayError,
    Unavailable,
    UnknownDevice,
    UnknownModel,
    UnknownRequest,
)

_ReplyT = TypeVar("_ReplyT", bound=ControlReply)

# Questions of one worker that are under way at once; the supervisor has a limit of its own.
_MAX_QUESTIONS = 32

# Seconds between two looks at whether the supervisor still says anything.
_LOOK_S = 0.25


class ControlSocket:
    """Asks the supervisor, as scripts do.

    Args:
        context: The zmq context.
        folder: Of the supervisor's sockets.

    Attributes:
        is_silent: Says whether nothing is heard of the supervisor, so that nobody need wait for its
            answer; set by who hears it.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", folder: Path) -> None:
        self._context = context
        self._path = folder / "control.sock"
        self._under_way = 0
        self.is_silent: Callable[[], bool] = lambda: False

    async def ask(
        self, request: ControlRequest, kind: type[_ReplyT], *, within_s: float
    ) -> _ReplyT:
        """Return the answer to `request`, of that kind.

        Raises:
            RelayError: It was refused, or the supervisor does not answer within that time, or
                says nothing at all.
        """
        if self._under_way >= _MAX_QUESTIONS:
            raise Unavailable(
                f"cannot ask now: {_MAX_QUESTIONS} others wait for the supervisor already",
                code="supervisor_busy",
            )
        self._under_way += 1
        data = b""
        try:
            with connected(self._context, zmq.REQ, self._path) as socket:
                socket.send([encode(request)])
                with trio.move_on_after(within_s):
                    while not data and not self.is_silent():
                        with trio.move_on_after(_LOOK_S):
                            data = (await socket.receive())[-1]
        finally:
            self._under_way -= 1
        if not data:
            raise Unavailable(
                "cannot ask now: the supervisor does not answer", code="supervisor_lost"
            )
        try:
            reply = decode_reply(data, kind)
        except RemoteProtocolError as exc:
            raise RelayError(f"cannot read the supervisor's answer: {exc}") from exc
        if isinstance(reply, Refusal):
            raise refused(reply.error)
        return reply


def refused(error: ErrorInfo) -> RelayError:
    """Return what a client is told of a refusal."""
    match error.code:
        case "unknown_model":
            return UnknownModel(error.message)
        case "unknown_device":
            return UnknownDevice(error.message)
        case "memory_not_counted":
            return MemoryNotCounted(error.message)
        case "unknown_capture":
            return UnknownRequest(error.message)
        case "busy" | "query_too_long" | "store_failed":
            return Unavailable(f"cannot tell now: {error.message}", code=error.code)
        case _:
            return BadRequest(error.message)
