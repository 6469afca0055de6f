"""How long and how often, and what every measurement is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .targets.servers import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Lengths and numbers.

    Attributes:
        rounds: How often each target is measured in each way; the median is shown.
        each_step: Take so many rounds also of steps of which one would be enough.
        load_s: Seconds of a run of wrk with many connections.
        single_s: Seconds of a run of wrk with one connection.
        paced_rounds: Paced streams one after the other, on each of 16 connections.
        swaps: Swaps to see how late readiness is noticed.
        memory_requests: Small requests before memory is looked at again.
        memory_streams: Streams before that.
        memory_within_s: Seconds that each of the two may take.
        memory_idle_s: Seconds without a request, after which memory is looked at once more.
        starts: Starts of a proxy.
        model_starts: Starts of models nobody has to stop for.
        real_swaps: Swaps between two real models.
        disk_pairs: Starts and swaps from disk, each beside one by hand.
        waiters: Numbers of clients that wait for one model.
        wait_s: Seconds that it loads.
        events: Requests, each of which makes an event for 50 subscribers.
        control_trips: Questions on the control socket.
        idle_models: Models that run and are asked nothing.
        idle_s: For so many seconds.
        uploads: Files of 100 MB.
        page_models: Models that the page for people shows.
        page_rounds: How often it is opened, and the plain one.
        page_s: For so many seconds.
    """

    rounds: int = 3
    each_step: bool = False
    load_s: float = 4.0
    single_s: float = 3.0
    paced_rounds: int = 3
    swaps: int = 20
    memory_requests: int = 100_000
    memory_streams: int = 20_000
    memory_within_s: float = 60.0
    memory_idle_s: float = 70.0
    starts: int = 5
    model_starts: int = 10
    real_swaps: int = 8
    disk_pairs: int = 8
    waiters: tuple[int, ...] = (1000, 5000)
    wait_s: float = 12.0
    events: int = 500
    control_trips: int = 2000
    idle_models: int = 200
    idle_s: float = 10.0
    uploads: int = 3
    page_models: int = 200
    page_rounds: int = 5
    page_s: float = 5.0

    def rounds_of(self, step: "Step") -> int:
        """How often to take `step`."""
        return 1 if step.once or (step.sampled and not self.each_step) else self.rounds


QUICK = Plan(
    rounds=1,
    load_s=1.0,
    single_s=1.0,
    paced_rounds=1,
    swaps=4,
    memory_requests=1000,
    memory_streams=100,
    memory_idle_s=1.0,
    starts=2,
    model_starts=3,
    real_swaps=1,
    disk_pairs=1,
    waiters=(1000,),
    wait_s=6.0,
    events=50,
    control_trips=200,
    idle_models=20,
    idle_s=3.0,
    uploads=1,
    page_rounds=1,
    page_s=2.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One way to measure a target, which gives the figures of one or more rows.

    Attributes:
        name: What is shown while it runs.
        rows: The names of these rows.
        measure: Plan, target and a new folder -> row -> figure; ``errors`` may be among them.
        kinds: Of which kinds of targets.
        needs: Programs without which it is left out.
        sampled: It takes many samples; so one round is enough, but to compare two versions.
        once: One round is enough always.
        own: It starts processes of its own, when all targets have been ended.
        most: Only targets with the largest number of workers.
    """

    name: str
    rows: tuple[str, ...]
    measure: Callable[[Plan, Target, Path], dict[str, float]]
    kinds: tuple[str, ...] = ("direct", "nginx", "llama-swap", "arriero")
    needs: tuple[str, ...] = ()
    sampled: bool = False
    once: bool = False
    own: bool = False
    most: bool = False
