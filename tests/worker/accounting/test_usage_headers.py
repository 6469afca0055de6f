"""Usage and cost in the head of a response, or in its trailers."""

from decimal import Decimal

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.accounting import usage_headers
from arriero.worker.apis.base.usage import Usage
from tests.worker.accounting.test_record import USAGE

COST = Decimal("0.0093")


def test_a_response_says_its_cost() -> None:
    assert usage_headers.response_fields(USAGE, COST) == (
        b"X-Gateway-Cost: 0.009300\r\n"
        b"X-Gateway-Prompt-Tokens: 1000\r\n"
        b"X-Gateway-Completion-Tokens: 500\r\n"
        b"X-Gateway-Cached-Tokens: 800\r\n"
    )


@pytest.mark.parametrize(
    ("usage", "fields"),
    [(USAGE, 3), (Usage(), 0)],
)
def test_unknown_counts_are_left_out(usage: Usage, fields: int) -> None:
    lines = usage_headers.response_fields(usage, None)
    assert lines.count(b"\r\n") == fields
    assert b"X-Gateway-Cost" not in lines


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("usage", [USAGE, Usage()])
def test_every_trailer_was_declared(priced: bool, usage: Usage) -> None:
    declared = usage_headers.declaration(priced=priced)
    cost = COST if usage is USAGE else None
    sent = usage_headers.trailers(usage, cost, "ok", priced=priced)

    names = {line.partition(b":")[0] for line in sent.splitlines()}
    assert names <= set(declared[9:-2].split(b","))
    assert (b"X-Gateway-Cost" in names) is (priced and usage is USAGE)
    assert (b"X-Gateway-Prompt-Tokens" in names) is (usage is USAGE)
    assert b"X-Gateway-Outcome" in names


def test_h11_reads_the_trailers() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        + usage_headers.declaration(priced=True)
        + usage_headers.request_id_field("r-12")
        + b"\r\n2\r\nhi\r\n0\r\n"
        + usage_headers.trailers(USAGE, COST, "ok", priced=True)
        + b"\r\n"
    )

    head, _, end = client.next_event(), client.next_event(), client.next_event()

    assert isinstance(head, h11.Response)
    assert isinstance(end, h11.EndOfMessage)
    assert (b"x-request-id", b"r-12") in list(head.headers)
    assert list(end.headers) == [
        (b"x-gateway-cost", b"0.009300"),
        (b"x-gateway-prompt-tokens", b"1000"),
        (b"x-gateway-completion-tokens", b"500"),
        (b"x-gateway-cached-tokens", b"800"),
        (b"x-gateway-outcome", b"ok"),
    ]


@given(st.text(max_size=300))
def test_any_id_is_one_line(request_id: str) -> None:
    line = usage_headers.request_id_field(request_id)
    assert line.count(b"\r\n") == 1
    assert line.isascii()
    assert len(line) <= 150
