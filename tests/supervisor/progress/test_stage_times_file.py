from pathlib import Path

import pytest

from arriero.supervisor.host.state_file import MAX_FILE_BYTES
from arriero.supervisor.progress.stage_times import Durations, StageTimes
from arriero.supervisor.progress.stage_times_file import (
    FILE_NAME,
    load_durations,
    save_durations,
)

TIMES = StageTimes(starting_s=1, loading_s=2, warming_s=3)


def some_durations() -> Durations:
    durations = Durations()
    durations.learn("a", TIMES)
    return durations


def test_what_was_saved_is_loaded_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "made" / "if missing" / FILE_NAME

    assert save_durations(path, some_durations())
    assert save_durations(path, some_durations())

    assert load_durations(path).get("a") == TIMES
    assert [entry.name for entry in path.parent.iterdir()] == [FILE_NAME]


def test_a_missing_file_is_an_empty_start_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(load_durations(tmp_path / FILE_NAME)) == 0
    assert caplog.messages == []


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b'{"v":9}', b" " * (MAX_FILE_BYTES + 1)])
def test_a_broken_file_is_an_empty_start_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(data)

    assert len(load_durations(path)) == 0
    assert [message.split(" reason=")[0] for message in caplog.messages] == [
        f"durations.unreadable path={path}"
    ]


def test_a_folder_in_the_place_of_the_file_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / FILE_NAME
    path.mkdir()

    assert len(load_durations(path)) == 0
    assert not save_durations(path, some_durations())
    assert [message.split()[0] for message in caplog.messages] == [
        "durations.unreadable",
        "durations.not_saved",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]  # no temporary file


def test_a_state_folder_that_cannot_be_made_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gone").touch()
    assert not save_durations(tmp_path / "gone" / FILE_NAME, some_durations())
    assert len(caplog.messages) == 1
