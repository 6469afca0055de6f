"""The engine in a small world of honest workers and moody processes, driven by hypothesis.

The world keeps the promises of the lease protocol: a worker counts a granted request before it
reads a later revocation, and gives a lease back only when nothing runs on it. Whatever the order
of requests, ends, crashes and time, the rules of the engine have to hold.
"""

from collections import deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.engine import Engine
from arriero.supervisor.happenings import (
    CameUp,
    Command,
    Ended,
    Grant,
    Happening,
    Left,
    OwnerLost,
    Refuse,
    Released,
    Reported,
    Revoke,
    Spawn,
    Spawned,
    Spec,
    Terminate,
    TimePassed,
    UnloadAsked,
    Void,
    Waiter,
    Wanted,
)

MODELS = ("a", "b", "c")
ERROR = ErrorInfo(code="model_load_failed", message="it ended")


@dataclass
class Lease:
    number: int
    running: list[int] = field(default_factory=list)
    admits: bool = True
    until_idle: bool = False


class World:
    """Workers w0 and w1, and one process for each model."""

    def __init__(self) -> None:
        self.engine = Engine([Spec(model=m, ttl_s=30 if m == "c" else 0) for m in MODELS])
        self.now = 0.0
        self.leases: dict[tuple[str, str], Lease] = {}
        self.waiting: dict[Waiter, str] = {}
        self.answered: set[Waiter] = set()
        self.left: set[Waiter] = set()
        self.processes: dict[str, int] = {}  # model -> swap, from spawn to end
        self.ending: set[str] = set()
        self.forced: set[str] = set()  # unloaded at once: running requests may be cut
        self.wire: deque[Happening] = deque()  # said by workers, not yet heard by the engine
        self.numbers = 0

    def tell(self, happening: Happening) -> None:
        inbox = deque(self.engine.handle(happening, self.now))
        while inbox:
            self.obey(inbox.popleft())

    def obey(self, command: Command) -> None:
        match command:
            case Spawn(model, swap):
                assert not self.processes, "two processes at once"
                self.processes[model] = swap
            case Terminate(model, swap, _):
                assert self.processes[model] == swap
                busy = [
                    key for key, lease in self.leases.items() if key[1] == model and lease.running
                ]
                assert not busy or model in self.forced, f"{busy} cut"
                self.ending.add(model)
            case Grant(waiter, model, number, _, _):
                gone = waiter in self.left
                assert waiter not in self.answered, "answered twice"
                assert gone or self.waiting.pop(waiter) == model
                self.answered.add(waiter)
                assert model in self.processes
                assert model not in self.ending, "granted a model that was told to end"
                lease = self.leases.get((waiter.owner, model))
                if lease is None or lease.number != number:
                    running = lease.running if lease is not None else []
                    lease = self.leases[waiter.owner, model] = Lease(number, running)
                if not gone:
                    lease.running.append(waiter.request)
            case Refuse(waiter, _, _):
                assert waiter not in self.answered, "answered twice"
                self.answered.add(waiter)
                self.waiting.pop(waiter, None)
            case Revoke(owner, model, number, when_idle):
                lease = self.leases.get((owner, model))
                if lease is not None and lease.number == number:
                    lease.until_idle = True
                    lease.admits = lease.admits and when_idle
            case Void(owner, model, number):
                lease = self.leases.get((owner, model))
                if lease is not None and lease.number == number:
                    del self.leases[owner, model]
            case _:
                pass

    # --- what may happen ------------------------------------------------------------------------

    def ask(self, owner: str, model: str) -> None:
        self.numbers += 1
        lease = self.leases.get((owner, model))
        if lease is not None and lease.admits:
            lease.running.append(self.numbers)
            return
        waiter = Waiter(owner, self.numbers)
        self.waiting[waiter] = model
        self.wire.append(Wanted(waiter, model))

    def finish_one(self, which: int) -> None:
        busy = [lease for lease in self.leases.values() if lease.running]
        if busy:
            busy[which % len(busy)].running.pop()

    def give_back(self) -> None:
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
        while self.wire:
            self.tell(self.wire.popleft())

    def lose(self, owner: str) -> None:
        for key in [key for key in self.leases if key[0] == owner]:
            del self.leases[key]
        for waiter in [waiter for waiter in self.waiting if waiter.owner == owner]:
            del self.waiting[waiter]
            self.left.add(waiter)
        self.deliver()
        self.tell(OwnerLost(owner))
        for key in [key for key in self.leases if key[0] == owner]:
            del self.leases[key]  # granted on the way to the grave

    def process_moves(self, *, crash: bool) -> None:
        for model, swap in list(self.processes.items()):
            if model in self.ending or crash:
                del self.processes[model]
                self.ending.discard(model)
                self.forced.discard(model)
                self.tell(Ended(model, swap, ERROR))
            elif self.engine.state(model) == "starting":
                self.tell(Spawned(model, swap, 1, f"http://{model}"))
                self.tell(CameUp(model, swap))

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
        self.tell(UnloadAsked(model, at_once=at_once))
        if model not in self.processes:
            self.forced.discard(model)


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(("w0", "w1")), st.sampled_from(MODELS)),
    st.tuples(st.just("finish_one"), st.integers(0, 9)),
    st.tuples(st.just("give_back")),
    st.tuples(st.just("deliver")),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("lose"), st.sampled_from(("w0", "w1"))),
    st.tuples(st.just("moves")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("pass_time"), st.sampled_from((0.1, 1.0, 11.0, 40.0))),
    st.tuples(st.just("unload"), st.sampled_from(MODELS), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_the_rules_hold_and_everybody_is_served_in_the_end(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    world = World()
    for name, *arguments in steps:
        match name:
            case "moves" | "crash":
                world.process_moves(crash=name == "crash")
            case "unload":
                world.unload(arguments[0], at_once=arguments[1])
            case _:
                getattr(world, name)(*arguments)

    for _ in range(60):  # from here on everything goes well, and takes its time
        world.pass_time(31)
        for _ in range(80):
            world.finish_one(0)
        world.give_back()
        world.deliver()
        world.process_moves(crash=False)

    assert world.waiting == {}, world.engine
    assert world.engine.queue() == ()
