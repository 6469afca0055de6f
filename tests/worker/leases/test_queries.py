"""Questions to the supervisor."""

import pytest
import trio
import trio.testing

from arriero.protocol.lease import CancelAsked, CancelTold, Claimed, FromWorker
from arriero.worker.errors import Unavailable
from arriero.worker.leases.queries import ANSWER_S, Questions


def cancel(ask: int) -> CancelAsked:
    return CancelAsked(ask=ask, request_id="r", caller="")


@pytest.fixture
def asked() -> tuple[Questions, list[FromWorker]]:
    questions = Questions()
    said: list[FromWorker] = []
    questions.say = said.append
    return questions, said


async def test_each_question_gets_its_own_answer(
    asked: tuple[Questions, list[FromWorker]],
) -> None:
    questions, said = asked
    results: list[tuple[int, str]] = []

    async def ask(number: int) -> None:
        results.append((number, (await questions.ask(cancel, CancelTold)).result))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 1)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, 2)
        await trio.testing.wait_all_tasks_blocked()
        questions.answered(CancelTold(ask=2, result="unknown"))
        questions.answered(CancelTold(ask=1, result="cancelled"))

    assert sorted(results) == [(1, "cancelled"), (2, "unknown")]
    assert said == [cancel(1), cancel(2)]


async def test_silence_ends_a_question_and_a_late_answer_is_dropped(
    asked: tuple[Questions, list[FromWorker]], autojump_clock: trio.testing.MockClock
) -> None:
    questions, _ = asked
    began = trio.current_time()
    with pytest.raises(Unavailable):
        await questions.ask(cancel, CancelTold)

    assert trio.current_time() - began == pytest.approx(ANSWER_S)
    questions.answered(CancelTold(ask=1, result="unknown"))


async def test_an_answer_to_something_else_is_none(
    asked: tuple[Questions, list[FromWorker]],
) -> None:
    questions, _ = asked
    questions.say = lambda _: questions.answered(Claimed(ask=1))
    with pytest.raises(Unavailable):
        await questions.ask(cancel, CancelTold)
