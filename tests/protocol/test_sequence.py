import pytest

from arriero.protocol.events import AnyEvent, Heartbeat, LogLine, StateChanged
from arriero.protocol.sequence import Sequence, Verdict
from arriero.protocol.values import Snapshot


def state(seq: int, epoch: str = "e") -> AnyEvent:
    return StateChanged(model="a", state="ready", swap=1, seq=seq, epoch=epoch)


@pytest.fixture
def sequence() -> Sequence:
    sequence = Sequence()
    sequence.restart(Snapshot(epoch="e", seq=5, t=0.0, models=()))
    return sequence


def test_the_next_one_follows_and_the_same_again_is_old(sequence: Sequence) -> None:
    assert [sequence.judge(state(n)) for n in (6, 7, 7, 5)] == [
        Verdict.FOLLOWS,
        Verdict.FOLLOWS,
        Verdict.OLD,
        Verdict.OLD,
    ]


def test_a_hole_is_a_gap_until_a_snapshot_closes_it(sequence: Sequence) -> None:
    assert sequence.judge(state(8)) is Verdict.GAP
    assert sequence.judge(state(9)) is Verdict.GAP
    sequence.restart(Snapshot(epoch="e", seq=9, t=0.0, models=()))
    assert sequence.judge(state(9)) is Verdict.OLD
    assert sequence.judge(state(10)) is Verdict.FOLLOWS


def test_another_epoch_is_a_gap(sequence: Sequence) -> None:
    assert sequence.judge(state(6, epoch="f")) is Verdict.GAP


def test_a_heartbeat_tells_of_a_lost_last_event(sequence: Sequence) -> None:
    assert sequence.judge(Heartbeat(seq=5, epoch="e")) is Verdict.OLD
    assert sequence.judge(Heartbeat(seq=6, epoch="e")) is Verdict.GAP


def test_log_lines_may_begin_anywhere_and_have_their_own_numbers(sequence: Sequence) -> None:
    def line(seq: int) -> AnyEvent:
        return LogLine(model="a", line="x", stream="stderr", seq=seq, epoch="e")

    verdicts = [sequence.judge(line(seq)) for seq in (90, 91, 93)]
    assert verdicts == [Verdict.FOLLOWS, Verdict.FOLLOWS, Verdict.GAP]
    assert sequence.judge(state(6)) is Verdict.FOLLOWS
