from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import UpstreamKind
from arriero.worker.http.routes import (
    MODEL_ROUTES,
    Form,
    Route,
    find_route,
    form_of_body,
    target_of,
    with_model,
)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (b"/v1/chat/completions", Route(Form.CHAT)),
        (b"/v1/completions", Route(Form.COMPLETION)),
        (b"/v1/messages", Route(Form.MESSAGES)),
        (b"/v1/messages/count_tokens", Route(Form.COUNT)),
        (b"/v1/responses", Route(Form.RESPONSES)),
        (b"/v1beta/models/g-1.5:generateContent", Route(Form.GEMINI, "g-1.5", False)),
        (b"/v1beta/models/g:streamGenerateContent", Route(Form.GEMINI, "g", True)),
        (b"/v1/models/g:streamGenerateContent", Route(Form.GEMINI, "g", True)),
        (b"/v1alpha/models/g:countTokens", Route(Form.GEMINI, "g", False)),
        (b"/v1beta/models/g:embedContent", Route(Form.GEMINI, "g", False)),
        (b"/v1beta/models/g:batchEmbedContents", Route(Form.GEMINI, "g", False)),
        (b"/v1beta/models/a/b:c:generateContent", Route(Form.GEMINI, "a/b:c", False)),
        (b"/v1beta/models/a%2Fb%3Ac:generateContent", Route(Form.GEMINI, "a/b:c", False)),
        (b"/model/us.a.c-v1%3A0/converse", Route(Form.BEDROCK, "us.a.c-v1:0", False)),
        (b"/model/us.a.c-v1:0/converse-stream", Route(Form.BEDROCK, "us.a.c-v1:0", True)),
        (b"/model/arn%3Aaws%3Aa%2Fb/converse", Route(Form.BEDROCK, "arn:aws:a/b", False)),
        (b"/model/%FF/converse", Route(Form.BEDROCK, "\ufffd", False)),
        (
            b"/v/chat/completions",
            Route(Form.CHAT, forward_path=b"/chat/completions"),
        ),
        (
            b"/v/messages/count_tokens",
            Route(Form.COUNT, forward_path=b"/messages/count_tokens"),
        ),
        (b"/v/rerank", Route(Form.PLAIN, forward_path=b"/rerank")),
        (b"/audioapi/v1/tasks/run", Route(Form.PLAIN, forward_path=b"/v1/tasks/run")),
        (b"/v1/audio/speech", Route(Form.PLAIN)),
        (b"/v1/audio/transcriptions", Route(Form.PLAIN)),
        (b"/v1/images/generations", Route(Form.PLAIN)),
        (b"/v1/images/edits", Route(Form.PLAIN)),
        (b"/sdapi/v1/txt2img", Route(Form.PLAIN)),
        (b"/sdapi/v1/img2img", Route(Form.PLAIN)),
        (b"/", Route(Form.CHAT)),
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
    ],
)
def test_a_path_says_which_api_is_spoken(path: bytes, route: Route | None) -> None:
    assert find_route(path) == route


def test_every_exact_path_is_a_route_whose_body_names_the_model() -> None:
    for path, form in MODEL_ROUTES.items():
        route = find_route(path)
        assert route is not None
        assert (route.form, route.model, route.streams) == (form, None, None)


@given(
    st.text(min_size=1).filter(lambda it: "\ufffd" not in it),
    st.sampled_from([Form.GEMINI, Form.BEDROCK]),
)
def test_any_name_that_is_put_into_a_path_is_found_there(model: str, form: Form) -> None:
    for stream in (False, True):
        path = target_of(form, model, stream=stream).partition(b"?")[0]

        assert find_route(path) == Route(form, model, stream)
        assert with_model(target_of(form, "x", stream=stream).partition(b"?")[0], model) == path


