from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.progress.estimator import LAST, Estimate, Estimator
from arriero.supervisor.progress.log_lines import LogHint
from arriero.supervisor.progress.server_report import LoadingReport
from arriero.supervisor.progress.stage_times import LONGEST_S, StageTimes

Feed: TypeAlias = Callable[[Estimator, float], None]

MIB = 1024 * 1024
LEARNED = StageTimes(starting_s=2, loading_s=6, warming_s=2)


def report(value: float) -> Feed:
    return lambda estimator, now: estimator.report(LoadingReport(("t",), "t", value), now)


def taken_in(done: int, total: int = 100) -> Feed:
    return lambda estimator, now: estimator.bytes(done, total, now)


def hint(stage: str, fraction: float | None = None) -> Feed:
    return lambda estimator, now: estimator.log(LogHint(stage, fraction), now)  # type: ignore[arg-type]


def after(feeds: list[tuple[float, Feed]], learned: StageTimes | None = None) -> Estimator:
    estimator = Estimator(learned, 0.0)
    for now, feed in feeds:
        feed(estimator, now)
    return estimator


def phase_and_fraction(estimate: Estimate) -> tuple[str, float | None]:
    return estimate.phase, None if estimate.fraction is None else round(estimate.fraction, 3)


# --- nothing learned ----------------------------------------------------------------------------

BY_SOURCE = [
    # what came                                                    what is known at 10 s
    ("nothing", [], ("starting", None)),
    ("announced", [(0, report(0.0))], ("starting", None)),
    ("begun", [(0, report(0.0)), (1, report(0.0))], ("loading", 0.10)),
    ("begun at once", [(0, report(0.2))], ("loading", 0.25)),
    ("half", [(0, report(0.0)), (1, report(0.5))], ("loading", 0.475)),
    ("whole", [(0, report(0.0)), (1, report(1.0))], ("warming", 0.85)),
    ("a later fall", [(0, report(0.5)), (1, report(0.1))], ("loading", 0.475)),
    ("metadata", [(0, taken_in(7))], ("starting", None)),
    ("bytes", [(0, taken_in(50))], ("loading", 0.475)),
    ("most bytes", [(0, taken_in(79))], ("loading", 0.693)),
    ("nearly all bytes", [(0, taken_in(951 * MIB, 1000 * MIB))], ("loading", 0.813)),
    ("all but the program", [(0, taken_in(952 * MIB, 1000 * MIB))], ("warming", 0.85)),
    ("all bytes", [(0, taken_in(100))], ("warming", 0.85)),
    ("more than all bytes", [(0, taken_in(200))], ("warming", 0.85)),
    ("no files known", [(0, taken_in(50, 0))], ("starting", None)),
    ("bytes before the report", [(0, report(0.0)), (1, taken_in(100))], ("loading", 0.475)),
    ("a report that comes late", [(1, taken_in(70)), (2, report(0.5))], ("loading", 0.625)),
    ("a wrapper's bytes", [(1, taken_in(1)), (2, report(0.5))], ("loading", 0.475)),
    ("hint", [(0, hint("loading"))], ("loading", None)),
    ("hint beside known files", [(0, hint("loading")), (0, taken_in(1))], ("starting", None)),
    ("hint, then report", [(0, hint("loading")), (0.1, report(0.0))], ("starting", None)),
    ("dots", [(0, hint("loading", 0.5))], ("loading", 0.475)),
    ("dots and bytes", [(0, hint("loading", 0.9)), (1, taken_in(20))], ("loading", 0.775)),
    ("bytes, then dots", [(0, taken_in(20)), (1, hint("loading", 0.9))], ("loading", 0.25)),
    ("empty run", [(0, hint("warming"))], ("warming", 0.85)),
    ("graphs", [(0, hint("warming", 0.5))], ("warming", 0.92)),
    ("listening", [(0, hint("warming", 1.0))], ("warming", LAST)),
    ("a hint against a report", [(0, report(0.5)), (1, hint("warming"))], ("loading", 0.475)),
    ("listening beside a report", [(0, report(0.5)), (1, hint("warming", 1.0))], ("warming", LAST)),
]


@pytest.mark.parametrize(
    ("feeds", "known"), [row[1:] for row in BY_SOURCE], ids=[row[0] for row in BY_SOURCE]
)
def test_without_learned_times_the_bar_shows_what_is_measured_and_no_more(
    feeds: list[tuple[float, Feed]], known: tuple[str, float | None]
) -> None:
    estimate = after(feeds).at(10)

    assert phase_and_fraction(estimate) == known
    assert estimate.eta_s is None


def test_the_bytes_are_passed_on_and_never_fall() -> None:
    estimate = after([(0, taken_in(30)), (1, taken_in(20))]).at(2)

    assert (estimate.bytes_done, estimate.bytes_total) == (30, 100)


