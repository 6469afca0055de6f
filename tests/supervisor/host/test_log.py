"""What the supervisor writes of itself, and how: text, JSON, secrets, and what is kept."""

import json
import logging
import os
import sys
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
import trio

from arriero.protocol.control.models import LogsLine
from arriero.protocol.log_format import LogLines
from arriero.supervisor import app
from arriero.supervisor.config.values import LogLevel
from arriero.supervisor.host.kept_ring import KeptRing
from arriero.supervisor.host.log import LogForm, ProgramLog
from arriero.supervisor.lifetime.order import Order


@pytest.fixture
def root() -> Generator[logging.Logger, None, None]:
    """The logger of all, as it was before at the end."""
    root = logging.getLogger()
    level = root.level
    yield root
    root.setLevel(level)


@pytest.mark.parametrize(
    ("said", "on_command_line", "level"),
    [
        ("", None, logging.INFO),
        ("logLevel: warn", None, logging.WARNING),
        ("logLevel: error", None, logging.ERROR),
        ("logLevel: error", "debug", logging.DEBUG),
        ("", "error", logging.ERROR),
    ],
)
def test_it_is_what_the_command_line_says_or_else_the_configuration(
    root: logging.Logger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    on_command_line: LogLevel | None,
    level: int,
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"{said}\nmodels: {{a: {{cmd: run, proxy: 'http://127.0.0.1:1'}}}}\n")
    levels: list[int] = []
    monkeypatch.setattr(trio, "run", lambda *_: levels.append(root.level))

    assert app.serve(Order(files=(path,), log_level=on_command_line), None, ProgramLog()) == 0

    assert levels == [level]


def record(message: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("arriero.x", level, "", 0, message, None, None)


def lines(log: ProgramLog) -> list[str]:
    return [line.line for line in log.last(100, 10**6)]


def failed() -> logging.LogRecord:
    try:
        raise ValueError("no\nnever")
    except ValueError:
        found = record("it failed", logging.ERROR)
        found.exc_info = sys.exc_info()
    return found


def output(text: str) -> LogsLine:
    return LogsLine(t=1.5, model="org/a", stream="stdout", line=text)


def test_json_has_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = ProgramLog("json")
    log.follow(None, output=True)
    log.emit(failed())
    log.emit(record(LogLines(("a", "b"))))
    log.take_raw("worker-1", "Traceback \x1b[1m\ud800")
    log.take_output(output("\x1b[32mgreen"))

    first, *others = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["level"], first["message"]) == ("error", "it failed")
    assert first["traceback"].endswith("ValueError: no\nnever")
    assert first["time"][10] == "T"
    assert [it["message"] for it in others[:2]] == ["a", "b"]
    assert "Traceback" in others[2]["message"]
    assert (others[3]["model"], others[3]["message"]) == ("org/a", "\x1b[32mgreen")
    assert lines(log)[0].endswith(" ERROR arriero.x it failed")  # people see a text


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("of_models", [True, False])
def test_what_is_written_is_chosen(
    capsys: pytest.CaptureFixture[str], form: LogForm, *, own: bool, of_models: bool
) -> None:
    log = ProgramLog(form)
    log.follow(None, own=own, output=of_models)
    log.emit(record("ours"))
    log.take_output(output("theirs"))

    written = capsys.readouterr().err
    assert ("ours" in written, "theirs" in written) == (own, of_models)
    assert [line.rpartition(" ")[2] for line in lines(log)] == ["ours"]  # kept all the same


def test_a_secret_is_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = ProgramLog()
    log.follow(None, output=True, secrets=["s3cret-key", "short", ""])
    log.emit(record("with s3cret-key"))
    log.take_raw("worker-1", "raw s3cret-key short")

    assert "s3cret" not in capsys.readouterr().err + "".join(lines(log))
    assert log.hidden("s3cret-key short") == "*** short"


def test_a_time_has_the_form_that_is_wanted() -> None:
    log = ProgramLog()
    log.follow(None, "kitchen")
    log.emit(record("x"))

    assert lines(log)[0].split(" ")[0][-2:] in {"AM", "PM"}


def test_lines_of_models_never_wait_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    before = os.dup(2)
    try:
        os.dup2(writing, 2)
        with os.fdopen(writing, "w", closefd=False) as stderr:
            monkeypatch.setattr(sys, "stderr", stderr)
            log = ProgramLog()
            log.follow(None, output=True)
            for _ in range(2000):  # more than a pipe takes, and nobody reads
                log.take_output(output("x" * 8000))
            got = os.read(reading, 1 << 20)
            log.take_output(output("the end"))
            got = os.read(reading, 1 << 20)
    finally:
        os.dup2(before, 2)
        for fd in (before, reading, writing):
            os.close(fd)
    lost, last = got.decode().splitlines()
    assert "log.lost lines=19" in lost
    assert last == "org/a: the end"


def test_lines_outlive_their_process() -> None:
    first, second = ProgramLog(), ProgramLog()
    first.emit(record("early"))
    ring = KeptRing("test", 4096)
    first.keep_in(ring)
    first.emit(record("late"))
    second.emit(record("later"))
    second.keep_in(ring)
    ring.close()

    assert [line.rpartition(" ")[2] for line in lines(second)] == ["early", "late", "later"]


def test_lines_are_told_in_order() -> None:
    log = ProgramLog()
    told: list[str] = []

    def tell(new: Iterable[LogsLine]) -> None:
        told.extend(line.line[-1] for line in new)
        if len(told) == 2:
            log.emit(record("c"))  # telling may log, which is told as well

    async def run() -> None:
        with log.told(tell):
            log.emit(record("a"))
            await trio.to_thread.run_sync(log.emit, record("b"))
            while len(told) < 3:
                await trio.lowlevel.checkpoint()

    trio.run(run)
    log.emit(record("d"))  # after the end

    assert told == ["a", "b", "c"]
