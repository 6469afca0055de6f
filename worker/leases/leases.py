"""The leases of one worker, its requests in flight, and those that wait.

Rule 1: the warm path is a look into a dictionary and a counter; it says nothing to anybody.
Rule 2: a request counts as in flight from the moment at which its `Grant` is read, not from its
first byte: what was promised cannot be taken away in between.
Rule 3: methods return what has to be said to the supervisor; they say nothing themselves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from arriero.protocol.lease import (
    Broken,
    FromWorker,
    Grant,
    HeldLease,
    KeepAlive,
    Leave,
    Refuse,
    Release,
    Report,
    Revoke,
    Void,
    Want,
)
from arriero.protocol.records import UpstreamKind
from arriero.protocol.values import LOCAL, ErrorInfo

# Requests that wait, from which on others may be as many.
_CROWD: Final = 16

LOST = ErrorInfo(
    code="supervisor_lost",
    message="cannot start the model now: the supervisor does not answer",
    transient=True,
)


def bearer_line(key: str) -> bytes:
    """Return the line by which a model's server is told who asks; nothing without a key.

    llama-server, vLLM and SGLang all read it, on the paths of Anthropic's API as well, where the
    first takes ``x-api-key``, too.
    """
    return b"Authorization: Bearer %b\r\n" % key.encode(errors="surrogateescape") if key else b""


@dataclass(slots=True, eq=False)
class Lease:
    """The right to send requests for `model` to `endpoint`.

    Attributes:
        model: The model's id.
        number: Of the lease.
        endpoint: Base URL.
        in_flight: Requests that run on it.
        admits: New requests may start.
        ends_idle: It is given back as soon as nothing runs.
        kind: What answers there.
        granted_at: When it was granted last, on the caller's clock.
        key_line: The header line by which it is told who asks; empty for none.
        host, swap: Of the process there; see `Grant`.
    """

    model: str
    number: int
    endpoint: str
    in_flight: int = 0
    admits: bool = True
    ends_idle: bool = False
    kind: UpstreamKind = "unknown"
    granted_at: float = -math.inf
    key_line: bytes = field(default=b"", repr=False)
    host: str = LOCAL
    swap: int = 0


class PendingRequest(msgspec.Struct, eq=False):
    """One request that waits for its model.

    Attributes:
        request: Its number.
        model: The model's id.
        wake: Called when `outcome` is set.
        outcome: The lease that it got (it is counted there), or why it got none.
        is_limited: Says of the id of a model whether it has a limited number of places: it may be
            given another model than the one it waits for.
    """

    request: int
    model: str
    wake: Callable[[], None]
    outcome: Lease | ErrorInfo | None = None
    is_limited: Callable[[str], bool] = lambda _: False


class Leases(msgspec.Struct):
    """What this worker may do without asking, and whom it keeps waiting."""

    _held: dict[str, Lease] = msgspec.field(default_factory=dict)
    _void: list[Lease] = msgspec.field(
        default_factory=list
    )  # replaced or gone; requests may still run
    _waiting: dict[int, PendingRequest] = msgspec.field(default_factory=dict)
    _places: dict[int, Lease] = msgspec.field(default_factory=dict)
    _used: set[str] = msgspec.field(default_factory=set)
    _requests: int = 0

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait that all who come may not be looked at in one go."""
        return len(self._waiting) > _CROWD

    # --- requests ------------------------------------------------------------------------------

    def enter(self, model: str) -> Lease | None:
        """Start a request on `model` at once, if that is allowed."""
        lease = self._held.get(model)
        if lease is None or not lease.admits:
            return None
        lease.in_flight += 1
        return lease

    def exit(self, lease: Lease) -> Release | None:
        """End a request that was started on `lease`."""
        lease.in_flight -= 1
        self._used.add(lease.model)
        if lease.in_flight == 0 and (lease.ends_idle or not lease.admits):
            return self._give_back(lease)
        return None

    def exit_and_keep(self, lease: Lease, keep_s: float) -> KeepAlive | Release | None:
        """End a request on `lease` that wants its model to be kept for `keep_s` at most."""
        was_used = lease.model in self._used
        released = self.exit(lease)
        if released is not None or self._held.get(lease.model) is not lease:
            return released
        if not was_used:  # that would count as another request, which comes after this one
            self._used.discard(lease.model)
        return KeepAlive(
            model=lease.model, lease=lease.number, keep_s=keep_s, in_flight=lease.in_flight
        )

    def want(
        self,
        model: str,
        wake: Callable[[], None],
        is_limited: Callable[[str], bool] = lambda _: False,
    ) -> tuple[PendingRequest, Want]:
        """Let a request wait for `model`."""
        self._requests += 1
        waiter = PendingRequest(self._requests, model, wake, is_limited=is_limited)
        self._waiting[waiter.request] = waiter
        return waiter, Want(request=waiter.request, model=model)

    def quit(self, waiter: PendingRequest) -> Leave | Release | None:
        """End the waiting of a request whose client has gone, whether it got its lease or not."""
        if isinstance(waiter.outcome, Lease):
            return self.exit(waiter.outcome)
        if self._waiting.pop(waiter.request, None) is None:
            return None
        return Leave(request=waiter.request)

    def leave_place(self, request: int) -> Leave:
        """End a request in one of a limited number of places."""
        self._places.pop(request, None)
        return Leave(request=request)

    def broken(self, lease: Lease) -> Broken:
        """Report that nobody listens at the endpoint of `lease`.

        It is kept until the supervisor says what is true: it alone knows the process.
        """
        return Broken(model=lease.model, lease=lease.number)

    # --- messages ------------------------------------------------------------------------------

    def granted(self, message: Grant, now: float) -> None:
        """Take a lease, and start the requests that waited for it."""
        lease = self._held.get(message.model)
        if lease is None or lease.endpoint != message.endpoint:
            if lease is not None and lease.in_flight:
                self._void.append(lease)
            lease = Lease(message.model, message.lease, message.endpoint)
            self._held[message.model] = lease
        elif lease.number != message.lease:
            # the old number and all that was asked of it are forgotten; what runs goes on
            lease.number = message.lease
            lease.admits = True
            lease.ends_idle = False
        lease.kind = message.kind
        lease.host, lease.swap = message.host, message.swap
        lease.key_line = bearer_line(message.api_key)
        lease.granted_at = now
        for request in (message.request, *message.more):
            waiter = self._waiting.pop(request, None)
            if waiter is not None:
                lease.in_flight += 1
                waiter.outcome = lease
                if waiter.is_limited(lease.model):
                    self._places[request] = lease
                waiter.wake()

    def refused(self, message: Refuse) -> None:
        """Tell requests that they will not get their model."""
        for request in (message.request, *message.more):
            waiter = self._waiting.pop(request, None)
            if waiter is not None:
                waiter.outcome = message.error
                waiter.wake()

    def revoke(self, message: Revoke) -> Release | None:
        """Get ready to give a lease back; done at once when nothing runs on it."""
        lease = self._held.get(message.model)
        if lease is None or lease.number != message.lease:
            # not held (any more): the supervisor must not wait for an answer for ever
            return Release(model=message.model, lease=message.lease)
        if message.when_idle:
            lease.ends_idle = True
        else:
            lease.admits = False
        return self._give_back(lease) if lease.in_flight == 0 else None

    def held(self, model: str, number: int) -> Lease | None:
        """Return the lease of that number, if it is held."""
        lease = self._held.get(model)
        return lease if lease is not None and lease.number == number else None

    def gone(self, message: Void) -> str | None:
        """Drop a lease whose process has ended; returns the endpoint that is dead."""
        lease = self._held.get(message.model)
        if lease is None or lease.number != message.lease:
            return None
        del self._held[message.model]
        if lease.in_flight:
            self._void.append(lease)
        return lease.endpoint

    def holdings(self) -> tuple[HeldLease, ...]:
        """Return what a supervisor that has not granted it has to know."""
        places: dict[int, list[int]] = {}
        for request, lease in self._places.items():
            places.setdefault(id(lease), []).append(request)
        return tuple(
            HeldLease(
                model=lease.model,
                lease=lease.number,
                endpoint=lease.endpoint,
                places=tuple(places.get(id(lease), ())),
            )
            for lease in self._held.values()
        )

    def waits(self) -> dict[str, tuple[int, ...]]:
        """Return the numbers of the requests that wait, by model."""
        found: dict[str, list[int]] = {}
        for waiter in self._waiting.values():
            found.setdefault(waiter.model, []).append(waiter.request)
        return {model: tuple(numbers) for model, numbers in found.items()}

    def renew(self) -> list[Want]:
        """Another supervisor goes on: it knows what is held, and is asked for what is waited for.

        What the one before it wanted back is forgotten together with the reason.
        """
        for lease in self._held.values():
            lease.admits, lease.ends_idle = True, False
        return [
            Want(request=waiter.request, model=waiter.model) for waiter in self._waiting.values()
        ]

    def lost(self) -> list[FromWorker]:
        """The supervisor is silent: let nobody wait for it any longer."""
        waiters = tuple(self._waiting.values())
        self._waiting.clear()
        for waiter in waiters:
            waiter.outcome = LOST
            waiter.wake()
        return [Leave(request=waiter.request) for waiter in waiters]

    def report(self, probe: int = 0, was_heard: Callable[[str], bool] = lambda _: False) -> Report:
        """Say what runs, and what has been used since the last report.

        Args:
            probe: Number of the probe that is answered.
            was_heard: Says of an endpoint whether it has said anything since then.
        """
        self._void = [lease for lease in self._void if lease.in_flight]
        in_flight: dict[str, int] = {}
        heard = tuple(sorted(name for name, held in self._held.items() if was_heard(held.endpoint)))
        for lease in (*self._held.values(), *self._void):
            if lease.in_flight:
                in_flight[lease.model] = in_flight.get(lease.model, 0) + lease.in_flight
        used = tuple(sorted(self._used))
        self._used.clear()
        return Report(in_flight=in_flight, used=used, heard=heard, probe=probe)

    # --- within --------------------------------------------------------------------------------

    def _give_back(self, lease: Lease) -> Release | None:
        if self._held.get(lease.model) is not lease:
            return None  # void: nothing needs to be given back
        del self._held[lease.model]
        return Release(model=lease.model, lease=lease.number)
