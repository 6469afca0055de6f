import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import UpstreamKind
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import (
    APIS,
    BEDROCK,
    CHAT,
    COMPLETIONS,
    COUNT_TOKENS,
    GEMINI,
    MESSAGES,
    PLAIN,
    RESPONSES,
    ROUTES,
    Route,
)
from arriero.worker.errors import BadRequest

# What is read of a model that runs.
PASSED = Route(PLAIN, named_in="query", starts=False, is_counted=False)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/v1/chat/completions", Route(CHAT)),
        (b"/v1/completions", Route(COMPLETIONS)),
        (b"/v1/messages", Route(MESSAGES)),
        (b"/v1/messages/count_tokens", Route(COUNT_TOKENS)),
        (b"/v1/responses", Route(RESPONSES)),
        (b"/v1beta/models/g-1.5:generateContent", Route(GEMINI, "g-1.5", False)),
        (b"/v1beta/models/g:streamGenerateContent", Route(GEMINI, "g", True)),
        (b"/v1/models/g:streamGenerateContent", Route(GEMINI, "g", True)),
        (b"/v1alpha/models/g:countTokens", Route(GEMINI, "g", False)),
        (b"/v1beta/models/g:embedContent", Route(GEMINI, "g", False)),
        (b"/v1beta/models/g:batchEmbedContents", Route(GEMINI, "g", False)),
        (b"/v1beta/models/a/b:c:generateContent", Route(GEMINI, "a/b:c", False)),
        (b"/v1beta/models/a%2Fb%3Ac:generateContent", Route(GEMINI, "a/b:c", False)),
        (b"/model/us.a.c-v1%3A0/converse", Route(BEDROCK, "us.a.c-v1:0", False)),
        (b"/model/us.a.c-v1:0/converse-stream", Route(BEDROCK, "us.a.c-v1:0", True)),
        (b"/model/arn%3Aaws%3Aa%2Fb/converse", Route(BEDROCK, "arn:aws:a/b", False)),
        (b"/model/%FF/converse", Route(BEDROCK, "\ufffd", False)),
        (
            b"/v/chat/completions",
            Route(CHAT, forward_path=b"/chat/completions"),
        ),
        (
            b"/v/messages/count_tokens",
            Route(COUNT_TOKENS, forward_path=b"/messages/count_tokens"),
        ),
        (b"/v/rerank", Route(PLAIN, forward_path=b"/rerank")),
        (b"/audioapi/v1/tasks/run", Route(PLAIN, forward_path=b"/v1/tasks/run")),
        (b"/v1/audio/speech", Route(PLAIN)),
        (b"/v1/audio/transcriptions", Route(PLAIN)),
        (b"/v1/images/generations", Route(PLAIN)),
        (b"/v1/images/edits", Route(PLAIN)),
        (b"/sdapi/v1/txt2img", Route(PLAIN)),
        (b"/sdapi/v1/img2img", Route(PLAIN)),
        (b"/", Route(CHAT)),
        (b"", None),
        (b"/v1/models", None),
        (b"/v1/models/g", None),
        (b"/v1/models/g:deleteContent", None),
        (b"/v1beta/models/:generateContent", None),
        (b"/v2/models/g:generateContent", None),
        (b"/x/v1beta/models/g:generateContent", None),
        (b"/v1beta/models/g:generateContent/x", None),
        (b"/model//converse", None),
        (b"/model/m/invoke", None),
        (b"/model/m/converse-", None),
        (b"/v/images/edits", None),
        (b"/chat/completions", Route(CHAT, forward_path=b"/v1/chat/completions")),
        (b"/messages", Route(MESSAGES, forward_path=b"/v1/messages")),
        (b"/v1/audio/translations", Route(PLAIN)),
        (b"/tokenize", Route(PLAIN, named_in="query")),
        (b"/slots/0", Route(PLAIN, named_in="query", starts=False)),
        (b"/slots/0/1", None),
        (b"/v1/responses/r/cancel", Route(RESPONSES, named_in="query", starts=False)),
        (b"/upstream/a/b", Route(PLAIN, named_in="path", is_counted=False)),
        (b"/upstream", None),
        (b"/comfyuis", None),
    ],
)
def test_a_path_says_which_api_is_spoken(path: bytes, route: Route | None) -> None:
    assert _but_for_access(ROUTES.find(path)) == route


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        (b"GET", b"/props", PASSED),
        (b"HEAD", b"/props", PASSED),
        (b"GET", b"/v1/files/f%2F1/content", PASSED),
        (b"DELETE", b"/v1/files/f", PASSED),
        (b"DELETE", b"/v1/responses/r", PASSED._replace(api=RESPONSES)),
        (b"GET", b"/v1/responses/r/input_items", PASSED._replace(api=RESPONSES)),
        (b"DELETE", b"/v1/files/f/content", None),
        (b"PUT", b"/upstream/m/x", Route(PLAIN, named_in="path", is_counted=False)),
        (b"OPTIONS", b"/upstream/m/x", None),
        (b"GET", b"/v1/chat/completions", None),
        (b"GET", b"/health", None),
    ],
)
def test_a_method_says_what_is_meant(method: bytes, path: bytes, route: Route | None) -> None:
    assert _but_for_access(ROUTES.find(path, method)) == route


def _but_for_access(route: Route | None) -> Route | None:
    return route and route._replace(access="admin")


@given(st.binary(max_size=60), st.sampled_from([b"/slots/", b"/v1/files/", b"/upstream/", b"/"]))
def test_whatever_follows_is_a_route_or_none(path: bytes, begins: bytes) -> None:
    for method in (b"GET", b"DELETE", b"X"):
        ROUTES.find(begins + path, method)
    ROUTES.methods_at(begins + path)


