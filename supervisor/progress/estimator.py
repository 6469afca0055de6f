"""All sources of one start -> a bar and an ETA that do not lie.

Rules, each with a test:

1. The bar never falls and never reaches 1.0; phases never go back.
2. No number without a measurement: what nothing is known of is None.
3. A stage that takes longer than it should leaves the bar creeping towards the end of that stage,
   and takes the ETA away.

Why not simply show llama-server's own fraction: of a cold load, 43 % of the time passed at 0.0
(metadata, vocabulary, and whether it will fit) and 32 % after 1.0 (context, empty run). And a
mapped file is read from the disk *before* the fraction moves at all.

Nothing here reads a clock: times are seconds of any one clock, given by the caller.
"""

import math
from typing import Final

import msgspec

from .bytes_loaded import PROGRAM_BYTES
from .log_lines import LogHint, Stage
from .server_report import LoadingReport
from .stage_times import LONGEST_S, StageTimes

# The bar's end before ready: "100 %" is shown by ready itself and by nothing else.
LAST: Final = 0.99

# Where loading begins and ends on the bar while nothing was learned. What comes before the
# tensors and after them hardly grows with the model (measured on two slow cores: 1.3 s and 1.4 s
# at 0.25 GB), the tensors do: a model that is worth a bar, some 10 GB from a good disk, takes
# about 1.5 + 10 + 2.5 s.
LOADING_BEGINS: Final = 0.10
LOADING_ENDS: Final = 0.85

# Share of the files that must have been taken in before that counts as loading. Below it may be
# metadata: with a vocabulary of 262,144 entries it was 13 MB of 253 MB, the worst of real models.
BYTES_BEGIN: Final = 0.08

# Without a report, all bytes are in when no more is missing than twice the allowance for the
# program's own pages: what is missing hovered around that allowance (24 to 29 MiB of 241). A small
# model could be "missing" that much from the start, so most of it must be there as well.
BYTES_MISSING: Final = 2 * PROGRAM_BYTES
MOSTLY_LOADED_FRACTION: Final = 0.8

# How long "loading model" in the log waits for llama-server's own report, in seconds. The two come
# on two pipes within a millisecond; the report knows better when the tensors begin.
REPORT_GRACE_S: Final = 0.25

# Share of an expected duration up to which the bar is straight; from there it bends so that it
# never arrives. At the expected end of a stage it stands at 96 % of that stage.
_STRAIGHT: Final = 0.9

