"""The requests that run, of all workers, in llama-swap's words. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from arriero.protocol.records import InflightRequest

# Fields of heads whose values are secret; how many fields are shown, and how much of each value.
_SECRET: Final = frozenset(
    {
        "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key",
        "x-goog-api-key", "api-key", "x-amz-security-token",
    }
)  # fmt: skip
_MAX_FIELDS: Final = 32
_MAX_CHARS: Final = 200
_REDACTED: Final = "[REDACTED]"


class ShownRequest(msgspec.Struct, frozen=True):
    """A request that runs, as events have it.

    Attributes:
        id: Its id, by which it can be cancelled.
        timestamp: When it came, as in RFC 3339.
        resp_bytes: Bytes of its answer so far.
        elapsed_ms: Since it came.
    """

    id: str
    timestamp: str
    model: str
    req_path: str
    method: str
    req_headers: dict[str, str]
    remote_ip: str
    resp_headers: dict[str, str]
    resp_bytes: int
    elapsed_ms: int


class InflightOperation(msgspec.Struct, frozen=True):
    """A change of the list of these, or all of it."""

    operation: Literal["snapshot", "upsert", "remove"]
    requests: list[ShownRequest] | UnsetType = UNSET
    request: ShownRequest | UnsetType = UNSET
    id: str | UnsetType = UNSET


def shown_fields(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return fields of a head: the first of each name, no secrets, and not without a bound."""
    found: dict[str, str] = {}
    for name, value in fields:
        key = name.decode("latin-1").lower()[:_MAX_CHARS]
        if key in found:
            continue
        if len(found) == _MAX_FIELDS:
            break
        found[key] = _REDACTED if key in _SECRET else value.decode("latin-1")[:_MAX_CHARS]
    return found


class InflightTable:
    """The requests that run, by worker."""

    def __init__(self) -> None:
        self._workers: dict[str, dict[str, InflightRequest]] = {}

    def replace(self, worker: str, requests: Iterable[InflightRequest]) -> list[str]:
        """Take what a worker says of all its requests; return the ids of those that changed."""
        old = self._workers.pop(worker, {})
        new = {one.id: one for one in requests}
        if new:
            self._workers[worker] = new
        return [key for key in {**old, **new} if old.get(key) != new.get(key)]

    def clear(self) -> None:
        """Forget all."""
        self._workers.clear()

    def snapshot(self, now: float) -> InflightOperation:
        """Return all of them, the oldest first, at the Unix time `now`."""
        found = sorted(self._all(), key=lambda one: one.t)
        return InflightOperation("snapshot", requests=[_shown(one, now) for one in found])

    def change(self, request_id: str, now: float) -> InflightOperation:
        """Return what has become of one."""
        for requests in self._workers.values():
            if request_id in requests:
                return InflightOperation("upsert", request=_shown(requests[request_id], now))
        return InflightOperation("remove", id=request_id)

    def _all(self) -> Iterator[InflightRequest]:
        for requests in self._workers.values():
            yield from requests.values()


def _shown(one: InflightRequest, now: float) -> ShownRequest:
    at = datetime.fromtimestamp(one.t, tz=UTC)
    return ShownRequest(
        id=one.id,
        timestamp=at.isoformat().replace("+00:00", "Z"),
        model=one.model,
        req_path=one.path,
        method=one.method,
        req_headers=one.request_fields,
        remote_ip=one.peer,
        resp_headers=one.response_fields,
        resp_bytes=one.bytes_out,
        elapsed_ms=max(0, round((now - one.t) * 1000)),
    )
