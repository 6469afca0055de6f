"""Limits of keys: the supervisor, which knows of all workers, is asked before a request runs."""

from collections.abc import Callable

from arriero.protocol.lease import FromWorker, KeyAnswer, KeyQuery

from ..errors import KeyExhausted
from .engagements import Engagements
from .queries import PendingQueries


async def enter(
    key: str,
    queries: PendingQueries,
    engagements: Engagements,
    say: Callable[[FromWorker], None],
) -> Callable[[], None]:
    """Count a request with `key`, which has limits; return what ends that.

    If nobody can be asked it does not run: the limits are there to be kept, and a supervisor that
    is replaced is there again in a moment.

    Args:
        key: Its name.
        queries: Asks.
        engagements: Is told of the answer.
        say: Sends a message to the supervisor.

    Raises:
        KeyExhausted: It may not run now.
        Unavailable: The supervisor does not answer.
    """
    asked: list[int] = []

    def make(ask: int) -> KeyQuery:
        asked.append(ask)
        return KeyQuery(ask=ask, key=key)

    def leave() -> None:
        say(engagements.leave_key(asked[0]))

    try:
        told = await queries.ask(make, KeyAnswer)
    except BaseException:
        leave()  # it may be counted
        raise
    if told.error is not None:
        raise KeyExhausted(told.error, told.again_s)
    engagements.enter_key(asked[0], key)
    return leave
