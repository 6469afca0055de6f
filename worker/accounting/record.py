"""Keeps the account of one request: what came when, how it ended, what it used.

Rule 1: nothing here reads a clock; the caller says what time it is, in seconds on one clock.
Rule 2: of several ends the first one counts. A client that leaves makes the upstream fail, and not
the other way round.
"""

from decimal import Decimal
from math import floor
from typing import Final, Literal, TypeAlias

from arriero.protocol.records import Outcome, Prices, RequestRecord, UpstreamKind

from ..apis.base.api import Api
from ..apis.base.usage import Usage
from ..errors import RelayError, UpstreamAnsweredError
from .cost import cost_of
from .response_reader import ResponseFacts

_Waits: TypeAlias = Literal["queue", "load"]

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


# Tokens per second. No time that an upstream tells is too short to be told.
_MAX_RATE: Final = 1e9

# Of the code of an error that is remembered: an upstream may call its errors what it likes.
_MAX_CODE_CHARS: Final = 100


def outcome_of(error: RelayError) -> Outcome:
    """Return how a request ended that could not be answered because of `error`."""
    if isinstance(error, UpstreamAnsweredError):
        return (
            "upstream_error"  # its code is the upstream's, in whose language it may mean anything
        )
    by_status: Outcome = "rejected" if error.status < 500 else "upstream_error"
    return _BY_CODE.get(error.code, by_status)


