"""Who is to blame for a cut. Deciding, by one rule, so that nobody argues case by case."""

from dataclasses import dataclass
from enum import Enum

from .endings import Ending
from .matrix import Fault, Target

RULE = """\
Who is to blame is computed. A client that is cut knows that something broke, and asks again; that
is the least that is promised, and enough only where nothing better could be done:

1. The process that held the connection was killed or frozen by the fault, or was short of memory
   and ended by its C library, which aborts then; or it went with a supervisor that ended so: nobody
   can answer for a process that is not there.
2. The head of an answer of known length had been passed on when its model went: HTTP has no other
   way to say so. (A stream has its error frame; this is no excuse for one.)
3. For anything else only arriero is to blame, and for every hang, silent or odd end. A process that
   lacks descriptors, memory or disk still runs, and has to answer."""


class Blame(Enum):
    """Whose fault it was that a client did not get its answer or an error."""

    NOBODY = "nobody"
    INJECTED = "injected"
    UPSTREAM = "upstream"
    OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What was so when the client was cut.

    Attributes:
        fault: What was done.
        target: To whose process.
        held_by_target: The process that held the connection, if that is known, is the one that the
            fault hit. A connection that no process had accepted is held by nobody.
        aborted: That process was ended by its C library: exit code 127, or a signal.
        streams: It was promised a stream.
        begun: The head of an answer had come.
    """

    fault: Fault
    target: Target
    held_by_target: bool
    aborted: bool = False
    streams: bool
    begun: bool


def blame(ending: Ending, found: Circumstances) -> Blame:
    """Say who is to blame for `ending`."""
    if ending in {Ending.WHOLE, Ending.ERROR}:
        return Blame.NOBODY
    if ending is not Ending.CUT:
        return Blame.OURS  # a hang, or an end that is none, has no excuse
    ended = found.fault is Fault.SIGKILL or (found.fault is Fault.NO_MEMORY and found.aborted)
    unable = ended or found.fault is Fault.SIGSTOP
    if found.target is Target.WORKER and found.held_by_target and unable:
        return Blame.INJECTED
    if found.target is Target.SUPERVISOR and ended:
        return Blame.INJECTED  # promise 1: nothing survives it
    is_model = found.target in {Target.MODEL, Target.LLAMA_SERVER}
    if is_model and found.begun and not found.streams:
        return Blame.UPSTREAM
    return Blame.OURS
