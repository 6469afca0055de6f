"""Who is to blame for an ending, by table."""

from itertools import product

import pytest

from .blame import Blame, Circumstances, blame
from .endings import Ending
from .matrix import Fault, Target

S, W, M = Target.SUPERVISOR, Target.WORKER, Target.MODEL


def circumstances(
    fault: Fault,
    target: Target,
    *,
    held: bool = False,
    aborted: bool = False,
    streams: bool = True,
    begun: bool = True,
) -> Circumstances:
    return Circumstances(
        fault=fault,
        target=target,
        held_by_target=held,
        aborted=aborted,
        streams=streams,
        begun=begun,
    )


@pytest.mark.parametrize(
    ("found", "who"),
    [
        (circumstances(Fault.SIGKILL, W, held=True), Blame.INJECTED),
        (circumstances(Fault.SIGSTOP, W, held=True), Blame.INJECTED),
        (circumstances(Fault.SIGKILL, W, held=False), Blame.OURS),
        (circumstances(Fault.NO_FD, W, held=True), Blame.OURS),
        (circumstances(Fault.NO_FD, W, held=True, aborted=True), Blame.OURS),
        (circumstances(Fault.NO_MEMORY, W, held=True), Blame.OURS),
        (circumstances(Fault.NO_MEMORY, W, held=True, aborted=True), Blame.INJECTED),
        (circumstances(Fault.NO_MEMORY, W, held=False, aborted=True), Blame.OURS),
        (circumstances(Fault.DISK_TMP, W, held=True), Blame.OURS),
        (circumstances(Fault.SIGKILL, S), Blame.INJECTED),
        (circumstances(Fault.SIGSTOP, S), Blame.OURS),
        (circumstances(Fault.NO_MEMORY, S, aborted=True), Blame.INJECTED),
        (circumstances(Fault.NO_MEMORY, S), Blame.OURS),
        (circumstances(Fault.SIGKILL, M, streams=True), Blame.OURS),
        (circumstances(Fault.SIGKILL, M, streams=False, begun=True), Blame.UPSTREAM),
        (circumstances(Fault.SIGKILL, M, streams=False, begun=False), Blame.OURS),
    ],
)
def test_a_cut_has_somebody_to_blame(found: Circumstances, who: Blame) -> None:
    assert blame(Ending.CUT, found) is who


@pytest.mark.parametrize(("fault", "target"), list(product(Fault, Target)))
def test_for_a_hang_or_a_false_end_there_is_no_excuse(fault: Fault, target: Target) -> None:
    found = circumstances(fault, target, held=True, aborted=True, streams=False)
    for ending in (Ending.HANG, Ending.SILENT, Ending.ODD):
        assert blame(ending, found) is Blame.OURS
    for ending in (Ending.WHOLE, Ending.ERROR):
        assert blame(ending, found) is Blame.NOBODY
