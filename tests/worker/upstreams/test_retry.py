import math
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.upstreams.retry import STARTING_S, LocalLosses, Retries

NOW = 1_800_000_000.0
IN_5_S = datetime.fromtimestamp(NOW + 5, UTC)

Fields = list[tuple[bytes, bytes]]


def peer(max_wait_s: float = 20.0) -> Retries:
    return Retries(max_wait_s, is_peer=True)


def local() -> Retries:
    return Retries(20.0, is_peer=False)


def wait(
    retries: Retries,
    status: int = 503,
    fields: Fields | None = None,
    *,
    chance: float = 0.0,
    since_grant_s: float = math.inf,
) -> float | None:
    return retries.after_answer(
        status, fields or [], unix_now=NOW, chance=chance, since_grant_s=since_grant_s
    )


# --- which answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 404, 408, 409, 429, 500, 501, 502, 503, 504, 529])
def test_only_some_answers_are_worth_another_attempt(status: int) -> None:
    assert (wait(peer(), status) is not None) is (status in {429, 503})
    assert (wait(local(), status) is not None) is (status == 429)
    starting = wait(local(), status, since_grant_s=0.0)
    assert (starting is not None) is (status in {429, 502, 503, 504})


def test_another_machine_is_asked_at_once() -> None:
    falling = Retries(20.0, is_peer=True, may_fall=True)
    assert [status for status in range(400, 600) if wait(falling, status) == 0.0] == [429, 502, 503]
    assert wait(falling, 503, [(b"retry-after", b"60")]) == 0.0
    assert falling.after_loss(chance=0.0) is None
    assert wait(Retries(20.0, is_peer=False, may_fall=True), 429) == 0.25  # a model here


def test_a_model_starts_only_for_a_moment() -> None:
    assert wait(local(), since_grant_s=STARTING_S - 0.1) is not None
    assert wait(local(), since_grant_s=STARTING_S) is None


def test_a_grant_a_moment_ago_changes_nothing_for_peers() -> None:
    assert wait(peer(), 502, since_grant_s=0.0) is None


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "asked_s"),
    [
        ([(b"retry-after", b"1")], 1.0),
        ([(b"retry-after", b" 1.5 ")], 1.5),
        ([(b"retry-after", format_datetime(IN_5_S, usegmt=True).encode())], 5.0),
        ([(b"retry-after", IN_5_S.strftime("%A, %d-%b-%y %H:%M:%S GMT").encode())], 5.0),
        ([(b"retry-after", IN_5_S.strftime("%a %b %d %H:%M:%S %Y").encode())], 5.0),
        ([(b"x-ratelimit-reset", b"7")], 7.0),
        ([(b"x-ratelimit-reset", b"%d" % (NOW + 7))], 7.0),
        ([(b"x-ratelimit-reset", b"%d" % (NOW * 1000 + 7500))], 7.5),
        ([(b"x-ratelimit-reset", b"7"), (b"retry-after", b"3")], 3.0),
        ([(b"x-ratelimit-reset", b"7"), (b"retry-after", b"soon")], 7.0),
        ([(b"x-ratelimit-reset", b"7"), (b"retry-after", b"0")], 7.0),
    ],
)
def test_the_upstream_says_how_long(fields: Fields, asked_s: float) -> None:
    for chance in (0.0, 0.5, 0.999):
        waited_s = wait(peer(), 429, fields, chance=chance)
        assert waited_s is not None
        assert asked_s <= waited_s < asked_s + 0.25
        assert (waited_s > asked_s) is (chance > 0.0)