@given(
    st.binary(max_size=80) | st.text(max_size=30).map(lambda it: b"/model/" + quote(it).encode())
)
def test_any_path_is_a_route_or_none(path: bytes) -> None:
    find_route(path)
    find_route(path + b"/converse")
    find_route(b"/v1beta/models/" + path + b":generateContent")


def test_a_long_path_that_nearly_is_a_route_is_read_at_once() -> None:
    assert find_route(b"/v1beta/models/" + b":generateContent" * 4000 + b"x") is None
    assert find_route(b"/model/" + b"/converse-strea" * 4000) is None


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (b"/model/x/converse", b"/model/a%2Fb%3Ac/converse"),
        (b"/v1/models/x:countTokens", b"/v1/models/a%2Fb%3Ac:countTokens"),
    ],
)
def test_a_name_in_a_path_is_replaced(path: bytes, changed: bytes) -> None:
    assert with_model(path, "a/b:c") == changed


def test_a_path_without_a_name_stays() -> None:
    assert with_model(b"/v1/chat/completions", "m") == b"/v1/chat/completions"


@pytest.mark.parametrize(
    ("form", "target"),
    [
        (Form.CHAT, b"/v1/chat/completions"),
        (Form.COMPLETION, b"/v1/completions"),
        (Form.MESSAGES, b"/v1/messages"),
        (Form.RESPONSES, b"/v1/responses"),
        (Form.GEMINI, b"/v1beta/models/a%2Fb:generateContent"),
        (Form.BEDROCK, b"/model/a%2Fb/converse"),
    ],
)
def test_each_api_is_asked_at_a_path_of_its_own(form: Form, target: bytes) -> None:
    assert target_of(form, "a/b", stream=False) == target


def test_a_stream_of_gemini_is_asked_for_as_events() -> None:
    found = target_of(Form.GEMINI, "m", stream=True)

    assert found == b"/v1beta/models/m:streamGenerateContent?alt=sse"


@pytest.mark.parametrize(
    ("body", "kind", "form"),
    [
        ({"input": "x"}, "unknown", Form.RESPONSES),
        ({"input": "x", "messages": []}, "unknown", Form.CHAT),
        ({"prompt": "x"}, "unknown", Form.COMPLETION),
        ({"prompt": "x", "messages": []}, "openai", Form.CHAT),
        ({"contents": []}, "unknown", Form.GEMINI),
        ({"contents": []}, "openai", Form.GEMINI),
        ({"messages": []}, "unknown", Form.CHAT),
        ({"messages": []}, "gemini", Form.CHAT),
        ({"messages": []}, "anthropic", Form.MESSAGES),
        ({"messages": []}, "bedrock", Form.BEDROCK),
        ({"messages": [], "system": []}, "bedrock", Form.BEDROCK),
        ({"messages": [], "system": "x"}, "unknown", Form.MESSAGES),
        ({"system": "x"}, "anthropic", Form.CHAT),
        ({}, "bedrock", Form.CHAT),
        ([], "anthropic", Form.CHAT),
        (None, "unknown", Form.CHAT),
        ("input", "unknown", Form.CHAT),
    ],
)
def test_a_body_without_a_path_says_which_api_is_spoken(
    body: object, kind: UpstreamKind, form: Form
) -> None:
    assert form_of_body(body, kind) is form


@pytest.mark.parametrize(
    ("form", "is_plain", "has_end", "is_anthropic"),
    [
        (Form.CHAT, False, True, False),
        (Form.COMPLETION, False, True, False),
        (Form.MESSAGES, False, True, True),
        (Form.RESPONSES, False, True, False),
        (Form.PLAIN, True, False, False),
        (Form.COUNT, True, False, True),
        (Form.GEMINI, True, True, False),
        (Form.BEDROCK, True, True, False),
    ],
)
def test_forms_differ_in_what_may_be_said(
    form: Form, is_plain: bool, has_end: bool, is_anthropic: bool
) -> None:
    assert (form.is_plain, form.has_end, form.is_anthropic) == (is_plain, has_end, is_anthropic)
