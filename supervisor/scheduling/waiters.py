"""Waiters: who is queued, granted a lease, or refused."""

from arriero.protocol.events import QueueChanged
from arriero.protocol.values import ErrorInfo, QueueEntry

from .messages import refusals
from .messages.events import Announce, GrantLease, RefuseWaiter, Waiter
from .messages.pending_commands import PendingCommands
from .room.placement import Placement
from .room.turn_order import turn_key
from .states.model_state import UNTOLD, ModelState, QueuedWaiter
from .states.model_table import ModelTable
from .states.wait_list import WaitList


class Waiters:
    """Takes waiters in, and answers them.

    Attributes:
        queue: Those that wait.
        asked_at: When somebody asked for something last.
        is_closing: No more are taken in.
    """

    def __init__(
        self, table: ModelTable, placement: Placement, out: PendingCommands, *, now: float = 0.0
    ) -> None:
        self.queue = WaitList()
        self.asked_at = now
        self.is_closing = False
        self._table = table
        self._placement = placement
        self._out = out
        self._arrivals = 0

    def want(self, waiter: Waiter, model: str, now: float, *, waits_on: bool = False) -> None:
        """Take a waiter, who `waits_on` since before this engine was there."""
        if waiter in self.queue:
            return
        self._arrivals += 1
        if waiter.is_asked:
            self.asked_at = now
        wait = QueuedWaiter(waiter, model, now, self._arrivals)
        entry = self._table.all.get(model)
        if entry is None or entry.removed:
            self._refuse(wait, refusals.removed(model))
        elif self.is_closing:
            self._refuse(wait, refusals.unavailable(model, "arriero is stopping"))
        elif entry.state == "ready" and entry.is_full() and not (waits_on or entry.is_untold):
            self._answer_without_place(entry, wait, now)
        else:
            wait.came_untold = entry.state == "ready" and entry.is_untold and not waits_on
            self.queue.add(wait)

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter out, and give its place free if it was granted one."""
        self.queue.remove(waiter)
        for entry in self._table.live.values():
            entry.places.discard(waiter)

    def is_waited_for(self, entry: ModelState) -> bool:
        """Return whether somebody waits for a model, or may use it for all that is known."""
        return entry.is_untold or self.queue.is_waited_for(entry.spec.model)

    # --- answers --------------------------------------------------------------------------------

    def grant(self, entry: ModelState, wait: QueuedWaiter, now: float) -> None:
        """Grant a waiter a lease on a ready model; a script is only told."""
        assert entry.endpoint is not None  # a ready model answers somewhere
        self.queue.remove(wait.waiter)
        lease, owner = 0, wait.waiter.owner
        if wait.waiter.takes_lease:
            # Another number than the recalled one: that one may be on its way back.
            if entry.leases.get(owner, UNTOLD) == UNTOLD or owner in entry.recalled:
                entry.leases[owner] = self._out.number()
                entry.recalled.discard(owner)
            lease = entry.leases[owner]
            entry.used_at = now
            if entry.spec.most:
                entry.places.add(wait.waiter)
            self._placement.changed(entry)
        waited_s = max(0.0, now - wait.since)
        self._out.add(
            GrantLease(wait.waiter, wait.model, lease, entry.endpoint, waited_s, entry.kind)
        )

    def grant_all(self, entry: ModelState, now: float) -> None:
        """Grant to all waiters of this start, even latecomers: it spares a swap.

        Those that find no place wait on, and are not refused: what they wait for is the start.
        """
        for wait in self.queue.of(entry.spec.model):
            if not (entry.is_full() and wait.waiter.takes_lease):
                self.grant(entry, wait, now)

    def refuse_newcomers(self, entry: ModelState, now: float) -> None:
        """Treat those who came before it was known whether there is a place as if they came now."""
        for wait in self.queue.of(entry.spec.model):
            if wait.came_untold:
                self._answer_without_place(entry, wait, now)

    def _answer_without_place(self, entry: ModelState, wait: QueuedWaiter, now: float) -> None:
        """Answer a waiter of a ready model that has no place: a script needs none."""
        if wait.waiter.takes_lease:
            self.queue.remove(wait.waiter)
            ahead = self.queue.count(wait.model)
            self._refuse(wait, refusals.full(wait.model, entry.spec.most, ahead))
        else:
            self.grant(entry, wait, now)

    def refuse_all(self, model: str, error: ErrorInfo) -> None:
        """Refuse all waiters of `model`."""
        for wait in self.queue.of(model):
            self.queue.remove(wait.waiter)
            self._refuse(wait, error)

    def _refuse(self, wait: QueuedWaiter, error: ErrorInfo) -> None:
        self._out.add(RefuseWaiter(wait.waiter, wait.model, error))

    def send_to(self, model: str, instead: str) -> None:
        """Let all waiters of `model` wait for another one, since and as before."""
        for wait in self.queue.of(model):
            self.queue.remove(wait.waiter)
            self.queue.add(QueuedWaiter(wait.waiter, instead, wait.since, wait.number))


class QueueNews:
    """Announces the queue when it is another one.

    Attributes:
        told: The models that are waited for, in the order of turns, as announced.
    """

    def __init__(self, table: ModelTable, queue: WaitList, out: PendingCommands) -> None:
        self.told: tuple[QueueEntry, ...] = ()
        self._table = table
        self._queue = queue
        self._out = out
        self._made_of: tuple[int, set[str]] = (0, set())

    def forget(self) -> None:
        """Make the queue anew: priorities may be others."""
        self._made_of = -1, set()

    def look(self) -> None:
        """Announce the queue, if it has changed."""
        full = {name for name, entry in self._table.live.items() if entry.is_full()}
        made_of = (self._queue.version, full)
        if made_of == self._made_of:
            return
        self._made_of = made_of
        entries = self._table.all
        keys = {
            model: turn_key(entries[model], first.number) for model, first in self._queue.firsts()
        }
        queue = self._queue.entries(sorted(keys, key=keys.__getitem__), full)
        if queue != self.told:
            self.told = queue
            self._out.add(Announce(QueueChanged(queue=queue)))
