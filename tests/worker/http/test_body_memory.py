import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arriero.worker.errors import BodyMemoryFull
from arriero.worker.http.body_memory import BodyMemory, MemoryHold

LIMIT = 100


class Bodies(RuleBasedStateMachine):
    """Connections that hold bodies, and a sum beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = BodyMemory(LIMIT)
        self.holds = [MemoryHold(self.memory) for _ in range(3)]
        self.wanted = [0, 0, 0]

    @rule(which=st.integers(0, 2), count=st.integers(0, 120))
    def grow(self, which: int, count: int) -> None:
        fits = sum(self.wanted) + count <= self.memory.limit_bytes
        try:
            self.holds[which].grow(count)
        except BodyMemoryFull:
            assert not fits
        else:
            assert fits
            self.wanted[which] += count

    @rule(which=st.integers(0, 2))
    def release(self, which: int) -> None:
        self.holds[which].release()
        self.wanted[which] = 0

    @rule(limit=st.integers(0, 200))
    def reload(self, limit: int) -> None:
        self.memory.limit_bytes = limit

    @invariant()
    def the_sum_is_right(self) -> None:
        assert [hold.held_bytes for hold in self.holds] == self.wanted
        assert self.memory.held_bytes == sum(self.wanted)


test_whatever_happens_the_sum_is_right = Bodies.TestCase


@given(st.integers(0, LIMIT), st.integers(0, 2 * LIMIT))
def test_to_check_is_not_to_hold(held: int, count: int) -> None:
    memory = BodyMemory(LIMIT)
    hold = MemoryHold(memory)
    hold.grow(held)
    if held + count > LIMIT:
        with pytest.raises(BodyMemoryFull, match=r"100 bytes \('bodyMemory'"):
            hold.check(count)
    else:
        hold.check(count)
    assert memory.held_bytes == held
