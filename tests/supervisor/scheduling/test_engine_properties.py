"""The engine in a small world of honest workers and moody processes, driven by hypothesis.

The world keeps the promises of the lease protocol: a worker counts a granted request before it
reads a later revocation, and gives a lease back only when nothing runs on it. Whatever the order
of requests, ends, crashes, time and other configurations, and whoever may run beside whom, the
rules of the engine have to hold.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.placement.policy import left_running
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    BecameReady,
    Command,
    Event,
    Failing,
    FellAsleep,
    GrantLease,
    Hung,
    Left,
    OwnerLost,
    ProcessEnded,
    PutToSleep,
    Reconfigured,
    RefuseWaiter,
    Released,
    Reported,
    RevokeLease,
    SleepFailed,
    Spawn,
    Spawned,
    Spec,
    Stalled,
    Terminate,
    TimePassed,
    UnloadRequested,
    VoidLease,
    Waiter,
    Wake,
    Wanted,
    WokeUp,
)
from tests.examples import examples
from tests.supervisor.placement.policies import BUILDERS, MODELS, Builder

ERROR = ErrorInfo(code="model_load_failed", message="it ended")

# Models that take a limited number of requests: of these each one asks for a place.
PLACES = {"b": 2}


@dataclass
class Lease:
    number: int
    running: list[int] = field(default_factory=list)
    admits: bool = True
    until_idle: bool = False


@dataclass(frozen=True)
class Configuration:
    """What is in force: how each model is started, how urgent it is, and who runs beside whom."""

    launches: Mapping[str, str]
    priority: Mapping[str, int]
    build: Builder


class World:
    """Workers w0 and w1, and one process for each model."""

    def __init__(self, configuration: Configuration) -> None:
        self.use(configuration)
        self.engine = Engine(self.specs(), policy=self.policy)
        self.now = 0.0
        self.leases: dict[tuple[str, str], Lease] = {}
        self.waiting: dict[Waiter, str] = {}
        self.answered: set[Waiter] = set()
        self.left: set[Waiter] = set()
        self.processes: dict[str, int] = {}  # model -> swap, from spawn to end
        self.ending: set[str] = set()
        self.forced: set[str] = set()  # unloaded at once: running requests may be cut
        self.hung: set[str] = set()
        self.stalled: set[str] = set()  # its requests get no further
        self.asleep: set[str] = set()
        self.dozing: set[str] = set()  # told to sleep, or to wake
        self.insomniac: set[str] = set()  # it will do neither
        self.wire: deque[Event] = deque()  # said by workers, not yet heard by the engine
        self.numbers = 0
        self.started_as: dict[int, str] = {}  # swap -> launch
        self.placed: dict[Waiter, Lease] = {}  # those that run on one of the limited places

    def use(self, configuration: Configuration) -> None:
        self.launches, self.priority = configuration.launches, configuration.priority
        self.policy = configuration.build(self.launches.keys())

    def specs(self) -> tuple[Spec, ...]:
        return tuple(
            Spec(
                model=m,
                ttl_s=30 if m == "c" else 0,
                launch=launch,
                priority=self.priority.get(m, 0),
                drain_limit_s=20 if m != "a" else 0,
                most=PLACES.get(m, 0),
                sleeps=m in "bc",
            )
            for m, launch in self.launches.items()
        )

    def tell(self, event: Event) -> None:
        inbox = deque(self.engine.handle(event, self.now))
        while inbox:
            self.obey(inbox.popleft())
        self.check_that_nobody_waits_in_vain()

    def obey(self, command: Command) -> None:
        match command:
            case Spawn(model, swap, _):
                in_the_way = self.policy.evicted_by(model, self.awake)
                assert model not in self.processes
                assert not in_the_way, f"{model} beside {in_the_way}"
                self.processes[model] = swap
                self.started_as[swap] = self.launches[model]  # of a removed one: KeyError
            case PutToSleep(model, swap):
                assert self.processes[model] == swap
                busy = [
                    key for key, lease in self.leases.items() if key[1] == model and lease.running
                ]
                assert not busy, f"{busy} put to sleep"
                assert model not in self.ending | self.hung
                self.dozing.add(model)
            case Wake(model, swap):
                assert self.processes[model] == swap
                assert model in self.asleep - self.ending
                assert self.started_as[swap] == self.launches[model], "another start is wanted"
                in_the_way = self.policy.evicted_by(model, self.awake)
                assert not in_the_way, f"{model} is woken beside {in_the_way}"
                self.asleep.discard(model)
                self.dozing.add(model)
            case Terminate(model, swap, grace_s):
                assert self.processes[model] == swap
                assert grace_s == 0 or model not in self.hung
                busy = [
                    key for key, lease in self.leases.items() if key[1] == model and lease.running
                ]
                assert not busy or model in self.forced, f"{busy} cut"
                self.ending.add(model)
            case GrantLease(waiter, model, number, _, _):
                gone = waiter in self.left
                assert waiter not in self.answered, "answered twice"
                assert gone or self.waiting.pop(waiter) == model
                self.answered.add(waiter)
                assert model in self.processes
                assert model not in self.ending, "granted a model that was told to end"
                assert model not in self.asleep, "granted a model that sleeps"
                assert model in self.launches, "granted a model that was removed"
                lease = self.leases.get((waiter.owner, model))
                if lease is None or lease.number != number:
                    running = lease.running if lease is not None else []
                    lease = self.leases[waiter.owner, model] = Lease(number, running)
                if not gone:
                    lease.running.append(waiter.request)
                if model in PLACES and not gone:
                    self.placed[waiter] = lease
                    running = [
                        one
                        for key, it in self.leases.items()
                        if key[1] == model
                        for one in it.running
                    ]
                    assert len(running) <= PLACES[model]
            case RefuseWaiter(waiter, model, error):
                assert waiter not in self.answered, "answered twice"
                assert (error.code == "unknown_model") == (model not in self.launches)
                self.answered.add(waiter)
                self.waiting.pop(waiter, None)
            case RevokeLease(owner, model, number, when_idle, error):
                lease = self.leases.get((owner, model))
                if error is not None:
                    assert model in self.hung | self.stalled, "cut for nothing"
                if lease is not None and lease.number == number:
                    if error is not None:
                        lease.running.clear()
                    lease.until_idle = True
                    lease.admits = lease.admits and when_idle
            case VoidLease(owner, model, number):
                lease = self.leases.get((owner, model))
                if lease is not None and lease.number == number:
                    del self.leases[owner, model]
            case _:
                pass

    # --- what may happen ------------------------------------------------------------------------

    def ask(self, owner: str, model: str) -> None:
        self.numbers += 1
        lease = self.leases.get((owner, model))
        if lease is not None and lease.admits and model not in PLACES:
            lease.running.append(self.numbers)
            return
        waiter = Waiter(owner, self.numbers)
        self.waiting[waiter] = model
        self.wire.append(Wanted(waiter, model))

    def get(self, owner: str, model: str) -> None:
        """A request, and all that it needs to begin; if nothing is in its way."""
        self.ask(owner, model)
        self.deliver()
        self.process_moves(crash=False)

    def finish_one(self, which: int) -> None:
        busy = [lease for lease in self.leases.values() if lease.running]
        if busy:
            busy[which % len(busy)].running.pop()

    def free_places(self) -> None:
        """Say which requests have ended that had a place."""
        for waiter, lease in list(self.placed.items()):
            if waiter.request not in lease.running:
                del self.placed[waiter]
                self.wire.append(Left(waiter))

    def give_back(self) -> None:
        self.free_places()
        for (owner, model), lease in list(self.leases.items()):
            if lease.until_idle and not lease.running:
                del self.leases[owner, model]
                self.wire.append(Released(owner, model, lease.number))

    def leave(self, which: int) -> None:
        if self.waiting:
            waiter = list(self.waiting)[which % len(self.waiting)]
            del self.waiting[waiter]
            self.left.add(waiter)
            self.wire.append(Left(waiter))

    def deliver(self) -> None:
        self.free_places()
        while self.wire:
            self.tell(self.wire.popleft())

    def lose(self, owner: str) -> None:
        self.placed = {waiter: it for waiter, it in self.placed.items() if waiter.owner != owner}
        for key in [key for key in self.leases if key[0] == owner]:
            del self.leases[key]
        for waiter in [waiter for waiter in self.waiting if waiter.owner == owner]:
            del self.waiting[waiter]
            self.left.add(waiter)
        self.deliver()
        self.tell(OwnerLost(owner))
        for key in [key for key in self.leases if key[0] == owner]:
            del self.leases[key]  # granted on the way to the grave

    @property
    def is_quiet(self) -> bool:
        return not (self.waiting or self.wire) and all(
            self.engine.view.state(model) in {"ready", "asleep"} for model in self.processes
        )

    def fail_start(self, model: str) -> None:
        """What is being started dies."""
        if model in self.processes and self.engine.view.state(model) == "starting":
            swap = self.processes[model]
            self.forget(model)
            self.tell(ProcessEnded(model, swap, ERROR))

    def fall_ill(self, model: str, how: type[Hung] | type[Failing]) -> None:
        """It hangs, or answers with errors only, if it serves."""
        if model in self.processes and self.engine.view.state(model) in {"ready", "draining"}:
            if how is Hung:
                self.hung.add(model)
            self.tell(how(model, self.processes[model], ERROR, 0.0))
            assert self.engine.view.state(model) != "ready"

    def stall(self, model: str) -> None:
        if model in self.processes:
            self.stalled.add(model)
            self.tell(Stalled(model, self.processes[model], 25.0))

    @property
    def awake(self) -> list[str]:
        return [model for model in self.processes if model not in self.asleep]

    def forget(self, model: str) -> None:
        del self.processes[model]
        for group in (self.ending, self.forced, self.hung, self.stalled, self.asleep, self.dozing):
            group.discard(model)

    def lose_sleep(self, model: str) -> None:
        """It does not fall asleep any more, nor wake."""
        self.insomniac.add(model)

    def doze_off(self, model: str) -> None:
        """It falls asleep by itself, if it is idle."""
        busy = any(key[1] == model and lease.running for key, lease in self.leases.items())
        if model in self.processes and self.engine.view.state(model) == "ready" and not busy:
            self.tell(FellAsleep(model, self.processes[model]))
            if self.engine.view.state(model) == "asleep":
                self.asleep.add(model)
            elif self.engine.view.state(model) == "draining":
                self.tell(WokeUp(model, self.processes[model]))

    def wake_by_chance(self, model: str) -> None:
        if model in self.asleep:
            self.asleep.discard(model)
            self.tell(WokeUp(model, self.processes[model]))

    def sleep_or_wake(self, model: str, swap: int) -> None:
        """It does what it was told; or it cannot."""
        self.dozing.discard(model)
        if model in self.insomniac:
            self.tell(SleepFailed(model, swap))
        elif self.engine.view.state(model) == "starting":
            self.tell(BecameReady(model, swap))
        else:
            self.asleep.add(model)
            self.tell(FellAsleep(model, swap))
            assert self.engine.view.state(model) in {"asleep", "starting", "stopping"}

    def process_moves(self, *, crash: bool) -> None:
        for model, swap in list(self.processes.items()):
            if model in self.ending or crash:
                self.forget(model)
                self.tell(ProcessEnded(model, swap, ERROR))
            elif model in self.dozing:
                self.sleep_or_wake(model, swap)
            elif self.engine.view.state(model) == "starting":
                self.tell(Spawned(model, swap, 1, f"http://{model}"))
                self.tell(BecameReady(model, swap))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for owner in ("w0", "w1"):
            running = {
                model: len(lease.running)
                for (holder, model), lease in self.leases.items()
                if holder == owner and lease.running
            }
            self.tell(Reported(owner, running))
        self.tell(TimePassed())

    def unload(self, model: str, *, at_once: bool) -> None:
        if at_once:
            self.forced.add(model)
        self.tell(UnloadRequested(model, at_once=at_once))
        if model not in self.processes:
            self.forced.discard(model)

    def reconfigure(self, configuration: Configuration, *, drain: bool) -> None:
        self.use(configuration)
        launches = self.launches
        before = {name for name in self.processes if self.engine.view.state(name) == "ready"}
        was_waiting = bool(self.engine.view.queue())
        # A model that has been idle for its ttl, while it was leaving, goes with the next event.
        is_due = self.engine.next_deadline(self.now) <= self.now
        self.tell(Reconfigured(self.specs(), drain=drain, policy=self.policy))
        for model in self.processes:
            unchanged = self.started_as[self.processes[model]] == launches.get(model)
            if model in before and not (was_waiting or is_due) and (unchanged or not drain):
                assert model not in launches or self.engine.view.state(model) == "ready"
        self.check()

    def check(self) -> None:
        """What is known of the models fits the configuration and the processes."""
        found = self.engine.view.models(self.now, 0.0)
        assert {status.model for status in found if not status.removed} == set(self.launches)
        for status in found:
            if status.removed:
                assert status.model in self.processes, "a ghost"
                assert status.state in {"draining", "stopping"}
            swap = self.processes.get(status.model)
            is_stale = swap is not None and self.started_as[swap] != self.launches.get(status.model)
            assert status.removed or status.stale == is_stale

    def check_that_nobody_waits_in_vain(self) -> None:
        """Those that can run beside each other and all that is there are on their way.

        What is being stopped takes up its room until it has ended, also if it was asleep.
        """
        wanted = {entry.model for entry in self.engine.view.queue()}
        if self.policy.can_run_together(wanted.union(self.awake, self.ending)):
            found = {status.model: status for status in self.engine.view.models(self.now, 0.0)}
            waiting = {m for m in wanted if not found[m].retry_in_s and m not in self.awake}
            assert not waiting, f"{waiting} beside {set(self.processes)}"

    # --- stories --------------------------------------------------------------------------------

    def live_through(self, steps: Sequence[tuple]) -> None:  # type: ignore[type-arg]
        for name, *arguments in steps:
            match name:
                case "moves" | "crash":
                    self.process_moves(crash=name == "crash")
                case "unload":
                    if self.engine.view.knows(arguments[0]):
                        self.unload(arguments[0], at_once=arguments[1])
                case "reconfigure":
                    self.reconfigure(arguments[0], drain=arguments[1])
                case _:
                    getattr(self, name)(*arguments)

    def everything_goes_well(self, seconds: float) -> None:
        """All that runs ends, all that ends is gone, and all that starts is ready."""
        self.pass_time(seconds)
        for lease in self.leases.values():
            lease.running.clear()
        self.give_back()
        self.deliver()
        self.process_moves(crash=False)


# Most models stay as they are; None is one that was removed.
LAUNCHES = st.fixed_dictionaries({m: st.sampled_from(("1", "1", "2", None)) for m in MODELS}).map(
    lambda launches: {m: launch for m, launch in launches.items() if launch is not None}
)
PRIORITIES: st.SearchStrategy[dict[str, int]] = st.just({}) | st.dictionaries(
    st.sampled_from(MODELS), st.integers(-1, 1)
)
CONFIGURATIONS = st.builds(Configuration, LAUNCHES, PRIORITIES, BUILDERS)
STEPS_OF_ONE_CONFIGURATION = (
    st.tuples(st.just("ask"), st.sampled_from(("w0", "w1")), st.sampled_from(MODELS)),
    st.tuples(st.just("get"), st.sampled_from(("w0", "w1")), st.sampled_from(MODELS)),
    st.tuples(st.just("finish_one"), st.integers(0, 9)),
    st.tuples(st.just("give_back")),
    st.tuples(st.just("deliver")),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("lose"), st.sampled_from(("w0", "w1"))),
    st.tuples(st.just("moves")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("fail_start"), st.sampled_from(MODELS)),
    st.tuples(st.just("fall_ill"), st.sampled_from(MODELS), st.sampled_from((Hung, Failing))),
    st.tuples(st.just("stall"), st.sampled_from(MODELS)),
    st.tuples(st.just("lose_sleep"), st.sampled_from(MODELS)),
    st.tuples(st.just("doze_off"), st.sampled_from(MODELS)),
    st.tuples(st.just("wake_by_chance"), st.sampled_from(MODELS)),
    st.tuples(st.just("pass_time"), st.sampled_from((0.1, 1.0, 11.0, 40.0))),
    st.tuples(st.just("unload"), st.sampled_from(MODELS), st.booleans()),
)
STEPS = st.one_of(
    *STEPS_OF_ONE_CONFIGURATION,
    st.tuples(st.just("reconfigure"), CONFIGURATIONS, st.booleans()),
)


# Lists that may be empty are short in the mean, and in a short story no model gets ready.
STORIES = st.lists(STEPS, max_size=10) | st.lists(STEPS, min_size=20, max_size=60)


@settings(max_examples=examples(60, 300), deadline=None)
@given(CONFIGURATIONS, STORIES)
def test_the_rules_hold_and_everybody_is_served_in_the_end(
    configuration: Configuration,
    steps: list[tuple],  # type: ignore[type-arg]
) -> None:
    world = World(configuration)
    world.live_through(steps)
    for _ in range(60):
        world.everything_goes_well(31)

    assert world.waiting == {}, world.engine
    assert world.engine.view.queue() == ()
    assert {status.model for status in world.engine.view.models(world.now, 0.0)} == set(
        world.launches
    )


@settings(max_examples=examples(20, 100), deadline=None)
@given(CONFIGURATIONS, STORIES, st.sampled_from(MODELS), st.booleans())
def test_what_ran_before_a_swap_that_failed_runs_again(
    configuration: Configuration,
    steps: list[tuple],  # type: ignore[type-arg]
    model: str,
    hesitates: bool,
) -> None:
    world = World(configuration)
    world.live_through(steps)
    for _ in range(60):
        world.everything_goes_well(2)
        if world.is_quiet:
            break
    before = set(world.awake)
    if model not in world.launches or model in before:
        return
    if set(left_running(sorted(before, key=world.engine.view.swap), world.policy)) != before:
        return  # they have outlived another configuration, and do not fit any more

    world.ask("w0", model)
    for lease in world.leases.values():
        lease.running.clear()
    for _ in range(10):
        world.deliver()
        world.give_back()
        world.deliver()
        if hesitates:
            world.pass_time(0.1)
        world.fail_start(model)
        world.fail_start(model)  # if it could not be woken, it was started from nothing
        world.process_moves(crash=False)

    assert set(world.awake) == before
    assert all(world.engine.view.state(name) == "ready" for name in before)


@settings(max_examples=examples(10, 40), deadline=None)
@given(CONFIGURATIONS, STORIES, st.sampled_from(MODELS[1:]))
def test_a_model_that_hangs_keeps_nobody_waiting(
    configuration: Configuration,
    steps: list[tuple],  # type: ignore[type-arg]
    model: str,
) -> None:
    """None of its requests ends, and it does not obey; that is noticed, and all others go on."""
    world = World(configuration)
    world.live_through(steps)
    for _ in range(20):
        for name in world.launches:
            world.get("w0", name)
        world.pass_time(25)
        if model in world.processes and world.engine.view.state(model) in {"ready", "draining"}:
            world.fall_ill(model, Hung)
        for (_, name), lease in world.leases.items():
            if name != model:
                lease.running.clear()
        world.give_back()
        world.deliver()
        world.process_moves(crash=False)
    for _ in range(20):
        world.everything_goes_well(31)

    assert world.waiting == {}, world.engine


TRAFFIC = st.lists(
    st.tuples(st.sampled_from(("w0", "w1")), st.sampled_from(MODELS)), min_size=1, max_size=12
)


@settings(max_examples=examples(25, 120), deadline=None)
@given(CONFIGURATIONS, STORIES, TRAFFIC)
def test_no_traffic_without_priority_keeps_anybody_from_a_turn(
    configuration: Configuration,
    steps: list[tuple],  # type: ignore[type-arg]
    traffic: list[tuple[str, str]],
) -> None:
    """Each model ahead costs a drain of up to `max_wait_s`, an end and a start.

    Requests overlap: no model that gets new ones is ever idle by itself.
    """
    world = World(configuration)
    world.live_through(steps)
    world.reconfigure(Configuration(world.launches, {}, configuration.build), drain=False)
    world.deliver()
    patient = set(world.waiting)
    for _ in range(8 * len(MODELS)):
        before = world.numbers
        for owner, model in traffic:
            if model in world.launches:
                world.ask(owner, model)
        world.deliver()
        for lease in world.leases.values():
            lease.running = [number for number in lease.running if number > before]
        world.give_back()
        world.deliver()
        world.process_moves(crash=False)
        world.pass_time(6)

    assert patient.isdisjoint(world.waiting), world.engine
