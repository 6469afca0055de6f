"""X-Gateway-* headers and trailers: usage, cost, outcome.

In the head of a response that is no stream: all is known by then. After a stream, as trailers;
their names are declared before it, when nobody knows yet what will be known: of those that were
declared some may be missing, but none may come that was not.

Source: RFC 9110, sections 6.5 and 6.6.2 (trailers); RFC 9112, section 7.1.2 (in chunks only).
"""

import re
from decimal import Decimal
from typing import Final

from arriero.protocol.records import Outcome

from ..apis.base.usage import Usage
from .account import Account
from .cost import cost_of_response
from .record import outcome_so_far
from .response_reader import read_rest, usage_of

_COST: Final = b"X-Gateway-Cost"
_OUTCOME: Final = b"X-Gateway-Outcome"
_COUNTS: Final = (
    b"X-Gateway-Prompt-Tokens",
    b"X-Gateway-Completion-Tokens",
    b"X-Gateway-Cached-Tokens",
)
_COUNT_LINES: Final = b"".join(name + b": %d\r\n" for name in _COUNTS)

_UNSAFE: Final = re.compile(r"[^!-~]")
_MAX_ID_CHARS: Final = 128


def request_id_field(request_id: str) -> bytes:
    """Return the X-Request-Id line; clients may choose the id."""
    clean = request_id
    if not (request_id.isalnum() and request_id.isascii() and len(request_id) <= _MAX_ID_CHARS):
        clean = _UNSAFE.sub("?", request_id)[:_MAX_ID_CHARS]
    return b"X-Request-Id: %b\r\n" % clean.encode("ascii")


def usage_lines(account: Account) -> bytes:
    """Return the lines for the head of a response that was read."""
    usage = usage_of(account)
    if account.prices is None:
        return _counts(usage)
    return response_fields(usage, cost_of_response(usage, account.prices))


def response_fields(usage: Usage, cost_usd: Decimal | None) -> bytes:
    """Return the lines for the head of a response; none if unknown."""
    return _costs(cost_usd) + _counts(usage)


def trailer_lines(account: Account) -> bytes:
    """Return the lines after a stream; how it ended was noted before."""
    usage = read_rest(account)
    outcome, _ = outcome_so_far(account)
    cost_usd = cost_of_response(usage, account.prices)
    return trailers(usage, cost_usd, outcome, priced=account.prices is not None)


def declaration(*, priced: bool) -> bytes:
    """Return the line that declares the trailers.

    Args:
        priced: A price of the model is known.
    """
    names = ((_COST,) if priced else ()) + (*_COUNTS, _OUTCOME)
    return b"Trailer: %b\r\n" % b",".join(names)


def trailers(usage: Usage, cost_usd: Decimal | None, outcome: Outcome, *, priced: bool) -> bytes:
    """Return the lines after a stream; `priced` as it was declared."""
    costs = _costs(cost_usd) if priced else b""
    last = b"%b: %b\r\n" % (_OUTCOME, outcome.encode("ascii"))
    return costs + _counts(usage) + last


def _costs(cost_usd: Decimal | None) -> bytes:
    if cost_usd is None:
        return b""
    return b"%b: %b\r\n" % (_COST, f"{cost_usd:.6f}".encode("ascii"))


def _counts(usage: Usage) -> bytes:
    if usage.source == "none":
        return b""
    return _COUNT_LINES % (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
