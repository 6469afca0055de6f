import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.http.tracing import RANDOM_BYTES, TRACE_FIELDS, Trace, start_trace

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
RANDOM = bytes(range(1, RANDOM_BYTES + 1))
NEW_TRACE, NEW_SPAN = RANDOM[:16].hex(), RANDOM[16:].hex()


def trace(**fields: str) -> Trace:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return start_trace(named, RANDOM)


def upstream(found: Trace) -> dict[str, str]:
    lines = found.upstream_lines.decode().removesuffix("\r\n").split("\r\n")
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize(
    ("parent", "flags"),
    [
        (f"00-{TRACE}-{PARENT}-01", "01"),
        (f"00-{TRACE}-{PARENT}-00", "00"),
        (f"00-{TRACE}-{PARENT}-03", "03"),
        (f"00-{TRACE}-{PARENT}-fc", "00"),  # flags that nobody knows yet
        (f"cc-{TRACE}-{PARENT}-01", "01"),  # of a later version, read as far as it is known
        (f"cc-{TRACE}-{PARENT}-01-what-may-come", "01"),
        (f" 00-{TRACE}-{PARENT}-01\t", "01"),
    ],
)
def test_a_trace_goes_on_with_a_span_of_its_own(parent: str, flags: str) -> None:
    found = trace(traceparent=parent)

    assert (found.trace_id, found.span_id, found.request_id) == (TRACE, NEW_SPAN, TRACE)
    assert upstream(found)["traceparent"] == f"00-{TRACE}-{NEW_SPAN}-{flags}"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        TRACE,
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}0-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01more",
        f"0g-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_what_is_no_parent_is_replaced_and_its_state_with_it(parent: str) -> None:
    found = trace(traceparent=parent, tracestate="a=1")

    assert (found.trace_id, found.request_id) == (NEW_TRACE, NEW_TRACE)
    assert upstream(found) == {
        "traceparent": f"00-{NEW_TRACE}-{NEW_SPAN}-01",
        "X-Request-Id": NEW_TRACE,
    }


def test_two_parents_are_none() -> None:
    line = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())

    assert start_trace([line, line], RANDOM).trace_id == NEW_TRACE


def test_state_goes_on_with_its_trace_in_the_same_order() -> None:
    parent = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
    states = [(b"tracestate", b"b=2 ,c=3"), (b"tracestate", b" "), (b"tracestate", b"a=1")]

    assert upstream(start_trace([parent, *states], RANDOM))["tracestate"] == "b=2 ,c=3,a=1"


@pytest.mark.parametrize("state", [b"", b"a=\xff", b"a=1\rX: y"])
def test_state_that_cannot_be_passed_on_is_left_out(state: bytes) -> None:
    parent = (b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())
    found = start_trace([parent, (b"tracestate", state)], RANDOM)

    assert found.trace_id == TRACE
    assert "tracestate" not in upstream(found)


@pytest.mark.parametrize("asked", ["a", "req_1/2#3", "!", "~" * 128])
def test_the_client_may_name_its_request(asked: str) -> None:
    found = trace(x_request_id=asked, traceparent=f"00-{TRACE}-{PARENT}-01")

    assert (found.request_id, found.trace_id) == (asked, TRACE)
    assert upstream(found)["X-Request-Id"] == asked


@pytest.mark.parametrize("asked", ["", "a b", "a\tb", "é", "a\x7f", "~" * 129, "a\r\nX: y"])
def test_a_name_that_could_do_harm_is_replaced(asked: str) -> None:
    assert trace(x_request_id=asked).request_id == NEW_TRACE


def test_two_names_are_none() -> None:
    fields = [(b"x-request-id", b"a"), (b"x-request-id", b"b")]

    assert start_trace(fields, RANDOM).request_id == NEW_TRACE


_PART = st.binary(max_size=60) | st.just(f"00-{TRACE}-{PARENT}-01".encode())


@given(
    st.lists(st.tuples(st.sampled_from(sorted({*TRACE_FIELDS, b"other"})), _PART), max_size=5),
    st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES),
)
def test_whatever_comes_the_upstream_gets_whole_lines(
    fields: list[tuple[bytes, bytes]], random: bytes
) -> None:
    found = start_trace(fields, random)

    assert re.fullmatch(
        rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]\r\n"
        rb"(tracestate: [ -~\t]+\r\n)?X-Request-Id: [!-~]{1,128}\r\n",
        found.upstream_lines,
    )
