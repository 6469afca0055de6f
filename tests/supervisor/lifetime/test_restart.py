"""What the next supervisor is started with, and when there cannot be one."""

from arriero.supervisor.config.load import Config, parse_config
from arriero.supervisor.errors import ConfigError, Problem
from arriero.supervisor.lifetime.restart import next_command, why_no_restart

ADOPTS = parse_config("adopt: true", environ={})
ENDS = parse_config("adopt: false", environ={})


def test_the_next_one_is_started_alike() -> None:
    environ = {"PATH": "/bin", "NOTIFY_SOCKET": "/n", "LISTEN_FDS": "1", "LISTEN_PID": "7"}

    command, kept = next_command(("/opt/arriero/bin/arriero",), ["serve", "--lenient"], environ)

    assert command == ["/opt/arriero/bin/arriero", "serve", "--lenient"]
    # the socket that systemd has opened comes from the reaper
    assert kept == {"PATH": "/bin", "NOTIFY_SOCKET": "/n"}


async def test_there_is_a_next_one() -> None:
    assert await why_no_restart(ADOPTS, lambda: ADOPTS) is None


async def test_without_adopt_nothing_could_go_on() -> None:
    refusal = await why_no_restart(ENDS, lambda: ADOPTS)
    assert refusal is not None
    assert "adopt is not set" in refusal.error.message


async def test_the_next_one_has_to_adopt_too() -> None:
    refusal = await why_no_restart(ADOPTS, lambda: ENDS)
    assert refusal is not None
    assert refusal.error.code == "bad_config"


async def test_what_it_would_refuse_is_refused_now() -> None:
    def load() -> Config:
        raise ConfigError([Problem("c.yaml", 1, 2, "", "no such key")])

    refusal = await why_no_restart(ADOPTS, load)
    assert refusal is not None
    assert refusal.problems == ("c.yaml:1:2: no such key",)
