"""A request for a peer: where it goes, and what its head says.

Clients speak the peer's own API, so the body passes as it is; only the way to it differs from kind
to kind. Sources: llama-swap, whose peers get their key in two fields; the API references of OpenAI,
Anthropic, Azure ("Azure OpenAI REST API reference"), Google and Amazon.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote_to_bytes, urlsplit

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import PeerRoute

from ..apis.routes import ROUTES, Route
from ..errors import RelayError
from ..http.auth import KeyRing, shown_key
from ..http.header_rules import CompiledRules
from ..http.request_head import RequestHead
from .aws_sigv4 import read_credentials, region_of, sign
from .heads import framing_line

Fields: TypeAlias = list[tuple[bytes, bytes]]

# What a client shows to say who it is, besides `RequestHead.keys`. Signatures are made of the
# fields of Amazon.
_CREDENTIALS: Final = frozenset(
    {b"x-goog-api-key", b"x-amz-date", b"x-amz-security-token", b"x-amz-content-sha256"}
)
_SECRET_PARAMETERS: Final = frozenset({b"key", b"api-key", b"access_token"})

# Of no concern to a peer: how the client came here, and what a browser keeps for this host.
_AT_HOME: Final = frozenset({b"host", b"forwarded", b"cookie"})
_AT_HOME_BEGINNING: Final = b"x-forwarded-"

_VERSION: Final = re.compile(rb"/v\d+(?:alpha|beta)?\d*(?=/|$)")

ANTHROPIC_VERSION: Final = b"2023-06-01"

# Of the interface, if neither the client nor the peer's URL says which; the last one of its form.
AZURE_VERSION: Final = b"2024-10-21"

# What Azure asks of a deployment, which the path names.
_OF_DEPLOYMENTS: Final = frozenset(
    {
        b"/chat/completions",
        b"/completions",
        b"/embeddings",
        b"/audio/speech",
        b"/audio/transcriptions",
        b"/images/generations",
        b"/images/edits",
    }
)


class _PeerRequest(NamedTuple):
    """What is known when a peer's key is to be shown."""

    peer: PeerRoute
    head: RequestHead
    target: bytes
    host: bytes
    fields: Fields
    body: bytes
    now: float


class _PeerKind(NamedTuple):
    """What differs from kind to kind.

    Attributes:
        place: (path of the peer's URL, path, name of the model) -> path.
        show_key: The fields that say who asks; called with a key only.
    """

    place: Callable[[bytes, bytes, str], bytes]
    show_key: Callable[[_PeerRequest], Fields]


def peer_request(
    peer: PeerRoute,
    model: str,
    head: RequestHead,
    body: bytes,
    *,
    length: int | None,
    route: Route,
    stream: bool,
    own_keys: KeyRing,
    now: float,
    extra: bytes = b"",
    rules: CompiledRules | None = None,
) -> bytes:
    """Return the head that goes to a peer.

    The answer must not come compressed: its frames, and what it says of its use, are looked at.

    Args:
        peer: Which one.
        model: The model's name there. In the body it has to stand already.
        head: The client's.
        body: What will follow, for signatures; empty if it comes from somewhere else.
        length: Bytes of what will follow; None for chunks.
        route: What the client's path says.
        stream: A stream is wanted.
        own_keys: The keys of this program, which no peer ever gets.
        now: Unix time, for signatures.
        extra: Further lines.
        rules: What is changed in the client's lines; None for nothing.

    Raises:
        RelayError: It cannot be signed.
    """
    forwards = peer.forward_auth and not peer.api_key
    kind = _KINDS[peer.kind]
    # a unix socket has no host, and no path before that of the request
    url = urlsplit("http://localhost" if peer.url.startswith("unix:") else peer.url)
    host = url.netloc.rpartition("@")[2].encode()
    target = _target(kind, url.path.rstrip("/").encode(), model, head, route, stream=stream)
    parameters = _parameters(head.target, own_keys, forwards=forwards)
    if peer.kind == "azure":
        parameters = _with_version(target, parameters, url.query.encode())
    if parameters:
        target += (b"&" if b"?" in target else b"?") + parameters
    fields = _fields(head, own_keys, rules, forwards=forwards)
    if peer.kind == "anthropic" and all(name.lower() != b"anthropic-version" for name, _ in fields):
        fields.append((b"anthropic-version", ANTHROPIC_VERSION))
    if peer.api_key:
        shown = kind.show_key(_PeerRequest(peer, head, target, host, fields, body, now))
        names = {name.lower() for name, _ in shown}
        fields = [it for it in fields if it[0].lower() not in names] + shown
    return b"%b %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n%b%b%b\r\n" % (
        head.method,
        target,
        host,
        b"".join(b"%b: %b\r\n" % it for it in fields),
        extra,
        framing_line(length),
    )


def _target(
    kind: _PeerKind, base: bytes, model: str, head: RequestHead, route: Route, *, stream: bool
) -> bytes:
    """Return the path; with a query if the path alone does not say what is meant."""
    if head.path == b"/":  # the body has told the API
        path, question, query = route.api.target_for(model, stream=stream).partition(b"?")
        return kind.place(base, path, model) + question + query
    return kind.place(base, ROUTES.with_model(route.forward_path or head.path, model), model)


