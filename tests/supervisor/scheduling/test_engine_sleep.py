"""Sleep where memory decides: what a sleeping model keeps is reserved, and may be too much."""

import pytest

from arriero.protocol.control.models import ExplainReply
from arriero.protocol.events import ModelEvicted
from arriero.supervisor.memory.ledger import RETURN_LIMIT_S
from arriero.supervisor.memory.sizes import UNKNOWN, ModelSize
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    BecameReady,
    Command,
    FellAsleep,
    HoldRequested,
    PutToSleep,
    Sized,
    SleepFailed,
    Spawn,
    Terminate,
    TimePassed,
    Wake,
    Wanted,
)
from tests.supervisor.scheduling.steps import W1, W2, acts
from tests.supervisor.scheduling.test_engine_memory import (
    GIB,
    engine_of,
    evictions,
    gone,
    policy,
    ready,
    run,
    sized,
    spec,
    states,
)

SMALL = sized(1, 6)


def train(*, keeps: ModelSize | None = SMALL, ram: float = 16, b: float = 8) -> Engine:
    """Model `a`, which sleeps, and `b`; there is room for one of them."""
    engine = engine_of(
        spec("a", 8, sleeps=True, sleep_size=keeps),
        spec("b", b),
        spec("c", 10),
        placement=policy(gpu0=10, ram=ram),
    )
    run(engine, "a")
    return engine


def asleep(engine: Engine, model: str, now: float) -> list[Command]:
    return engine.handle(FellAsleep(model, engine.view.swap(model)), now)


def seen(engine: Engine, model: str, size: ModelSize, now: float) -> list[Command]:
    return engine.handle(Sized(model, size, engine.view.swap(model), sleeps=True), now)


def used(engine: Engine) -> dict[str, float]:
    return {one.device: one.reserved / GIB for one in engine.view.devices(0)}


def records(commands: list[Command]) -> list[ModelEvicted]:
    events = [command.event for command in commands if isinstance(command, Announce)]
    return [event for event in events if isinstance(event, ModelEvicted)]


def verdict(told: ExplainReply, model: str) -> tuple[str, str]:
    (found,) = [(one.verdict, one.why) for one in told.models if one.model == model]
    return found


def test_model_sleeps_where_the_other_has_room_beside_it() -> None:
    engine = train()
    told = engine.view.explain("b", 10)

    begun = engine.handle(Wanted(W1, "b"), 10)

    assert acts(begun) == [PutToSleep("a", engine.view.swap("a"))]
    assert used(engine) == {"gpu0": 8, "ram": 6}  # on its way it has both
    assert acts(asleep(engine, "a", 11)) == [Spawn("b", engine.view.swap("b"))]
    assert used(engine) == {"gpu0": 9, "ram": 6}
    assert verdict(told, "a") == (
        "sleeps",
        "idle 10 s, comes back in 1.0 s; it keeps 1.0 GiB of gpu0, 6.0 GiB of ram while it sleeps",
    )
    assert told.why.startswith("a would finish what runs, and fall asleep: it needs 8.0 GiB of")
    (record,) = records(begun)
    assert record.keeps == {"gpu0": GIB, "ram": 6 * GIB}
    assert record.text == (
        "put to sleep a: idle 10 s, 8.0 GiB, of which it keeps 1.0 GiB of gpu0, 6.0 GiB of ram; "
        "b needed 8.0 GiB of 2.0 GiB free"
    )


@pytest.mark.parametrize(
    ("keeps", "ram", "b", "why"),
    [
        (sized(3, 1), 16, 8.0, "asleep it would keep 3.0 GiB of gpu0, 1.0 GiB of ram, too much"),
        (SMALL, 4, 8.0, "asleep it would keep 1.0 GiB of gpu0, 6.0 GiB of ram, too much"),
        (None, 4, 8.0, "asleep it would keep 8.0 GiB, too much"),
        (UNKNOWN, 16, 8.0, "it does not sleep, for what it would keep is not known"),
    ],
    ids=["the device", "main memory", "main memory at worst", "unknown"],
)
def test_model_stops_where_it_would_keep_too_much(
    keeps: ModelSize | None, ram: float, b: float, why: str
) -> None:
    engine = train(keeps=keeps, ram=ram, b=b)
    told = engine.view.explain("b", 10)

    begun = engine.handle(Wanted(W1, "b"), 10)

    assert acts(begun) == [Terminate("a", engine.view.swap("a"), 10.0)]
    assert verdict(told, "a")[0] == "goes"
    assert why in verdict(told, "a")[1]
    assert [record.keeps for record in records(begun)] == [None]


