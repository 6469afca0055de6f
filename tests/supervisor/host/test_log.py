"""How much the supervisor writes of itself."""

import logging
from collections.abc import Generator
from pathlib import Path

import pytest
import trio

from arriero.supervisor import app
from arriero.supervisor.app import Order
from arriero.supervisor.config.values import LogLevel


@pytest.fixture
def root() -> Generator[logging.Logger, None, None]:
    """The logger of all, as it was before at the end."""
    root = logging.getLogger()
    level = root.level
    yield root
    root.setLevel(level)


@pytest.mark.parametrize(
    ("said", "on_command_line", "level"),
    [
        ("", None, logging.INFO),
        ("logLevel: warn", None, logging.WARNING),
        ("logLevel: error", None, logging.ERROR),
        ("logLevel: error", "debug", logging.DEBUG),
        ("", "error", logging.ERROR),
    ],
)
def test_it_is_what_the_command_line_says_or_else_the_configuration(
    root: logging.Logger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    on_command_line: LogLevel | None,
    level: int,
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{said}\nmodels: {{a: {{cmd: run, proxy: 'http://127.0.0.1:1'}}}}\n")
    levels: list[int] = []
    monkeypatch.setattr(trio, "run", lambda *_: levels.append(root.level))

    assert app.serve(Order(files=(path,), log_level=on_command_line), None) == 0

    assert levels == [level]
