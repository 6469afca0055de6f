"""Requests that open WebSockets, and the answers to them."""

import pytest

from arriero.protocol.worker_config import ModelRoute, WorkerConfig
from arriero.worker.apis.model_names import ModelNames
from arriero.worker.errors import BadRequest, UnknownPath, UpstreamDied
from arriero.worker.http.request_head import RequestHead, parse_head
from arriero.worker.websocket.handshake import (
    WsRequest,
    accept,
    as_upgrade,
    check_opening,
    find_socket,
    head_for_upstream,
    read_opened,
    wants_socket,
)

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = b"Sec-WebSocket-Version: 13"
NAMES = ModelNames(WorkerConfig(generation=1, models=(ModelRoute(model="a/b"),)))
UPGRADE = (b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket")


def asked(target: bytes, *fields: bytes, method: bytes = b"GET") -> RequestHead:
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: here:8080", *fields)
    return parse_head(b"\r\n".join(lines) + b"\r\n\r\n")


# --- who may open one ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "way"),
    [
        (b"/v1/responses", WsRequest(None, b"/v1/responses")),
        (b"/v1/responses?a=1", WsRequest(None, b"/v1/responses?a=1")),
        (b"/v/responses?a=1", WsRequest(None, b"/responses?a=1")),
        (b"http://here/v1/responses", WsRequest(None, b"/v1/responses")),
        (b"/v1/realtime?x=1&model=a%2Fb", WsRequest("a/b", b"/v1/realtime?x=1&model=a%2Fb")),
        (b"/upstream/a/b/ws?x=1", WsRequest("a/b", b"/ws?x=1")),
        (b"/upstream/a%2Fb/c%2Fd", WsRequest("a/b", b"/c%2Fd")),
        (b"/upstream/a/b", WsRequest("a/b", b"/")),
        (b"/upstream/a/ws", WsRequest("a", b"/ws")),
        (b"/comfyui/ws?clientId=1", WsRequest("comfyui_auto", b"/ws?clientId=1")),
    ],
)
def test_the_path_or_the_query_says_which_model_a_socket_is_for(
    target: bytes, way: WsRequest
) -> None:
    assert find_socket(NAMES, asked(target, *UPGRADE)) == way


@pytest.mark.parametrize("target", [b"/v1/realtime", b"/v1/realtime?model=", b"/?model", b"/"])
def test_a_socket_for_no_model_is_refused_with_what_would_do(target: bytes) -> None:
    with pytest.raises(UnknownPath, match="model=name"):
        find_socket(NAMES, asked(target, *UPGRADE))


@pytest.mark.parametrize(
    "head",
    [
        asked(b"/v1/responses"),
        asked(b"/v1/responses", b"Upgrade: websocket"),
        asked(b"/v1/responses", b"Connection: upgrade", b"Upgrade: h2c"),
        asked(b"/v1/responses", *UPGRADE, method=b"HEAD"),
    ],
    ids=["no wish", "not in Connection", "another protocol", "another method"],
)
def test_a_request_that_opens_no_websocket_is_none_of_ours(head: RequestHead) -> None:
    assert not wants_socket(head)


@pytest.mark.parametrize("field", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_a_request_with_a_body_opens_no_socket(field: bytes) -> None:
    with pytest.raises(BadRequest, match="body"):
        check_opening(asked(b"/v1/responses", *UPGRADE, field))


def test_the_answer_proves_that_the_request_was_understood() -> None:
    # key and answer are those of RFC 6455, 1.3
    assert accept(asked(b"/", *UPGRADE, KEY, VERSION)) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "fields",
    [
        (KEY,),
        (KEY, b"Sec-WebSocket-Version: 8"),
        (VERSION,),
        (VERSION, KEY, KEY),
        (VERSION, b"Sec-WebSocket-Key: dGhl"),
        (VERSION, b"Sec-WebSocket-Key: ***"),
    ],
)
def test_a_request_that_is_not_by_the_rules_is_refused(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(BadRequest, match="Sec-WebSocket"):
        accept(asked(b"/v1/responses", *UPGRADE, *fields))


# --- to the upstream -----------------------------------------------------------------------------


def test_a_socket_of_ours_says_nothing_of_the_clients() -> None:
    extension = b"Sec-WebSocket-Extensions: permessage-deflate"
    head = asked(b"/v1/responses", *UPGRADE, KEY, VERSION, extension, b"X-A: b")
    copied = head_for_upstream(head, b"/responses?q", is_ours=True)
    assert copied.lines == [b"Host: here:8080\r\n", b"X-A: b\r\n"]
    assert (copied.target, copied.path) == (b"/responses?q", b"/responses")
    assert head.target == b"/v1/responses"


def test_a_tunnel_says_all_that_the_client_has_said_but_no_key() -> None:
    protocol = b"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-1, v2"
    head = asked(b"/x?model=m", *UPGRADE, KEY, VERSION, protocol)
    lines = head_for_upstream(head, head.target, is_ours=False).lines
    assert lines == [
        b"Host: here:8080\r\n",
        KEY + b"\r\n",
        VERSION + b"\r\n",
        b"Sec-WebSocket-Protocol: realtime, v2\r\n",
    ]


def test_a_request_becomes_one_for_a_socket_and_says_no_length() -> None:
    request = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
    assert as_upgrade(request, b"A: b\r\n") == (
        b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def test_an_answer_that_opens_a_socket_keeps_its_fields_but_not_its_id() -> None:
    raw = (
        b"HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nX-Request-Id: 5\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: abc\r\n\r\n"
    )
    opened = read_opened(raw)
    assert opened.status == 101
    assert opened.lines == (
        b"Upgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: abc\r\n"
    )


def test_an_answer_that_opens_none_tells_its_status() -> None:
    assert read_opened(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").status == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
        b"+PONG\r\n\r\n",
    ],
)
def test_an_answer_that_opens_something_else_is_none(raw: bytes) -> None:
    with pytest.raises(UpstreamDied):
        read_opened(raw)
