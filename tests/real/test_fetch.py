"""Downloads from servers that cut, lie, refuse or are not there."""

import errno
import hashlib
import os
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.real.fetch import PAUSES_S, PartsError, Pin, disk_error, download
from tests.real.hostile_index import HostileIndex, serving

BODY = bytes(range(256)) * 4000  # one megabyte
PIN = Pin(hashlib.sha256(BODY).hexdigest(), len(BODY))

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def index() -> Generator[HostileIndex, None, None]:
    index = HostileIndex(BODY)
    with serving(index):
        yield index


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.whl"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def fetch(index: HostileIndex, target: Path, pin: Pin = PIN) -> list[float]:
    """Download and return the pauses that were made."""
    pauses: list[float] = []
    download(index.url, target, pin, opener=DIRECT, sleep=pauses.append)
    return pauses


def test_a_cut_download_goes_on_where_it_was_cut(index: HostileIndex, target: Path) -> None:
    index.cuts = [300_000, 200_000]

    assert fetch(index, target) == [0.5, 1.0]

    assert index.ranges == ["", "bytes=300000-", "bytes=500000-"]
    assert target.read_bytes() == BODY
    assert not part_of(target).exists()


def test_what_an_earlier_run_left_is_gone_on_with(index: HostileIndex, target: Path) -> None:
    part_of(target).write_bytes(BODY[:700_000])

    fetch(index, target)

    assert index.ranges == ["bytes=700000-"]
    assert target.read_bytes() == BODY


def test_a_complete_part_is_not_asked_for_again(index: HostileIndex, target: Path) -> None:
    part_of(target).write_bytes(BODY)

    fetch(index, target)

    assert index.ranges == []
    assert target.read_bytes() == BODY


def test_a_server_that_ignores_ranges_sends_the_whole_file_and_that_is_fine(
    index: HostileIndex, target: Path
) -> None:
    index.takes_ranges = False
    index.cuts = [300_000]

    fetch(index, target)

    assert index.ranges == ["", "bytes=300000-"]
    assert target.read_bytes() == BODY


def test_a_spoilt_part_is_thrown_away_and_fetched_again(index: HostileIndex, target: Path) -> None:
    part_of(target).write_bytes(b"x" * 1000)

    fetch(index, target)

    assert index.ranges == ["bytes=1000-", ""]
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("spoilt", [b"x" + BODY[1:], BODY[:-1], BODY + b"x"])
def test_another_file_in_its_place_is_refused_and_not_kept(
    index: HostileIndex, target: Path, spoilt: bytes
) -> None:
    index.body = spoilt

    with pytest.raises(PartsError, match="a proxy or mirror may have put another file"):
        fetch(index, target)

    assert not target.exists()
    assert not part_of(target).exists()


def test_after_the_last_pause_it_gives_up_and_keeps_what_came(
    index: HostileIndex, target: Path
) -> None:
    index.cuts = [400_000] + [0] * len(PAUSES_S)
    pauses: list[float] = []

    with pytest.raises(PartsError, match=r"ended after 400000 of 1024000 bytes; look at the net"):
        download(index.url, target, PIN, opener=DIRECT, sleep=pauses.append)

    assert pauses == list(PAUSES_S)
    assert part_of(target).read_bytes() == BODY[:400_000]


def test_pauses_begin_anew_after_a_megabyte_of_progress(target: Path) -> None:
    body = BODY * 3
    index = HostileIndex(body, cuts=[0, 0, 1_100_000, 0])
    with serving(index):
        pauses = fetch(index, target, Pin(hashlib.sha256(body).hexdigest(), len(body)))

    assert pauses == [0.5, 1.0, 0.5, 1.0]


def test_a_busy_server_is_asked_again(index: HostileIndex, target: Path) -> None:
    index.statuses = [503, 429]

    assert fetch(index, target) == [0.5, 1.0]


def test_a_refusal_is_final(index: HostileIndex, target: Path) -> None:
    index.statuses = [403]

    with pytest.raises(PartsError, match="the server answered 403 Forbidden"):
        fetch(index, target)

    assert index.ranges == [""]


def test_nobody_there_is_said_in_words(index: HostileIndex, target: Path) -> None:
    with serving(gone := HostileIndex(BODY)):
        pass

    with pytest.raises(PartsError, match=r"Connection refused.*behind a proxy set HTTPS_PROXY"):
        fetch(gone, target)


def test_progress_never_exceeds_the_file_and_ends_with_it(
    index: HostileIndex, target: Path
) -> None:
    index.cuts = [300_000]
    seen: list[int] = []

    download(index.url, target, PIN, opener=DIRECT, sleep=lambda _: None, report=seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == len(BODY)


def test_a_folder_that_cannot_be_written_is_said_in_words(
    index: HostileIndex, tmp_path: Path
) -> None:
    with pytest.raises(PartsError, match=r"cannot write .*No such file or directory; choose"):
        fetch(index, tmp_path / "absent" / "file.whl")


def test_a_full_disk_is_said_in_words() -> None:
    error = disk_error(Path("/c/f"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    assert str(error) == (
        "cannot write /c/f: No space left on device; free some space, or choose another folder "
        "with --cache or ARRIERO_CACHE"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_fills_up_during_a_download_ends_it_at_once(
    index: HostileIndex, target: Path
) -> None:
    part_of(target).symlink_to("/dev/full")

    with pytest.raises(PartsError, match="No space left on device; free some space"):
        fetch(index, target)

    assert index.ranges == [""]
