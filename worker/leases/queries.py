"""Questions to the supervisor that are answered later, by their number."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, TypeVar

import trio

from arriero.protocol.lease import (
    CancelAnswer,
    Claimed,
    FromSupervisor,
    FromWorker,
    KeyAnswer,
    Peeked,
    ProfileAnswer,
    Selected,
    There,
)

from ..errors import Unavailable
from ..limits import LIMITS

_AnswerT = TypeVar(
    "_AnswerT", Claimed, Selected, KeyAnswer, Peeked, There, ProfileAnswer, CancelAnswer
)

Answer: TypeAlias = Claimed | Selected | KeyAnswer | Peeked | There | ProfileAnswer | CancelAnswer


class _OpenQuery(NamedTuple):
    query: FromWorker
    told: trio.Event
    answers: list[FromSupervisor]


class PendingQueries:
    """Those that wait for an answer.

    Args:
        answer_s: Seconds for an answer.

    Attributes:
        say: Sends a message to the supervisor; set by the link to it.
    """

    def __init__(self, answer_s: float = LIMITS.query_s) -> None:
        self._answer_s = answer_s
        self.say: Callable[[FromWorker], None] = lambda _: None
        self._last = 0
        self._open: dict[int, _OpenQuery] = {}

    async def ask(self, make: Callable[[int], FromWorker], kind: type[_AnswerT]) -> _AnswerT:
        """Ask, and return the answer, which is a `kind`.

        Args:
            make: Makes the message out of the number of the question.
            kind: What the answer is.

        Raises:
            Unavailable: There is none in time.
        """
        self._last += 1
        number = self._last
        told = trio.Event()
        answers: list[FromSupervisor] = []
        query = make(number)
        self._open[number] = _OpenQuery(query, told, answers)
        try:
            self.say(query)
            with trio.move_on_after(self._answer_s):
                await told.wait()
        finally:
            del self._open[number]
        if not answers or not isinstance(answers[0], kind):
            raise Unavailable(
                "cannot ask now: the supervisor does not answer", code="supervisor_lost"
            )
        return answers[0]

    def answered(self, message: Answer) -> None:
        """Take an answer; one that nobody waits for any more is dropped."""
        if waiting := self._open.get(message.ask):
            waiting.answers.append(message)
            waiting.told.set()

    def repeat(self) -> None:
        """Ask again what is not answered: another supervisor goes on."""
        for waiting in list(self._open.values()):
            if not waiting.answers:
                self.say(waiting.query)
