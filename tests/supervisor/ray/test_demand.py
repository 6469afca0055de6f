"""What a start needs of a machine, and why no machine has it."""

from arriero.protocol.remote.launch import Demand, Placed, PlacePending, ServerHeld
from arriero.supervisor.memory.sizes import ModelSize
from arriero.supervisor.ray.demand import RayNode, memory_of, wanted, why_pending
from arriero.supervisor.ray.words import (
    TetherOrder,
    passed_line,
    read_word,
    said_line,
    tether_order,
    variable_for_tether,
)

GIB = 1024**3


def node(free: float, cpus: float = 4.0, **more: float) -> RayNode:
    total = {"CPU": cpus, "memory": 8.0 * GIB, **more}
    return RayNode("n", total, {name: count * free for name, count in total.items()})


def test_why_no_machine_takes_it() -> None:
    needs = Demand(cpus=1, gpus=2, memory=6 * GIB, resources={"rare": 1})
    small, full, good = node(1.0), node(0.0, GPU=2, rare=1), node(1.0, GPU=2, rare=1)

    assert wanted(needs) == {"CPU": 1, "GPU": 2, "memory": 6.0 * GIB, "rare": 1}
    assert why_pending(needs, [], counts_use=True) == "no machine is there"
    assert why_pending(needs, [small], counts_use=True) == "no machine has 2 GPUs and 1 of rare"
    parts = [node(1.0, GPU=2), node(1.0, rare=1)]
    assert why_pending(needs, parts, counts_use=True) == (
        "no machine has 1 CPU and 2 GPUs and 6.0 GiB of memory and 1 of rare"
    )
    assert why_pending(needs, [small, full], counts_use=True) == (
        "all machines that are large enough are in use"
    )
    assert why_pending(needs, [small, full], counts_use=False) == ""
    assert why_pending(needs, [small, full, good], counts_use=True) == ""
    assert wanted(Demand()) == {}


def test_unknown_size_asks_for_no_memory() -> None:
    assert memory_of(ModelSize({"ram": 5, "gpu0": 7}, "declared")) == 5
    assert memory_of(ModelSize({"gpu0": 7}, "estimated")) == 0
    assert memory_of(ModelSize({"ram": 5}, "unknown")) == 0


def test_no_line_of_a_server_is_a_word_of_its_tether() -> None:
    placed = Placed(node="n", name="box", host="10.0.0.7", port=1, key="k")
    for word in (placed, PlacePending(why="w\nw"), ServerHeld(done=1, total=2)):
        line = said_line(word)
        assert read_word(line.rstrip(b"\n")) == word
        assert read_word(passed_line(line.rstrip(b"\n")).rstrip(b"\n")) is None
    assert passed_line(b"llama") == b"llama\n"
    for broken in (b"arriero-tether ", b"arriero-tether {}", b"arriero-tether " + b"[" * 2000):
        assert read_word(broken) is None


def test_order_of_a_tether_comes_as_it_was_given() -> None:
    order = TetherOrder(
        bridge="/run/ray.sock",
        model="a b",
        command=("x", "-y"),
        env={"KEY": "secret"},
        memory={},
        cpus=1.0,
        gpus=0.5,
        resources={"rare": 2.0},
    )
    assert tether_order(variable_for_tether(order)) == order
