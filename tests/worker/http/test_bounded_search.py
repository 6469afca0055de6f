"""Patterns that an operator wrote, and paths that were made to keep them busy."""

import re
import signal

import pytest

from arriero.protocol.worker_config import ModelRoute, WorkerConfig
from arriero.worker.apis.model_names import ModelNames
from arriero.worker.http.bounded_search import finds

COSTLY = ((r"(\w+)+$", "/" + "a" * 60 + "!"), (r"(.*)(.*)(.*)(.*)(.*)x$", "/" + "a" * 4000))


@pytest.mark.parametrize(("pattern", "path"), COSTLY)
def test_what_takes_years_is_given_up(pattern: str, path: str) -> None:
    for _ in range(3):
        assert finds([re.compile(pattern)], path) is None
        assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_what_is_there_is_found() -> None:
    patterns = [re.compile(it) for it in (r"^/assets/", r"(\w+)+\.js$")]
    for path, found in (("/assets/a", True), ("/x.js", True), ("/v1/chat", False), ("", False)):
        assert [finds(patterns, path) for _ in range(200)] == [found] * 200


def test_such_a_path_starts_no_model() -> None:
    for pattern, path in COSTLY:
        config = WorkerConfig(
            generation=1, models=(ModelRoute(model="m"),), ignore_paths=(pattern,)
        )
        assert ModelNames(config).is_ignored(path.encode())
        assert not ModelNames(config).is_ignored(b"/!")