def test_a_date_without_a_zone_is_not_in_that_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = IN_5_S.strftime("%a %b %d %H:%M:%S %Y").encode()
        assert wait(peer(), 429, [(b"retry-after", date)]) == 5.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"retry-after", b"0")],
        [(b"retry-after", b"-5")],
        [(b"retry-after", b"nan")],
        [(b"retry-after", b"Thu, 01 Jan 1970 00:00:00 GMT")],
        [(b"retry-after", b"Thu, 99 Jan 1970 00:00:00 GMT")],
        [(b"retry-after", b"\xff")],
        [(b"retry-after", b"")],
        [(b"x-ratelimit-reset", b"%d" % (NOW - 7))],
        [(b"x-ratelimit-reset", b"6m0s")],
    ],
)
def test_what_says_nothing_of_it_leaves_the_delays_to_us(fields: Fields) -> None:
    for chance, expected in ((0.0, [0.25, 0.5, 1.0, None]), (1.0, [0.5, 1.0, 2.0, None])):
        retries = peer()
        assert [wait(retries, 429, fields, chance=chance) for _ in expected] == expected


@pytest.mark.parametrize("value", [b"21", b"3600", b"9" * 5000])
def test_a_wait_that_is_too_long_is_none_at_all(value: bytes) -> None:
    assert wait(peer(), 429, [(b"retry-after", value)]) is None


def test_all_waits_together_have_a_limit() -> None:
    retries = peer(20.0)
    ten = [(b"retry-after", b"10")]

    assert [wait(retries, 429, ten) for _ in range(3)] == [10.0, 10.0, None]


def test_chance_never_makes_a_wait_too_long() -> None:
    assert wait(peer(20.0), 429, [(b"retry-after", b"20")], chance=0.9) == 20.0


def test_with_a_limit_of_nothing_there_is_no_other_attempt() -> None:
    assert wait(peer(0.0)) is None
    assert peer(0.0).after_loss(chance=0.0) is None


# --- lost connections ----------------------------------------------------------------------------


def test_a_lost_connection_to_a_peer_is_like_an_answer_without_a_word() -> None:
    retries = peer()

    assert retries.after_loss(chance=0.0) == 0.25
    assert wait(retries) == 0.5
    assert retries.after_loss(chance=0.0) == 1.0
    assert retries.after_loss(chance=0.0) is None


def test_a_request_that_kills_its_model_gets_no_third_one() -> None:
    losses = LocalLosses()

    assert losses.after_loss(0.0, refused=False) == 0.1
    assert losses.after_loss(1.0, refused=True) == 0.1  # which is no fault of the request
    assert losses.after_loss(2.0, refused=False) is None


def test_a_server_that_is_about_to_be_reaped_may_refuse_for_some_seconds() -> None:
    losses, now, waits = LocalLosses(), 100.0, []

    while (wait_s := losses.after_loss(now, refused=True)) is not None:
        waits.append(wait_s)
        now += wait_s

    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]


def test_a_server_that_has_come_back_may_refuse_as_long_again() -> None:
    losses = LocalLosses()

    losses.after_loss(0.0, refused=True)
    losses.after_loss(3.0, refused=False)

    assert losses.after_loss(60.0, refused=True) == 0.1
    assert losses.after_loss(64.9, refused=True) == 0.2
    assert losses.after_loss(65.0, refused=True) is None


# --- anything ------------------------------------------------------------------------------------

_VALUE = (
    st.binary(max_size=40)
    | st.integers(min_value=-(10**20), max_value=10**20).map(lambda number: b"%d" % number)
    | st.datetimes().map(lambda when: format_datetime(when).encode())
    | st.text(alphabet="MonTueJan GMT+-:,0123456789", max_size=40).map(str.encode)
)
_FIELDS = st.lists(
    st.tuples(st.sampled_from([b"retry-after", b"x-ratelimit-reset", b"date"]), _VALUE), max_size=3
)


@given(
    st.lists(st.tuples(_FIELDS, st.floats(0.0, 1.0, exclude_max=True)), max_size=6),
    st.floats(0.0, 100.0),
)
def test_whatever_an_upstream_says_waits_are_few_and_short(
    answers: list[tuple[Fields, float]], max_wait_s: float
) -> None:
    retries = peer(max_wait_s)
    waits = [wait(retries, 429, fields, chance=chance) for fields, chance in answers]
    taken = [waited_s for waited_s in waits if waited_s is not None]

    assert len(taken) <= 3
    assert all(waited_s > 0 for waited_s in taken)
    assert sum(taken) <= max_wait_s + 1e-9
