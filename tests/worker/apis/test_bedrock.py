import json

import pytest

from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.bedrock import BedrockDialect
from arriero.worker.apis.routes import BEDROCK
from arriero.worker.errors import (
    BadRequest,
    LoadFailed,
    RelayError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UpstreamDied,
    UpstreamSilent,
)
from arriero.worker.streams.aws_event_stream import MessageReader, event_message, exception_message

DELTA = event_message("contentBlockDelta", {"delta": {"text": "Ha"}})


def test_a_stream_that_breaks_ends_with_an_exception() -> None:
    frame = BedrockDialect().failure(UpstreamDied("the model's server went away"), DELTA)

    assert frame == exception_message("the model's server went away", "modelStreamErrorException")


def test_a_stream_that_was_stopped_on_purpose_ends_with_a_message_stop() -> None:
    frame = BedrockDialect().interrupted(DELTA, Usage())

    [message] = MessageReader().push(frame)
    assert (message.kind, message.name) == ("event", "messageStop")
    assert json.loads(message.payload) == {"stopReason": "end_turn"}
    assert BedrockDialect().interrupted(DELTA + frame, Usage()) == b""
    assert BedrockDialect().interrupted(DELTA + exception_message("x"), Usage()) == b""


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (BadRequest("x"), b"ValidationException"),
        (Unauthorized("x"), b"AccessDeniedException"),
        (UnknownModel("x"), b"ResourceNotFoundException"),
        (TooLarge("x"), b"ValidationException"),
        (LoadFailed("x"), b"InternalServerException"),
        (UpstreamDied("x"), b"InternalServerException"),
        (Unavailable("x"), b"ServiceUnavailableException"),
        (UpstreamSilent("x"), b"ModelTimeoutException"),
    ],
)
def test_amazon_has_an_exception_for_each_status(error: RelayError, name: bytes) -> None:
    assert BEDROCK.error_fields(error) == ((b"x-amzn-ErrorType", name),)
    assert BEDROCK.error_body(error) == b'{"message":"x"}'
