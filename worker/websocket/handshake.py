"""Requests that open a WebSocket: who may send one, and how it goes on upstream.

No extension is offered or accepted for a WebSocket of ours: whoever passes messages on byte for
byte wants them as they are.

Source: RFC 6455, sections 1.3 and 4.
"""

import base64
import binascii
import copy
import hashlib
from typing import Final, NamedTuple

import httptools

from ..apis.model_names import ModelNames
from ..apis.routes import RESPONSES, ROUTES
from ..errors import BadRequest, UnknownPath, UpstreamDied
from ..http.request_head import RequestHead
from ..http.request_target import model_in_query
from ..http.route_declaration import Access
from ..relay.model_request import way_upstream
from ..upstreams.heads import framing_line, origin_form

_VERSION: Final = b"13"
_NONCE_BYTES: Final = 16
_ACCEPT_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# Those that are not declared: OpenAI's Realtime API.
_SOCKETS: Final = frozenset({b"/v1/realtime", b"/realtime"})

# Browsers cannot send a key in a field of its own, so they hide it among the subprotocols.
_KEY_PROTOCOL: Final = b"openai-insecure-api-key."


# --- who may open one ----------------------------------------------------------------------------


class WsRequest(NamedTuple):
    """What a request for a WebSocket wants.

    Attributes:
        model: The model's name, in the query or under ``/upstream``; None if the first message
            names it.
        target: Path and query that go upstream.
    """

    model: str | None
    target: bytes


def wants_socket(head: RequestHead) -> bool:
    """Whether a request is one for a WebSocket."""
    if head.upgrade is None or head.method != b"GET":
        return False
    return b"websocket" in {token.strip() for token in head.upgrade.split(b",")}


def find_socket(names: ModelNames, head: RequestHead) -> WsRequest:
    """Return what a request for a WebSocket wants.

    Args:
        names: The models of the configuration in force.
        head: Of the request.

    Raises:
        UnknownPath: Nothing says which model is to answer.
    """
    target = origin_form(head)
    route = ROUTES.find(head.path, head.method)
    if route is not None and route.named_in == "path":
        way = way_upstream(names, head, route)
        return WsRequest(way.model, (way.forward_path or b"/") + target[len(head.path) :])
    route = ROUTES.find(head.path)
    if route is not None and route.forward_path is not None:
        target = route.forward_path + target[len(head.path) :]
    if route is not None and route.api is RESPONSES:
        return WsRequest(None, target)
    model = model_in_query(target)
    if model is None:
        raise UnknownPath(
            "cannot open a WebSocket here: name the model in the query, as in '?model=name'"
        )
    return WsRequest(model, target)


def socket_access(names: ModelNames, head: RequestHead) -> Access:
    """Return what a request for a WebSocket needs: work with a model, or more.

    It starts the model, and its bytes are passed on unread: so of a path for whose page any key is
    good, `infer` is needed, and of one that only shows something nobody knows what it could do.
    """
    access = _path_access(names, head)
    if access in {"open", "key"}:
        return "infer"
    return "admin" if access == "read" else access


def _path_access(names: ModelNames, head: RequestHead) -> Access:
    route = ROUTES.find(head.path, head.method)
    path = head.path
    if route is not None and route.named_in == "path":
        if route.model is not None:
            return route.access
        path = way_upstream(names, head, route).forward_path or b"/"
    elif route is not None:
        return route.access
    posted = ROUTES.find(path)
    if path in _SOCKETS or (posted is not None and posted.named_in == "body"):
        return "infer"
    return ROUTES.access_under_upstream(head.method, path)


def check_opening(head: RequestHead) -> None:
    """Check what every WebSocket's first request has to fulfil; who may ask was seen to before.

    Raises:
        BadRequest: A body would follow, whose bytes could be taken for frames.
    """
    if head.length != 0:
        raise BadRequest("cannot open a WebSocket: its request may have no body")


# --- the first request and its answer ------------------------------------------------------------


