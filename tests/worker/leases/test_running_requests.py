"""Requests by their ids."""

import pytest

from arriero.worker.leases.running_requests import RunningRequests


def enter(
    known: RunningRequests, request_id: str = "r", caller: str = "me"
) -> tuple[str, list[str]]:
    cancelled: list[str] = []
    name = known.enter(request_id, "x1", caller, lambda _: cancelled.append(request_id))
    return name, cancelled


def test_only_owners_may_cancel() -> None:
    for caller, result, ends in (
        ("me", "cancelled", 1),
        (None, "cancelled", 1),
        ("you", "forbidden", 0),
        ("", "forbidden", 0),
    ):
        known = RunningRequests()
        name, cancelled = enter(known)

        assert known.cancel(name, caller) == result
        assert len(cancelled) == ends


def test_a_request_is_ended_once() -> None:
    known = RunningRequests()
    name, cancelled = enter(known)

    assert known.cancel(name, "me") == "cancelled"
    assert known.cancel(name, "me") == "finished"
    known.exit(name)
    assert known.cancel(name, "me") == "finished"
    assert len(cancelled) == 1


def test_ended_request_keeps_its_owner() -> None:
    known = RunningRequests()
    name, _ = enter(known)
    known.exit(name)

    assert known.cancel(name, "you") == "forbidden"
    assert known.cancel(name, None) == "finished"
    assert known.cancel("other", "me") == "unknown"


def test_no_two_requests_share_an_id() -> None:
    known = RunningRequests()
    first, _ = enter(known)
    second, cancelled = enter(known)

    assert (first, second) == ("r", "r-x1")
    assert known.cancel(second, "me") == "cancelled"
    assert cancelled == ["r"]
    known.exit(second)
    known.exit(first)
    assert enter(known)[0] != "r"


def test_ended_requests_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RunningRequests(max_ended=2)
    for name in ("a", "b", "c"):
        known.exit(enter(known, name)[0])

    assert known.cancel("a", "me") == "unknown"
    assert known.cancel("c", "me") == "finished"


@pytest.mark.parametrize(
    ("caller", "peer", "by_client"),
    [("me", "10.0.0.1", True), ("me", "10.0.0.2", False), ("me", "", False), (None, "", False)],
)
def test_client_is_key_and_address(caller: str | None, peer: str, by_client: bool) -> None:
    known = RunningRequests()
    told: list[bool] = []
    known.enter("r", "x1", "me", told.append, peer="10.0.0.1")

    assert known.cancel("r", caller, peer) == "cancelled"
    assert told == [by_client]


def test_ambiguous_id_is_no_proof() -> None:
    known = RunningRequests()
    told: list[bool] = []
    known.enter("r", "x1", "me", told.append)
    known.enter("r", "x2", "me", told.append)

    known.cancel("r", "me")
    known.cancel("r-x2", "me")

    assert told == [False, True]
