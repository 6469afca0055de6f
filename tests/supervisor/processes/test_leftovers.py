"""What a supervisor left that was killed together with its reaper is found by a mark in a file."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from arriero.supervisor.processes.leftovers import (
    FILE_NAME,
    end_leftovers,
    forget_mark,
    note_mark,
)
from arriero.supervisor.processes.reaper_child import MARK_NAME, marked_processes

MARK = "0123456789abcdef"


def test_marked_processes_end_and_no_others(tmp_path: Path) -> None:
    note_mark(tmp_path, "f" * 16)
    note_mark(tmp_path, MARK)  # in the place of the last one
    marks = [f"{MARK}.1-1.", f"{MARK}0.1-1.", ""]
    sleepers = [
        subprocess.Popen(["sleep", "600"], env=os.environ | {MARK_NAME: mark}) for mark in marks
    ]
    try:
        while len(marked_processes(MARK)) < 2:  # between fork and exec they have no environment
            time.sleep(0.01)
        assert end_leftovers(tmp_path) == 1
        assert sleepers[0].wait(20) == -signal.SIGTERM
        assert [one.poll() for one in sleepers[1:]] == [None, None]
        assert end_leftovers(tmp_path) == 0
    finally:
        for one in sleepers:
            one.kill()
            one.wait()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0
    forget_mark(tmp_path)
    assert list(tmp_path.iterdir()) == []
    forget_mark(tmp_path)


def test_whatever_is_in_the_place_of_the_file_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / FILE_NAME
    for content in (b"", b"\n", b"0" * 15, b"0" * 17, b"g" * 16, b"\xff" * 16, b"0" * 10**6):
        place.write_bytes(content)
        assert end_leftovers(tmp_path) == 0
    place.unlink()
    (tmp_path / "elsewhere").write_text(MARK)
    place.symlink_to(tmp_path / "elsewhere")
    assert end_leftovers(tmp_path) == 0
    place.unlink()
    os.mkfifo(place)
    assert end_leftovers(tmp_path) == 0
    place.unlink()
    place.mkdir()
    assert end_leftovers(tmp_path) == 0
    note_mark(tmp_path, MARK)
    assert "supervisor.mark_not_kept" in caplog.text