class RecordKeeper:
    """The account of one request.

    Args:
        request_id: The same as in ``X-Request-Id``.
        t: Unix time at which it came.
        now: The same moment on the caller's clock.
        path: Its path, without the query.
        api: The API that it speaks.

    Attributes:
        asked, model, stream, upstream_kind, status, bytes_out, heartbeats: See `RequestRecord`; to
            be set and raised as they become known.
        prices: What the model costs, if that is known.
    """

    __slots__ = (
        "_api",
        "_asked_at",
        "_came",
        "_end",
        "_first_token",
        "_last_byte",
        "_load_s",
        "_path",
        "_queue_s",
        "_request_id",
        "_t",
        "_waits",
        "_waits_since",
        "asked",
        "bytes_out",
        "heartbeats",
        "model",
        "prices",
        "status",
        "stream",
        "upstream_kind",
    )

    def __init__(self, *, request_id: str, t: float, now: float, path: str, api: Api) -> None:
        self.asked = ""
        self.model = ""
        self.stream = False
        self.upstream_kind: UpstreamKind = "unknown"
        self.prices: Prices | None = None
        self.status = 0
        self.bytes_out = 0
        self.heartbeats = 0
        self._request_id = request_id
        self._t = t
        self._path = path
        self._api = api
        self._came = now
        self._waits: _Waits | None = None
        self._waits_since = now
        self._queue_s = 0.0
        self._load_s = 0.0
        self._asked_at = now  # when the upstream could begin
        self._first_token: float | None = None
        self._last_byte: float | None = None
        self._end: tuple[Outcome, str | None] | None = None

    # --- moments -------------------------------------------------------------------------------

    def queued(self, now: float) -> None:
        """It waits for its turn from now on; perhaps once more."""
        self._wait_for("queue", now)

    def loading(self, now: float) -> None:
        """Its model is being loaded from now on."""
        self._wait_for("load", now)

    def granted(self, now: float) -> None:
        """It may go to its model, which it waited for; without a wait nobody needs to say so."""
        self._wait_for(None, now)
        self._asked_at = now

    def first_token(self, now: float) -> None:
        """A piece of the answer is there; only the first call counts."""
        if self._first_token is None:
            self._first_token = now

    def last_byte(self, now: float) -> None:
        """The upstream's answer is complete."""
        self._last_byte = now

    # --- ends ----------------------------------------------------------------------------------

    def failed(self, error: RelayError) -> None:
        """It could not be answered."""
        if not self.status:
            self.status = error.status
        self._ends(outcome_of(error), error.code)

    def client_left(self) -> None:
        """Nobody is there any more to take the answer."""
        self._ends("client_gone", None)

    def was_cancelled(self) -> None:
        """Somebody asked for its end."""
        self._ends("cancelled", "cancelled")

    def _ends(self, outcome: Outcome, code: str | None) -> None:
        if self._end is None:
            self._end = (outcome, None if code is None else code[:_MAX_CODE_CHARS])

    # --- the record ----------------------------------------------------------------------------

    def finish(self, now: float, facts: ResponseFacts | None = None) -> RequestRecord:
        """Return the record.

        Args:
            now: When all was over.
            facts: What the answer said; None if there was none.
        """
        known = facts if facts is not None else ResponseFacts(Usage())
        usage = known.usage
        outcome, code = self.outcome(known)
        self._wait_for(None, now)
        prompt_ms, gen_ms = self._times(now, usage)
        # the first token was there before the time of those that followed it began
        written = usage.output_tokens - (usage.predicted_ms is None)
        return RequestRecord(
            request_id=self._request_id,
            t=self._t,
            path=self._path,
            asked=self.asked,
            model=self.model,
            served_as=known.model,
            upstream_kind=self.upstream_kind,
            api=self._api.family,
            stream=self.stream,
            status=self.status,
            outcome=outcome,
            finish_reason=known.finish_reason,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            draft_tokens=usage.draft_tokens,
            draft_accepted=usage.draft_accepted,
            usage_source=usage.source,
            cost_usd=self.cost(usage),
            duration_ms=_ms(now - self._came),
            queue_ms=_ms(self._queue_s),
            load_ms=_ms(self._load_s),
            ttft_ms=None if self._first_token is None else _ms(self._first_token - self._came),
            prompt_ms=prompt_ms,
            gen_ms=gen_ms,
            prompt_per_s=_rate(usage.input_tokens - usage.cached_tokens, prompt_ms),
            output_per_s=_rate(written, gen_ms),
            bytes_out=self.bytes_out,
            heartbeats=self.heartbeats,
            error_code=code,
        )

    def cost(self, usage: Usage) -> Decimal | None:
        """Return what it costs, in US dollars. What is not known is not free."""
        return None if usage.source == "none" else cost_of(usage, self.prices)

    def outcome(self, facts: ResponseFacts) -> tuple[Outcome, str | None]:
        """Return how it ended, if this is the end, and the code of what failed."""
        if self._end is not None:
            return self._end
        if self.status >= 400:
            return "upstream_error", facts.error or f"http_{self.status}"
        if facts.error is not None:
            return "upstream_error", facts.error
        if not self.status:
            return "upstream_error", "internal"  # it got no answer, and nobody has said why
        return "ok", None

    def _times(self, now: float, usage: Usage) -> tuple[float | None, float | None]:
        """Return the time for the prompt and for the answer: as told, else as seen from here."""
        prompt_ms, gen_ms = usage.prompt_ms, usage.predicted_ms
        if self._first_token is not None:
            if prompt_ms is None:
                prompt_ms = _ms(self._first_token - self._asked_at)
            if gen_ms is None:
                end = now if self._last_byte is None else self._last_byte
                gen_ms = _ms(end - self._first_token)
        return prompt_ms, gen_ms

    def _wait_for(self, what: _Waits | None, now: float) -> None:
        if self._waits == "queue":
            self._queue_s += now - self._waits_since
        elif self._waits == "load":
            self._load_s += now - self._waits_since
        self._waits, self._waits_since = what, now


def _ms(seconds: float) -> float:
    return floor(seconds * 10_000 + 0.5) / 10  # `round` takes four times as long


def _rate(tokens: int, ms: float | None) -> float | None:
    """Return tokens per second; None if there are none, or if the time is too short to say."""
    if ms is None or ms <= 0 or tokens <= 0:
        return None
    rate = tokens * 1000 / ms
    return round(rate, 2) if rate < _MAX_RATE else None
