"""Retries of a start that ended too early: when, and how.

Three ends are no fault of the model: another program has taken its port between the choice of it
and the moment at which the server binds it (two supervisors with the same ``startPort``, say);
llama-server has ended itself because it was asked for its report without holding our pipe; its
machine was lost.
"""

import re
from typing import Final, Literal, TypeAlias

from ...processes.process import Exit

Otherwise: TypeAlias = Literal["another port", "no report", "another machine"]

# Starts of one model, one after the other, until its port is not taken by others.
MAX_TRIES: Final = 6

# Seconds from being ready to an end that still has to do with the start. llama-server ends itself
# within a millisecond; a loaded machine needs longer.
EARLY_S: Final = 5.0

# Messages of servers that cannot bind their port. llama.cpp, uvicorn, Go, Node, Rust.
_PORT_TAKEN: Final = re.compile(
    r"(?i)address (?:is )?already in use|addr(?:ess)?inuse|couldn't bind|errno 98|"
    r"(?:bind|listen).{0,40}address.{0,20}in use|port \S{0,8} ?is (?:already )?(?:in use|taken)"
)
_WITHOUT_PIPE: Final = re.compile(r"EOF on stdin detected")


def complains_of_port(line: str) -> bool:
    """Return whether `line` reports that the port cannot be had."""
    return _PORT_TAKEN.search(line) is not None


def ended_without_pipe(
    end: Exit, *, reported: bool, is_itself: bool, ready_for_s: float | None
) -> bool:
    """Return whether it ended for lack of our pipe as standard input.

    Or may well have.

    Its own reason is often lost, for its log has no time to be written; so is its report.

    Args:
        end: How it ended.
        reported: It was asked for its report.
        is_itself: What was started is llama-server, and has our pipe unless it gave it away.
        ready_for_s: Seconds since it was ready; None: it never was.
    """
    if end.asked or end.code is None or end.code < 0 or not reported:
        return False
    if ready_for_s is None:
        return not is_itself or any(map(_WITHOUT_PIPE.search, end.tail))
    return ready_for_s < EARLY_S


def how_to_try_again(
    end: Exit, *, displaced: bool, chooses_port: bool, without_pipe: bool
) -> Otherwise | None:
    """Return how a start that was not ready is retried; None: it is not.

    Args:
        end: How it ended.
        displaced: It was ended because another program has its port.
        chooses_port: Each start has another port.
        without_pipe: From `ended_without_pipe`.
    """
    if chooses_port and displaced:
        return "another port"
    if end.asked:
        return None
    if without_pipe:
        return "no report"
    if chooses_port and (not end.port_closed or any(map(complains_of_port, end.tail))):
        return "another port"
    return None
