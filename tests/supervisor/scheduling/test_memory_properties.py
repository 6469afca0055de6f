"""The world of the engine's properties, where memory decides: it grows, is lost, kept and held."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.memory.devices import Budget, DeviceReading
from arriero.supervisor.memory.policy import ByMemory
from arriero.supervisor.memory.sizes import UNKNOWN, ModelSize
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Command,
    DevicesRead,
    EstimateSize,
    Event,
    GrantLease,
    HoldRequested,
    OnBlocked,
    ProcessEnded,
    RaiseSize,
    ReleaseRequested,
    Sized,
    Spawn,
    Spec,
)
from arriero.supervisor.scheduling.room.room import Room
from tests.examples import examples
from tests.supervisor.placement.policies import MODELS
from tests.supervisor.scheduling.test_engine_properties import (
    ERROR,
    PLACES,
    STEPS_OF_ONE_CONFIGURATION,
    Configuration,
    World,
)

GIB = 1024**3
TOTALS = {"gpu0": 10, "gpu1": 6, "ram": 16}
LAUNCHES = dict.fromkeys(MODELS, "1")


class MemoryWorld(World):
    """A world in which each model has a size, and each device has so much."""

    def __init__(
        self,
        sizes: Mapping[str, ModelSize | None],
        pins: Mapping[str, Any],
        blocked: OnBlocked,
        sleepers: Mapping[str, ModelSize | None] = MappingProxyType({}),
        kept: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.sizes, self.pins, self.blocked = sizes, pins, blocked
        self.sleepers = sleepers
        self.kept = {device: count * GIB for device, count in kept.items()}  # by who sleeps
        self.has_grown = False
        self.foreign = self.told = 0
        budgets = {name: Budget(total * GIB) for name, total in TOTALS.items()}
        super().__init__(
            Configuration(LAUNCHES, {}, lambda models: ByMemory(budgets=budgets, finds=True))
        )

    @property
    def room(self) -> Room:
        assert self.engine._placement.room is not None
        return self.engine._placement.room

    def comes_to_rest(self) -> None:
        """From now on all goes well, for half an hour."""
        for _ in range(60):
            self.all_is_free()
            self.everything_goes_well(31)

    def specs(self) -> tuple[Spec, ...]:
        return tuple(
            Spec(
                model=m,
                size=self.sizes.get(m),
                pin=self.pins.get(m, ""),
                on_blocked=self.blocked,
                instead=MODELS[0] if m != MODELS[0] else MODELS[1],
                drain_limit_s=20,
                most=PLACES.get(m, 0),
                sleeps=m in self.sleepers,
                sleep_size=self.sleepers.get(m),
            )
            for m in self.launches
        )

    def obey(self, command: Command) -> None:
        match command:
            case EstimateSize(model):
                self.estimates.append(model)
            case RaiseSize():
                pass
            case Spawn(model, _, _):
                assert model not in self.processes, "started twice"
                super().obey(command)
            case GrantLease(waiter, model) if self.blocked == "use" and waiter in self.waiting:
                assert model == self.waiting[waiter] or model in MODELS[:2], "not its `use`"
                self.waiting[waiter] = model
                super().obey(command)
            case _:
                super().obey(command)

    def tell(self, event: Event) -> None:
        super().tell(event)
        self.check_reservations()
        self.told += 1
        if self.told % 5 == 0:
            self.check_that_all_changes_were_seen()

    def check_that_all_changes_were_seen(self) -> None:
        """What is remembered from earlier decisions is what is found by looking at it all."""
        room, table = self.room, self.engine._table
        anew = Room(table, room.ledger)
        anew.follow(None)
        for model in table.all:
            assert room.needs.need(model) == anew.needs.need(model)
            assert room.needs.blockage(model) == anew.needs.blockage(model)
            anew.needs.now = room.costs.at
            assert room.evicted_by(model, table.live) == anew.evicted_by(model, table.live)

    def check_reservations(self) -> None:
        """What runs or sleeps has its place, and no more: no device gives more than it has."""
        assert self.room.ledger.holders == self.processes.keys()
        for one in self.engine.view.devices(self.now):
            limit = one.total - one.reserve
            is_over = one.reserved > limit
            assert not is_over or self.has_grown or self.foreign, f"{one} of {limit}"

    def check_that_nobody_waits_in_vain(self) -> None:
        wanted = {entry.model for entry in self.engine.view.queue()}
        found = {status.model: status for status in self.engine.view.models(self.now, 0.0)}
        sizes = {m: self.engine._table.all[m].size for m in wanted.union(self.processes)}
        if any(size is None or size.source == "unknown" for size in sizes.values()):
            return
        if self.engine.view.awaits_memory or self.has_grown or self.foreign:
            return
        if any(one.held for one in self.engine.view.devices(self.now)):
            return
        for device, total in TOTALS.items():
            needs = [found[m].memory or {} for m in sizes]
            needs += [dict(self.room.needs.need(m)) for m in wanted & self.asleep]
            if sum(need.get(device, 0) for need in needs) > total * GIB:
                return
        waiting = {m for m in wanted if not found[m].retry_in_s and m not in self.awake}
        assert not waiting, f"{waiting} beside {set(self.processes)}"

    # --- what may happen ------------------------------------------------------------------------

    @property
    def estimates(self) -> list[str]:
        found: list[str] = self.__dict__.setdefault("_estimates", [])
        return found

    def size_up(self) -> None:
        """The estimates that were asked for are there."""
        while self.estimates:
            model = self.estimates.pop()
            self.tell(Sized(model, ModelSize({"gpu0": 3 * GIB}, "estimated")))

    def see_asleep(self) -> None:
        """A look shows what those keep that sleep: no more than they had, here or there."""
        for model in list(self.asleep - self.ending):
            held = self.room.ledger.held_by(model)
            seen = {device: min(count, held.get(device, 0)) for device, count in self.kept.items()}
            self.tell(Sized(model, ModelSize(seen, "learned"), self.processes[model], sleeps=True))

    def everything_goes_well(self, seconds: float) -> None:
        self.see_asleep()
        super().everything_goes_well(seconds)

    def serve(self, model: str) -> None:
        """A request of which all goes well; those that run have ended before."""
        for lease in self.leases.values():
            lease.running.clear()
        self.ask("w0", model)
        for _ in range(3):
            self.deliver()
            self.size_up()
            self.give_back()
            self.process_moves(crash=False)

    def grow(self, model: str, amount: int) -> None:
        """It is seen to use so much."""
        if model in self.processes:
            self.has_grown = True
            serves = self.engine.view.state(model) == "ready"
            size = ModelSize({"gpu0": amount * GIB}, "learned")
            self.tell(Sized(model, size, self.processes[model], serves))

    def run_out(self, model: str) -> None:
        """A start dies for want of memory."""
        if model in self.processes and self.engine.view.state(model) == "starting":
            swap = self.processes[model]
            self.forget(model)
            self.has_grown = True
            self.tell(ProcessEnded(model, swap, ERROR, ("gpu",)))

    def others_use(self, amount: int) -> None:
        self.foreign = amount * GIB
        found = {name: DeviceReading(total * GIB, 0) for name, total in TOTALS.items()}
        self.tell(DevicesRead(found, {"gpu0": self.foreign}, self.now))

    def hold(self, device: str | None, for_s: float | None) -> None:
        self.tell(HoldRequested(device, for_s))

    def all_is_free(self) -> None:
        """Nothing but models keeps anybody from anything."""
        self.tell(ReleaseRequested(None))
        self.others_use(0)
        for model in MODELS:
            if self.pins.get(model):
                self.unload(model, at_once=True)
        self.size_up()


GIBS = st.integers(1, 12)
SIZES = st.one_of(
    st.none(),
    st.just(UNKNOWN),
    st.builds(
        lambda gpu0, gpu1, source: ModelSize(
            {
                n: min(count, TOTALS[n]) * GIB
                for n, count in (("gpu0", gpu0), ("gpu1", gpu1))
                if count
            },
            source,
        ),
        st.integers(0, 10),
        st.integers(0, 6),
        st.sampled_from(("declared", "learned", "estimated")),
    ),
)
KEPT = st.none() | st.just(UNKNOWN)
KEPT |= st.builds(
    lambda gpu0, ram, source: ModelSize({"gpu0": gpu0 * GIB, "ram": ram * GIB}, source),
    st.integers(0, 4),
    st.integers(0, 8),
    st.sampled_from(("declared", "learned")),
)
WORLDS = st.builds(
    MemoryWorld,
    st.fixed_dictionaries(dict.fromkeys(MODELS, SIZES)),
    st.just({}) | st.dictionaries(st.sampled_from(MODELS), st.sampled_from(("always", "manual"))),
    st.sampled_from(("wait", "wait", "refuse", "use")),
    st.just({}) | st.fixed_dictionaries(dict.fromkeys(MODELS[1:], KEPT)),
    st.fixed_dictionaries({"gpu0": st.integers(0, 4), "ram": st.integers(0, 8)}),
)
TROUBLE = st.one_of(
    *STEPS_OF_ONE_CONFIGURATION,
    st.tuples(st.just("size_up")),
    st.tuples(st.just("see_asleep")),
    st.tuples(st.just("grow"), st.sampled_from(MODELS), GIBS),
    st.tuples(st.just("run_out"), st.sampled_from(MODELS)),
    st.tuples(st.just("others_use"), st.integers(0, 9)),
    st.tuples(st.just("hold"), st.sampled_from(("gpu0", "gpu1", None)), st.none() | st.just(20.0)),
)
# Every other step is of use, or hardly anything would happen: `one_of` weighs all kinds alike.
SERVED = st.tuples(st.just("serve"), st.sampled_from(MODELS))
MORE_STEPS = st.booleans().flatmap(lambda is_of_use: SERVED if is_of_use else TROUBLE)
STORIES = st.lists(MORE_STEPS, max_size=10) | st.lists(MORE_STEPS, min_size=20, max_size=40)

# Hardly two of them fit, all sleep, and all trouble has to do with that.
SLEEPY_WORLDS = st.builds(
    MemoryWorld,
    st.fixed_dictionaries(
        dict.fromkeys(
            MODELS,
            st.integers(3, 9).map(lambda size: ModelSize({"gpu0": size * GIB}, "declared")),
        )
    ),
    st.just({}),
    st.just("wait"),
    st.fixed_dictionaries(dict.fromkeys(MODELS, KEPT)),
    st.fixed_dictionaries({"gpu0": st.integers(0, 3), "ram": st.integers(0, 8)}),
)
SLEEP_TROUBLE = st.one_of(
    st.tuples(st.just("see_asleep")),
    st.tuples(st.just("lose_sleep"), st.sampled_from(MODELS)),
    st.tuples(st.just("doze_off"), st.sampled_from(MODELS)),
    st.tuples(st.just("wake_by_chance"), st.sampled_from(MODELS)),
    st.tuples(st.just("get"), st.just("w1"), st.sampled_from(MODELS)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("pass_time"), st.sampled_from((0.1, 6.0, 40.0))),
    st.tuples(st.just("unload"), st.sampled_from(MODELS), st.booleans()),
    st.tuples(st.just("hold"), st.sampled_from(("gpu0", "ram")), st.just(20.0)),
)
SLEEPY_STEPS = st.booleans().flatmap(lambda is_of_use: SERVED if is_of_use else SLEEP_TROUBLE)


@settings(max_examples=examples(25, 500), deadline=None)
@given(WORLDS, STORIES)
def test_nothing_starts_twice_and_nobody_is_forgotten(
    world: MemoryWorld,
    steps: Sequence[tuple],  # type: ignore[type-arg]
) -> None:
    world.live_through(steps)
    world.comes_to_rest()

    assert world.waiting == {}, world.engine
    assert world.engine.view.queue() == ()


@settings(max_examples=examples(12, 500), deadline=None)
@given(SLEEPY_WORLDS, st.lists(SLEEPY_STEPS, min_size=10, max_size=40))
def test_all_have_their_place_while_models_sleep_and_wake(
    world: MemoryWorld,
    steps: Sequence[tuple],  # type: ignore[type-arg]
) -> None:
    world.live_through(steps)
    world.comes_to_rest()

    assert world.waiting == {}, world.engine


@settings(max_examples=examples(20, 300), deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(MODELS, st.integers(1, 5))), st.permutations(MODELS))
def test_who_is_there_does_not_depend_on_the_order_or_explain_says_why(
    sizes: dict[str, int], order: list[str]
) -> None:
    world = MemoryWorld(
        {m: ModelSize({"gpu0": size * GIB}, "declared") for m, size in sizes.items()}, {}, "wait"
    )
    for model in order:
        world.serve(model)

    there = {m for m in MODELS if world.engine.view.state(m) == "ready"}
    if sum(sizes.values()) <= TOTALS["gpu0"]:
        assert there == set(MODELS)
    for model in set(MODELS) - there:
        told = world.engine.view.explain(model, world.now)
        assert "it was evicted" in told.models[0].why
        assert told.action == "start" or "of gpu0, where" in told.why
        assert {fit.model for fit in told.models if fit.verdict == "goes"} == set(told.stops)


def test_the_engine_of_a_world_counts_memory() -> None:
    world = MemoryWorld({}, {}, "wait")
    assert isinstance(world.engine, Engine)
    assert world.engine.view.counts_memory
