"""A signal ends what runs, but not in the middle of a start."""

import signal
from collections.abc import Generator

import pytest

from . import interrupts


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    monkeypatch.setattr(interrupts, "_came", False)
    usual = {number: signal.getsignal(number) for number in interrupts._SIGNALS}
    interrupts.install()
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_of_them_is_an_interrupt_and_the_next_one_is_nothing(number: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)

    signal.raise_signal(number)


def test_what_was_started_is_known_before_it_is_ended() -> None:
    started = []

    def start() -> None:
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            started.append("a process")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert started == ["a process"]


def test_without_a_signal_a_block_just_ends() -> None:
    with interrupts.held():
        pass

    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
