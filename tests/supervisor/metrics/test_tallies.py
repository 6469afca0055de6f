"""What is counted of models and requests, and that nothing a stranger chose is remembered."""

from decimal import Decimal

import pytest

from arriero.protocol.events import EndReason, ProgressMade, StateChanged
from arriero.protocol.values import ErrorInfo, Phase, Progress, State
from arriero.supervisor.metrics.tallies import NONE, ModelTally, Tallies
from tests.records import record


class Counted:
    """Tallies of the models `a` and `b`, and a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.models = {"a", "b"}
        self.tallies = Tallies(self.models.__contains__, lambda: self.now)

    def phase(self, phase: Phase, at: float) -> None:
        self.now = at
        progress = Progress(model="a", swap=1, phase=phase, elapsed_s=at)
        self.tallies.note_event(ProgressMade(model="a", progress=progress))

    def state(
        self,
        state: State,
        at: float = 0.0,
        reason: EndReason | None = None,
        error: ErrorInfo | None = None,
    ) -> None:
        self.now = at
        event = StateChanged(model="a", state=state, swap=1, reason=reason, error=error)
        self.tallies.note_event(event)

    def of(self, model: str = "a") -> ModelTally:
        return self.tallies.snapshot().get(model, ModelTally())


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_stages_of_a_load_add_up(counted: Counted) -> None:
    counted.phase("draining", 1)
    counted.phase("stopping", 3)
    counted.state("starting", 4)
    counted.phase("starting", 4)
    counted.phase("loading", 5)
    counted.phase("loading", 7)
    counted.phase("warming", 9)
    counted.state("ready", 9.5)

    found = counted.of()

    assert found.loads == {"ready": 1}
    assert found.load.sum == 5.5
    assert found.stages == {
        "draining": (1, 2.0),
        "stopping": (1, 1.0),
        "starting": (1, 1.0),
        "loading": (1, 4.0),
        "warming": (1, 0.5),
    }


def test_loads_are_told_apart_by_result(counted: Counted) -> None:
    failed = ErrorInfo(code="model_load_failed", message="no")
    for end, error in (("stopped", failed), ("stopping", None)):
        counted.state("starting")
        counted.state(end, error=error)  # type: ignore[arg-type]
        counted.state("stopped")
    counted.state("asleep")
    counted.state("starting")
    counted.state("ready")

    assert counted.of().loads == {"failed": 1, "stopped": 1, "woken": 1}
    assert counted.of().load.counts == [0] * 9


def test_evictions_are_counted_once_by_reason(counted: Counted) -> None:
    reasons: tuple[EndReason, ...] = ("room", "idle", "request", "failure")
    for reason in reasons:
        counted.state("ready")
        counted.state("draining", reason=reason)
        counted.state("stopping", reason=reason)
        counted.state("stopping", reason=reason)
        counted.state("stopped")
    counted.state("ready")
    counted.state("draining", reason="room")
    counted.state("ready")  # it was not needed after all
    counted.state("stopped")  # it crashed
    counted.state("starting")
    counted.state("stopping", reason="room")  # it did not serve yet

    assert counted.of().evictions == dict.fromkeys(reasons, 1)


def test_exits_have_few_names(counted: Counted) -> None:
    for code in (0, 1, -15, -9, -64, -65, -500, None, 3, 0):
        counted.tallies.note_exit("a", code)

    assert counted.of().exits == {
        "0": 2, "1": 1, "3": 1, "SIGTERM": 1, "SIGKILL": 1, "SIGRTMAX": 1, "signal": 2,
        "unknown": 1,
    }  # fmt: skip


def test_requests_are_counted_in_base_units(counted: Counted) -> None:
    good = record(
        model="a",
        duration_ms=1500.0,
        queue_ms=200.0,
        load_ms=700.0,
        ttft_ms=1000.0,
        input_tokens=100,
        cached_tokens=60,
        output_tokens=20,
        prompt_ms=20.0,
        gen_ms=400.0,
        cost_usd=Decimal("0.25"),
    )
    counted.tallies.note_records([good, record(model="a", status=503, outcome="rejected")])

    found = counted.of()
    assert found.ends == {("openai", "200", "ok"): 1, ("openai", "503", "rejected"): 1}
    assert (found.durations.sum, found.queued.sum, found.waited.sum) == (1.5125, 0.2, 0.7)
    assert (found.first_tokens.sum, sum(found.first_tokens.counts)) == (1.0, 1)
    assert (found.input_tokens, found.cached_tokens, found.output_tokens) == (100, 60, 20)
    assert (found.prefill_tokens, found.prefill_s) == (40, 0.02)
    assert (found.decode_tokens, found.decode_s) == (20, 0.4)
    assert found.cost_usd == 0.25


def test_requests_of_several_models_that_come_together_are_told_apart(counted: Counted) -> None:
    counted.tallies.note_records(
        [
            record(model="a", output_tokens=1, queue_ms=1500.0),
            record(model="b", output_tokens=10),
            record(model="a", output_tokens=100, ttft_ms=250.0),
        ]
    )

    of_a, of_b = counted.of("a"), counted.of("b")
    assert (of_a.output_tokens, of_b.output_tokens) == (101, 10)
    assert (sum(of_a.ends.values()), sum(of_b.ends.values())) == (2, 1)
    assert (of_a.queued.sum, sum(of_a.queued.counts), of_a.queued.counts[0]) == (1.5, 2, 1)
    assert (of_a.first_tokens.sum, sum(of_a.first_tokens.counts)) == (0.25, 1)


def test_strangers_words_are_not_remembered(counted: Counted) -> None:
    for number in range(3000):
        counted.tallies.note_records([record(model=f"unknown-{number}", status=number)])
        counted.tallies.note_records(
            [record(model="a", api=f"api-{number}", prompt_ms=-1.0, gen_ms=-1.0)]
        )

    found = counted.tallies.snapshot()
    assert found.keys() == {NONE, "a"}
    assert len(found[NONE].ends) < 80  # known statuses, and classes of others
    assert sum(found[NONE].ends.values()) == 3000
    assert len(found["a"].ends) == 201
    assert found["a"].ends["other", "other", "ok"] == 2800
    assert found["a"].prefill_s == found["a"].decode_s == 0


def test_models_that_are_gone_are_forgotten(counted: Counted) -> None:
    counted.state("starting")
    counted.tallies.note_records([record(model="a")])
    before = counted.of()
    counted.tallies.note_records([record(model="a")])
    counted.models.discard("a")

    assert before.ends == {("openai", "200", "ok"): 1}  # a copy
    assert "a" not in counted.tallies.snapshot()
    counted.models.add("a")
    assert "a" not in counted.tallies.snapshot()
