"""One worker has the request that shall end, and the others do not know it."""

import itertools

import pytest

from arriero.protocol.lease import CancelResult
from arriero.supervisor.workers.cancellation import CancelInquiry


def test_nobody_to_ask_is_an_answer() -> None:
    inquiry = CancelInquiry(())

    assert (inquiry.is_decided, inquiry.result) == (True, "unknown")


def test_the_worker_that_ended_it_decides_at_once() -> None:
    inquiry = CancelInquiry(("w1", "w2", "w3"))

    inquiry.answered("w2", "cancelled")

    assert (inquiry.is_decided, inquiry.result) == (True, "cancelled")


def test_nobody_knows_it_when_the_last_one_has_said_so() -> None:
    inquiry = CancelInquiry(("w1", "w2"))

    inquiry.answered("w1", "unknown")
    assert not inquiry.is_decided
    inquiry.answered("w2", "unknown")

    assert (inquiry.is_decided, inquiry.result) == (True, "unknown")


def test_a_lost_worker_is_not_waited_for() -> None:
    inquiry = CancelInquiry(("w1", "w2"))
    inquiry.answered("w1", "finished")

    inquiry.lost("w2")

    assert (inquiry.is_decided, inquiry.result) == (True, "finished")


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        (("unknown", "finished"), "finished"),
        (("unknown", "forbidden"), "forbidden"),
        (("finished", "forbidden"), "forbidden"),
        (("finished", "cancelled"), "cancelled"),
        (("forbidden", "cancelled"), "cancelled"),
    ],
)
def test_of_two_requests_with_one_id_that_counts_which_still_ran(
    answers: tuple[CancelResult, ...], result: CancelResult
) -> None:
    for order in itertools.permutations(enumerate(answers)):
        inquiry = CancelInquiry(map(str, range(len(answers))))
        for worker, answer in order:
            inquiry.answered(str(worker), answer)

        assert (inquiry.is_decided, inquiry.result) == (True, result)


def test_who_was_not_asked_says_nothing() -> None:
    inquiry = CancelInquiry(("w1",))

    inquiry.answered("w2", "cancelled")

    assert (inquiry.is_decided, inquiry.result) == (False, "unknown")


def test_a_second_answer_of_the_same_worker_changes_nothing() -> None:
    inquiry = CancelInquiry(("w1", "w2"))
    inquiry.answered("w1", "unknown")

    inquiry.answered("w1", "cancelled")

    assert (inquiry.is_decided, inquiry.result) == (False, "unknown")
