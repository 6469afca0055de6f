"""Lines of the log: alone and several at once, on a terminal and in the journal."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.protocol.log_format import (
    LineFormatter,
    LogLines,
    RecordReader,
    SentFormatter,
    for_journal,
    writes_to_journal,
)


def record(message: object, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("arriero.x", level, "", 0, message, args, None)


def failed(message: str) -> logging.LogRecord:
    """A record with the traceback of a failure whose text has a line end."""
    try:
        raise ValueError("no\nnever")
    except ValueError:
        found = record(message, level=logging.ERROR)
        found.exc_info = sys.exc_info()
    return found


def test_a_line_begins_with_its_time_level_and_writer() -> None:
    line = LineFormatter("at {}".format).format(record("a %d", 1))

    assert line[:5] == "at 17"
    assert line.endswith(" INFO arriero.x a 1")


def test_each_of_several_messages_has_a_line_like_any_other() -> None:
    first, second = (
        LineFormatter(lambda _: "now").format(record(LogLines(("a %s b", "c")))).split("\n")
    )

    assert (first, second) == ("now INFO arriero.x a %s b", "now INFO arriero.x c")


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
    formatter = LineFormatter(None)

    text = formatter.format(record(LogLines(("a", "b")), level=level))
    assert for_journal(text, level) == f"<{priority}>arriero.x a\n<{priority}>arriero.x b"


def test_no_line_of_a_traceback_is_without_its_priority() -> None:
    text = LineFormatter(None).format(failed("it failed"))
    lines = for_journal(text, logging.ERROR).split("\n")

    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)


class Taken:
    """What a reader has given: records, and lines of nobody."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.raw: list[str] = []
        self.reader = RecordReader(
            "worker-2", self.records.append, lambda _, line: self.raw.append(line)
        )

    def read(self, text: str) -> None:
        for line in text.encode().split(b"\n"):
            self.reader.read(line)


def test_what_a_worker_logs_arrives_as_it_was() -> None:
    taken = Taken()
    sent = failed("it %s")
    taken.read(SentFormatter().format(sent))
    taken.read(SentFormatter().format(record("x\ny \ud800 %d", 1)))

    first, second = taken.records
    assert (first.levelno, first.created, first.name) == (logging.ERROR, sent.created, "worker-2")
    text = LineFormatter(None).format(first)
    assert text.startswith("worker-2 it %s\nTraceback (most recent call last):\n")
    assert text.endswith("ValueError: no\nnever")
    assert second.getMessage() == "x\ny ? 1"
    assert taken.raw == []


def test_other_lines_of_a_worker_pass_as_they_are() -> None:
    taken = Taken()
    begun, *rest = SentFormatter().format(failed("it failed")).split("\n")
    for line in (
        "Traceback (most",
        "",
        "<html>",
        '\x1e{"level": 1',
        "\x1e" + "[" * 5000,
        '\x1e"x"',
    ):
        taken.read(line)
    taken.read(begun)
    taken.read("a line of C")  # in the middle of a traceback: what has come is given

    assert taken.raw[:4] == ["Traceback (most", "", "<html>", '{"level": 1']
    assert taken.raw[-1] == "a line of C"
    assert [it.getMessage() for it in taken.records] == ["it failed"]
    assert rest


def test_the_longest_record_is_read_as_a_whole() -> None:
    long = SentFormatter().format(record("\x01" * 100_000))

    assert len(long) < 8 * 1024


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
