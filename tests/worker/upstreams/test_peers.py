import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import HeaderRules, PeerRoute, WorkerConfig
from arriero.worker.apis import routes
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import ROUTES, Route
from arriero.worker.errors import RelayError
from arriero.worker.http.auth import NO_KEYS, KeyRing
from arriero.worker.http.header_rules import compile_rules
from arriero.worker.http.request_head import parse_head
from arriero.worker.upstreams.peers import peer_request

BODY = b'{"model":"theirs"}'
OWN = "proxy-key"
NOW = 1440938160.0  # 2015-08-30T12:36:00Z


def ask(
    kind: UpstreamKind = "openai",
    url: str = "https://api.example",
    path: bytes = b"/v1/chat/completions",
    *fields: bytes,
    model: str = "theirs",
    route: Route | None = None,
    stream: bool = False,
    rules: HeaderRules | None = None,
    body: bytes = BODY,
    **options: str | bool,
) -> tuple[bytes, list[bytes]]:
    """Return the request line's target and the fields that a peer gets, but for the usual ones."""
    lines = (b"POST %b HTTP/1.1" % path, b"Host: here", *fields, b"", b"")
    head = parse_head(b"\r\n".join(lines))
    peer = PeerRoute(peer="p", url=url, kind=kind, **options)  # type: ignore[arg-type]
    found = route or ROUTES.find(head.path)
    assert found is not None
    request = peer_request(
        peer,
        model,
        head,
        body,
        length=len(BODY),
        route=found,
        stream=stream,
        own_keys=KeyRing(WorkerConfig(generation=1, models=(), api_keys=(OWN,))),
        now=NOW,
        extra=b"X-Extra: e\r\n",
        rules=compile_rules(rules) if rules else None,
    )
    first, *rest = request.split(b"\r\n")
    assert rest[1] == b"Accept-Encoding: identity"
    assert rest[-4:] == [b"X-Extra: e", b"Content-Length: 18", b"", b""]
    method, target, version = first.split(b" ")
    assert (method, version) == (b"POST", b"HTTP/1.1")
    return target, [rest[0], *rest[2:-4]]


CHAT = b"/v1/chat/completions"
GEMINI = b"/v1beta/models/ours:generateContent"
CONVERSE = b"/model/ours/converse"
DEPLOYED = b"/openai/deployments/theirs/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("kind", "base", "path", "target"),
    [
        ("openai", "", CHAT, CHAT),
        ("openai", "/v1", CHAT, CHAT),
        ("openai", "/api/v1", CHAT, b"/api/v1/chat/completions"),
        ("openai", "/api", CHAT, b"/api/v1/chat/completions"),
        ("openai", "/paas/v4", CHAT, b"/paas/v4/chat/completions"),
        ("openai", "/v1beta/openai", b"/v/chat/completions", b"/v1beta/openai/chat/completions"),
        ("openai", "/v1", b"/v/embeddings", b"/v1/embeddings"),
        ("openai", "/v1", b"/rerank", b"/v1/rerank"),
        ("openai", "/v1", b"/v1/completions?a=b&c", b"/v1/completions?a=b&c"),
        ("openai", "/v1", b"/v1/messages", b"/v1/messages"),
        ("openai", "/v1x", CHAT, b"/v1x" + CHAT),
        ("openai", "", b"/audioapi/v1/tasks/run", b"/v1/tasks/run"),
        ("openai", "", b"http://here/v1/completions?a=b", b"/v1/completions?a=b"),
        ("vllm", "/v1", CHAT, CHAT),
        ("llama-server", "/v1", CHAT, CHAT),
        ("unknown", "/v1", CHAT, CHAT),
        ("anthropic", "", b"/v1/messages?beta=true", b"/v1/messages?beta=true"),
        ("anthropic", "/v1", b"/v1/messages/count_tokens", b"/v1/messages/count_tokens"),
        ("gemini", "", GEMINI, b"/v1beta/models/theirs:generateContent"),
        ("gemini", "/v1beta", GEMINI, b"/v1beta/models/theirs:generateContent"),
        (
            "gemini",
            "",
            b"/v1/models/ours:streamGenerateContent?alt=sse",
            b"/v1/models/theirs:streamGenerateContent?alt=sse",
        ),
        ("bedrock", "", CONVERSE, b"/model/theirs/converse"),
        ("bedrock", "", CONVERSE + b"-stream", b"/model/theirs/converse-stream"),
        ("bedrock", "/openai/v1", CHAT, b"/openai/v1/chat/completions"),
        ("azure", "", CHAT, DEPLOYED),
        ("azure", "/openai", CHAT, DEPLOYED),
        ("azure", "", b"/v/chat/completions", DEPLOYED),
        (
            "azure",
            "?api-version=2024-06-01",
            b"/v1/embeddings?a=b",
            b"/openai/deployments/theirs/embeddings?api-version=2024-06-01&a=b",
        ),
        (
            "azure",
            "?api-version=2024-06-01",
            CHAT + b"?a=b&api-version=2025-01-01",
            b"/openai/deployments/theirs/chat/completions?a=b&api-version=2025-01-01",
        ),
        ("azure", "/openai/v1", CHAT, b"/openai/v1/chat/completions"),
        ("azure", "/openai/v1?api-version=v1", CHAT, b"/openai/v1/chat/completions?api-version=v1"),
        ("azure", "", b"/v1/responses", b"/openai/v1/responses"),
        ("azure", "/openai", b"/v1/responses", b"/openai/v1/responses"),
        ("azure", "", b"/v1/messages", b"/v1/messages"),
    ],
)
def test_each_kind_has_its_urls(kind: UpstreamKind, base: str, path: bytes, target: bytes) -> None:
    assert ask(kind, "https://api.example" + base, path)[0] == target