def test_every_declared_route_is_found() -> None:
    for declared in ROUTES.declared:
        path = re.sub(r"\{\w+(\.\.\.)?\}", "x", declared.path).encode()
        assert declared.pattern.fullmatch(path)
        if declared.named_in is not None:  # else it is a page
            assert set(declared.methods) <= ROUTES.methods_at(path)
        assert declared.summary.endswith(".")


def test_every_exact_path_is_a_route_whose_body_names_the_model() -> None:
    for api, path in [(it, path) for it in APIS for path in it.paths]:
        route = ROUTES.find(path)
        assert route is not None
        assert (route.api, route.model, route.streams) == (api, None, None)


@given(
    st.text(min_size=1).filter(lambda it: "\ufffd" not in it),
    st.sampled_from([GEMINI, BEDROCK]),
)
def test_any_name_that_is_put_into_a_path_is_found_there(model: str, api: Api) -> None:
    for stream in (False, True):
        path = api.target_for(model, stream=stream).partition(b"?")[0]

        assert ROUTES.find(path) == Route(api, model, stream, access="infer")
        other = api.target_for("x", stream=stream).partition(b"?")[0]
        assert ROUTES.with_model(other, model) == path


@given(
    st.binary(max_size=80) | st.text(max_size=30).map(lambda it: b"/model/" + quote(it).encode())
)
def test_any_path_is_a_route_or_none(path: bytes) -> None:
    ROUTES.find(path)
    ROUTES.find(path + b"/converse")
    ROUTES.find(b"/v1beta/models/" + path + b":generateContent")


def test_a_long_path_that_nearly_is_a_route_is_read_at_once() -> None:
    assert ROUTES.find(b"/v1beta/models/" + b":generateContent" * 4000 + b"x") is None
    assert ROUTES.find(b"/model/" + b"/converse-strea" * 4000) is None


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (b"/model/x/converse", b"/model/a%2Fb%3Ac/converse"),
        (b"/v1/models/x:countTokens", b"/v1/models/a%2Fb%3Ac:countTokens"),
    ],
)
def test_a_name_in_a_path_is_replaced(path: bytes, changed: bytes) -> None:
    assert ROUTES.with_model(path, "a/b:c") == changed


def test_a_path_without_a_name_stays() -> None:
    assert ROUTES.with_model(b"/v1/chat/completions", "m") == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("api", "target"),
    [
        (CHAT, b"/v1/chat/completions"),
        (COMPLETIONS, b"/v1/completions"),
        (MESSAGES, b"/v1/messages"),
        (RESPONSES, b"/v1/responses"),
        (GEMINI, b"/v1beta/models/a%2Fb:generateContent"),
        (BEDROCK, b"/model/a%2Fb/converse"),
    ],
)
def test_each_api_is_asked_at_a_path_of_its_own(api: Api, target: bytes) -> None:
    assert api.target_for("a/b", stream=False) == target


def test_a_stream_of_gemini_is_asked_for_as_events() -> None:
    found = GEMINI.target_for("m", stream=True)

    assert found == b"/v1beta/models/m:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("body", "kind", "api"),
    [
        ({"input": "x"}, "unknown", RESPONSES),
        ({"input": "x", "messages": []}, "unknown", CHAT),
        ({"prompt": "x"}, "unknown", COMPLETIONS),
        ({"prompt": "x", "messages": []}, "openai", CHAT),
        ({"contents": []}, "unknown", GEMINI),
        ({"contents": []}, "openai", GEMINI),
        ({"messages": []}, "unknown", CHAT),
        ({"messages": []}, "gemini", CHAT),
        ({"messages": []}, "anthropic", MESSAGES),
        ({"messages": []}, "bedrock", BEDROCK),
        ({"messages": [], "system": []}, "bedrock", BEDROCK),
        ({"messages": [], "system": "x"}, "unknown", MESSAGES),
        ({"system": "x"}, "anthropic", CHAT),
        ({}, "bedrock", CHAT),
        ([], "anthropic", CHAT),
        (None, "unknown", CHAT),
        ("input", "unknown", CHAT),
    ],
)
def test_a_body_without_a_path_says_which_api_is_spoken(
    body: object, kind: UpstreamKind, api: Api
) -> None:
    assert ROUTES.of_body(body, kind) is api


@pytest.mark.parametrize(
    ("api", "is_silent", "has_end", "is_anthropic"),
    [
        (CHAT, False, True, False),
        (COMPLETIONS, False, True, False),
        (MESSAGES, False, True, True),
        (RESPONSES, False, True, False),
        (PLAIN, True, False, False),
        (COUNT_TOKENS, True, False, True),
        (GEMINI, True, True, False),
        (BEDROCK, True, True, False),
    ],
)
def test_forms_differ_in_what_may_be_said(
    api: Api, is_silent: bool, has_end: bool, is_anthropic: bool
) -> None:
    assert (api.is_silent, api.stream_end is not None) == (is_silent, has_end)
    assert (b'"type":"error"' in api.error_body(BadRequest("no"))) is is_anthropic


def test_who_asks_for_what_is_not_here_gets_errors_of_its_api() -> None:
    for path in (
        b"/api/pull",
        b"/api/push",
        b"/api/create",
        b"/api/delete",
        b"/api/blobs/sha256:0",
    ):
        assert ROUTES.api_of_errors(path) is ROUTES.api_of_errors(b"/api/embed"), path
    assert ROUTES.api_of_errors(b"/v1/messages/batches") is ROUTES.api_of_errors(b"/v1/messages")
    assert ROUTES.api_of_errors(b"/api/activity") is PLAIN
