"""The last lines of models: in order of time, and never more than was promised."""

import pytest

from arriero.supervisor.models.start.output_log import OutputLog


def lines(log: OutputLog, count: int, model: str | None = None) -> list[str]:
    return [line.line for line in log.last(count, model=model)]


def filled(*written: str) -> OutputLog:
    """Return a log of lines that are written as model and text: ``a:loaded``."""
    log = OutputLog()
    for line in written:
        model, _, text = line.partition(":")
        log.add(model, "stderr", text)
    return log


def test_lines_of_all_models_are_merged() -> None:
    log = filled("a:1", "b:2", "a:3", "b:4")

    assert lines(log, 9) == ["1", "2", "3", "4"]
    assert lines(log, 2) == ["3", "4"]
    assert lines(log, 0) == []


def test_a_model_has_its_own_lines() -> None:
    log = filled("a:1", "b:2", "a:3")

    assert lines(log, 9, "a") == ["1", "3"]
    assert lines(log, 1, "a") == ["3"]
    assert lines(log, 9, "nobody") == []


def test_a_line_keeps_its_stream_and_time() -> None:
    first, second = filled("a:1", "a:2").last(2)

    assert (first.model, first.stream) == ("a", "stderr")
    assert first.t <= second.t


def test_old_lines_are_dropped() -> None:
    log = filled(*[f"a:{number}" for number in range(OutputLog.MAX_LINES + 5)])

    found = lines(log, OutputLog.MAX_LINES + 5)
    assert (len(found), found[0]) == (OutputLog.MAX_LINES, "5")


def test_a_reply_is_bounded_in_bytes() -> None:
    long = "x" * (OutputLog.MAX_BYTES // 2)
    log = filled(f"a:{long}", f"a:{long}", "a:last")

    assert [len(line) for line in lines(log, 3)] == [len(long), 4]


def test_models_that_are_unknown_are_forgotten() -> None:
    log = filled("a:1", "b:2")

    log.keep_only("a".__eq__)

    assert lines(log, 9) == ["1"]
    log.add("b", "stdout", "again")
    assert lines(log, 9) == ["1", "again"]
    assert lines(log, 9, "b") == ["again"]


def test_memory_is_bounded_for_one_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OutputLog, "MODEL_BYTES", 20_000)
    monkeypatch.setattr(OutputLog, "TOTAL_BYTES", 50_000)
    log = OutputLog()
    for number in range(400):
        for model in "abcd":
            log.add(model, "stdout", f"{number}" * 100)
        log.add("quiet", "stdout", "x") if not number else None

    kept = {model: len(log.last(10_000, model=model)) for model in "abcd"}
    assert 60 < sum(kept.values()) < 160
    assert min(kept.values()) > 5
    assert lines(log, 9, "quiet") == ["x"]
    assert lines(log, 1, "d")[0].startswith("399")
    log.keep_only("a".__eq__)
    assert lines(log, 9, "quiet") == []


def test_what_is_packed_is_read_like_the_rest() -> None:
    log = OutputLog()
    for number in range(2000):
        for model in "ab":
            log.add(model, "stdout", f"{number} " * 40)
    before = log.last(4000)

    packed = 0
    while log.pack():
        packed += 1
    assert packed > 2
    assert log.last(4000) == before


def test_what_is_secret_is_noted_without() -> None:
    seen: list[str] = []
    log = OutputLog(lambda line: seen.append(line.line), lambda line: line.replace("key", "***"))

    assert log.add("a", "stdout", "a key") == "a ***"
    assert [*seen, *lines(log, 9)] == ["a ***", "a ***"]
