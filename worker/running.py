"""The requests that run in this worker, by their ids, and those that ended lately. Deciding."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from arriero.protocol.lease import CancelResult

# Ended requests that are remembered, so that a late wish to cancel is answered truthfully.
_MOST_ENDED: Final = 1000


class Running:
    """Which requests run, whose they are, and how each of them is ended."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[str, Callable[[], None]]] = {}
        self._cancelled: set[str] = set()
        self._ended: OrderedDict[str, str] = OrderedDict()

    def enter(self, request_id: str, more: str, caller: str, cancel: Callable[[], None]) -> str:
        """Note that a request runs.

        Args:
            request_id: As its client calls it.
            more: Put behind the id if another request has the same.
            caller: Whose it is.
            cancel: Ends it; called once at the most.

        Returns:
            Its id, which no other request has.
        """
        if request_id in self._running or request_id in self._ended:
            request_id = f"{request_id}-{more}"
        self._running[request_id] = (caller, cancel)
        return request_id

    def exit(self, request_id: str) -> None:
        """Note that a request has ended."""
        caller, _ = self._running.pop(request_id)
        self._cancelled.discard(request_id)
        self._ended[request_id] = caller
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    def cancel(self, request_id: str, caller: str | None) -> CancelResult:
        """End a request.

        Args:
            request_id: Which one.
            caller: Who wants it; None may end all.
        """
        found = self._running.get(request_id)
        if found is None:
            owner = self._ended.get(request_id)
            if owner is None:
                return "unknown"
            return "finished" if caller in (None, owner) else "forbidden"
        owner, cancel = found
        if caller not in (None, owner):
            return "forbidden"
        if request_id in self._cancelled:
            return "finished"
        self._cancelled.add(request_id)
        cancel()
        return "cancelled"
