"""The requests that run in this worker, by their ids, and those that ended lately."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from arriero.protocol.lease import CancelResult

# Ended requests that are remembered, so that a late wish to cancel is answered truthfully.
MAX_ENDED: Final = 1000


class _RunningRequest(msgspec.Struct, frozen=True):
    caller: str
    peer: str
    cancel: Callable[[bool], None]


class RunningRequests:
    """Which requests run, whose they are, and how each of them is ended.

    Args:
        max_ended: So many that ended are remembered.
    """

    def __init__(self, max_ended: int = MAX_ENDED) -> None:
        self._max_ended = max_ended
        self._running: dict[str, _RunningRequest] = {}
        self._cancelled: set[str] = set()
        self._ambiguous: set[str] = set()  # another client calls its request the same
        self._ended: OrderedDict[str, str] = OrderedDict()

    def enter(
        self,
        request_id: str,
        more: str,
        caller: str,
        cancel: Callable[[bool], None],
        *,
        peer: str = "",
    ) -> str:
        """Note that a request runs.

        Args:
            request_id: As its client calls it.
            more: Put behind the id if another request has the same.
            caller: Whose it is.
            cancel: Ends it; called once at the most, with whether its own client wants that.
            peer: Address of its client.

        Returns:
            Its id, which no other request has.
        """
        if request_id in self._running or request_id in self._ended:
            if request_id in self._running:
                self._ambiguous.add(request_id)
            request_id = f"{request_id}-{more}"
        self._running[request_id] = _RunningRequest(caller, peer, cancel)
        return request_id

    def exit(self, request_id: str) -> None:
        """Note that a request has ended."""
        self._ended[request_id] = self._running.pop(request_id).caller
        self._cancelled.discard(request_id)
        self._ambiguous.discard(request_id)
        if len(self._ended) > self._max_ended:
            self._ended.popitem(last=False)

    def cancel(self, request_id: str, caller: str | None, peer: str = "") -> CancelResult:
        """End a request.

        Its own client is told that all is well. Whoever asks has to be it beyond doubt for that: a
        client that has not asked must be able to tell what it has got from a whole answer.

        Args:
            request_id: Which one.
            caller: Who wants it; None, for the owner of the machine, may end all.
            peer: The address from which it is wanted.
        """
        found = self._running.get(request_id)
        if found is None:
            owner = self._ended.get(request_id)
            if owner is None:
                return "unknown"
            return "finished" if caller in (None, owner) else "forbidden"
        if caller not in (None, found.caller):
            return "forbidden"
        if request_id in self._cancelled:
            return "finished"
        self._cancelled.add(request_id)
        is_its_client = caller is not None and peer == found.peer
        found.cancel(is_its_client and request_id not in self._ambiguous)
        return "cancelled"
