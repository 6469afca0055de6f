import pytest

from arriero.supervisor.scheduling.states.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "pause_s"),
    [(0, 0.0), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10**9, 30.0)],
)
def test_pauses_double_up_to_the_limit(failures: int, pause_s: float) -> None:
    assert Backoff().pause_s(failures) == pause_s
