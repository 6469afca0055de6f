"""arriero may have as many connections as the system allows; its models have what they expect."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trains import Train

SOFT = 777


@contextmanager
def soft_limit(limit: int) -> Iterator[int]:
    """Start processes with that soft limit; gives the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limits(pid: int) -> tuple[int, int]:
    line = next(
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    soft, hard = line.split()[3:5]
    return int(soft), int(hard)


def test_the_soft_limit_is_raised_for_us_and_given_back_to_models(
    start_train: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    with soft_limit(SOFT) as hard:
        train = start_train({"workers": 1, "models": {"a": {"cmd": scripted("--name", "a")}}})
    train.ask("swap", model="a")

    status = train.ask("status")
    ours = [train.process.pid, *(worker["pid"] for worker in status["workers"])]
    assert {limits(pid) for pid in ours} == {(hard, hard)}
    assert [limits(model["pid"]) for model in status["models"]] == [(SOFT, hard)]