# --- what stays at home --------------------------------------------------------------------------


def _fields(
    head: RequestHead, own: KeyRing, rules: CompiledRules | None, *, forwards: bool
) -> Fields:
    """Return what goes to the peer of the client's fields."""
    lines = [line for line in head.lines if _may_go(line, forwards=forwards)]
    if rules is not None:
        lines = rules.apply(lines)
    fields = [_split(line) for line in lines]
    if forwards:
        fields += head.keys
    return [it for it in fields if not _shows(*it, own)] if own else fields


def _may_go(line: bytes, *, forwards: bool) -> bool:
    low = line[: line.index(b":")].lower()
    if low in _AT_HOME or low.startswith(_AT_HOME_BEGINNING):
        return False
    return forwards or low not in _CREDENTIALS


def _split(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip()


def _shows(name: bytes, value: bytes, own: KeyRing) -> bool:
    """Whether a field holds one of our own keys, in whatever place."""
    shown = shown_key([(name.lower(), value)])
    if shown is not None and own.has(shown):
        return True
    return any(len(part) >= own.shortest and own.has(part) for part in value.split())


def _parameters(target: bytes, own: KeyRing, *, forwards: bool) -> bytes:
    """Return what goes to the peer of the client's query."""
    kept = []
    for part in target.partition(b"?")[2].split(b"&"):
        name, _, value = part.partition(b"=")
        is_secret = unquote_to_bytes(name).lower() in _SECRET_PARAMETERS
        if part and (forwards or not is_secret) and not own.has(unquote_to_bytes(value)):
            kept.append(part)
    return b"&".join(kept)


# --- where it goes -------------------------------------------------------------------------------


def _join(base: bytes, path: bytes, model: str) -> bytes:
    """Put `path` after `base`: a base that ends with a version takes the place of the path's."""
    last = base[base.rfind(b"/") :] if base else b""
    if _VERSION.fullmatch(last) and (found := _VERSION.match(path)):
        path = path[found.end() :]
    return base + path


def _join_azure(base: bytes, path: bytes, model: str) -> bytes:
    """Name the deployment in the path. The newer form, whose base ends with a version, does not."""
    if _VERSION.search(base):
        return _join(base, path, model)
    root = base.removesuffix(b"/openai")
    asked = path.removeprefix(b"/v1")
    if asked in _OF_DEPLOYMENTS:
        return b"%b/openai/deployments/%b%b" % (root, quote(model, safe="").encode(), asked)
    if asked == b"/responses":  # only in the newer form
        return root + b"/openai/v1/responses"
    return base + path


def _with_version(target: bytes, parameters: bytes, of_url: bytes) -> bytes:
    """Return the query with the version of Azure's interface, where that has to be said."""
    if any(part.startswith(b"api-version=") for part in parameters.split(b"&")):
        return parameters
    default = b"api-version=" + AZURE_VERSION if b"/openai/deployments/" in target else b""
    return b"&".join(it for it in (of_url or default, parameters) if it)


# --- who asks ------------------------------------------------------------------------------------


def _bearer_and_field(asked: _PeerRequest) -> Fields:
    key = asked.peer.api_key.encode()
    return [(b"Authorization", b"Bearer " + key), (b"x-api-key", key)]


def _in_field(name: bytes) -> Callable[[_PeerRequest], Fields]:
    return lambda asked: [(name, asked.peer.api_key.encode())]


def _signed(asked: _PeerRequest) -> Fields:
    peer = asked.peer
    credentials = read_credentials(peer.api_key)
    if credentials is None:
        return [(b"Authorization", b"Bearer " + peer.api_key.encode())]
    region = peer.region or region_of(asked.host.decode())
    if region is None:
        raise RelayError(
            f"cannot sign a request to the peer '{peer.peer}': nothing says its region; "
            "configure its 'region'",
            kind="upstream_error",
            code="peer_misconfigured",
        )
    # proxies change other fields
    typed = [it for it in asked.fields if it[0].lower() == b"content-type"][:1]
    return sign(
        credentials,
        region=region,
        service="bedrock",
        method=asked.head.method,
        target=asked.target,
        fields=[(b"Host", asked.host), *typed],
        body=asked.body,
        now=asked.now,
    )


_OPENAI: Final = _PeerKind(_join, _bearer_and_field)

_KINDS: Final[Mapping[UpstreamKind, _PeerKind]] = {
    "openai": _OPENAI,
    "vllm": _OPENAI,
    "llama-server": _OPENAI,
    "unknown": _OPENAI,
    "anthropic": _PeerKind(_join, _in_field(b"x-api-key")),
    "azure": _PeerKind(_join_azure, _in_field(b"api-key")),
    "gemini": _PeerKind(_join, _in_field(b"x-goog-api-key")),
    "bedrock": _PeerKind(_join, _signed),
}
