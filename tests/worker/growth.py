"""How long some work takes and how that grows with its size, whatever else this machine does."""

import time
from collections.abc import Awaitable, Callable

import trio

# Work that is twice as much takes twice as long if it is linear, four times if it is quadratic.
# Four times as much tells them apart in spite of a busy machine: 4 or 16.
_TIMES = 4
_LIMIT = 9.0

# Less than this says nothing.
_SHORT_S = 0.002

_ATTEMPTS = 8


def assert_linear(work: Callable[[int], object], size: int) -> None:
    """Check that `work`, which takes its size, is about linear.

    Time is that of the CPU, and one attempt that looks linear is enough.
    """
    seen = []
    for _ in range(_ATTEMPTS):
        small = min(_cpu_s(work, size) for _ in range(2))
        large = _cpu_s(work, size * _TIMES)
        seen.append((small, large))
        if large < max(small, _SHORT_S) * _LIMIT:
            return
    raise AssertionError(f"{_TIMES} times as much takes too long: {seen}")


def _cpu_s(work: Callable[[int], object], size: int) -> float:
    before = time.process_time()
    work(size)
    return time.process_time() - before


# What `_fixed_work` takes on the machine for which limits in seconds are written, undisturbed.
_FIXED_S = 0.005


def slowness() -> float:
    """Return how many times slower than it should be this machine is just now; at least 1."""
    return max(1.0, min(_fixed_work() for _ in range(3)) / _FIXED_S)


def _fixed_work() -> float:
    """Cut a long text and keep the pieces: that is slower where others use the same caches."""
    text = "swap-progress: small: loading 42%\n" * 10_000
    before = time.thread_time()
    found: dict[int, str] = {}
    at = text.find("\n")
    while at >= 0:
        found[at] = text[at - 20 : at]
        at = text.find("\n", at + 1)
    assert len("".join(piece for _, piece in sorted(found.items()))) == 200_000
    return time.thread_time() - before


class LongestStep(trio.abc.Instrument):
    """Notes which task of the worker had the longest step between two waits.

    Attributes:
        longest_s: How long it took, in seconds of CPU of this thread.
        task: Its name.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.task = ""
        self._since = 0.0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note the time (trio calls this)."""
        self._since = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Note how long it took (trio calls this)."""
        took_s = time.thread_time() - self._since
        if took_s > self.longest_s and ("arriero" in task.name or "worker" in task.name):
            self.longest_s, self.task = took_s, task.name


async def assert_short_steps(work: Callable[[], Awaitable[object]], limit_s: float) -> None:
    """Check that no step of the worker takes longer than `limit_s` while `work` is done.

    A step that is really long is so each time; one attempt without is enough. On a machine that
    is slow just now all may take longer by as much.
    """
    seen = []
    for _ in range(_ATTEMPTS):
        longest = LongestStep()
        trio.lowlevel.add_instrument(longest)
        try:
            await work()
        finally:
            trio.lowlevel.remove_instrument(longest)
        assert longest.task
        allowed_s = limit_s if longest.longest_s <= limit_s else limit_s * slowness()
        if longest.longest_s <= allowed_s:
            return
        seen.append((longest.task, longest.longest_s, allowed_s))
    raise AssertionError(f"steps that are too long (task, took, allowed): {seen}")


def tasks() -> int:
    """Return how many tasks there are."""
    return trio.lowlevel.current_statistics().tasks_living