_ORDER: Final[tuple[Stage, ...]] = ("starting", "loading", "warming")


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a start.

    Attributes:
        phase: The current phase.
        fraction: Share of the whole start that is done, 0.0 to 0.99; None if unknown.
        eta_s: Seconds until ready; None without learned times, and when they did not hold.
        bytes_done: Bytes of the model files that were taken in, the most so far.
        bytes_total: Bytes of the model files.
    """

    phase: Stage
    fraction: float | None = None
    eta_s: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


class Estimator:
    """One start of one model.

    Feed it whatever comes, in any order; ask `at` whenever you like.

    A time before one that was given already counts as that one.

    Args:
        learned: How long the stages took before.
        now: The time at which the process was started.
    """

    def __init__(self, learned: StageTimes | None, now: float) -> None:
        usable = learned is not None and learned.total_s > 0.0
        self._learned = learned if usable else None
        self._now = now
        self._began: dict[Stage, float] = {"starting": now}
        self._phase: Stage = "starting"

        self._reported: float | None = None  # share of loading, of llama-server's report
        self._hinted: float | None = None  # share of loading, of the log
        self._bytes: tuple[int, int] | None = None  # done, total
        self._loading_hinted_at: float | None = None  # waits for REPORT_GRACE_S

        self._share = 0.0  # of the current stage, as measured; never falls within it
        self._expected_s = self._learned_s("starting")  # of the current stage
        self._shown: float | None = None  # the last fraction that was answered

    def __repr__(self) -> str:
        return f"<Estimator {self._phase} {self._share:.2f} of the stage>"

    # --- what comes in --------------------------------------------------------------------------

    def report(self, report: LoadingReport, now: float) -> None:
        """Take a report of llama-server."""
        self._tick(now)
        announced = self._reported is None and report.value <= 0.0
        self._reported = max(self._reported or 0.0, report.fraction)
        if report.is_complete:
            self._enter("warming")
        elif not announced:
            self._enter("loading")
        self._measure_loading()

    def log(self, hint: LogHint, now: float) -> None:
        """Take a hint of a log line.

        Where there is a report, only the end counts.
        """
        self._tick(now)
        nothing_left = hint.stage == "warming" and hint.fraction == 1.0
        if self._reported is not None and not nothing_left:
            return
        match hint.stage:
            case "loading" if hint.fraction is None:
                if self._loading_hinted_at is None:
                    self._loading_hinted_at = self._now
            case "loading":
                self._hinted = max(self._hinted or 0.0, hint.fraction or 0.0)
                self._enter("loading")
                self._measure_loading()
            case "warming":
                self._enter("warming")
                self._measure(hint.fraction or 0.0)
            case "starting":
                pass  # that is where it stands already

    def bytes(self, done: int, total: int, now: float) -> None:
        """Take the number of bytes read, of so many in the model files."""
        self._tick(now)
        if total <= 0:
            return
        before = self._bytes[0] if self._bytes is not None else 0
        self._bytes = (min(total, max(before, done)), total)
        if self._bytes_share() is not None:
            self._enter("loading")
        if self._reported is None and self._all_bytes_are_in():
            self._enter("warming")
        self._measure_loading()

    # --- what comes out -------------------------------------------------------------------------

    def at(self, now: float) -> Estimate:
        """Return the progress at `now`."""
        self._tick(now)
        fraction = self._by_what_is_seen() if self._learned is None else self._by_learned_times()
        if fraction is not None:
            self._shown = max(self._shown or 0.0, min(LAST, fraction))
        done, total = self._bytes or (None, None)
        return Estimate(
            phase=self._phase,
            fraction=self._shown,
            eta_s=self._eta_s(),
            bytes_done=done,
            bytes_total=total,
        )

    def finish(self, now: float) -> StageTimes:
        """Return how long each stage took, with readiness at `now`.

        A stage without any report has 0.0; its time is that of the stage before it.
        """
        self._tick(now)
        warming = self._began.get("warming", self._now)
        loading = self._began.get("loading", warming)
        return StageTimes(
            starting_s=min(LONGEST_S, loading - self._began["starting"]),
            loading_s=min(LONGEST_S, warming - loading),
            warming_s=min(LONGEST_S, self._now - warming),
        )

    # --- stages ---------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """Take the time; without better sources, count "loading model".

        Report and bytes are better: they distinguish the tensors from the metadata before them.
        """
        self._now = max(self._now, now)
        hinted_at = self._loading_hinted_at
        better = self._reported is not None or self._bytes is not None
        if hinted_at is not None and not better and self._now - hinted_at >= REPORT_GRACE_S:
            self._enter("loading", began=hinted_at)

    def _enter(self, phase: Stage, *, began: float | None = None) -> None:
        """Go to `phase`, unless it or a later one has been reached."""
        if _ORDER.index(phase) <= _ORDER.index(self._phase):
            return
        self._phase = phase
        self._began[phase] = self._now if began is None else began
        self._share = 0.0
        self._expected_s = self._learned_s(phase)

    def _learned_s(self, phase: Stage) -> float:
        if self._learned is None:
            return 0.0
        match phase:
            case "starting":
                return self._learned.starting_s
            case "loading":
                return self._learned.loading_s
            case "warming":
                return self._learned.warming_s

    def _in_stage_s(self) -> float:
        return self._now - self._began[self._phase]

    # --- shares of a stage ----------------------------------------------------------------------

    def _bytes_share(self) -> float | None:
        """Share of the files read; None while it may be something else.

        It stays None where the process that is watched is not the one that loads (a wrapper).
        """
        if self._bytes is None:
            return None
        share = self._bytes[0] / self._bytes[1]
        return share if share >= BYTES_BEGIN else None

    def _all_bytes_are_in(self) -> bool:
        if self._bytes is None:
            return False
        done, total = self._bytes
        return done >= MOSTLY_LOADED_FRACTION * total and total - done <= BYTES_MISSING

    def _measure_loading(self) -> None:
        """Combine the sources of the loading stage.

        Report and bytes see the two halves of the work: bytes that arrive from the disk, tensors
        that are put in place. A mapped model is read whole before the report moves, and an
        unmapped one is read while it moves, so their mean is never ahead and always moves.
        """
        if self._phase != "loading":
            return
        seen = [share for share in (self._reported, self._bytes_share()) if share is not None]
        if seen:
            self._measure(sum(seen) / len(seen))
        elif self._hinted is not None:
            self._measure(self._hinted)

    def _measure(self, share: float) -> None:
        """Take the measured share of the current stage, and expect its end.

        With a share of `f` after `e` seconds, the stage takes `e / f` at the pace seen so far. The
        pace of the first percents says little and that of the last says all, so it counts
        `f * (2 - f)` (a quarter done: 44 %, half done: 75 %) and the learned time the rest,
        `(1 - f) ** 2`. Multiplied out, the division is gone, and with it what happens at zero.
        """
        if share <= self._share:
            return
        self._share = share
        learned_s = self._learned_s(self._phase)
        self._expected_s = (1.0 - share) ** 2 * learned_s + (2.0 - share) * self._in_stage_s()

    # --- the bar --------------------------------------------------------------------------------

    def _by_what_is_seen(self) -> float | None:
        """Return the bar without learned times: measured shares in fixed spans."""
        match self._phase:
            case "starting":
                return None
            case "loading":
                known = self._hinted is not None or self._reported is not None or self._share > 0.0
                span = LOADING_ENDS - LOADING_BEGINS
                return LOADING_BEGINS + span * self._share if known else None
            case "warming":
                return LOADING_ENDS + (LAST - LOADING_ENDS) * self._share

    def _by_learned_times(self) -> float:
        """Return the bar with learned times: the more modest of two views.

        By stage: each has its learned share of the bar, which keeps a slow stage out of the next
        one's. By time: what has passed of all that is expected, which keeps a fast stage from
        making the bar jump. When everything goes as learned, they are the same straight line.
        """
        assert self._learned is not None
        total_s = self._learned.total_s
        later_s = self._later_s()
        before_s = total_s - later_s - self._learned_s(self._phase)
        in_stage = _creep(self._in_stage_s(), self._expected_s)
        by_stage = (before_s + in_stage * self._learned_s(self._phase)) / total_s

        passed_s = self._now - self._began["starting"]
        to_come_s = max(0.0, self._expected_s - self._in_stage_s()) + later_s
        by_time = passed_s / (passed_s + to_come_s) if to_come_s > 0.0 else 1.0
        return max(0.0, min(by_stage, by_time))

    def _later_s(self) -> float:
        """Learned seconds of the stages after this one."""
        return sum(self._learned_s(phase) for phase in _ORDER[_ORDER.index(self._phase) + 1 :])

    def _eta_s(self) -> float | None:
        """Return the seconds to come; None once a stage takes too long."""
        if self._learned is None:
            return None
        left_s = self._expected_s - self._in_stage_s()
        return left_s + self._later_s() if left_s >= 0.0 else None


def _creep(passed_s: float, expected_s: float) -> float:
    """Return a share of 0.0 to 1.0, first straight, then ever slower."""
    if passed_s <= 0.0:
        return 0.0
    if expected_s <= 0.0:
        return 1.0
    share = passed_s / expected_s
    if share <= _STRAIGHT:
        return share
    rest = 1.0 - _STRAIGHT
    return 1.0 - rest * math.exp(-(share - _STRAIGHT) / rest)
