"""Questions to the supervisor."""

import pytest
import trio
import trio.testing

from arriero.protocol.lease import CancelAnswer, CancelQuery, Claimed, FromWorker
from arriero.worker.errors import Unavailable
from arriero.worker.leases.queries import PendingQueries
from arriero.worker.limits import LIMITS


def cancel(ask: int) -> CancelQuery:
    return CancelQuery(ask=ask, request_id="r", caller="")


@pytest.fixture
def asked() -> tuple[PendingQueries, list[FromWorker]]:
    queries = PendingQueries()
    said: list[FromWorker] = []
    queries.say = said.append
    return queries, said


async def test_each_question_gets_its_own_answer(
    asked: tuple[PendingQueries, list[FromWorker]],
) -> None:
    queries, said = asked
    results: list[tuple[int, str]] = []

    async def ask(number: int) -> None:
        results.append((number, (await queries.ask(cancel, CancelAnswer)).result))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
        queries.answered(CancelAnswer(ask=2, result="unknown"))
        queries.answered(CancelAnswer(ask=1, result="cancelled"))

    assert sorted(results) == [(1, "cancelled"), (2, "unknown")]
    assert said == [cancel(1), cancel(2)]


async def test_silence_ends_the_query(
    asked: tuple[PendingQueries, list[FromWorker]], autojump_clock: trio.testing.MockClock
) -> None:
    queries, _ = asked
    began = trio.current_time()
    with pytest.raises(Unavailable):
        await queries.ask(cancel, CancelAnswer)

    assert trio.current_time() - began == pytest.approx(LIMITS.query_s)
    queries.answered(CancelAnswer(ask=1, result="unknown"))


async def test_other_kind_of_answer_is_none(
    asked: tuple[PendingQueries, list[FromWorker]],
) -> None:
    queries, _ = asked
    queries.say = lambda _: queries.answered(Claimed(ask=1))
    with pytest.raises(Unavailable):
        await queries.ask(cancel, CancelAnswer)
