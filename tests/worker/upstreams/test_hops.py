"""Hops: what is read, what is added, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import LoopDetected
from arriero.worker.upstreams.hops import MAX_HOPS, Hop, check_hops, hops_line, hops_of

FIELD = b"x-arriero-hops"


def value_of(line: bytes) -> bytes:
    return line.partition(b": ")[2].strip()


def test_the_way_is_passed_on_and_ends_here() -> None:
    first = hops_line((), "aa", "box2")
    assert first == b"X-Arriero-Hops: aa>box2\r\n"
    second = hops_line(hops_of([(FIELD, value_of(first))]), "bb", "box 1/ü")
    assert second == b"X-Arriero-Hops: aa>box2, bb>box_1__\r\n"
    hops = hops_of([(b"x-request-id", b"1"), (FIELD, value_of(second))])

    check_hops(hops, "cc")
    with pytest.raises(LoopDetected, match=r"sent to 'box2', then to 'box_1__', which leads back"):
        check_hops(hops, "aa")
    with pytest.raises(LoopDetected, match=r"sent to 'box_1__', which leads back"):
        check_hops(hops, "bb")


def test_several_fields_are_one_list() -> None:
    assert hops_of([(FIELD, b"a>x"), (FIELD, b"b>y")]) == (Hop(b"a", b"x"), Hop(b"b", b"y"))


def test_a_way_that_is_too_long_or_senseless_is_refused() -> None:
    line = b", ".join([b"a>x"] * MAX_HOPS)
    assert len(hops_of([(FIELD, line)])) == MAX_HOPS
    for value in (line + b", a>x", b"x" * 60_000, b"a", b"a>x, , b>y", b"a>x\xff", b"\xc3\xbc>x"):
        with pytest.raises(LoopDetected):
            hops_of([(FIELD, value)])


@given(st.lists(st.binary(max_size=300), max_size=4), st.text(max_size=60))
def test_nothing_else_is_ever_raised(values: list[bytes], peer: str) -> None:
    try:
        hops = hops_of([(FIELD, value) for value in values])
    except LoopDetected:
        return
    line = hops_line(hops, "ours", peer)
    assert line.count(b"\r\n") == 1
    if len(hops) < MAX_HOPS:
        assert hops_of([(FIELD, value_of(line))])[:-1] == hops
