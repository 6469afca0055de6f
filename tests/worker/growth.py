"""How the time of some work grows with its size, whatever else this machine does."""

import time
from collections.abc import Callable

# Work that is twice as much takes twice as long if it is linear, four times if it is quadratic.
# Four times as much tells them apart in spite of a busy machine: 4 or 16.
_TIMES = 4
_LIMIT = 9.0

# Less than this says nothing.
_SHORT_S = 0.002

_ATTEMPTS = 6


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """Check that `work`, which takes its size, is about linear.

    Time is that of the CPU, the best of a few runs, and one attempt that looks linear is enough.
    """
    seen = []
    for _ in range(_ATTEMPTS):
        small = min(_cpu_s(work, size) for _ in range(3))
        large = min(_cpu_s(work, size * _TIMES) for _ in range(2))
        seen.append((small, large))
        if large < max(small, _SHORT_S) * _LIMIT:
            return
    raise AssertionError(f"{_TIMES} times as much takes too long: {seen}")


def _cpu_s(work: Callable[[int], object], size: int) -> float:
    before = time.process_time()
    work(size)
    return time.process_time() - before
