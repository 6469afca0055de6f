import pytest

from arriero.supervisor.endings import why_it_failed
from arriero.supervisor.process import Exit


def ended(*tail: str, code: int = 1) -> Exit:
    return Exit(code=code, ran_s=0.25, asked=False, tail=tail)


def test_the_reason_is_the_last_line_that_sounds_like_one() -> None:
    error = why_it_failed(
        "qwen",
        ended("loading", "error: no such tensor", "failed to load the model", "bye"),
        was_ready=False,
    )
    assert error.code == "model_load_failed"
    assert not error.transient
    assert error.message == (
        "model qwen failed to load: its server exited with code 1 after 0.2 s; "
        "its last word: failed to load the model"
    )


def test_a_crash_in_service_is_worth_another_try() -> None:
    error = why_it_failed("qwen", ended(code=-11), was_ready=True)
    assert (error.code, error.transient) == ("model_unavailable", True)
    assert "signal 11" in error.message


def test_an_end_that_was_asked_for_is_no_failure() -> None:
    error = why_it_failed("qwen", Exit(code=1, ran_s=5.0, asked=True), was_ready=True)
    assert (error.message, error.transient) == ("model qwen was stopped", True)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("error: cannot open /home/jo/models/qwen.gguf", "error: cannot open qwen.gguf"),
        ("error: invalid argument: --api-key s3cret", "error: invalid argument: --api-key ..."),
        ("error: --hf-token=abc is unknown", "error: --hf-token=... is unknown"),
        ("error: \x1b[31mred\x07", "error: [31mred"),
        ("error: " + "x" * 900, "error: " + "x" * 193),
    ],
)
def test_neither_paths_nor_values_of_options_are_shown(line: str, shown: str) -> None:
    message = why_it_failed("qwen", ended(line), was_ready=False).message
    assert message.endswith(f"its last word: {shown}")
