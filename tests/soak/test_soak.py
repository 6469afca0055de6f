"""A short day of a whole arriero, at night: `make soak` has a long one, e2e/test_soak a look."""

from pathlib import Path

import pytest

from .day import live_through, wrong_lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DAY_S = 30.0


@pytest.mark.nightly
async def test_after_a_day_of_everything_nothing_has_grown_and_nobody_was_let_down(
    tmp_path: Path,
) -> None:
    findings = await live_through(DAY_S, tmp_path / "rig", seed=20260101)

    log = (tmp_path / "rig/log/arriero.log").read_text()
    assert findings.problems == [], log[-3000:]
    assert findings.kills
    assert len(findings.done) >= 9


def test_a_line_that_says_that_something_is_wrong_is_found() -> None:
    log = "10:00 INFO a ready\n10:01 ERROR b worker.hung\nTraceback (most recent call last):\n"
    assert wrong_lines(log) == ["10:01 ERROR b worker.hung", "Traceback (most recent call last):"]