def accept(head: RequestHead) -> bytes:
    """Return the value of ``Sec-WebSocket-Accept`` in our answer.

    Raises:
        BadRequest: The request does not keep to RFC 6455, 4.2.1.
    """
    found = [it for it in head.fields() if it[0].startswith(b"sec-websocket-")]
    keys = [value for name, value in found if name == b"sec-websocket-key"]
    if [value for name, value in found if name == b"sec-websocket-version"] != [_VERSION]:
        raise BadRequest("cannot open a WebSocket: Sec-WebSocket-Version has to be 13")
    if len(keys) != 1 or not _is_nonce(keys[0]):
        raise BadRequest("cannot open a WebSocket: Sec-WebSocket-Key has to be 16 bytes in base64")
    return base64.b64encode(hashlib.sha1(keys[0] + _ACCEPT_GUID, usedforsecurity=False).digest())


def _is_nonce(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _NONCE_BYTES
    except binascii.Error:
        return False


def answer_to_upgrade(accepted: bytes, extra: bytes) -> bytes:
    """Return the head that opens a WebSocket; `extra` are further lines."""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accepted, extra)
    )


def opening_of_ours(random: bytes) -> bytes:
    """Return the lines with which we open a WebSocket; `random` are 16 bytes of it."""
    return b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n" % base64.b64encode(random)


def head_for_upstream(head: RequestHead, target: bytes, *, is_ours: bool) -> RequestHead:
    """Return a copy of a request for a WebSocket as it goes upstream.

    Args:
        head: The client's.
        target: Where it goes, with its query.
        is_ours: The WebSocket there is ours and not the client's, so what the client has said of
            its own is left out. Else only a key that hides among the subprotocols is.
    """
    copied = copy.copy(head)
    copied.target = target
    copied.path = target.partition(b"?")[0]
    lines = [] if is_ours else [line for line in head.lines if _is_of_socket(line)]
    copied.lines = [line for line in head.lines if not _is_of_socket(line)]
    copied.lines += filter(None, map(_without_key, lines))
    return copied


def _is_of_socket(line: bytes) -> bool:
    return line[: len(b"sec-websocket-")].lower() == b"sec-websocket-"


def _without_key(line: bytes) -> bytes:
    name, _, value = line.partition(b":")
    if name.lower() != b"sec-websocket-protocol":
        return line
    tokens = [it for it in map(bytes.strip, value.split(b",")) if not it.startswith(_KEY_PROTOCOL)]
    return b"%b: %b\r\n" % (name, b", ".join(tokens)) if tokens else b""


def as_upgrade(request: bytes, extra: bytes = b"") -> bytes:
    """Return the head of a request without a body as that of one for a WebSocket.

    A length, even 0, is something that some servers refuse here.
    """
    return (
        request.removesuffix(framing_line(0) + b"\r\n")
        + extra
        + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


class _Fields:
    """What httptools finds in the head of an answer."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


class UpgradeHead(NamedTuple):
    """The head of an answer: whether it opens a WebSocket.

    Attributes:
        status: Of HTTP.
        lines: Its fields, each with its line end, if it opens one.
    """

    status: int
    lines: bytes


def read_opened(raw: bytes) -> UpgradeHead:
    """Read the head of an upstream's answer to a request for a WebSocket.

    Raises:
        UpstreamDied: It is no HTTP, or it opens something else.
    """
    found = _Fields()
    parser = httptools.HttpResponseParser(found)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # that it does is what is looked for
    except (httptools.HttpParserError, ValueError) as exc:
        raise UpstreamDied("cannot read the answer: its head is no HTTP/1.1") from exc
    status = parser.get_status_code()
    upgrades = {value.strip().lower() for name, value in found.fields if name.lower() == b"upgrade"}
    if status == 101 and upgrades != {b"websocket"}:
        raise UpstreamDied("cannot read the answer: it opens something else than a WebSocket")
    # the id is said by this program only
    kept = [it for it in found.fields if it[0].lower() != b"x-request-id"]
    return UpgradeHead(status, b"".join(b"%b: %b\r\n" % it for it in kept))
