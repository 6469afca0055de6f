"""Cost of a request.

Amounts are `Decimal`, so that a sum of many small ones is exact. A price that is needed and not
known gives no cost at all: 0 would be a lie.
"""

from decimal import Decimal
from typing import Final

from arriero.protocol.records import Prices

from ..apis.base.usage import Usage

_MILLION: Final = Decimal(1_000_000)


def cost_of_response(usage: Usage, prices: Prices | None) -> Decimal | None:
    """Return the cost in US dollars; None if the usage is unknown."""
    return None if usage.source == "none" else cost_of(usage, prices)


def cost_of(usage: Usage, prices: Prices | None) -> Decimal | None:
    """Return the cost in US dollars; None if a price is unknown.

    What was read from a cache or written to one is part of the prompt, and charged by its own
    price instead of the prompt's.
    """
    if prices is None:
        return None
    cache_write = _first(prices.cache_write, prices.input)
    written = usage.cache_write_tokens - usage.cache_write_1h_tokens
    charges = (
        (usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens, prices.input),
        (usage.cached_tokens, _first(prices.cache_read, prices.input)),
        (written, cache_write),
        (usage.cache_write_1h_tokens, _first(prices.cache_write_1h, cache_write)),
        (usage.output_tokens - usage.reasoning_tokens, prices.output),
        (usage.reasoning_tokens, _first(prices.reasoning, prices.output)),
    )
    total = Decimal(0)
    for tokens, price in charges:
        if tokens:
            if price is None:
                return None
            total += tokens * price
    return total * prices.markup / _MILLION


def _first(price: Decimal | None, otherwise: Decimal | None) -> Decimal | None:
    """Return `price`, even if it is 0: something may be free."""
    return otherwise if price is None else price
