from collections.abc import Callable

import msgspec
import pytest

from arriero.protocol.lease import (
    Grant,
    HeldLease,
    Leave,
    Refuse,
    Release,
    Report,
    Revoke,
    Void,
    Want,
)
from arriero.protocol.values import ErrorInfo
from arriero.worker.leases.leases import LOST, Lease, Leases, PendingRequest

URL = "http://127.0.0.1:5801"


def no_wake() -> None: ...


def granted(request: int, lease: int = 7, endpoint: str = URL) -> Grant:
    return Grant(request=request, model="m", lease=lease, endpoint=endpoint, waited_s=0.0)


def revoke(lease: int = 7, *, when_idle: bool) -> Revoke:
    return Revoke(model="m", lease=lease, when_idle=when_idle)


@pytest.fixture
def leases() -> Leases:
    return Leases()


@pytest.fixture
def held(leases: Leases) -> Lease:
    """A lease on m without requests."""
    waiter, want = leases.want("m", no_wake)
    leases.granted(granted(want.request), 0.0)
    assert isinstance(waiter.outcome, Lease)
    leases.exit(waiter.outcome)
    leases.report()
    return waiter.outcome


def test_without_a_lease_a_request_has_to_ask(leases: Leases) -> None:
    waiter, want = leases.want("m", no_wake)

    assert leases.enter("m") is None
    assert want == Want(request=1, model="m")
    assert waiter.outcome is None


def test_a_grant_counts_its_request_before_the_request_knows_of_it(leases: Leases) -> None:
    leases.want("m", no_wake)

    leases.granted(granted(1), 0.0)

    assert leases.report() == Report(in_flight={"m": 1})


def test_a_grant_wakes_its_own_request_only(leases: Leases) -> None:
    woken: list[int] = []
    first, _ = leases.want("m", lambda: woken.append(1))
    second, _ = leases.want("m", lambda: woken.append(2))

    leases.granted(granted(2), 0.0)

    assert woken == [2]
    assert (first.outcome, isinstance(second.outcome, Lease)) == (None, True)


def test_with_a_lease_requests_enter_and_leave_without_a_message(
    leases: Leases, held: Lease
) -> None:
    assert leases.enter("m") is held
    assert leases.enter("m") is held
    assert leases.exit(held) is None
    assert leases.report() == Report(in_flight={"m": 1}, used=("m",))
    assert leases.exit(held) is None
    assert leases.enter("m") is held


def test_a_revoked_lease_admits_nobody_and_is_released_by_the_last_request(
    leases: Leases, held: Lease
) -> None:
    leases.enter("m")
    leases.enter("m")

    assert leases.revoke(revoke(when_idle=False)) is None
    assert leases.enter("m") is None
    assert leases.exit(held) is None
    assert leases.exit(held) == Release(model="m", lease=7)
    assert leases.enter("m") is None


def test_a_lease_that_is_revoked_when_idle_admits_until_it_is(leases: Leases, held: Lease) -> None:
    leases.enter("m")

    assert leases.revoke(revoke(when_idle=True)) is None
    assert leases.enter("m") is held
    assert leases.exit(held) is None
    assert leases.exit(held) == Release(model="m", lease=7)


@pytest.mark.parametrize("when_idle", [True, False])
def test_an_unused_lease_is_released_at_once(leases: Leases, held: Lease, when_idle: bool) -> None:
    assert leases.revoke(revoke(when_idle=when_idle)) == Release(model="m", lease=7)
    assert leases.enter("m") is None


def test_a_revoke_of_a_lease_that_is_not_held_is_answered_all_the_same(
    leases: Leases, held: Lease
) -> None:
    assert leases.revoke(revoke(6, when_idle=False)) == Release(model="m", lease=6)
    assert leases.enter("m") is held


def test_a_promised_request_is_counted_when_the_revoke_follows_the_grant(leases: Leases) -> None:
    waiter, _ = leases.want("m", no_wake)
    leases.granted(granted(1), 0.0)

    assert leases.revoke(revoke(when_idle=False)) is None
    assert isinstance(waiter.outcome, Lease)
    assert leases.exit(waiter.outcome) == Release(model="m", lease=7)


