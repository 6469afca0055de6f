"""Which machine answers: tables, and what is true of all."""

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arriero.supervisor.peers.choice import LOCAL, Candidate, choose
from tests.examples import examples


def at(host: str, state: str | None = "ready", **more: Any) -> Candidate:
    target = "qwen" if host == LOCAL else f"{host}/qwen"
    return msgspec.convert({"target": target, "host": host, "state": state, **more}, Candidate)


HERE, COLD_HERE = at(LOCAL, slots=4), at(LOCAL, "stopped", slots=4, wait_s=10.0)
WANTED_HERE = at(LOCAL, "stopped", slots=4, wait_s=10.0, waiting=1)


@pytest.mark.parametrize(
    ("candidates", "order"),
    [
        ([], ""),
        ([at("box2", usable=False)], ""),
        # in memory, then unknown, then being loaded, then not
        (
            [at("d", "asleep"), at("c", "starting"), at("b", None), at("a")],
            "a b c d",
        ),
        # the least busy one, as a share of its slots; of equal ones this machine
        ([at("box2", slots=4), HERE], "here box2"),
        ([at("box2", slots=4), at(LOCAL, slots=4, running=1)], "box2 here"),
        ([at("box2", slots=8, running=3), at(LOCAL, slots=4, running=2)], "box2 here"),
        # one that has it and a queue, and one that would be quicker with its load
        ([at("box2", "stopped", wait_s=9.0), at(LOCAL, running=4, wait_s=19.0)], "here box2"),
        ([at("box2", "stopped", wait_s=9.0), at(LOCAL, running=4, wait_s=21.0)], "box2 here"),
        # the same if it is being loaded there: less is enough
        ([at("box2", "starting", wait_s=9.0), at(LOCAL, running=4, wait_s=12.0)], "here box2"),
        ([at("box2", "starting", wait_s=9.0), at(LOCAL, running=4, wait_s=13.0)], "box2 here"),
        # where it is waited for it will be loaded, though nobody has heard of it yet
        ([at("box2", "stopped", wait_s=10.0, waiting=1), COLD_HERE], "box2 here"),
        ([at("box2", "stopped", wait_s=10.0), WANTED_HERE], "here box2"),
        # not loaded anywhere: where it takes plainly less long
        ([at("box2", "stopped", wait_s=40.0), COLD_HERE], "here box2"),
        ([at("box2", "stopped", wait_s=3.0), COLD_HERE], "box2 here"),
    ],
)  # fmt: skip
def test_who_is_the_first(candidates: list[Candidate], order: str) -> None:
    for ones in (candidates, candidates[::-1]):
        found = choose("qwen", ones)

        assert [it.partition("/")[0] for it in found.targets] == [
            "qwen" if host == "here" else host for host in order.split()
        ]


@pytest.mark.parametrize(
    ("candidates", "tried", "reason"),
    [
        ([], (), "no machine has it"),
        ([at("a", usable=False)], (), "none of 1 machines that have it can be reached"),
        ([at("a")], ("a/qwen",), "none of 1 machines that have it is left: they have failed, or "
                                 "cannot be reached"),
        ([HERE], (), "this machine is the only one that has it"),
        ([HERE, at("box2")], ("qwen",), "'box2' is the only one that is left"),
        ([HERE, at("box2", "stopped")], (), "this machine has it in memory"),
        ([HERE, at("box2")], (), "this machine has it in memory; it is the least busy one"),
        ([at("a", None), at("b", "stopped", wait_s=10)], (),
         "'a' does not tell whether it has it in memory"),
        ([at("a", "starting", wait_s=7), at("b", "stopped", wait_s=10)], (),
         "'a' is loading it; ready in about 7.0 s"),
        ([at("a", "stopped", wait_s=10), at("b", "stopped", wait_s=40)], (),
         "'a' would have to load it; ready in about 10 s"),
        ([at(LOCAL, running=9, wait_s=60), at("b", "stopped", wait_s=8)], (),
         "'b' would have to load it; it is quicker there (8.0 s) than at this machine (60 s)"),
    ],
)  # fmt: skip
def test_the_reason_in_words(
    candidates: list[Candidate], tried: tuple[str, ...], reason: str
) -> None:
    assert choose("qwen", candidates, tried=tried).reason == reason


