"""Whether the machine is quiet, and what is installed."""

from collections.abc import Iterator

import psutil
import pytest

from . import machine
from .errors import BenchError


def busy(monkeypatch: pytest.MonkeyPatch, *cores: float, average: float = 0.0) -> None:
    """Let so many of two cores be busy, look by look."""
    looks: Iterator[float] = iter(cores)
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: next(looks) / 2 * 100)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (average, 0.0, 0.0))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_it_is_waited_until_others_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    busy(monkeypatch, 1.5, 0.8, 0.2)
    said: list[str] = []

    load = machine.wait_for_silence(at_first=False, force=False, note=said.append)

    assert load == pytest.approx(0.2)
    assert said[0] == "waiting until less than 0.7 cores are busy (now 1.5)"


def test_at_first_the_last_minute_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    busy(monkeypatch, 0.1, average=2.0)
    monkeypatch.setattr(machine, "QUIET_WITHIN_S", -1.0)

    with pytest.raises(BenchError, match=r"2\.0 cores are busy .* --force measures"):
        machine.wait_for_silence(at_first=True, force=False, note=lambda _: None)


def test_a_round_does_not_wait_for_the_load_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy(monkeypatch, 0.1, average=2.0)

    assert (
        machine.wait_for_silence(at_first=False, force=False, note=lambda _: None) < machine.QUIET
    )


def test_by_force_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    busy(monkeypatch, 2.0)

    assert machine.wait_for_silence(at_first=False, force=True, note=lambda _: None) == 2.0


def test_what_is_missing_comes_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program, path: None)
    monkeypatch.delenv("LLAMA_SWAP", raising=False)

    assert machine.lacks("wrk") == "wrk is not installed (apt-get install wrk)"
    assert "LLAMA_SWAP=" in (machine.lacks("llama-swap") or "")


def test_llama_swap_may_be_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_SWAP", "/opt/llama-swap")

    assert machine.lacks("llama-swap") is None
