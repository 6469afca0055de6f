"""Which cells there are, and which of them are run."""

import pytest

from .matrix import ALL, MOST_TELLING, Cell, Fault, Situation, Target, select, third


def test_every_fault_meets_every_process_in_every_situation() -> None:
    assert len(ALL) == len(set(ALL)) == 8 * 3 * 6 + 8


def test_a_cell_that_makes_no_sense_says_why() -> None:
    found = {str(cell): cell.senseless for cell in ALL if cell.senseless}
    assert len(found) == 6 * 6
    assert all(name.startswith("disk-") for name in found)


def test_cells_are_chosen_by_patterns_and_stay_in_order() -> None:
    assert select(["sigstop/model/stream", "sigkill/*/plain"]) == [
        Cell(Fault.SIGKILL, Target.SUPERVISOR, Situation.PLAIN),
        Cell(Fault.SIGKILL, Target.WORKER, Situation.PLAIN),
        Cell(Fault.SIGKILL, Target.MODEL, Situation.PLAIN),
        Cell(Fault.SIGSTOP, Target.MODEL, Situation.STREAM),
        Cell(Fault.SIGKILL, Target.LLAMA_SERVER, Situation.PLAIN),
    ]
    with pytest.raises(ValueError, match="no cell 'sigkil/"):
        select(["sigkil/*/*"])


def test_a_third_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert len(third(ALL, "2026-01-01")) == 51
    assert third(ALL, "2026-01-01") == third(ALL, "2026-01-01")
    assert third(ALL, "2026-01-01") != third(ALL, "2026-01-02")
    assert set(third(ALL, "x")) < set(ALL)


def test_the_most_telling_cells_can_be_run() -> None:
    found = select(MOST_TELLING)
    assert len(found) == 2
    assert not any(cell.senseless for cell in found)
