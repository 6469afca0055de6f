import pytest

from arriero.protocol.worker_config import ModelRoute
from arriero.worker.http.routes import Form
from arriero.worker.progress.modes import choose_mode

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
        assert choose_mode(spelling, route, Form.CHAT, stream=True) == mode


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

    assert choose_mode(header, route, Form.CHAT, stream=True) == mode


@pytest.mark.parametrize(
    ("form", "stream", "header", "mode"),
    [
        (Form.COMPLETION, True, b"reasoning", "heartbeat"),
        (Form.COMPLETION, True, b"event", "event"),
        (Form.COMPLETION, True, b"comment", "comment"),
        (Form.CHAT, False, b"reasoning", "off"),
        (Form.PLAIN, True, b"reasoning", "off"),
        (Form.COUNT, True, b"reasoning", "off"),
        (Form.MESSAGES, True, b"reasoning", "reasoning"),
        (Form.MESSAGES, True, b"event", "heartbeat"),
        (Form.MESSAGES, False, b"heartbeat", "off"),
        (Form.RESPONSES, True, b"reasoning", "reasoning"),
        (Form.RESPONSES, True, b"event", "heartbeat"),
    ],
)
def test_a_form_that_lacks_a_mode_takes_the_next_quieter_one(
    form: Form, stream: bool, header: bytes, mode: str
) -> None:
    assert choose_mode(header, ModelRoute(model="m"), form, stream=stream) == mode


@pytest.mark.parametrize(
    ("form", "thinks", "header", "mode"),
    [
        (Form.MESSAGES, True, None, "reasoning"),
        (Form.MESSAGES, False, None, "heartbeat"),
        (Form.MESSAGES, False, b"nonsense", "heartbeat"),
        (Form.MESSAGES, False, b"on", "reasoning"),
        (Form.CHAT, False, None, "reasoning"),
        (Form.RESPONSES, False, None, "reasoning"),
    ],
)
def test_a_block_of_thinking_is_for_those_that_asked_for_one(
    form: Form, thinks: bool, header: bytes | None, mode: str
) -> None:
    route = ModelRoute(model="m", progress="reasoning")
    assert choose_mode(header, route, form, stream=True, thinks=thinks) == mode
