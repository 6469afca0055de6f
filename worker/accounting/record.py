"""Account of one request -> its record."""

from math import floor
from typing import Final

from msgspec import UNSET

from arriero.protocol.records import Outcome, RequestRecord

from ..apis.base.usage import Usage
from .account import Account
from .cost import cost_of_response
from .response_reader import read_rest

# Tokens per second. No time that an upstream tells is too short to be told.
_MAX_RATE: Final = 1e9


def make_record(account: Account, now: float) -> RequestRecord:
    """Return the record of a request that was over at `now`."""
    usage = read_rest(account)
    outcome, code = outcome_so_far(account)
    if account.waiting_for is not None:
        account.wait_for(None, now)
    prompt_ms, gen_ms = _times(account, now, usage)
    prompt = usage.input_tokens if account.reported.input_tokens else 0  # no guess has a speed
    # the first token was there before the time of those that followed it began
    written = usage.output_tokens - (usage.predicted_ms is None)
    first_token_at = account.first_token_at
    # By place, in the order of the fields: of more than fifteen names Python makes a dictionary,
    # and this takes 6.5 us in the place of 0.2.
    return RequestRecord(
        account.request_id,
        account.unix_time,
        account.path.decode("latin-1"),
        account.asked,
        account.model,
        account.api.family,
        account.stream,
        account.status,
        outcome,
        _ms(now - account.came_at),
        account.served_as,
        account.upstream_kind,
        account.finish_reason,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.draft_tokens,
        usage.draft_accepted,
        usage.source,
        None if account.prices is None else cost_of_response(usage, account.prices),
        _ms(account.queue_s) if account.queue_s else 0.0,
        _ms(account.load_s) if account.load_s else 0.0,
        None if first_token_at is None else _ms(first_token_at - account.came_at),
        prompt_ms,
        gen_ms,
        _rate(prompt - usage.cached_tokens, prompt_ms),
        _rate(written, gen_ms),
        account.bytes_out,
        account.heartbeats,
        code,
        account.swap,
        account.content_type,
        account.trace,
        UNSET,
        account.key,
    )


def outcome_so_far(account: Account) -> tuple[Outcome, str | None]:
    """Return the outcome if the request ends now, and its error code.

    All of its response was read before; see `read_rest`.
    """
    if account.outcome is not None:
        return account.outcome, account.error_code
    if account.status >= 400:
        return "upstream_error", account.told_error or f"http_{account.status}"
    if account.told_error is not None:
        return "upstream_error", account.told_error
    if not account.status:
        return "upstream_error", "internal"  # it got no response, and nobody has said why
    return "ok", None


def _times(account: Account, now: float, usage: Usage) -> tuple[float | None, float | None]:
    """Return the times for prompt and answer: as reported, else as seen."""
    prompt_ms, gen_ms = usage.prompt_ms, usage.predicted_ms
    first_token_at = account.first_token_at
    if first_token_at is not None:
        if prompt_ms is None:
            began_at = account.came_at if account.granted_at is None else account.granted_at
            prompt_ms = _ms(first_token_at - began_at)
        if gen_ms is None:
            end = now if account.last_byte_at is None else account.last_byte_at
            gen_ms = _ms(end - first_token_at)
    return prompt_ms, gen_ms


def _ms(seconds: float) -> float:
    return floor(seconds * 10_000 + 0.5) / 10  # `round` takes four times as long


def _rate(tokens: int, ms: float | None) -> float | None:
    """Return tokens per second; None if there are none, or no time."""
    if ms is None or ms <= 0 or tokens <= 0:
        return None
    rate = tokens * 1000 / ms
    return floor(rate * 100 + 0.5) / 100 if rate < _MAX_RATE else None
