"""How many requests run with a key, and what it may use in a day, by a clock that is set."""

import os
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from arriero.supervisor.config.schema.key_types import KeyConfig
from arriero.supervisor.workers.key_limits import DayOfKeys, KeyLimits, KeyRefusal
from arriero.supervisor.workers.key_use_file import keep_day, load_day
from tests.records import record

DAY_S = 86400.0


class Scene:
    """Limits of the key `k`, and their clock."""

    def __init__(self, used: DayOfKeys | None = None, **limits: object) -> None:
        self.now = 1000 * DAY_S + 60.0
        self.keys = {"k": KeyConfig(name="k", **limits)}  # type: ignore[arg-type]
        self.limits = KeyLimits(lambda: self.keys, used or DayOfKeys(), lambda: self.now)
        self.asks = 0

    def ask(self, key: str = "k") -> KeyRefusal | None:
        self.asks += 1
        return self.limits.enter("w", self.asks, key)

    def uses(self, tokens: int = 0, usd: str | None = None, key: str = "k") -> None:
        cost = None if usd is None else Decimal(usd)
        self.limits.note([record(key=key, input_tokens=tokens, cost_usd=cost)])


def told(refusal: KeyRefusal | None) -> tuple[str, str, float]:
    assert refusal is not None
    return refusal.error.code, refusal.error.message, refusal.again_s


def test_budget_of_tokens_ends_at_midnight() -> None:
    scene = Scene(daily_tokens=100)
    scene.uses(99)
    assert scene.ask() is None
    scene.uses(5)  # of the one that ran: it may go beyond
    code, message, again_s = told(scene.ask())

    assert (code, again_s) == ("key_budget", DAY_S - 60)
    assert "the key 'k' has used 104 of 100 tokens ('dailyTokens'" in message
    scene.now += again_s - 1
    assert scene.ask() is not None
    scene.now += 1
    assert scene.ask() is None
    assert scene.limits.used.keys == {}


def test_budget_of_money_is_exact() -> None:
    scene = Scene(daily_cost=Decimal("0.3"))
    for _ in range(3):
        assert scene.ask() is None
        scene.uses(usd="0.1")
    scene.uses(usd=None)

    code, message, _ = told(scene.ask())
    assert (code, "has used 0.3 of 0.3 US dollars" in message) == ("key_budget", True)


def test_other_keys_and_new_limits_count_at_once() -> None:
    scene = Scene(daily_tokens=10)
    scene.uses(50, key="other")
    scene.uses(50, key="")
    assert scene.ask() is None
    assert scene.ask("unknown") is None
    scene.uses(20)
    assert scene.ask() is not None
    scene.keys = {"k": KeyConfig(name="k", daily_tokens=100)}  # a reload
    assert scene.ask() is None


def test_places_are_given_back_once() -> None:
    scene = Scene(concurrency=2)
    assert (scene.ask(), scene.ask()) == (None, None)
    code, message, again_s = told(scene.ask())
    assert (code, again_s) == ("key_concurrency", 1.0)
    assert "2 run with the key 'k' already" in message
    for _ in range(2):
        scene.limits.leave("w", 1)
    scene.limits.leave("w", 3)  # which was refused
    assert scene.ask() is None
    assert scene.ask() is not None
    scene.limits.hold("w", 2, "k")  # again, after a supervisor was replaced
    scene.limits.lost("w")
    assert (scene.ask(), scene.ask()) == (None, None)


@pytest.mark.parametrize(("later_days", "is_kept"), [(-1, True), (-2, False), (9, False)])
def test_a_clock_that_is_set_gives_no_budget_twice(later_days: int, is_kept: bool) -> None:
    scene = Scene(daily_tokens=1)
    scene.uses(5)
    scene.now += later_days * DAY_S

    assert (scene.ask() is not None) == is_kept


def test_a_clock_that_comes_back_forgets_nothing() -> None:
    """A machine without a battery begins in 1970; others have been told a wrong time."""
    today = 1000 * DAY_S + 60.0
    for wrong in (today - 900 * DAY_S, today + 3 * DAY_S, 0.0, 1e12):
        scene = Scene(daily_tokens=10)
        scene.uses(12)
        scene.now = wrong
        assert scene.ask() is None  # that day, if it is one, has a budget of its own
        scene.uses(3)
        scene.now = today + 5.0
        *_, again_s = told(scene.ask())
        assert again_s == DAY_S - 65
        again = Scene(DayOfKeys.decode(scene.limits.used.encode()), daily_tokens=10)
        assert again.ask() is not None
        again.now = today + DAY_S
        assert again.ask() is None


def test_prices_and_counts_of_any_size_are_sums() -> None:
    scene = Scene(daily_cost=Decimal("1e15"), daily_tokens=2**53)
    for usd in ("1e-18", "999999999999999.999999999999", "0"):
        scene.uses(usd=usd)
        assert scene.ask() is None
    scene.uses(usd="1e-3")
    assert "1000000000000000.001 of 1000000000000000 US dollars" in told(scene.ask())[1]
    tokens = Scene(daily_tokens=2**53)
    tokens.uses(2**53 - 1)
    assert tokens.ask() is None
    tokens.uses(2**60)
    assert tokens.ask() is not None
    assert DayOfKeys.decode(tokens.limits.used.encode()) == tokens.limits.used


async def test_use_of_today_outlives_a_restart(tmp_path: Path, autojump_clock: object) -> None:
    path = tmp_path / "state" / "key-use.json"
    scene = Scene(daily_tokens=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_day, path, scene.limits)
        scene.uses(7)
        with trio.fail_after(60):
            while not path.exists():  # noqa: ASYNC110  a file tells nobody
                await trio.sleep(0.1)
        scene.uses(8, usd="0.25")  # is written at the end
        nursery.cancel_scope.cancel()

    again = Scene(load_day(path), daily_tokens=10)
    assert again.ask() is not None
    assert again.limits.used == scene.limits.used


def test_broken_file_forgets_but_starts(tmp_path: Path) -> None:
    path = tmp_path / "key-use.json"
    assert load_day(path) == DayOfKeys()
    for data in (b"", b"{", b"[]", b'{"day":"x"}', b'{"keys":{"k":{"tokens":-1.5}}}', b"\xff" * 9):
        path.write_bytes(data)
        assert load_day(path) == DayOfKeys()
    for use in (b'"tokens":-9', b'"cost_usd":"NaN"', b'"cost_usd":"-1"', b'"cost_usd":"1e99999"'):
        path.write_bytes(b'{"day":1,"keys":{"k":{%b}}}' % use)
        assert load_day(path) == DayOfKeys()
    path.unlink()
    os.mkfifo(path)  # for which nobody writes
    assert load_day(path) == DayOfKeys()
    path.unlink()
    path.mkdir()
    assert load_day(path) == DayOfKeys()
