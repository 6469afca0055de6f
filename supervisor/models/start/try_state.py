"""What is known of one try of a start, and whether it is followed by another."""

from collections import deque
from typing import Final, NamedTuple

import trio

from arriero.protocol.values import ErrorInfo

from ...config.load import LaunchConfig, ModelConfig
from ...launchers.launcher import Launched
from ...processes.process import TAIL_LINES, Exit
from ...scheduling.dispatcher import Dispatcher
from .choices import Choices
from .readiness import Readiness
from .start_retry import Otherwise, complains_of_port, ended_without_pipe, how_to_try_again

# Characters of a line of its log that are kept for the text of an error.
_LONGEST_LINE: Final = 1000


class BegunTry(NamedTuple):
    """What was started, and its surroundings."""

    launch: LaunchConfig
    launched: Launched


class TryState:
    """What is known of one try.

    Attributes:
        readiness: Waits until it is ready.
        ready_at: When it was, by its report or by its answer.
        log: Its last lines.
        complained: It cannot have its port.
        is_displaced: Another program has its port.
        has_lost_machine: Its machine is gone.
        failure: Why it is ended, if it is ended for that.
    """

    def __init__(self, model: str, swap: int, dispatcher: Dispatcher) -> None:
        self.readiness = Readiness(model, swap, dispatcher)
        self.ready_at: float | None = None
        self.log: deque[str] = deque(maxlen=TAIL_LINES)
        self.complained = False
        self.is_displaced = False
        self.has_lost_machine = False
        self.failure: ErrorInfo | None = None

    def note_line(self, text: str, *, is_ready: bool) -> None:
        """Note a line of its log."""
        self.log.append(text[:_LONGEST_LINE])
        self.complained = self.complained or (not is_ready and complains_of_port(text))

    def ended_without_pipe(self, end: Exit, choices: Choices) -> bool:
        """Return whether it ended because it was asked for its report."""
        at = self.ready_at
        return ended_without_pipe(
            end,
            reported=choices.asks_for_report,
            is_itself=choices.is_itself,
            ready_for_s=None if at is None else trio.current_time() - at,
        )

    def how_to_try_again(
        self, end: Exit, config: ModelConfig, choices: Choices
    ) -> Otherwise | None:
        """Return how a try with that end, which was not ready, is followed by another one."""
        if self.has_lost_machine:
            return "another machine"
        return how_to_try_again(
            end,
            displaced=self.is_displaced,
            chooses_port=config.wants_port,
            without_pipe=self.ended_without_pipe(end, choices),
        )
