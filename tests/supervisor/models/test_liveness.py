"""Busy is not dead, and silence proves nothing by itself."""

import pytest

from arriero.supervisor.models.signs.liveness import UNSEEN_FACTOR, Pulse, ResourceUse

LIMIT_S = 60.0


def live(
    seconds: int,
    *,
    pulse: Pulse | None = None,
    asked: bool = True,
    heard: bool = False,
    answers: bool = False,
    cpu: float = 0.0,
    faults: int = 0,
    waits: float = 0.0,
    seen: bool = True,
) -> float | None:
    """Look every second; return after how many it is found to hang, None if never.

    `cpu`, `waits` and `faults` are for each second.
    """
    pulse = pulse or Pulse(0.0)
    began = pulse.looked_at
    for second in range(1, seconds + 1):
        now = began + second
        pulse.look(now, 1.0, is_asked=asked, is_heard=heard)
        if pulse.wants_question(LIMIT_S):
            effort = ResourceUse(cpu * second, waits * second, faults * second) if seen else None
            pulse.was_questioned(now, has_answered=answers, effort=effort)
        if pulse.is_hung(LIMIT_S, is_seen=seen):
            return float(second)
    return None


def test_without_any_sign_of_life_it_hangs_after_the_limit() -> None:
    assert live(600) == 61  # the first report that it is asked begins the count


@pytest.mark.parametrize(
    "sign",
    [
        {"heard": True},
        {"answers": True},
        {"cpu": 0.02},
        {"faults": 1},
        {"waits": 0.5},
        {"asked": False},
    ],
)
def test_one_sign_of_life_is_enough(sign: dict[str, float]) -> None:
    assert live(3600, **sign) is None  # type: ignore[arg-type]


def test_the_little_that_an_idle_process_uses_is_no_sign_of_life() -> None:
    assert live(600, cpu=0.005) == 61


def test_what_cannot_be_seen_gets_more_time() -> None:
    assert live(600, seen=False) == LIMIT_S * UNSEEN_FACTOR + 1


def test_a_judge_that_was_frozen_has_seen_nothing_meanwhile() -> None:
    pulse = Pulse(0.0)
    assert live(10, pulse=pulse) is None
    pulse.look(10 + 3600, 1.0, is_asked=True, is_heard=False)
    assert pulse.silent_s < 15
    assert not pulse.is_hung(LIMIT_S, is_seen=True)


def test_a_byte_begins_the_count_anew() -> None:
    pulse = Pulse(0.0)
    assert live(50, pulse=pulse) is None
    pulse.look(51, 1.0, is_asked=True, is_heard=True)
    assert live(600, pulse=pulse) == 61


def test_a_question_whose_client_has_left_is_still_unanswered() -> None:
    pulse = Pulse(0.0)
    pulse.look(1, 1.0, is_asked=True, is_heard=False)
    assert live(600, pulse=pulse, asked=False) == 60


def test_nothing_is_asked_while_answers_come_soon() -> None:
    pulse = Pulse(0.0)
    for second in range(1, 15):
        pulse.look(second, 1.0, is_asked=True, is_heard=False)
        assert not pulse.wants_question(LIMIT_S)


def test_0_is_never() -> None:
    pulse = Pulse(0.0)
    for second in range(1, 10_000):
        pulse.look(second, 1.0, is_asked=True, is_heard=False)
        assert not pulse.wants_question(0.0)
        pulse.was_questioned(second, has_answered=False, effort=ResourceUse(0.0))
        assert not pulse.is_hung(0.0, is_seen=True)
