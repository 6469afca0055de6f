import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.server.unknown_paths import (
    MODEL_PATHS,
    KnownPath,
    find_like,
    nothing_at,
    wrong_method,
)
from tests.worker.growth import assert_linear

PAGES = (
    KnownPath("GET", "/v1/models"),
    KnownPath("GET", "/models"),
    KnownPath("GET", "/health"),
    KnownPath("GET", "/running"),
)


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/chat/completion", "/chat/completions"),
        ("POST", "/v1/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/", "/v1/chat/completions"),
        ("POST", "//v1//chat/completions", "/v1/chat/completions"),
        ("POST", "/V1/Chat/Completions", "/v1/chat/completions"),
        ("POST", "/v1/chat/completion", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("POST", "/openai/v1/embeddings", "/v1/embeddings"),
        ("POST", "/api/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/v1/tokenize", "/tokenize"),
        ("GET", "/v1/props", "/props"),
        ("POST", "/v1/message", "/v1/messages"),
        ("GET", "/api/tag", "/api/tags"),
        ("GET", "/v1/model", "/v1/models"),
        ("GET", "/chat/completion", "POST /chat/completions"),
    ],
)
def test_a_path_that_is_nearly_right_is_put_right(method: str, path: str, meant: str) -> None:
    said = nothing_at(method, path, PAGES)
    assert said == f"no {method} {path} here; did you mean {meant}?"


@pytest.mark.parametrize("path", ["/nothing", "/", "//", "/favicon.ico", "/admin.php", "/.env"])
def test_nothing_is_suggested_where_nothing_is_like_it(path: str) -> None:
    assert nothing_at("GET", path, PAGES) == f"no GET {path} here; GET / says what there is"


def test_a_wrong_method_is_named_with_those_that_are_right() -> None:
    assert wrong_method("PUT", "/health", ["GET", "HEAD"]) == "no PUT /health here, only GET, HEAD"


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_what_is_said_is_short_and_clean(method: str, path: str) -> None:
    for said in (nothing_at(method, path, PAGES), wrong_method(method, path, ["GET"])):
        assert said.isprintable()
        assert len(said) < 300


def test_what_a_path_takes_grows_with_its_length() -> None:
    def find(size: int) -> None:
        for path in ("/v1/chat/" * size, "/" * 8 * size, "/aaaaaaa" * size):
            find_like("POST", path, PAGES)

    assert_linear(find, 2000)


def test_every_route_of_models_is_found_without_its_version() -> None:
    for known in MODEL_PATHS:
        assert find_like(known.method, known.path + "/", ()) == known
