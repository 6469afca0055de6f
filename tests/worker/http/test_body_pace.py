import math

from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.http.body_pace import BODY_BYTES, TOTAL_S, BodyPace
from arriero.worker.limits import LIMITS

BODY_S = LIMITS.body_s


def drip(pace: BodyPace, count: int, every_s: float) -> float:
    """Return how long a client is waited for that sends so many bytes every so many seconds."""
    waited_s = 0.0
    for _ in range(200_000):
        if every_s >= pace.left_s:
            return waited_s + pace.left_s
        pace.came(count, every_s)
        waited_s += every_s
    return math.inf


def test_dripping_bytes_are_too_slow() -> None:
    assert drip(BodyPace(BODY_S), 1, 5.0) <= BODY_S + 1e-6


def test_silence_ends_it() -> None:
    assert drip(BodyPace(BODY_S), BODY_BYTES, 10 * BODY_S) == BODY_S


def test_lowest_rate_may_go_on() -> None:
    assert drip(BodyPace(BODY_S), BODY_BYTES // 50, BODY_S / 60) == math.inf


def test_kept_body_has_an_end() -> None:
    total_s = drip(BodyPace(BODY_S, TOTAL_S), BODY_BYTES, BODY_S / 2)
    assert abs(total_s - TOTAL_S) < 1e-6


def test_a_fast_beginning_buys_no_time() -> None:
    pace = BodyPace(BODY_S)
    pace.came(64 * 1024**2, 1.0)
    assert drip(pace, 1, 5.0) <= BODY_S + 1e-6


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 100)), max_size=50))
def test_rest_never_exceeds_one_window(reads: list[tuple[int, float]]) -> None:
    pace = BodyPace(BODY_S, TOTAL_S)
    for count, waited_s in reads:
        pace.came(count, waited_s)
        assert 0 <= pace.left_s <= BODY_S
