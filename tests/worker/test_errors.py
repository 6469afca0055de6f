import json
from collections.abc import Callable
from functools import partial

import pytest
import trio

from arriero.protocol.values import ErrorInfo
from arriero.worker.apis.error_response import error_answer
from arriero.worker.apis.messages.dialect import error_object
from arriero.worker.errors import (
    AlreadyRuns,
    BadRequest,
    Forbidden,
    KeyExhausted,
    LoadFailed,
    NotRunning,
    RelayError,
    RequestCancelled,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UnknownPath,
    UnknownRequest,
    UpstreamAnsweredError,
    UpstreamDied,
    UpstreamSilent,
    WrongMethod,
)
from tests.official import anthropic, openai


def answered(status: int, kind: str) -> UpstreamAnsweredError:
    return UpstreamAnsweredError("no", upstream_status=status, kind=kind, code="x")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("no"), "invalid_request_error"),
        (Unauthorized("no"), "authentication_error"),
        (Forbidden("no"), "permission_error"),
        (UnknownModel("no"), "not_found_error"),
        (UnknownRequest("no"), "not_found_error"),
        (WrongMethod("no"), "invalid_request_error"),
        (RequestCancelled("no"), "invalid_request_error"),
        (TooLarge("no"), "request_too_large"),
        (LoadFailed("no"), "api_error"),
        (Unavailable("no"), "overloaded_error"),
        (UpstreamDied("no"), "api_error"),
        (UpstreamSilent("no"), "timeout_error"),
        # of an upstream: its own word if Anthropic has that, else what its status means
        (answered(400, "rate_limit_error"), "rate_limit_error"),
        (answered(500, "overloaded_error"), "overloaded_error"),
        (answered(503, "server_error"), "overloaded_error"),
        (answered(403, "upstream_error"), "permission_error"),
        (answered(429, "exceed_context_size_error"), "rate_limit_error"),
        (answered(501, "not_supported_error"), "api_error"),
        (answered(200, "upstream_error"), "api_error"),
    ],
)
def test_anthropic_s_type_goes_by_the_status(error: RelayError, kind: str) -> None:
    assert error_object(error) == {"type": "error", "error": {"type": kind, "message": "no"}}


def test_each_error_has_openai_s_type_and_code() -> None:
    invalid, server = "invalid_request_error", "server_error"
    for error, status, kind, code in (
        (BadRequest("no"), 400, invalid, "bad_request"),
        (Unauthorized("no"), 401, "authentication_error", "invalid_api_key"),
        (Forbidden("no"), 403, "permission_error", "forbidden"),
        (UnknownModel("no"), 404, invalid, "model_not_found"),
        (UnknownPath("no"), 404, invalid, "not_found"),
        (WrongMethod("no"), 405, invalid, "method_not_allowed"),
        (NotRunning("no"), 409, invalid, "model_not_running"),
        (TooLarge("no"), 413, invalid, "request_too_large"),
        (TooManyRequests("no", 1), 429, "rate_limit_error", "concurrency_limit"),
        (RelayError("no"), 500, server, "internal"),
        (UpstreamDied("no"), 502, "upstream_error", "upstream_disconnected"),
        (Unavailable("no"), 503, server, "model_unavailable"),
        (UpstreamSilent("no"), 504, "upstream_error", "upstream_timeout"),
        # another code leaves the type
        (Unavailable("no", code="supervisor_lost"), 503, server, "supervisor_lost"),
    ):
        head, _, body = error_answer(error, close=True).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        told = {"message": "no", "type": kind, "param": None, "code": code}
        assert json.loads(body) == {"src": "arriero", "error": told}


def test_what_an_error_has_besides_is_sent() -> None:
    info = ErrorInfo(code="key_budget", message="200 tokens are used")
    head, _, body = error_answer(KeyExhausted(info, 7.2), close=True).partition(b"\r\n\r\n")

    assert {b"Retry-After: 8", b"x-should-retry: false"} <= set(head.split(b"\r\n"))
    assert json.loads(body)["error"]["code"] == "key_budget"
    assert json.loads(body)["error"]["message"] == info.message


def test_a_request_that_runs_already_is_named_and_not_repeated() -> None:
    error = AlreadyRuns("req-1")

    assert (error.status, error.running_id) == (409, "req-1")
    assert "'req-1'" in error.message
    assert (b"x-should-retry", b"false") in error.fields
    assert error_object(error)["error"]["type"] == "conflict_error"


def ask_as_openai(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=2)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])


def ask_as_anthropic(url: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="k", max_retries=2)
    client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "?"}])


@pytest.mark.parametrize("ask", [ask_as_openai, ask_as_anthropic])
@pytest.mark.parametrize("error", [AlreadyRuns("r"), RequestCancelled("no"), LoadFailed("no")])
async def test_official_clients_do_not_repeat_what_would_do_harm(
    ask: Callable[[str], None], error: RelayError
) -> None:
    answered: list[int] = []

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            answered.append(error.status)
            await stream.send_all(error_answer(error, close=True))

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, answer, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
            await trio.to_thread.run_sync(ask, f"http://127.0.0.1:{port}")
        nursery.cancel_scope.cancel()

    assert answered == [error.status]
    assert getattr(caught.value, "status_code", None) == error.status
