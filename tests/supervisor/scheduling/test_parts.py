"""Parts of the engine, each by itself: what it needs is built here in a few lines."""

import pytest

from arriero.protocol.lease import HeldLease
from arriero.protocol.values import ErrorInfo
from arriero.supervisor.errors import IllegalStep
from arriero.supervisor.memory.devices import Budget
from arriero.supervisor.memory.policy import ByMemory
from arriero.supervisor.memory.sizes import ModelSize
from arriero.supervisor.scheduling.attempts import Attempts
from arriero.supervisor.scheduling.leases import WorkerLeases
from arriero.supervisor.scheduling.messages.events import (
    Command,
    EstimateSize,
    GrantLease,
    KeptAlive,
    RefuseWaiter,
    Released,
    Reported,
    RevokeLease,
    Spawn,
    Spec,
    Terminate,
    VoidLease,
    Waiter,
    Wake,
)
from arriero.supervisor.scheduling.messages.pending_commands import PendingCommands
from arriero.supervisor.scheduling.room.placement import Placement
from arriero.supervisor.scheduling.room.sizing import SIZING_LIMIT_S, Sizing
from arriero.supervisor.scheduling.room.turn_order import TurnOrder
from arriero.supervisor.scheduling.states.model_state import UNTOLD
from arriero.supervisor.scheduling.states.model_table import ModelTable
from arriero.supervisor.scheduling.steps import Steps
from arriero.supervisor.scheduling.waiters import QueueNews, Waiters
from tests.supervisor.scheduling.steps import acts

GIB = 1024**3
ONE, TWO = Waiter("w", 1), Waiter("w", 2)
MEMORY = ByMemory(budgets={"gpu0": Budget(8 * GIB)}, finds=False)
SMALL = ModelSize({"gpu0": 2 * GIB}, "declared")


class Bench:
    """The parts that stand lowest, with two models."""

    def __init__(self, *specs: Spec, memory: bool = False) -> None:
        self.out = PendingCommands()
        self.table = ModelTable(specs or (Spec(model="a"), Spec(model="b")))
        self.placement = Placement(self.table)
        self.placement.follow(MEMORY if memory else None)
        self.waiters = Waiters(self.table, self.placement, self.out)
        self.turn_order = TurnOrder(self.table, self.waiters.queue, self.placement)
        self.attempts = Attempts(self.out)
        self.steps = Steps(
            table=self.table, placement=self.placement, attempts=self.attempts, out=self.out
        )

    def commands(self) -> list[Command]:
        return acts(self.out.take())

    def serve(self, model: str) -> None:
        """Let `model` be ready."""
        entry = self.table.all[model]
        self.table.file(entry)
        entry.state, entry.endpoint = "ready", f"http://{model}"
        self.table.file(entry)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# --- steps --------------------------------------------------------------------------------------


def test_a_started_model_is_live_and_spawned_with_a_number(bench: Bench) -> None:
    entry = bench.table.all["a"]
    bench.attempts.begin(entry, 1.0)
    bench.steps.start(entry, 1.0)

    assert bench.commands() == [Spawn("a", 1)]
    assert list(bench.table.live) == ["a"]
    assert bench.attempts.turning == {}


def test_a_model_asleep_is_woken(bench: Bench) -> None:
    entry = bench.table.all["a"]
    entry.state, entry.swap = "asleep", 7
    bench.table.file(entry)
    bench.steps.start(entry, 1.0)

    assert bench.commands() == [Wake("a", 7)]
    assert (list(bench.table.live), list(bench.table.asleep)) == (["a"], [])


def test_a_drained_model_is_stopped_when_its_lease_is_back(bench: Bench) -> None:
    bench.serve("a")
    entry = bench.table.all["a"]
    entry.leases["w"] = 3
    bench.steps.drain(entry, 1.0, "room")
    bench.steps.stop_if_drained(entry, 1.0)
    assert bench.commands() == [RevokeLease("w", "a", 3, when_idle=True)]

    entry.drop_lease("w")
    bench.steps.stop_if_drained(entry, 2.0)
    assert bench.commands() == [Terminate("a", 0, 10.0)]


def test_a_stopped_model_cannot_be_stopped(bench: Bench) -> None:
    with pytest.raises(IllegalStep):
        bench.steps.stop(bench.table.all["a"], 1.0)


# --- waiters ------------------------------------------------------------------------------------


def test_a_waiter_is_granted_one_lease_for_all_its_requests(bench: Bench) -> None:
    bench.serve("a")
    for waiter in (ONE, TWO):
        bench.waiters.want(waiter, "a", 1.0)
    bench.waiters.grant_all(bench.table.all["a"], 3.0)

    granted = bench.commands()
    assert [(c.waiter, c.lease, c.waited_s) for c in granted if isinstance(c, GrantLease)] == [
        (ONE, 1, 2.0),
        (TWO, 1, 2.0),
    ]


def test_a_waiter_of_a_full_model_is_refused_and_a_script_granted() -> None:
    bench = Bench(Spec(model="a", most=1))
    bench.serve("a")
    bench.table.all["a"].places.add(TWO)
    bench.waiters.want(ONE, "a", 1.0)
    bench.waiters.want(Waiter("script", 1, takes_lease=False), "a", 1.0)

    refused, granted = bench.commands()
    assert isinstance(refused, RefuseWaiter)
    assert refused.error.code == "concurrency_limit"
    assert isinstance(granted, GrantLease)