@pytest.mark.parametrize(
    ("kind", "model", "path", "target"),
    [
        ("gemini", "a/b:c", GEMINI, b"/v1beta/models/a%2Fb%3Ac:generateContent"),
        ("bedrock", "anthropic.c-v1:0", CONVERSE, b"/model/anthropic.c-v1%3A0/converse"),
        (
            "azure",
            "a b",
            CHAT,
            b"/openai/deployments/a%20b/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_a_name_in_a_path_is_escaped(
    kind: UpstreamKind, model: str, path: bytes, target: bytes
) -> None:
    assert ask(kind, path=path, model=model)[0] == target


@pytest.mark.parametrize(
    ("kind", "api", "stream", "target"),
    [
        ("openai", routes.CHAT, True, b"/v1/chat/completions?x=y"),
        ("openai", routes.COMPLETIONS, False, b"/v1/completions?x=y"),
        ("openai", routes.RESPONSES, False, b"/v1/responses?x=y"),
        ("anthropic", routes.MESSAGES, True, b"/v1/messages?x=y"),
        ("gemini", routes.GEMINI, False, b"/v1beta/models/theirs:generateContent?x=y"),
        ("gemini", routes.GEMINI, True, b"/v1beta/models/theirs:streamGenerateContent?alt=sse&x=y"),
        ("bedrock", routes.BEDROCK, False, b"/model/theirs/converse?x=y"),
        ("bedrock", routes.BEDROCK, True, b"/model/theirs/converse-stream?x=y"),
    ],
)
def test_a_request_without_a_path_gets_that_of_its_api(
    kind: UpstreamKind, api: Api, stream: bool, target: bytes
) -> None:
    assert ask(kind, path=b"/?x=y", route=Route(api), stream=stream)[0] == target


@pytest.mark.parametrize(
    ("kind", "path", "shown"),
    [
        ("openai", CHAT, [b"Authorization: Bearer theirs-key", b"x-api-key: theirs-key"]),
        ("vllm", CHAT, [b"Authorization: Bearer theirs-key", b"x-api-key: theirs-key"]),
        ("llama-server", CHAT, [b"Authorization: Bearer theirs-key", b"x-api-key: theirs-key"]),
        ("unknown", CHAT, [b"Authorization: Bearer theirs-key", b"x-api-key: theirs-key"]),
        (
            "anthropic",
            b"/v1/messages",
            [b"anthropic-version: 2023-06-01", b"x-api-key: theirs-key"],
        ),
        ("azure", CHAT, [b"api-key: theirs-key"]),
        ("gemini", GEMINI, [b"x-goog-api-key: theirs-key"]),
        ("bedrock", CONVERSE, [b"Authorization: Bearer theirs-key"]),
    ],
)
def test_a_peer_gets_its_own_key_only(kind: UpstreamKind, path: bytes, shown: list[bytes]) -> None:
    clients = (
        b"Authorization: Bearer client",
        b"X-Api-Key: client",
        b"api-key: client",
        b"X-Goog-Api-Key: client",
        b"X-Amz-Security-Token: client",
        b"X-Amz-Date: client",
        b"Cookie: a=client",
    )

    target, fields = ask(
        kind, "https://h", path + b"?key=client&api-key=client", *clients, api_key="theirs-key"
    )

    assert fields == [b"Host: h", *shown]
    assert b"client" not in target


def test_a_client_of_anthropic_says_the_version_itself() -> None:
    fields = ask("anthropic", "https://h", b"/v1/messages", b"Anthropic-Version: 2030-01-01")[1]

    assert fields == [b"Host: h", b"Anthropic-Version: 2030-01-01"]


@pytest.mark.parametrize("forward_auth", [False, True])
def test_the_clients_key_is_sent_if_that_is_configured_and_there_is_no_other(
    forward_auth: bool,
) -> None:
    shown = (b"authorization: Bearer client", b"x-goog-api-key: client")
    path = CHAT + b"?key=client"

    target, fields = ask("openai", "https://h", path, *shown, forward_auth=forward_auth)

    assert set(shown).issubset(fields) is forward_auth
    assert (target == path) is forward_auth
    assert not any(b"client" in it for it in (target, *fields)) or forward_auth


def test_a_configured_key_takes_the_place_of_one_that_may_be_forwarded() -> None:
    fields = ask(
        "openai",
        "https://h",
        CHAT,
        b"Authorization: Bearer client",
        b"api-key: client",
        b"x-goog-api-key: client",
        api_key="theirs-key",
        forward_auth=True,
    )[1]

    assert fields == [
        b"Host: h",
        b"Authorization: Bearer theirs-key",
        b"x-api-key: theirs-key",
    ]


@pytest.mark.parametrize(
    "shown",
    [
        b"Authorization: Bearer proxy-key",
        b"Authorization: bearer  proxy-key ",
        b"Authorization: Basic dXNlcjpwcm94eS1rZXk=",  # user:proxy-key
        b"Authorization: proxy-key",
        b"Authorization: Token proxy-key",
        b"x-api-key: proxy-key",
        b"api-key: proxy-key",
        b"x-goog-api-key: proxy-key",
        b"X-Whatever: proxy-key",
    ],
)
@pytest.mark.parametrize("forward_auth", [False, True])
def test_no_peer_ever_gets_a_key_of_this_program(shown: bytes, forward_auth: bool) -> None:
    path = CHAT + b"?a=proxy-key&b=proxy%2Dkey&c=d"

    target, fields = ask("openai", "https://h", path, shown, forward_auth=forward_auth)

    assert fields == [b"Host: h"]
    assert target == CHAT + b"?c=d"


def test_a_peer_does_not_learn_how_the_client_came_here() -> None:
    fields = ask(
        "openai",
        "http://user:word@h:8080/v1",
        CHAT,
        b"Forwarded: for=1.1.1.1",
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-Proto: https",
        b"x-forwarded-host: here",
        b"X-Provider: p",
        b"Connection: X-Hop",
        b"X-Hop: 1",
        b"TE: trailers",
        b"Content-Type: application/json",
        b"X-Empty:",
    )[1]

    assert fields == [
        b"Host: h:8080",
        b"Content-Type: application/json",
        b"X-Empty: ",
    ]


def test_an_answer_comes_without_compression_whatever_the_client_takes() -> None:
    assert ask("openai", "https://h", CHAT, b"Accept-Encoding: gzip")[1] == [b"Host: h"]


def test_a_body_of_unknown_length_comes_in_chunks() -> None:
    head = parse_head(b"POST /v1/images/edits HTTP/1.1\r\nHost: here\r\n\r\n")

    request = peer_request(
        PeerRoute(peer="p", url="https://h"),
        "m",
        head,
        b"",
        length=None,
        route=Route(routes.PLAIN),
        stream=False,
        own_keys=NO_KEYS,
        now=NOW,
    )

    assert request == (
        b"POST /v1/images/edits HTTP/1.1\r\nHost: h\r\nAccept-Encoding: identity\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )


def test_rules_change_what_comes_from_the_client_but_not_the_key() -> None:
    rules = HeaderRules(
        remove=("X-Gone",), set=(("X-Put", "1"), ("X-API-Key", "2"), ("X-Own", OWN))
    )

    fields = ask("openai", "https://h", CHAT, b"X-Gone: 1", api_key="k", rules=rules)[1]

    assert fields == [b"Host: h", b"X-Put: 1", b"Authorization: Bearer k", b"x-api-key: k"]


@pytest.mark.parametrize(
    ("url", "region", "signed_for"),
    [
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "", b"eu-west-1"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "us-east-2", b"us-east-2"),
        ("https://proxy.example", "us-east-2", b"us-east-2"),
    ],
)
def test_a_pair_of_keys_signs_for_a_region(url: str, region: str, signed_for: bytes) -> None:
    fields = ask(
        "bedrock",
        url,
        CONVERSE,
        b"Content-Type: application/json",
        b"X-Amz-Date: 19700101T000000Z",
        api_key="AKIDEXAMPLE:secret:session",
        region=region,
    )[1]

    assert fields[1:4] == [
        b"Content-Type: application/json",
        b"X-Amz-Date: 20150830T123600Z",
        b"X-Amz-Security-Token: session",
    ]
    assert fields[4].startswith(
        b"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/%b/bedrock/aws4_request, "
        b"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=" % signed_for
    )
    assert not any(b"secret" in it for it in fields)


def test_what_is_signed_is_what_is_sent() -> None:
    def signature(**changed: str | bytes) -> bytes:
        options = {"url": "https://h", "model": "m", "api_key": "a:s"} | changed
        return ask("bedrock", path=CONVERSE, region="us-east-1", **options)[1][2]  # type: ignore[arg-type]

    assert signature() == signature()
    changed = (signature(model="n"), signature(url="https://i"), signature(body=b"{}"))
    assert len({signature(), *changed}) == 4


def test_without_a_region_nothing_can_be_signed() -> None:
    with pytest.raises(RelayError, match=r"peer 'p'.*configure its 'region'") as caught:
        ask("bedrock", "https://proxy.example", CONVERSE, api_key="access:secret")

    assert caught.value.kind == "upstream_error"  # asking again would not help
    assert "secret" not in caught.value.message


@given(
    st.lists(
        st.tuples(st.from_regex(rb"[A-Za-z-]{1,20}", fullmatch=True), st.sampled_from(
            [b"proxy-key", b"Bearer proxy-key", b" proxy-key", b"a proxy-key b", b"x"])),
        max_size=5,
    ),
    st.booleans(),
    st.sampled_from(["openai", "anthropic", "azure", "gemini", "bedrock"]),
)  # fmt: skip
def test_whatever_a_client_sends_our_key_stays_here(
    fields: list[tuple[bytes, bytes]], forward_auth: bool, kind: UpstreamKind
) -> None:
    lines = [b"X%b: %b" % field for field in fields]

    target, sent = ask(kind, "https://h", CHAT, *lines, forward_auth=forward_auth)

    assert b"proxy-key" not in target + b"".join(sent)
