import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.http.cors import answer_fields, answer_lines, compile_origins, preflight_fields

ORIGIN = b"https://a.example"


def allowed(*asked: bytes) -> bytes:
    """Return the header names that a preflight for `asked` allows."""
    answer = preflight_fields(
        [(b"access-control-request-headers", value) for value in asked], cors=True
    )
    return dict(answer)[b"Access-Control-Allow-Headers"]


def test_a_preflight_is_answered_with_all_that_a_browser_wants_to_hear() -> None:
    asked = (b"access-control-request-headers", b"x-prefill-progress, x-stainless-os")

    assert preflight_fields([(b"origin", ORIGIN), asked], cors=True) == (
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


def test_a_name_has_the_characters_of_a_token() -> None:
    marks = b"!#$%&'*+-.^_`|~"  # RFC 9110, section 5.6.2
    for code in set(range(256)) - {b","[0], *b" \t"}:  # which stand between names
        is_token = chr(code).encode("latin-1").isalnum() or code in marks
        assert (allowed(b"x%cx" % code) == b"x%cx" % code) == is_token, code


def test_no_more_than_fifty_names_are_repeated_back() -> None:
    names = [b"x-%d" % number for number in range(51)]

    assert allowed(b",".join(names)) == b", ".join(names[:50])


def test_a_page_may_read_the_answer_and_our_fields() -> None:
    assert answer_lines(ORIGIN, True) == (
        b"Access-Control-Allow-Origin: *\r\n"
        b"Access-Control-Expose-Headers: X-Request-Id, X-Gateway-Cost, X-Gateway-Prompt-Tokens, "
        b"X-Gateway-Completion-Tokens, X-Gateway-Cached-Tokens, X-Gateway-Outcome, "
        b"X-Swap-Progress\r\n"
    )


def test_nothing_is_said_to_who_is_no_page() -> None:
    assert answer_fields(None, True) == ()
    assert answer_fields(None, ()) == ((b"Vary", b"Origin"),)  # the answer could be another one


@pytest.mark.parametrize(
    "there", [b"access-control-allow-origin", b"access-control-expose-headers"]
)
def test_what_the_upstream_has_said_is_not_said_again(there: bytes) -> None:
    lines = answer_lines(ORIGIN, True, {there, b"content-type"}).lower()

    assert there not in lines
    assert lines.count(b"\r\n") == 1


@given(st.lists(st.binary(max_size=80), max_size=3))
def test_whatever_is_asked_for_no_field_ends_before_its_line(asked: list[bytes]) -> None:
    assert not {b"\r"[0], b"\n"[0]} & set(allowed(*asked))


# --- which pages may ask -------------------------------------------------------------------------

LOCAL = [
    b"http://localhost",
    b"https://localhost:3000",
    b"http://127.0.0.1:8080",
    b"http://[::1]:1",
    b"HTTP://LocalHost:65535",
    b"http://tauri.localhost",
    b"https://a.b_c.localhost:1",
    b"app://-",
    b"app://obsidian.md",
    b"file://",
    b"tauri://localhost",
    b"vscode-webview://0a1b2c",
]
FOREIGN = [
    b"",
    b"null",
    b"https://a.example",
    b"http://localhost.a.example",
    b"http://a.example.localhost.evil",
    b"http://localhosts",
    b"http://evil-localhost",
    b"http://.localhost",
    b"http://127.0.0.1.a.example",
    b"http://127.0.0.10:80",
    b"http://192.168.1.5",
    b"http://[::1].a.example",
    b"http://localhost:80:80",
    b"http://localhost:80/x",
    b"http://localhost:808080",
    b"http://localhost@a.example",
    b"http://a.example#http://localhost",
    b"ftp://localhost",
    b"chrome-extension://abc",
    b"xapp://-",
    b"app:// x",
    b"app://-, https://a.example",
    b"http://localhost, https://a.example",
    b"https://a.example\x00http://localhost",
    b"app://" + b"a" * 600,
]


@pytest.mark.parametrize("origin", LOCAL)
def test_pages_and_programs_of_this_machine_may_ask_unless_none_may(origin: bytes) -> None:
    assert compile_origins(())(origin)
    assert compile_origins(("https://a.example",))(origin)
    assert compile_origins(True)(origin)
    assert not compile_origins(False)(origin)


@pytest.mark.parametrize("origin", FOREIGN)
def test_pages_of_other_sites_may_not_ask_unless_all_may(origin: bytes) -> None:
    assert not compile_origins(())(origin)
    assert not compile_origins(("https://b.example",))(origin)
    assert compile_origins(True)(origin)


@pytest.mark.parametrize(
    ("listed", "origin", "may_ask"),
    [
        ("https://a.example", b"https://a.example", True),
        ("https://A.example", b"https://a.EXAMPLE", True),
        ("https://a.example", b"http://a.example", False),
        ("https://a.example", b"https://a.example:8443", False),
        ("https://a.example", b"https://aXexample", False),
        ("https://a.example", b"https://b.a.example", False),
        ("https://a.example:8443", b"https://a.example:8443", True),
        ("http://192.168.1.5:*", b"http://192.168.1.5:3000", True),
        ("http://192.168.1.5:*", b"http://192.168.1.5", True),
        ("http://192.168.1.5:*", b"http://192.168.1.55", False),
        ("https://*.a.example", b"https://b.c.a.example", True),
        ("https://*.a.example", b"https://a.example", False),
        ("https://*.a.example", b"https://ba.example", False),
        ("https://*.a.example", b"https://evil/.a.example", False),
        ("https://*.a.example", b"https://evil:1@b.a.example", False),
        ("chrome-extension://abc", b"chrome-extension://abc", True),
        ("chrome-extension://abc", b"chrome-extension://abd", False),
        ("chrome-extension://*", b"chrome-extension://abd", True),
        ("null", b"null", True),
    ],
)
def test_what_is_listed_may_ask(listed: str, origin: bytes, may_ask: bool) -> None:
    assert compile_origins((listed,))(origin) is may_ask
