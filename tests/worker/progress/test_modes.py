import pytest

from arriero.protocol.worker_config import ModelRoute
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.routes import CHAT, COMPLETIONS, COUNT_TOKENS, MESSAGES, PLAIN, RESPONSES
from arriero.worker.progress.modes import choose_mode

THINKING = b'{"thinking":{"type":"enabled"}}'

# header value -> mode on chat, with `heartbeat` configured
HEADERS = [
    (None, "heartbeat"),
    (b"off", "off"),
    (b"comment", "comment"),
    (b"heartbeat", "heartbeat"),
    (b"reasoning", "reasoning"),
    (b"event", "event"),
    (b"1", "reasoning"),
    (b"true", "reasoning"),
    (b"yes", "reasoning"),
    (b"on", "reasoning"),
    (b"0", "off"),
    (b"false", "off"),
    (b"no", "off"),
    (b"", "heartbeat"),
    (b"loud", "heartbeat"),
]


@pytest.mark.parametrize(("header", "mode"), HEADERS)
def test_the_header_decides_in_either_case_and_with_blanks(header: bytes | None, mode: str) -> None:
    route = ModelRoute(model="m", progress="heartbeat")

    spellings = [header] if header is None else [header, header.upper(), b" %b\t" % header]
    for spelling in spellings:
        assert choose_mode(spelling, route, CHAT, stream=True) == mode


@pytest.mark.parametrize(
    ("strict", "header", "mode"),
    [
        ("off", None, "reasoning"),
        ("on", None, "comment"),
        ("on", b"reasoning", "reasoning"),
        ("on", b"off", "off"),
        ("on", b"nonsense", "comment"),
        ("force", None, "comment"),
        ("force", b"reasoning", "comment"),
        ("force", b"event", "comment"),
        ("force", b"off", "off"),
    ],
)
def test_strict_caps_the_configuration_and_force_the_header_too(
    strict: str, header: bytes | None, mode: str
) -> None:
    route = ModelRoute(model="m", progress="reasoning", strict=strict)  # type: ignore[arg-type]

    assert choose_mode(header, route, CHAT, stream=True) == mode


@pytest.mark.parametrize(
    ("api", "stream", "header", "mode"),
    [
        (COMPLETIONS, True, b"reasoning", "heartbeat"),
        (COMPLETIONS, True, b"event", "event"),
        (COMPLETIONS, True, b"comment", "comment"),
        (CHAT, False, b"reasoning", "off"),
        (PLAIN, True, b"reasoning", "off"),
        (COUNT_TOKENS, True, b"reasoning", "off"),
        (MESSAGES, True, b"reasoning", "reasoning"),
        (MESSAGES, True, b"event", "heartbeat"),
        (MESSAGES, False, b"heartbeat", "off"),
        (RESPONSES, True, b"reasoning", "reasoning"),
        (RESPONSES, True, b"event", "heartbeat"),
    ],
)
def test_a_form_that_lacks_a_mode_takes_the_next_quieter_one(
    api: Api, stream: bool, header: bytes, mode: str
) -> None:
    assert choose_mode(header, ModelRoute(model="m"), api, stream=stream) == mode


@pytest.mark.parametrize(
    ("api", "thinks", "header", "mode"),
    [
        (MESSAGES, True, None, "reasoning"),
        (MESSAGES, False, None, "heartbeat"),
        (MESSAGES, False, b"nonsense", "heartbeat"),
        (MESSAGES, False, b"on", "reasoning"),
        (CHAT, False, None, "reasoning"),
        (RESPONSES, False, None, "reasoning"),
    ],
)
def test_a_block_of_thinking_is_for_those_that_asked_for_one(
    api: Api, thinks: bool, header: bytes | None, mode: str
) -> None:
    route = ModelRoute(model="m", progress="reasoning")
    assert choose_mode(header, route, api, stream=True, body=THINKING if thinks else b"{}") == mode