def test_loading_model_in_the_log_counts_once_no_report_came_with_it() -> None:
    estimator = after([(1.0, hint("loading"))])

    assert estimator.at(1.2).phase == "starting"
    assert estimator.at(1.3).phase == "loading"
    assert estimator.finish(3.0) == StageTimes(starting_s=1, loading_s=2, warming_s=0)


# --- with learned times -------------------------------------------------------------------------


def test_a_start_like_the_last_one_is_a_straight_line_with_a_true_eta() -> None:
    estimator = Estimator(LEARNED, 100.0)
    feeds: dict[int, Feed] = {0: report(0.0), 2: report(0.0), 8: report(1.0)}
    feeds |= {now: report((now - 2) / 6) for now in range(3, 8)}
    shown: list[tuple[float | None, float | None]] = []
    for now in range(10):
        if now in feeds:
            feeds[now](estimator, 100.0 + now)
        shown.append((estimator.at(100.0 + now).fraction, estimator.at(100.0 + now).eta_s))

    assert [eta_s for _, eta_s in shown] == pytest.approx([10, 9, 8, 7, 6, 5, 4, 3, 2, 1])
    assert [fraction for fraction, _ in shown] == pytest.approx([now / 10 for now in range(10)])


def test_a_stage_that_overruns_creeps_towards_its_end_and_the_eta_goes() -> None:
    estimator = Estimator(LEARNED, 0.0)
    fractions = [estimator.at(now).fraction or 0.0 for now in (1.9, 2.1, 3.0, 5.0, 100.0)]

    assert all(before <= later <= 0.2 for before, later in pairwise(fractions))
    assert fractions[0] > 0.18
    assert fractions[0] < fractions[1] < fractions[2]
    assert Estimator(LEARNED, 0.0).at(2.0).eta_s == 8.0
    assert estimator.at(100.0).eta_s is None


def test_after_an_overrun_the_next_stage_has_an_eta_again() -> None:
    estimator = after([(0, report(0.0)), (20, report(0.0))], LEARNED)

    estimate = estimator.at(21)

    assert estimate.eta_s == 7.0
    assert phase_and_fraction(estimate) == ("loading", 0.3)


def test_a_faster_start_does_not_make_the_bar_jump() -> None:
    """A warm page cache: two learned seconds of starting pass in a tenth of one."""
    estimator = after([(0, report(0.0)), (0.1, report(0.0))], LEARNED)

    assert phase_and_fraction(estimator.at(0.1)) == ("loading", 0.012)
    assert estimator.at(0.1).eta_s == pytest.approx(8.0)


@pytest.mark.parametrize("slower", [0.25, 0.5, 2.0, 4.0])
def test_the_observed_pace_corrects_the_eta(slower: float) -> None:
    """From half of loading on, the ETA is off by less than half of what the learned times are."""
    loading_s = LEARNED.loading_s * slower
    estimator = after([(0, report(0.0)), (2, report(0.0))], LEARNED)
    for percent in range(1, 100):
        now = 2 + loading_s * percent / 100
        report(percent / 100)(estimator, now)
        eta_s = estimator.at(now).eta_s
        truth_s = loading_s * (100 - percent) / 100 + LEARNED.warming_s
        learned_s = 10.0 - now
        assert eta_s is not None
        if percent >= 50:
            assert abs(eta_s - truth_s) < abs(learned_s - truth_s) / 2


def test_a_fraction_that_stops_moving_takes_the_eta_away() -> None:
    estimator = after([(0, report(0.0)), (2, report(0.0)), (5, report(0.5))], LEARNED)

    assert estimator.at(5).eta_s == pytest.approx(5.0)
    assert estimator.at(7).eta_s == pytest.approx(3.0)
    assert estimator.at(9).eta_s is None
    assert (estimator.at(1000).fraction or 0) <= 0.8


@pytest.mark.parametrize(
    "learned",
    [
        StageTimes(starting_s=0, loading_s=0, warming_s=0),
        StageTimes(starting_s=0, loading_s=0, warming_s=5e-324),
        StageTimes(starting_s=5, loading_s=0, warming_s=0),
    ],
)
def test_learned_times_of_zero_are_survived(learned: StageTimes) -> None:
    estimator = after([(0, report(0.0)), (1, report(0.5)), (2, report(1.0))], learned)

    assert estimator.at(3).phase == "warming"
    assert 0.0 <= (estimator.at(3).fraction or 0.0) <= LAST


