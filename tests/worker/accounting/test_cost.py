from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.errors import LocalProtocolError
from arriero.protocol.records import Prices
from arriero.worker.accounting.cost import cost_of
from arriero.worker.accounting.usage import bounded, read_usage
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.routes import MESSAGES


def prices(**texts: str) -> Prices:
    return Prices(**{name: Decimal(text) for name, text in texts.items()})


PLAIN = prices(input="3", output="15")
CACHED = prices(input="3", output="15", cache_read="1.5")
CLAUDE = prices(
    input="3", output="15", cache_read="0.3", cache_write="3.75", cache_write_1h="6"
)  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "table", "cost"),
    [
        (Usage(input_tokens=1000, output_tokens=500), CACHED, "0.0105"),
        (Usage(input_tokens=1000, cached_tokens=800, output_tokens=500), CACHED, "0.0093"),
        (Usage(input_tokens=1000, cached_tokens=800, output_tokens=500), PLAIN, "0.0105"),
        (Usage(input_tokens=2025, cached_tokens=2022, output_tokens=10), CLAUDE, "0.0007656"),
        (Usage(), CACHED, "0"),
        (Usage(), Prices(), "0"),
        # cache writes: 5 minutes, 1 hour, both, and what is charged where their price is not known
        (Usage(input_tokens=1000, cache_write_tokens=1000), CLAUDE, "0.00375"),
        (
            Usage(input_tokens=1000, cache_write_tokens=900, cache_write_1h_tokens=500),
            CLAUDE,
            "0.0048",  # 100 * 3 + 400 * 3.75 + 500 * 6
        ),
        (
            Usage(input_tokens=1000, cache_write_tokens=1000, cache_write_1h_tokens=1000),
            prices(input="3", output="15", cache_write="4"),
            "0.004",
        ),
        (
            Usage(input_tokens=1000, cache_write_tokens=1000, cache_write_1h_tokens=1000),
            PLAIN,
            "0.003",
        ),
        # reasoning is part of the output
        (Usage(output_tokens=1000, reasoning_tokens=400), PLAIN, "0.015"),
        (
            Usage(output_tokens=1000, reasoning_tokens=400),
            prices(input="3", output="15", reasoning="20"),
            "0.017",
        ),
        # free is not the same as not known
        (
            Usage(input_tokens=1000, cached_tokens=1000),
            prices(input="3", output="15", cache_read="0"),
            "0",
        ),
        (Usage(input_tokens=1000), prices(input="0.02"), "0.00002"),  # embeddings have no output
        (
            Usage(input_tokens=1000, output_tokens=500),
            prices(input="3", output="15", markup="1.2"),
            "0.0126",
        ),
    ],
)
def test_a_request_costs(usage: Usage, table: Prices, cost: str) -> None:
    assert cost_of(usage, table) == Decimal(cost)


@pytest.mark.parametrize(
    ("usage", "table"),
    [
        (Usage(input_tokens=1), None),
        (Usage(), None),
        (Usage(input_tokens=1), Prices()),
        (Usage(input_tokens=1, output_tokens=1), prices(input="3")),
        (Usage(input_tokens=1, cached_tokens=1), prices(output="3")),
        (Usage(output_tokens=1, reasoning_tokens=1), prices(input="3")),
    ],
)
def test_without_a_price_there_is_no_cost(usage: Usage, table: Prices | None) -> None:
    assert cost_of(usage, table) is None


def test_what_anthropic_calls_input_is_never_taken_for_cached() -> None:
    told = {"usage": {"input_tokens": 1000, "cache_read_input_tokens": 200}}
    usage = bounded(read_usage(MESSAGES, told, Usage()))

    assert usage.input_tokens - usage.cached_tokens == 1000
    assert cost_of(usage, CLAUDE) == Decimal("0.00306")  # 1000 * 3 + 200 * 0.3


@pytest.mark.parametrize(
    "price", ["-1", "NaN", "Infinity", "-Infinity", "sNaN", "1e999999", "1e-999999"]
)
def test_a_price_makes_sense(price: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"cannot take .* as the price 'output'"):
        Prices(output=Decimal(price))


def test_prices_travel_exactly() -> None:
    table = prices(input="0.1", output="1E+1", markup="1.10")
    assert msgspec.json.decode(msgspec.json.encode(table), type=Prices) == table


_TOKENS = st.integers(0, 2**40)
_PRICES = st.decimals(0, 1000, places=4)


@given(_TOKENS, _TOKENS, _TOKENS, _PRICES)
def test_where_all_prices_are_equal_only_the_number_of_tokens_counts(
    fresh: int, cached: int, output: int, price: Decimal
) -> None:
    usage = Usage(input_tokens=fresh + cached, cached_tokens=cached, output_tokens=output)
    same = Prices(input=price, output=price, cache_read=price, reasoning=price)

    assert cost_of(usage, same) == (fresh + cached + output) * price / 1_000_000
