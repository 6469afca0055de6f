import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import BadRequest
from arriero.worker.http.request_head import parse_head
from arriero.worker.http.request_target import (
    Host,
    model_in_query,
    read_host,
    split_target,
    with_model,
)


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"/", None, b"/"),
        (b"/v1/models?a=/b?c", None, b"/v1/models"),
        (b"//h/x", None, b"//h/x"),
        (b"http://h", b"h", b"/"),
        (b"http://h?x=/v1/chat/completions", b"h", b"/"),
        (b"HTTPS://H.Example:1/a/b?c", b"H.Example:1", b"/a/b"),
        (b"http://[::1]:8080/x", b"[::1]:8080", b"/x"),
        (b"http://h:/x", b"h:", b"/x"),
    ],
)
def test_a_target_has_a_path_and_perhaps_an_authority(
    target: bytes, authority: bytes | None, path: bytes
) -> None:
    assert split_target(b"GET", target) == (authority, path)


def test_a_star_stands_for_the_whole_server_to_options_only() -> None:
    assert split_target(b"OPTIONS", b"*") == (None, b"*")
    with pytest.raises(BadRequest):
        split_target(b"GET", b"*")


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"x",
        b"?x",
        b"*x",
        b"/a b",
        b"/a#b",
        b"/\x7f",
        b"/\xff",
        b"/a\r\nb",
        b"ftp://h/x",
        b"http:/h/x",
        b"http://",
        b"http:///x",
        b"http://?x",
        b"http://[::1/health",
        b"http://::1/health",
        b"http://[::g]/x",
        b"http://[1.2.3.4]/x",
        b"http://[fe80::1%25eth0]/x",
        b"http://u@h/x",
        b"http://u:p@h/x",
        b"http://h:99999/x",
        b"http://h:x/x",
        b"http://h:1:2/x",
        b"http://a,b/x",
        b"http://./x",
    ],
)
def test_a_target_that_is_none_of_http_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_head(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)


@pytest.mark.parametrize("target", [b"h:80", b"h", b"/x?y", b"http://h/x"])
def test_a_tunnel_is_not_opened(target: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_head(b"CONNECT %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        (b"Example.ORG", Host("example.org", False, "")),
        (b"example.org.:80", Host("example.org", False, "80")),
        (b"my_box", Host("my_box", False, "")),
        (b"127.0.0.1:8080", Host("127.0.0.1", True, "8080")),
        (b"127.1", Host("127.1", False, "")),
        (b"[::1]:8080", Host("::1", True, "8080")),
        (b"[0:0:0:0:0:0:0:1]", Host("::1", True, "")),
        (b"[::ffff:127.0.0.1]", Host("127.0.0.1", True, "")),
    ],
)
def test_a_host_is_read_however_it_is_written(written: bytes, host: Host) -> None:
    assert read_host(written) == host


@given(st.binary(max_size=30) | st.text("[]:.@/0123456789abcdef%", max_size=12).map(str.encode))
def test_any_bytes_are_a_host_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadRequest):
        assert read_host(data).name
    for method in (b"GET", b"OPTIONS", b"CONNECT"):
        with contextlib.suppress(BadRequest):
            assert split_target(method, data)[1][:1] in {b"/", b"*"}


def test_a_model_is_renamed_in_the_query_and_all_else_stays() -> None:
    target = b"/v1/realtime?a=%20b&model=x&mo%64el=y&c"
    assert with_model(target, "a/b c") == b"/v1/realtime?a=%20b&model=a%2Fb%20c&mo%64el=a%2Fb%20c&c"


@pytest.mark.parametrize(
    ("target", "model"),
    [
        (b"/props?model=a%2Fb&x", "a/b"),
        (b"/props?mo%64el=a+b", "a b"),
        (b"/props?model=%FF", "\ufffd"),
        (b"/props?model=", None),
        (b"/props?model", None),
        (b"/model=a", None),
    ],
)
def test_the_query_names_the_model(target: bytes, model: str | None) -> None:
    assert model_in_query(target) == model
