"""Who gets at the models: a warning for addresses that others reach, without a key."""

import pytest

from arriero.supervisor.config.lint.exposure import exposure, exposure_elsewhere
from arriero.supervisor.config.values import Config
from tests.supervisor.config.reading import parse

OPEN = parse("models: {}")
WITH_KEY = parse("models: {}\napiKeys: [secret]")
MEANT = parse("models: {}\npublicWithoutKeys: true")
OPEN_TO_ALL = parse("models: {}\nlisten: 0.0.0.0:8080")


@pytest.mark.parametrize(
    ("config", "host", "whoever_reaches"),
    [
        (OPEN, "127.0.0.1", None),
        (OPEN, "::1", None),
        (OPEN, "localhost", None),
        (OPEN, "192.168.1.7", "192.168.1.7"),
        (OPEN, "0.0.0.0", "0.0.0.0"),
        (OPEN, "", "all addresses of this machine"),
        (WITH_KEY, "0.0.0.0", None),
        (MEANT, "0.0.0.0", None),
    ],
)
def test_an_open_address_is_warned_of(
    config: Config, host: str, whoever_reaches: str | None
) -> None:
    told = exposure(config, host)

    if whoever_reaches is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(f"whoever reaches {whoever_reaches} may use all models")
        assert "apiKeys" in told
        assert "publicWithoutKeys" in told


@pytest.mark.parametrize(
    ("config", "host", "is_warned_of"),
    [
        (OPEN, "0.0.0.0", True),
        (OPEN, "127.0.0.1", False),
        (OPEN, None, False),  # a unix socket
        (WITH_KEY, "0.0.0.0", False),
        (OPEN_TO_ALL, "0.0.0.0", False),  # its own warning says so
    ],
)
def test_another_address_than_configured_is_warned_of(
    config: Config, host: str | None, is_warned_of: bool
) -> None:
    told = exposure_elsewhere(config, host)

    assert (told is not None) is is_warned_of
    assert told is None or told.startswith("listen: whoever reaches 0.0.0.0 ")
