"""The account of one request: times, end, usage.

Rule 1: nothing here reads a clock; the caller says what time it is, in seconds on one clock.
Rule 2: of several ends the first one counts. A client that leaves makes the upstream fail, and not
the other way round.

One flat value, made for each request: `response_reader` fills in what a response says, and
`record` makes the record of it.
"""

from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from arriero.protocol.records import FinishReason, Outcome, Prices, TraceIds, UpstreamKind

from ..apis.base.api import Api
from ..apis.base.usage import Usage
from ..errors import RelayError, UpstreamAnsweredError

Wait: TypeAlias = Literal["queue", "load"]

# What an error means for the account, by its code; the others go by their status.
_BY_CODE: Final[dict[str, Outcome]] = {
    "cancelled": "cancelled",
    "upstream_timeout": "timeout",
    "upstream_hung": "timeout",
    "queue_timeout": "timeout",
    "request_timeout": "timeout",
    "model_load_timeout": "timeout",
    "model_loading": "timeout",  # its client was told to ask again
    "model_unavailable": "rejected",
    "model_evicted": "rejected",
    "supervisor_lost": "rejected",
}

# Ends that are no upstream's, which has worked for nothing.
_GIVEN_UP: Final[frozenset[Outcome]] = frozenset({"client_gone", "cancelled", "timeout"})

# Events that are parsed whatever they hold, until one of them has named the model.
_FIRST_EVENTS: Final = 3

# Of a path that is remembered.
_MAX_PATH_BYTES: Final = 400

# Of the code of an error that is remembered: an upstream may call its errors what it likes.
_MAX_CODE_CHARS: Final = 100

_NO_USAGE: Final = Usage()


class Account(msgspec.Struct, eq=False, kw_only=True):
    """Everything that is known of one request; see `open_account`.

    Attributes:
        request_id: The same as in ``X-Request-Id``.
        path: Of the request, without the query; the beginning of a long one.
        api: The API that is spoken.
        came_at: When it came, on the caller's clock.
        unix_time: The same moment as Unix time.
        key: See `RequestRecord`.
        asked, model, stream, upstream_kind, swap, status, bytes_out, heartbeats: See
            `RequestRecord`; set and raised as they become known.
        prices: Of the model, if they are known.
        waiting_for: What it waits for now; None for nothing.
        waiting_since: When that began.
        queue_s, load_s: How long it has waited for its turn, and for its model to be loaded.
        granted_at: When the upstream could begin, after a wait; None without one.
        first_token_at: When the first piece of the response came.
        last_byte_at: When the upstream's response was complete.
        outcome: How it ended, once it has; a good end is no end of this kind.
        error_code: What failed.
        reported: The tokens, as its upstream has reported them so far; see `usage_of`.
        usage: The same, once they are final, and bounded.
        cached_of_head: How many of them were cached, by the head of the response.
        pieces: How many pieces of text, of reasoning or of a call came, up to the last word on the
            usage at least.
        was_asked: An upstream works on it, or has.
        wasted_tokens: An estimate of the prompt, if the request ended before its upstream had told
            what it used; else 0.
        finish_reason, served_as: See `RequestRecord`.
        told_error: Code of the error that the response told of.
        unread_body: A whole response of which all but the usage is still to be read.
        first_events: So many events more are parsed whatever they hold.
        unread: Whole frames that are still to be read.
        unread_bytes: How many bytes these are.
        has_token: A piece of the response has come.
        is_told: The supervisor has heard, or will hear, of its end.
        trace, content_type: See `RequestRecord`.
    """

    request_id: str
    path: bytes
    api: Api
    came_at: float
    unix_time: float
    key: str = ""
    asked: str = ""
    model: str = ""
    stream: bool = False
    upstream_kind: UpstreamKind = "unknown"
    swap: int = 0
    prices: Prices | None = None
    status: int = 0
    bytes_out: int = 0
    heartbeats: int = 0
    waiting_for: Wait | None = None
    waiting_since: float = 0.0
    queue_s: float = 0.0
    load_s: float = 0.0
    granted_at: float | None = None
    first_token_at: float | None = None
    last_byte_at: float | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    reported: Usage = _NO_USAGE
    usage: Usage | None = None
    cached_of_head: int = 0
    pieces: int = 0
    was_asked: bool = False
    wasted_tokens: int = 0
    finish_reason: FinishReason | None = None
    served_as: str | None = None
    told_error: str | None = None
    unread_body: dict[str, Any] | None = None
    first_events: int = _FIRST_EVENTS
    unread: list[bytes] = []
    unread_bytes: int = 0
    has_token: bool = False
    is_told: bool = False
    trace: TraceIds | UnsetType = UNSET
    content_type: str = ""

    # --- moments -------------------------------------------------------------------------------

    def queued(self, now: float) -> None:
        """Begin to wait in the queue; perhaps once more."""
        self.wait_for("queue", now)

    def loading(self, now: float) -> None:
        """Begin to wait for the model to load."""
        self.wait_for("load", now)

    def granted(self, now: float) -> None:
        """The lease was granted. Not called on the warm path."""
        self.wait_for(None, now)
        self.granted_at = now

    def first_token(self, now: float) -> None:
        """Note the first piece of the response; only the first call counts."""
        self.has_token = True
        if self.first_token_at is None:
            self.first_token_at = now

    def wait_for(self, what: Wait | None, now: float) -> None:
        """End one wait and begin another; None for none."""
        if self.waiting_for == "queue":
            self.queue_s += now - self.waiting_since
        elif self.waiting_for == "load":
            self.load_s += now - self.waiting_since
        self.waiting_for, self.waiting_since = what, now

    # --- ends ----------------------------------------------------------------------------------

    def failed(self, error: RelayError) -> None:
        """Note that the request failed."""
        if not self.status:
            self.status = error.status
        self._ended(outcome_of(error), error.code)

    def client_left(self) -> None:
        """Note that the client has left."""
        self._ended("client_gone", None)

    def was_cancelled(self) -> None:
        """Note that the request was cancelled."""
        self._ended("cancelled", "cancelled")

    @property
    def was_given_up(self) -> bool:
        """Whether an upstream was at work on it when its client did not want it any more."""
        return self.was_asked and self.outcome in _GIVEN_UP

    def _ended(self, outcome: Outcome, code: str | None) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.error_code = None if code is None else code[:_MAX_CODE_CHARS]


def open_account(
    *,
    request_id: str,
    path: bytes,
    api: Api,
    now: float,
    t: float,
    trace: TraceIds | UnsetType = UNSET,
    key: str = "",
) -> Account:
    """Return the account of a request that has just come.

    Args:
        request_id: The same as in ``X-Request-Id``.
        path: Of the request, without the query.
        api: The API that is spoken.
        now: When it came, on the caller's clock.
        t: The same as Unix time.
        trace: Which trace it belongs to, if that is exported.
        key: Name of the key that was shown.
    """
    return Account(
        request_id=request_id,
        path=path[:_MAX_PATH_BYTES],
        api=api,
        came_at=now,
        unix_time=t,
        trace=trace,
        key=key,
    )


def outcome_of(error: RelayError) -> Outcome:
    """Return the outcome of a request that failed with `error`."""
    if isinstance(error, UpstreamAnsweredError):
        return "upstream_error"  # its code is the upstream's, in whose language it means anything
    by_status: Outcome = "rejected" if error.status < 500 else "upstream_error"
    return _BY_CODE.get(error.code, by_status)
