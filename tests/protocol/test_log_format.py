"""Lines of the log: alone and several at once, on a terminal and in the journal."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.protocol.log_format import LineFormatter, LogLines, as_error, writes_to_journal


def record(message: object, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("arriero.x", level, "", 0, message, args, None)


def test_a_line_begins_with_its_time_level_and_writer() -> None:
    line = LineFormatter("%(name)s", for_journal=False).format(record("a %d", 1))

    assert line[:2] == "20"
    assert line.endswith(" INFO arriero.x a 1")
    assert LineFormatter("worker-2", for_journal=False).format(record("a")).endswith("worker-2 a")


def test_each_of_several_messages_has_a_line_like_any_other() -> None:
    formatter = LineFormatter("%(name)s", for_journal=False)

    first, second = formatter.format(record(LogLines(("a %s b", "c")))).split("\n")

    assert first.endswith(" INFO arriero.x a %s b")
    assert second.endswith(" INFO arriero.x c")
    assert first[:2] == second[:2] == "20"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
        (logging.INFO + 1, 6),
        (1, 7),
    ],
)
def test_in_the_journal_each_line_has_its_priority_and_no_second_time(
    level: int, priority: int
) -> None:
    formatter = LineFormatter("%(name)s", for_journal=True)

    assert formatter.format(record("a", level=level)) == f"<{priority}>arriero.x a"
    several = formatter.format(record(LogLines(("a", "b")), level=level))
    assert several == f"<{priority}>arriero.x a\n<{priority}>arriero.x b"


def test_no_line_of_a_traceback_is_without_its_priority() -> None:
    try:
        raise ValueError("no\nnever")
    except ValueError:
        failed = record("it failed", level=logging.ERROR)
        failed.exc_info = sys.exc_info()

    lines = LineFormatter("%(name)s", for_journal=True).format(failed).split("\n")

    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)


def test_it_is_the_journal_if_systemd_names_this_very_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        status = os.fstat(writing)
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert writes_to_journal(writing, named)
        assert not writes_to_journal(writing, {})
        with (tmp_path / "log").open("w") as file:
            assert not writes_to_journal(file.fileno(), named)
    finally:
        os.close(reading)
        os.close(writing)
    assert not writes_to_journal(writing, named)


def test_what_a_process_writes_as_it_dies_is_an_error() -> None:
    assert as_error(b"<4>worker-1 x") == b"<4>worker-1 x"
    for line in (b"Traceback (most recent call last):", b"", b"<", b"<4", b"<x>", b"<html>"):
        assert as_error(line) == b"<3>" + line


def test_a_supervisor_and_its_workers_write_for_the_journal_they_are_given(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yaml").write_text("workers: 1\nmodels: {}\n")
    reading, writing = os.pipe()
    status = os.fstat(writing)
    arriero = Path(sys.executable).with_name("arriero")
    config, sockets = str(tmp_path / "config.yaml"), str(tmp_path / "run")
    serving = subprocess.Popen(
        [arriero, "serve", "--config", config, "--listen", "127.0.0.1:0", "--socket-dir", sockets],
        env=os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        stderr=writing,
    )
    os.close(writing)
    lines = []
    with os.fdopen(reading) as log, serving:
        for line in log:
            lines.append(line)
            if "worker-1 worker.serving" in line:  # the supervisor says that as well, and earlier
                serving.terminate()

    assert any("worker-1 worker.serving" in line for line in lines), lines
    assert all(line[:3] in {"<3>", "<4>", "<6>"} for line in lines), lines
    assert not any(line[3:].startswith("20") for line in lines)