def test_a_new_number_replaces_the_old_one_and_its_revoke(leases: Leases, held: Lease) -> None:
    leases.enter("m")
    leases.revoke(revoke(when_idle=False))
    leases.want("m", no_wake)

    leases.granted(granted(2, lease=8), 0.0)

    assert leases.report() == Report(in_flight={"m": 2})
    assert leases.enter("m") is held
    for _ in range(3):
        assert leases.exit(held) is None
    assert leases.revoke(revoke(8, when_idle=False)) == Release(model="m", lease=8)


def test_requests_on_an_endpoint_that_was_replaced_are_counted_and_release_nothing(
    leases: Leases, held: Lease
) -> None:
    leases.enter("m")
    waiter, _ = leases.want("m", no_wake)
    leases.granted(granted(2, lease=8, endpoint="http://127.0.0.1:5802"), 0.0)
    assert isinstance(waiter.outcome, Lease)

    assert leases.report() == Report(in_flight={"m": 2})
    assert leases.exit(held) is None
    assert leases.exit(waiter.outcome) is None
    assert leases.report() == Report(in_flight={}, used=("m",))


def test_a_lease_whose_process_ended_is_void(leases: Leases, held: Lease) -> None:
    leases.enter("m")

    assert leases.gone(Void(model="m", lease=6)) is None
    assert leases.gone(Void(model="m", lease=7)) == URL
    assert leases.enter("m") is None
    assert leases.report().in_flight == {"m": 1}
    assert leases.exit(held) is None


def test_a_client_that_leaves_while_waiting_leaves_the_queue_once(leases: Leases) -> None:
    waiter, _ = leases.want("m", no_wake)

    assert leases.quit(waiter) == Leave(request=1)
    assert leases.quit(waiter) is None


def test_a_client_that_leaves_with_its_grant_gives_it_back(leases: Leases) -> None:
    waiter, _ = leases.want("m", no_wake)
    leases.granted(granted(1), 0.0)
    leases.revoke(revoke(when_idle=True))

    assert leases.quit(waiter) == Release(model="m", lease=7)


def test_a_grant_for_a_request_that_left_is_a_lease_without_requests(leases: Leases) -> None:
    waiter, _ = leases.want("m", no_wake)
    leases.quit(waiter)

    leases.granted(granted(1), 0.0)

    assert leases.report().in_flight == {}
    assert leases.enter("m") is not None


def test_a_refusal_reaches_its_request(leases: Leases) -> None:
    waiter, _ = leases.want("m", no_wake)
    error = ErrorInfo(code="model_load_failed", message="no")

    leases.refused(Refuse(request=1, model="m", error=error))

    assert waiter.outcome is error
    assert leases.quit(waiter) is None


def test_when_the_supervisor_is_lost_all_who_wait_are_told_and_leave(leases: Leases) -> None:
    woken: list[int] = []

    def wake(number: int) -> Callable[[], None]:
        return lambda: woken.append(number)

    waiters: list[PendingRequest] = [leases.want("m", wake(number))[0] for number in (1, 2)]

    assert leases.lost() == [Leave(request=1), Leave(request=2)]
    assert [waiter.outcome for waiter in waiters] == [LOST, LOST]
    assert woken == [1, 2]
    assert leases.lost() == []


def test_what_was_used_is_reported_once(leases: Leases, held: Lease) -> None:
    leases.enter("m")
    leases.exit(held)

    assert leases.report(probe=3) == Report(in_flight={}, used=("m",), probe=3)
    assert leases.report() == Report(in_flight={})


def test_a_lease_has_the_key_of_its_last_grant_and_tells_it_nobody() -> None:
    leases = Leases()
    leases.granted(msgspec.structs.replace(granted(0), api_key="s3cret"), 0.0)
    lease = leases.enter("m")
    assert lease is not None
    assert lease.key_line == b"Authorization: Bearer s3cret\r\n"
    assert "s3cret" not in repr(lease)
    leases.granted(granted(0, lease=8), 0.0)
    assert lease.key_line == b""


def test_another_supervisor_is_told_what_is_held_and_wanted(leases: Leases, held: Lease) -> None:
    leases.enter("m")
    leases.revoke(revoke(when_idle=False))
    assert leases.enter("m") is None
    waiter, want = leases.want("m", no_wake)

    assert leases.holdings() == (HeldLease(model="m", lease=7, endpoint=URL),)
    assert leases.renew() == [want]
    # what the one before wanted back is wanted back no longer
    assert leases.enter("m") is held
    leases.granted(granted(waiter.request), 0.0)
    assert held.in_flight == 3
    assert [leases.exit(held) for _ in range(3)] == [None, None, None]
