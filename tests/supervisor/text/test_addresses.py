import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.text.addresses import Address, is_base_url, parse_address, path_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        (":80", Address("", 80)),
        ("[::1]:0", Address("::1", 0)),
        ("[::]:65535", Address("::", 65535)),
        ("my-host.lan:1", Address("my-host.lan", 1)),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "80", "a", "a:b", "a:65536", "a:123456", "a:-1", "a:\u0662", "a b:1", "::1:80",
     "[]:1", "[x]:1", "[127.0.0.1]:1", "http://a:1", "a/b:1"],
)  # fmt: skip
def test_anything_else_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("http://127.0.0.1:1", True),
        ("https://h", True),
        ("http://[::1]:80/p%20q", True),
        ("http://u:p@h:1", True),
        ("", False),
        ("h:1", False),
        ("ftp://h", False),
        ("http://", False),
        ("http://:80", False),
        ("http://h:0", False),
        ("http://h:99999", False),
        ("http://h:x", False),
        ("http://[::1", False),
        ("http://a b", False),
        ("http://h/%zz", False),
        ("http://h/?a", False),
        ("http://h/#", False),
    ],
)
def test_a_base_url_is_one_to_which_a_path_can_be_joined(text: str, is_one: bool) -> None:
    assert is_base_url(text) is is_one


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/health", "/health"),
        ("health?a=b", "/health?a=b"),
        ("", "/"),
        ("http://h:1/x/y?z", "/x/y"),
        ("//h", "/h"),
        ("/a b", None),
        ("/%g0", None),
        ("/a#b", None),
        ("http://[", None),
    ],
)
def test_a_check_is_a_path(text: str, path: str | None) -> None:
    assert path_of(text) == path


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    parse_address(text)
    is_base_url(text)
    is_base_url("http://" + text)
    path_of("http://" + text)
