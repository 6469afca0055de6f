import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.progress.stage_times import (
    LONGEST_S,
    MAX_ENTRIES,
    Durations,
    StageTimes,
    fingerprint,
)


def times(starting_s: float, loading_s: float, warming_s: float) -> StageTimes:
    return StageTimes(starting_s=starting_s, loading_s=loading_s, warming_s=warming_s)


def test_the_first_start_is_taken_as_it_is_and_each_further_one_counts_half() -> None:
    durations = Durations()

    assert durations.get("a") is None
    durations.learn("a", times(1, 10, 2))
    assert durations.get("a") == times(1, 10, 2)
    durations.learn("a", times(2, 20, 0))
    assert durations.get("a") == times(1.5, 15, 1)
    durations.learn("a", times(1.5, 5, 1))
    assert durations.get("a") == times(1.5, 10, 1)


def test_the_entry_that_was_learned_longest_ago_makes_room() -> None:
    durations = Durations()
    for number in range(MAX_ENTRIES):
        durations.learn(str(number), times(1, 1, 1))
    durations.learn("0", times(1, 1, 1))

    durations.learn("new", times(1, 1, 1))

    assert len(durations) == MAX_ENTRIES
    assert durations.get("1") is None
    assert durations.get("0") is not None
    assert durations.get("new") is not None


@pytest.mark.parametrize("seconds", [-0.001, float("nan"), float("inf"), LONGEST_S + 1])
def test_times_that_cannot_be_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"^cannot take"):
        times(seconds, 1, 1)


SECONDS = st.floats(min_value=0, max_value=LONGEST_S)


@given(st.dictionaries(st.text(), st.builds(times, SECONDS, SECONDS, SECONDS), max_size=5))
def test_what_is_written_is_read_back_in_the_same_order(learned: dict[str, StageTimes]) -> None:
    durations = Durations()
    for name, observed in learned.items():
        durations.learn(name, observed)

    again = Durations.decode(durations.encode())

    assert [again.get(name) for name in learned] == [durations.get(name) for name in learned]
    assert again.encode() == durations.encode()


def test_an_entry_that_cannot_be_true_is_left_out_and_the_others_stay() -> None:
    good = {"starting_s": 1, "loading_s": 2.5, "warming_s": 0}
    entries = {"good": good, "bad": good | {"loading_s": -1}, "text": "x", "part": {"loading_s": 1}}

    durations = Durations.decode(json.dumps({"v": 1, "times": entries}).encode())

    assert durations.get("good") == times(1, 2.5, 0)
    assert len(durations) == 1


def test_too_many_entries_are_cut_to_the_newest() -> None:
    good = {"starting_s": 1, "loading_s": 1, "warming_s": 1}
    entries = {str(number): good for number in range(MAX_ENTRIES + 3)}

    durations = Durations.decode(json.dumps({"v": 1, "times": entries}).encode())

    assert len(durations) == MAX_ENTRIES
    assert durations.get("2") is None
    assert durations.get("3") is not None


@given(st.binary() | st.text().map(str.encode))
def test_other_bytes_are_refused_in_one_way(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^cannot read learned durations"):
        Durations.decode(data)


@pytest.mark.parametrize(
    "data", [b"{}", b'{"v":2,"times":{}}', b"[" * 100_000, b'{"v":1,"times":3}']
)
def test_a_file_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^cannot read learned durations"):
        Durations.decode(data)


def test_different_commands_have_different_fingerprints() -> None:
    commands = [["a", "b"], ["ab"], ["a b"], ["a", "b", ""], ["b", "a"], ["a\0b"], ["\udcff"]]

    assert len({fingerprint(command) for command in commands}) == len(commands)
    assert fingerprint(("a", "b")) == fingerprint(["a", "b"])
