"""What was learned of sizes, and the file of it."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.memory.learned import MAX_ENTRIES, LearnedSizes
from arriero.supervisor.memory.learned_file import load_sizes, save_sizes


def test_a_larger_peak_is_believed_at_once_a_smaller_one_slowly() -> None:
    sizes = LearnedSizes()
    for peak, known in ((100, 100), (300, 300), (100, 270), (100, 243)):
        sizes.learn("f", {"ram": peak})
        assert sizes.get("f") == {"ram": known}


def test_a_raised_size_is_never_lowered_by_it() -> None:
    sizes = LearnedSizes()
    sizes.learn("f", {"gpu0": 300, "ram": 5})
    sizes.raise_to("f", {"gpu0": 400})
    assert sizes.get("f") == {"gpu0": 400, "ram": 5}


def test_the_oldest_is_forgotten() -> None:
    sizes = LearnedSizes()
    for number in range(MAX_ENTRIES + 1):
        sizes.learn(str(number), {"ram": 1})
    assert (len(sizes), sizes.get("0")) == (MAX_ENTRIES, None)


def test_the_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "sizes.json"
    assert load_sizes(path).get("f") is None
    sizes = LearnedSizes()
    sizes.learn("f", {"gpu0": 5, "ram": 7})
    assert save_sizes(path, sizes)
    assert load_sizes(path).get("f") == {"gpu0": 5, "ram": 7}


def test_a_broken_file_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "sizes.json"
    path.write_bytes(b"{")
    assert len(load_sizes(path)) == 0
    assert caplog.messages[0].startswith("sizes.unreadable")


def test_what_cannot_be_true_is_left_out() -> None:
    text = b'{"v":1,"sizes":{"a":{"ram":-1},"b":{},"c":{"ram":"x"},"d":{"ram":9},"e":7}}'
    sizes = LearnedSizes.decode(text)
    assert (len(sizes), sizes.get("d")) == (1, {"ram": 9})


@given(st.binary(max_size=200))
def test_whatever_is_in_the_file_only_one_error_comes(data: bytes) -> None:
    with suppress(ValueError):
        LearnedSizes.decode(data)
