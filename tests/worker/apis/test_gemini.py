import json
from typing import Any

import pytest

from arriero.worker.apis.base.api import Api
from arriero.worker.apis.base.dialect import Dialect, ProgressNumbers, StreamContext
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.bedrock import BedrockDialect
from arriero.worker.apis.gemini import GeminiDialect, gemini_error
from arriero.worker.apis.routes import BEDROCK, GEMINI
from arriero.worker.errors import (
    BadRequest,
    LoadFailed,
    RelayError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UpstreamAnsweredError,
    UpstreamDied,
    UpstreamSilent,
    UpstreamTruncated,
)
from arriero.worker.streams.stream_end import EndWatcher

CHUNK = (
    b'data: {"candidates": [{"content": {"parts": [{"text": "Ha"}],"role": "model"}}],'
    b'"usageMetadata": {"promptTokenCount": 2},"modelVersion": "gemini"}\r\n\r\n'
)
LAST = CHUNK.replace(b'"model"}}]', b'"model"},"finishReason": "STOP"}]')


def data_of(frame: bytes) -> Any:
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    assert frame.count(b"\n") == 2  # google-genai reads line by line
    return json.loads(frame[6:])


def test_a_stream_that_breaks_ends_with_googles_error_object() -> None:
    frame = GeminiDialect().failure(UpstreamDied("the model's server went away"), CHUNK)

    assert data_of(frame) == {
        "error": {"code": 503, "message": "the model's server went away", "status": "UNAVAILABLE"}
    }


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (BadRequest("x"), 400, "INVALID_ARGUMENT"),
        (Unauthorized("x"), 401, "UNAUTHENTICATED"),
        (UnknownModel("x"), 404, "NOT_FOUND"),
        (TooLarge("x"), 413, "INVALID_ARGUMENT"),
        (LoadFailed("x"), 500, "INTERNAL"),
        (UpstreamTruncated("x"), 503, "UNAVAILABLE"),
        (Unavailable("x"), 503, "UNAVAILABLE"),
        (UpstreamSilent("x"), 504, "DEADLINE_EXCEEDED"),
        (UpstreamAnsweredError("x", upstream_status=429, code="c"), 429, "RESOURCE_EXHAUSTED"),
        (UpstreamAnsweredError("x", upstream_status=507, code="c"), 507, "INTERNAL"),
    ],
)
def test_google_has_a_name_for_each_status(error: RelayError, code: int, status: str) -> None:
    assert gemini_error(error) == {"error": {"code": code, "message": "x", "status": status}}


def test_a_stream_that_was_stopped_on_purpose_ends_with_a_finished_candidate() -> None:
    frame = GeminiDialect().interrupted(CHUNK, Usage())
    watcher = EndWatcher(GEMINI.stream_end)
    watcher.look(frame)

    assert data_of(frame)["candidates"][0]["finishReason"] == "STOP"
    assert watcher.seen
    assert GeminiDialect().interrupted(LAST, Usage()) == b""
    assert GeminiDialect().interrupted(GeminiDialect().failure(UpstreamDied("x")), Usage()) == b""


@pytest.mark.parametrize(("api", "kind"), [(GEMINI, GeminiDialect), (BEDROCK, BedrockDialect)])
def test_nothing_is_said_before_the_end(api: Api, kind: type[Dialect]) -> None:
    dialect = api.dialect(StreamContext("off", "m", "0" * 24, 0, b"{}"))
    numbers = ProgressNumbers("loading", 1, 0.0, None)

    assert type(dialect) is kind
    said = (
        dialect.opening(),
        dialect.line("x\n", numbers),
        dialect.heartbeat(numbers),
        dialect.event(numbers),
        dialect.midway_heartbeat(after_id=False),
        dialect.midway_heartbeat(after_id=True),
    )
    assert set(said) == {b""}
    assert dialect.merge is None
