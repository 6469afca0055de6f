from pathlib import Path

import pytest

from arriero.supervisor.llamacpp.model_files import model_files
from arriero.supervisor.progress.bytes_loaded import (
    PROGRAM_BYTES,
    LoadBytes,
    bytes_done,
    total_bytes,
)

MIB = 1024 * 1024


def test_only_files_that_exist_are_named_and_their_sizes_add_up(tmp_path: Path) -> None:
    first, third = (tmp_path / f"m-0000{part}-of-00003.gguf" for part in (1, 3))
    first.write_bytes(b"1" * 10)
    third.write_bytes(b"1" * 5)
    command = ["llama-server", "-m", str(first), "--mmproj", str(tmp_path), "-md", "no\0name"]

    files = model_files(command)

    assert files == (first, third)
    assert total_bytes([*files, tmp_path / "gone"]) == 15


FIRST = LoadBytes(rchar=MIB, rss_file=2 * MIB)


@pytest.mark.parametrize(
    ("rchar", "rss_file", "done"),
    [
        (MIB, 2 * MIB, 0),
        (0, 0, 0),  # before exec the counters were somebody else's
        (4 * MIB, 20 * MIB, 3 * MIB),  # metadata read, libraries mapped
        (4 * MIB, 2 * MIB + PROGRAM_BYTES + 50 * MIB, 50 * MIB),  # mapped
        (51 * MIB, 20 * MIB, 50 * MIB),  # --no-mmap
        (999 * MIB, 20 * MIB, 100 * MIB),
    ],
)
def test_the_counter_that_moves_tells(rchar: int, rss_file: int, done: int) -> None:
    now = LoadBytes(rchar=rchar, rss_file=rss_file)

    assert bytes_done(FIRST, now, 100 * MIB) == done
