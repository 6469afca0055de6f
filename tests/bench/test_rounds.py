"""Whose turn it is, and what is left out."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from . import machine
from .against import OURS, Code
from .errors import BenchError
from .plan import QUICK, Plan, Step
from .results import Results
from .rounds import STEPS, Run, choose_steps, choose_targets, rotated
from .rows import ROWS
from .show.progress import Progress
from .targets.servers import Target


def nothing(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    return {"p50": 1.0}


def installed(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    """Let only these programs be there, and the machine be quiet."""
    monkeypatch.setattr(
        machine, "lacks", lambda program: None if program in programs else f"no {program}"
    )
    monkeypatch.setattr(machine, "wait_for_silence", lambda **_: 0.0)


def take(steps: Sequence[Step], targets: Sequence[Target], results: Results, folder: Path) -> None:
    """Take the steps, one short round of each."""
    with Progress(1) as progress:
        Run(plan=QUICK, results=results, folder=folder, force=False, progress=progress).take(
            steps, targets
        )


def test_each_target_is_first_in_its_turn() -> None:
    targets = [Target(name=name) for name in "abc"]

    orders = [[one.name for one in rotated(targets, number)] for number in range(4)]

    assert orders == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_two_codes_stand_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    codes = [Code(label="old", command=()), OURS]

    found = choose_targets(["arriero"], [1, 2], codes, Results())

    assert [one.name for one in found] == ["old x1", "arriero x1", "old x2", "arriero x2"]


def test_what_is_not_installed_is_no_target_and_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "nginx")
    results = Results()

    found = choose_targets(["direct", "nginx", "llama-swap"], [1, 2], [OURS], results)

    assert [one.name for one in found] == ["direct", "nginx x1", "nginx x2"]
    assert results.remarks == ["no reference: no llama-swap"]


def test_a_step_without_its_program_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    results = Results()

    found = choose_steps(["p99", "control"], results)

    assert [step.name for step in found] == ["control socket"]
    assert results.remarks == ["left out: p50, p99: no wrk"]


def test_every_row_is_measured_by_one_step() -> None:
    rows = [row for step in STEPS for row in step.rows]

    assert sorted(rows) == sorted(ROWS)


def test_a_step_that_fails_costs_its_own_rows_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
        raise BenchError("cannot do that")

    installed(monkeypatch)
    results = Results()
    steps = [
        Step(name="one", rows=("p99",), measure=fails, own=True),
        Step(name="two", rows=("p50",), measure=nothing, own=True),
    ]

    take(steps, [Target(name="direct")], results, tmp_path)

    assert results.remarks == ["cut short: p99: cannot do that"]
    assert results.values == {"direct": {"p50": [1.0]}}


def test_only_the_largest_number_of_workers_takes_some_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed(monkeypatch)
    results = Results()
    targets = [Target(name=f"arriero x{count}", kind="arriero", workers=count) for count in (1, 2)]

    step = Step(name="one", rows=("p50",), measure=nothing, own=True, most=True)
    take([step], targets, results, tmp_path)

    assert list(results.values) == ["arriero x2"]


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed(monkeypatch)
    monkeypatch.setattr(machine, "wait_for_silence", lambda **_: 3.14)
    results = Results()

    take([], [], results, tmp_path)

    assert "load of others up to 3.1" in results.remarks[0]
