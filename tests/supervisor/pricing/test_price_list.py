import contextlib
import json
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import Prices
from arriero.supervisor.pricing.price_list import MAX_LIST_BYTES, BadPriceList, read_price_list

LISTED: dict[str, Any] = {
    "zeta": {"models": {"m": {"cost": {"input": 1, "output": 2}}}},
    "alpha": {"id": "alpha", "models": {"m": {"cost": {"input": 0.1, "output": 0.30}}}},
    "midway": {"models": {"n": {"cost": {"input": 5, "cache_read": 0.5, "input_audio": 7}}}},
}


def encoded(listed: Any) -> bytes:
    return json.dumps(listed).encode()


@pytest.mark.parametrize(
    ("model", "first", "prices"),
    [
        ("m", ("zeta",), Prices(input=Decimal(1), output=Decimal(2))),
        ("m", (), Prices(input=Decimal("0.1"), output=Decimal("0.3"))),
        ("m", ("midway",), Prices(input=Decimal("0.1"), output=Decimal("0.3"))),
        ("m", ("unheard of",), Prices(input=Decimal("0.1"), output=Decimal("0.3"))),
        ("m", ("midway", "zeta"), Prices(input=Decimal(1), output=Decimal(2))),
        ("n", ("zeta",), Prices(input=Decimal(5), cache_read=Decimal("0.5"))),
        ("x", ("zeta",), None),
    ],
)
def test_those_that_are_asked_first_count_and_then_the_alphabet(
    model: str, first: tuple[str, ...], prices: Prices | None
) -> None:
    for order in permutations(LISTED.items()):
        assert read_price_list(encoded(dict(order))).find(model, *first) == prices


def test_prices_are_read_exactly() -> None:
    listed = b'{"p":{"models":{"m":{"cost":{"input":0.10000000000000000001}}}}}'
    found = read_price_list(listed).find("m")
    assert found == Prices(input=Decimal("0.10000000000000000001"))


def test_lists_are_the_same_if_all_prices_are() -> None:
    one, again = read_price_list(encoded(LISTED)), read_price_list(encoded({"x": 1, **LISTED}))
    assert (one, hash(one)) == (again, hash(again))
    other = LISTED | {"zeta": {"models": {"m": {"cost": {"input": 1, "output": 3}}}}}
    assert one != read_price_list(encoded(other))
    assert one != LISTED


@pytest.mark.parametrize(
    "nonsense",
    [
        {"cost": {"input": -1}},
        {"cost": {"input": 1e300}},
        {"cost": {"input": "much"}},
        {"cost": 3},
        {"cost": None},
        {},
        3,
    ],
)
def test_what_makes_no_sense_is_left_out(nonsense: Any) -> None:
    listed = LISTED | {"aaa": {"models": {"m": nonsense}}, "bbb": 3, "ccc": {"models": []}}
    prices = read_price_list(encoded(listed))

    assert len(prices) == 3
    assert prices.find("m", "aaa") == prices.find("m", "alpha")


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"{}", b'{"p":{"models":{}}}', b"\xff"])
def test_a_list_without_prices_is_an_error(data: bytes) -> None:
    with pytest.raises(BadPriceList, match="the list of prices"):
        read_price_list(data)


def test_a_list_that_would_fill_the_memory_is_an_error() -> None:
    with pytest.raises(BadPriceList, match="larger than 20 MB"):
        read_price_list(encoded(LISTED) + b" " * MAX_LIST_BYTES)


@given(st.binary(max_size=80) | st.text('{}[]",:models cost1', max_size=60).map(str.encode))
def test_whatever_is_published_only_one_error_comes_of_it(data: bytes) -> None:
    with contextlib.suppress(BadPriceList):
        read_price_list(data)