def test_what_it_keeps_is_seen_before_the_other_starts() -> None:
    engine = train(keeps=None)
    begun = engine.handle(Wanted(W1, "b"), 10)

    assert acts(begun) == [PutToSleep("a", engine.view.swap("a"))]
    assert evictions(begun)[0].startswith(
        "put to sleep a: idle 10 s, 8.0 GiB, and what it keeps will be seen; b needed"
    )
    assert (acts(asleep(engine, "a", 11)), engine.view.awaits_memory) == ([], True)
    assert acts(seen(engine, "a", sized(3, 6), 11.1)) == []  # some comes back later
    assert acts(seen(engine, "a", SMALL, 11.2)) == [Spawn("b", engine.view.swap("b"))]
    assert (states(engine)["a"], engine.view.awaits_memory) == ("asleep", False)
    assert used(engine) == {"gpu0": 9, "ram": 6}
    ready(engine, "b", 12)
    assert engine.view.models(12, 0)[0].memory == {"gpu0": GIB, "ram": 6 * GIB}


@pytest.mark.parametrize("look", [None, sized(3, 6)])
def test_model_is_stopped_whose_sleep_gives_too_little(look: ModelSize | None) -> None:
    engine = train(keeps=None)
    engine.handle(Wanted(W1, "b"), 10)
    asleep(engine, "a", 11)
    if look is not None:
        seen(engine, "a", look, 12)

    assert engine.next_deadline(12) == 11 + RETURN_LIMIT_S
    ended = engine.handle(TimePassed(), 11 + RETURN_LIMIT_S)
    assert acts(ended) == [Terminate("a", engine.view.swap("a"), 10.0)]
    assert "which it kept asleep; b needed 8.0 GiB" in evictions(ended)[0]
    assert acts(gone(engine, "a", 17)) == [Spawn("b", engine.view.swap("b"))]
    ready(engine, "b", 18)
    run(engine, "")
    assert used(engine) == {"gpu0": 8, "ram": 0}

    # Now it is known: it is not tried again.
    engine.handle(Wanted(W2, "a"), 30)
    assert verdict(engine.view.explain("a", 30), "a")[0] == "starts"


def test_sleeping_model_gives_way_and_is_woken_in_its_place() -> None:
    engine = train()
    engine.handle(Wanted(W1, "b"), 10)
    asleep(engine, "a", 11)
    ready(engine, "b", 12)
    told = engine.view.explain("c", 13)
    assert verdict(told, "a")[1].startswith("asleep for 2 s")
    assert told.stops == ("a", "b")

    waker = train()
    waker.handle(Wanted(W1, "b"), 10)
    asleep(waker, "a", 11)
    ready(waker, "b", 12)
    waker.handle(HoldRequested("ram"), 13)
    assert states(waker)["a"] == "stopping"

    engine = train()
    engine.handle(Wanted(W1, "b"), 10)
    asleep(engine, "a", 11)
    woken = gone(engine, "b", 12)  # it could not be started
    assert acts(woken)[1:] == [Wake("a", engine.view.swap("a"))]
    assert used(engine) == {"gpu0": 8, "ram": 6}  # on its way it has both
    engine.handle(BecameReady("a", engine.view.swap("a")), 14)
    assert used(engine) == {"gpu0": 8, "ram": 0}


def test_sleepless_model_is_stopped_and_gives_all_back() -> None:
    engine = train()
    engine.handle(Wanted(W1, "b"), 10)

    failed = engine.handle(SleepFailed("a", engine.view.swap("a")), 11)

    assert acts(failed) == [Terminate("a", engine.view.swap("a"), 10.0)]
    assert used(engine) == {"gpu0": 8, "ram": 6}
    assert acts(gone(engine, "a", 12)) == [Spawn("b", engine.view.swap("b"))]
    assert used(engine) == {"gpu0": 8, "ram": 0}