def test_a_prompt_finds_its_cache_again() -> None:
    hosts = [at(LOCAL, slots=4), at("box2", slots=4), at("box3", slots=8)]
    home = {bytes([n]): choose("qwen", hosts, key=bytes([n])).targets[0] for n in range(256)}
    counts = Counter(home.values())

    assert counts["box3/qwen"] == pytest.approx(128, abs=32)  # twice the slots, twice the prompts
    assert counts["qwen"] == pytest.approx(64, abs=24)
    with_another = [*hosts, at("box4", slots=4)]
    for key, target in home.items():
        busy = [
            msgspec.structs.replace(one, running=one.slots - 1 if one.target == target else 0)
            for one in hosts
        ]
        assert choose("qwen", busy, key=key).targets[0] == target
        assert choose("qwen", with_another, key=key).targets[0] in (target, "box4/qwen")
        gone = choose("qwen", hosts, key=key, tried={target}).targets[0]
        assert gone == choose("qwen", hosts, key=key).targets[1] != target


def test_a_popular_prompt_spills() -> None:
    """One prefix for all: nobody gets much more than the average, and the first one stays full."""
    running: Counter[str] = Counter()
    for number in range(1, 200):
        hosts = [
            at(host, slots=4, running=min(running[host], 4), waiting=max(0, running[host] - 4))
            for host in "abcde"
        ]
        found = choose("qwen", hosts, key=b"system prompt")
        running[found.targets[0][0]] += 1

        assert max(running.values()) <= max(5, 1.25 * number / 5 + 1)
        if number == 6:
            assert "is busy" in found.reason
    assert min(running.values()) > 20


def test_a_name_is_loaded_at_one_place() -> None:
    """Whatever the prompts are: else each of them would load it somewhere else."""
    cold = [
        at(host, "stopped", wait_s=wait_s) for host, wait_s in zip("abc", (8, 9, 10), strict=True)
    ]
    firsts = [
        {choose(f"m{n}", cold, key=key).targets[0] for key in (b"", b"1", b"2", b"3")}
        for n in range(60)
    ]

    assert all(len(found) == 1 for found in firsts)
    assert min(Counter(found.pop() for found in firsts).values()) > 10


CANDIDATES = st.lists(
    st.builds(
        at,
        st.sampled_from(["", *"abcdef"]),
        st.sampled_from([None, "stopped", "starting", "ready", "draining", "stopping", "asleep"]),
        running=st.integers(0, 10**6),
        waiting=st.integers(0, 10**6) | st.just(0),
        slots=st.integers(0, 256),
        wait_s=st.floats(0, 1e6),
        usable=st.booleans() | st.just(True),
    ),
    max_size=7,
    unique_by=lambda one: one.host,
)


@settings(max_examples=examples(60, 5000))
@given(CANDIDATES, st.binary(max_size=3), st.sets(st.sampled_from(["qwen", "a/qwen", "b/qwen"])))
def test_the_choice_of_any(candidates: list[Candidate], key: bytes, tried: set[str]) -> None:
    found = choose("qwen", candidates, key=key, tried=tried)
    left = {one.target: one for one in candidates if one.usable and one.target not in tried}

    assert sorted(found.targets) == sorted(left)
    assert found.reason
    mixed = random.Random(1).sample(candidates, len(candidates))
    assert choose("qwen", mixed, key=key, tried=tried) == found
    if left:  # nobody waits plainly longer than he would elsewhere
        first = left[found.targets[0]]
        assert all(first.wait_s <= 2 * one.wait_s + 2 for one in left.values())


@settings(max_examples=examples(30, 2000))
@given(CANDIDATES, st.binary(min_size=1, max_size=3), st.floats(0.9, 1.1))
def test_a_small_change_of_waits_moves_nobody(
    candidates: list[Candidate], key: bytes, by: float
) -> None:
    """Among idle machines that have it, or that would take about as long to load it."""
    for state, wait_s in (("ready", 0.0), ("stopped", 10.0), ("starting", 10.0)):
        alike = [
            msgspec.structs.replace(one, state=state, wait_s=wait_s, running=0, waiting=0)
            for one in candidates
        ]
        changed = [
            msgspec.structs.replace(one, wait_s=one.wait_s * (by if n % 2 else 1.0))
            for n, one in enumerate(alike)
        ]
        assert choose("qwen", alike, key=key).targets == choose("qwen", changed, key=key).targets