def test_all_waiters_of_a_model_are_refused_and_none_is_left(bench: Bench) -> None:
    error = ErrorInfo(code="model_unavailable", message="no")
    bench.waiters.want(ONE, "a", 1.0)
    bench.waiters.want(TWO, "b", 1.0)
    bench.waiters.refuse_all("a", error)

    assert bench.commands() == [RefuseWaiter(ONE, "a", error)]
    assert list(bench.waiters.queue.models()) == ["b"]


def test_the_queue_is_told_once_and_in_the_order_of_turns() -> None:
    bench = Bench(Spec(model="a"), Spec(model="b", priority=1))
    news = QueueNews(bench.table, bench.waiters.queue, bench.out)
    bench.waiters.want(ONE, "a", 1.0)
    bench.waiters.want(TWO, "b", 1.0)
    news.look()
    assert len(bench.out.take()) == 1

    news.look()
    assert bench.out.take() == []
    assert [entry.model for entry in news.told] == ["b", "a"]


# --- turns --------------------------------------------------------------------------------------


def test_a_model_in_its_pause_has_no_turn(bench: Bench) -> None:
    bench.waiters.want(ONE, "a", 1.0)
    bench.table.all["a"].not_before = 5.0

    assert bench.turn_order.keys(4.9) == {}
    assert list(bench.turn_order.keys(5.0)) == ["a"]


def test_a_held_machine_gives_no_turn_until_the_hold_ends(bench: Bench) -> None:
    bench.waiters.want(ONE, "a", 1.0)
    bench.placement.hold(None, 9.0)
    assert bench.turn_order.keys(8.0) == {}

    bench.placement.expire(9.0)
    assert list(bench.turn_order.keys(9.0)) == ["a"]


def test_a_start_that_takes_the_place_of_a_turn_takes_something(bench: Bench) -> None:
    assert bench.turn_order.takes_nothing("b", 1.0)
    bench.waiters.want(ONE, "a", 1.0)

    assert not bench.turn_order.takes_nothing("b", 1.0)


# --- leases -------------------------------------------------------------------------------------


def test_a_lease_of_another_number_is_not_taken_back(bench: Bench) -> None:
    leases = WorkerLeases(bench.table, bench.placement, bench.out)
    bench.serve("a")
    bench.table.all["a"].leases["w"] = 3
    leases.release(Released("w", "a", 2), 1.0)
    assert leases.used_at == 0.0

    leases.release(Released("w", "a", 3), 2.0)
    assert (leases.used_at, bench.table.all["a"].leases) == (2.0, {})


def test_what_runs_on_a_lease_counts_as_use_until_it_has_ended(bench: Bench) -> None:
    leases = WorkerLeases(bench.table, bench.placement, bench.out)
    bench.serve("a")
    entry = bench.table.all["a"]
    entry.leases["w"] = 1
    leases.report(Reported("w", {"a": 2}), 1.0)
    leases.report(Reported("w", {}), 2.0)
    leases.report(Reported("w", {}), 3.0)

    assert (entry.used_at, entry.asks, entry.is_busy) == (2.0, 2, False)


def test_who_shares_a_model_keeps_it_until_others_have_reported(bench: Bench) -> None:
    leases = WorkerLeases(bench.table, bench.placement, bench.out)
    bench.serve("a")
    entry = bench.table.all["a"]
    entry.leases |= {"w": 1, "v": 2}
    leases.keep_alive(KeptAlive("w", "a", 1, 0.0, 0), 1.0)
    assert entry.keep_s > 0

    entry.drop_lease("v")
    leases.keep_alive(KeptAlive("w", "a", 1, 0.0, 0), 2.0)
    assert entry.keep_s == 0


def test_a_lease_on_a_model_that_is_elsewhere_now_is_void(bench: Bench) -> None:
    leases = WorkerLeases(bench.table, bench.placement, bench.out)
    bench.serve("a")
    bench.table.all["a"].leases["w"] = UNTOLD
    leases.believe("w", (HeldLease(model="a", lease=5, endpoint="http://old"),))

    assert bench.commands() == [VoidLease("w", "a", 5)]
    assert bench.table.all["a"].leases == {}


# --- memory -------------------------------------------------------------------------------------


def test_a_step_reserves_and_gives_back_where_memory_decides() -> None:
    bench = Bench(Spec(model="a", size=SMALL), memory=True)
    entry = bench.table.all["a"]
    bench.steps.start(entry, 1.0)
    assert bench.placement.reserved(entry) == {"gpu0": 2 * GIB}

    bench.steps.stop(entry, 2.0)
    bench.placement.ends(entry, 2.0)
    assert [one.reserved for one in bench.placement.devices(2.0)] == [0]


def test_where_memory_does_not_decide_nothing_is_reserved(bench: Bench) -> None:
    entry = bench.table.all["a"]
    bench.steps.start(entry, 1.0)

    assert bench.placement.reserved(entry) is None
    assert bench.placement.has_room("b")
    assert bench.placement.devices(1.0) == ()


def test_a_size_is_asked_for_once_and_unknown_after_its_limit() -> None:
    bench = Bench(Spec(model="a"), memory=True)
    sizing = Sizing(bench.table, bench.placement, bench.out)
    for now in (1.0, 2.0):
        sizing.look(["a"], now)
    assert bench.commands() == [EstimateSize("a")]
    assert sizing.next_deadline(["a"]) == 1.0 + SIZING_LIMIT_S

    sizing.look(["a"], 1.0 + SIZING_LIMIT_S)
    size = bench.table.all["a"].size
    assert size is not None
    assert size.source == "unknown"