# --- what is learned ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("feeds", "learned"),
    [
        ([(0, report(0.0)), (2, report(0.0)), (5, report(1.0))], (2, 3, 4)),
        ([(2, taken_in(50)), (5, hint("warming"))], (2, 3, 4)),
        ([(2, taken_in(50))], (2, 7, 0)),
        ([(5, hint("warming"))], (5, 0, 4)),
        ([], (9, 0, 0)),
    ],
)
def test_each_stage_is_measured_and_one_that_nothing_told_of_took_no_time(
    feeds: list[tuple[float, Feed]], learned: tuple[float, float, float]
) -> None:
    starting_s, loading_s, warming_s = learned

    assert after(feeds).finish(9) == StageTimes(
        starting_s=starting_s, loading_s=loading_s, warming_s=warming_s
    )


# A cold start of a real llama-server (build 10068, a model of 253 MB, mapped, two busy cores):
# seconds, bytes that `bytes_done` saw.
COLD_BYTES = [
    (0.27, 6543856),
    (1.30, 13074288),
    (2.62, 58474496),
    (2.69, 121389056),
    (2.75, 154943488),
    (2.81, 188497920),
    (2.87, 248676352),
    (3.72, 241377280),
]
COLD: list[tuple[float, Feed]] = sorted(
    [
        *((now, taken_in(done, 253113024)) for now, done in COLD_BYTES),
        (0.020, report(0.0)),
        (2.863, report(0.0)),
        (2.953, report(1.0)),
    ],
    key=lambda feed: feed[0],
)
COLD_READY = 4.575


def looked_at(
    estimator: Estimator, feeds: list[tuple[float, Feed]]
) -> Iterator[tuple[float, Estimate]]:
    """Feed `estimator` as it happened and look at it ten times a second."""
    waiting = list(feeds)
    for tenth in range(int(COLD_READY * 10) + 1):
        while waiting and waiting[0][0] <= tenth / 10:
            now, feed = waiting.pop(0)
            feed(estimator, now)
        yield tenth / 10, estimator.at(tenth / 10)


def test_a_real_cold_start_is_learned_as_it_was() -> None:
    estimator = after(COLD)

    learned = estimator.finish(COLD_READY)

    assert learned.starting_s == pytest.approx(2.62)
    assert learned.loading_s == pytest.approx(0.333)
    assert learned.warming_s == pytest.approx(1.622)


def test_the_second_real_cold_start_shows_a_true_bar_and_a_true_eta() -> None:
    learned = after(COLD).finish(COLD_READY)

    for now, estimate in looked_at(Estimator(learned, 0.0), COLD):
        assert estimate.fraction == pytest.approx(now / COLD_READY, abs=0.06)
        if estimate.eta_s is not None:
            assert estimate.eta_s == pytest.approx(COLD_READY - now, abs=0.4)
    assert estimate.eta_s is not None


# --- whatever comes -----------------------------------------------------------------------------

ANY_FEED = st.one_of(
    st.floats(0, 1).map(report),
    st.builds(taken_in, st.integers(-5, 120), st.integers(-1, 100)),
    st.builds(
        hint, st.sampled_from(["starting", "loading", "warming"]), st.none() | st.floats(0, 1)
    ),
)
SECONDS = st.floats(0, LONGEST_S) | st.floats(0, 10)
ANY_LEARNED = st.none() | st.builds(
    StageTimes, starting_s=SECONDS, loading_s=SECONDS, warming_s=SECONDS
)
PHASES = ("starting", "loading", "warming")


@given(
    ANY_LEARNED,
    st.floats(-1e9, 1e9),
    st.lists(st.tuples(st.floats(-1, 30) | st.floats(0, 1e6), st.none() | ANY_FEED), max_size=40),
)
def test_whatever_comes_the_bar_never_falls_and_never_arrives(
    learned: StageTimes | None, start: float, feeds: list[tuple[float, Feed | None]]
) -> None:
    estimator = Estimator(learned, start)
    now = latest = start
    before = Estimate(phase="starting")
    for pause, feed in feeds:
        now += pause
        latest = max(latest, now)
        if feed is not None:
            feed(estimator, now)
        estimate = estimator.at(now)

        assert PHASES.index(estimate.phase) >= PHASES.index(before.phase)
        if estimate.eta_s is not None:
            assert learned is not None
            longest_s = learned.total_s + (latest - start)
            assert 0.0 <= estimate.eta_s <= longest_s * 1.000001
        if before.fraction is not None:
            assert estimate.fraction is not None
            assert estimate.fraction >= before.fraction
        assert estimate.fraction is None or 0.0 <= estimate.fraction <= LAST
        if learned is not None and learned.total_s > 0:
            assert estimate.fraction is not None
        assert (estimate.bytes_done or 0) >= (
            before.bytes_done or 0
        ) or estimate.bytes_total != before.bytes_total
        before = estimate
    estimator.finish(now)
