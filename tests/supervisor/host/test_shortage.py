"""Failures that are a shortage of the system, and all others."""

import errno

import pytest

from arriero.supervisor.host.shortage import first_of, what_is_scarce, why
from tests.supervisor.failures import NO_THREAD, refused


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NO_THREAD, "ulimit -u"),
        (refused(errno.EAGAIN), "TasksMax="),
        (refused(errno.EMFILE), "ulimit -n"),
        (refused(errno.ENFILE), "fs.file-max"),
        (refused(errno.ENOMEM), "memory"),
        (MemoryError(), "memory"),
        (refused(errno.ENOSPC), "disk is full"),
        (ExceptionGroup("x", [ExceptionGroup("y", [NO_THREAD])]), "ulimit -u"),
    ],
)
def test_a_shortage_says_what_would_do(failure: Exception, words: str) -> None:
    assert words in (what_is_scarce(failure) or "")
    assert why(failure) == what_is_scarce(failure)


@pytest.mark.parametrize("failure", [ValueError("secret"), refused(errno.ENOENT), RuntimeError()])
def test_other_failures_keep_their_text(failure: Exception) -> None:
    assert what_is_scarce(failure) is None
    assert why(failure).startswith(type(failure).__name__)
    assert "secret" not in why(failure)


def test_a_group_stands_for_its_first() -> None:
    inner = ValueError("first")

    assert first_of(ExceptionGroup("x", [ExceptionGroup("y", [inner]), OSError()])) is inner
