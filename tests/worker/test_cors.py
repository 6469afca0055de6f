import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.cors import answer_lines, preflight_fields

ORIGIN = b"https://a.example"


def allowed(*asked: bytes) -> bytes:
    """Return the header names that a preflight for `asked` allows."""
    answer = preflight_fields([(b"access-control-request-headers", value) for value in asked])
    return dict(answer)[b"Access-Control-Allow-Headers"]


def test_a_preflight_is_answered_with_all_that_a_browser_wants_to_hear() -> None:
    asked = (b"access-control-request-headers", b"x-prefill-progress, x-stainless-os")

    assert preflight_fields([(b"origin", ORIGIN), asked]) == (
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Access-Control-Allow-Methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        (b"Access-Control-Allow-Headers", b"x-prefill-progress, x-stainless-os"),
        (b"Access-Control-Max-Age", b"86400"),
        (b"Vary", b"Origin, Access-Control-Request-Headers"),
    )


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ((b"a,b ,  c",), b"a, b, c"),
        ((b"a", b"b"), b"a, b"),
        ((b"a,,b c,d:,e\r\nf,\xff,g",), b"a, g"),
        ((b"x" * 257 + b",y",), b"y"),
        ((), b"Content-Type, Authorization, Accept, X-Requested-With"),
        ((b", ;",), b"Content-Type, Authorization, Accept, X-Requested-With"),
    ],
)
def test_names_that_are_asked_for_are_allowed_and_nothing_else(
    asked: tuple[bytes, ...], names: bytes
) -> None:
    assert allowed(*asked) == names


def test_no_more_than_fifty_names_are_repeated_back() -> None:
    names = [b"x-%d" % number for number in range(51)]

    assert allowed(b",".join(names)) == b", ".join(names[:50])


def test_a_page_may_read_the_answer_and_our_fields() -> None:
    assert answer_lines(ORIGIN) == (
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: X-Request-Id, X-Gateway-Cost, X-Gateway-Prompt-Tokens, "
        b"X-Gateway-Completion-Tokens, X-Gateway-Cached-Tokens, X-Gateway-Outcome, "
        b"X-Swap-Progress\r\n"
    )


def test_nothing_is_said_to_who_is_no_page() -> None:
    assert answer_lines(None) == b""


@pytest.mark.parametrize(
    "there", [b"access-control-allow-origin", b"access-control-expose-headers"]
)
def test_what_the_upstream_has_said_is_not_said_again(there: bytes) -> None:
    lines = answer_lines(ORIGIN, {there, b"content-type"}).lower()

    assert there not in lines
    assert lines.count(b"\r\n") == 1


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_is_asked_for_no_field_ends_before_its_line(asked: list[bytes]) -> None:
    assert not {b"\r"[0], b"\n"[0]} & set(allowed(*asked))
