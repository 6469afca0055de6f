"""Which target a selector takes, by how they stand and what they do."""

from collections.abc import Callable

import pytest

from arriero.protocol.worker_config import Strategy
from arriero.supervisor.config.names import Selector
from arriero.supervisor.workers.selections import Selections, Standing


class Fleet:
    """Models that stand as a test says; peers have no standing here."""

    def __init__(self, **standings: Standing) -> None:
        self.standings = dict(standings)
        self.selectors: dict[str, Selector] = {}
        self.asks = 0

    def selects(self, strategy: Strategy, *targets: str, spillover: int = 1) -> Selections:
        self.selectors["s"] = Selector(
            selector="s", strategy=strategy, targets=targets, spillover=spillover
        )
        return Selections(lambda: self.selectors, lambda name: self.standings.get(name))

    def ask(self, selections: Selections, owner: str = "w") -> str:
        self.asks += 1
        return selections.select(owner, self.asks, "s")


def asking(fleet: Fleet, selections: Selections) -> Callable[[int], list[str]]:
    return lambda count: [fleet.ask(selections) for _ in range(count)]


def test_pin_takes_the_first_target_always() -> None:
    fleet = Fleet(a="stopped", b="ready")
    assert asking(fleet, fleet.selects("pin", "a", "b"))(2) == ["a", "a"]


@pytest.mark.parametrize(
    ("a", "b", "c", "taken"),
    [
        ("stopped", "stopped", "stopped", "a"),
        ("stopped", "starting", "stopped", "b"),
        ("starting", "stopped", "ready", "c"),
        ("starting", "ready", "ready", "b"),
        ("stopping", "stopped", "draining", "a"),
    ],
)
def test_warm_takes_what_runs(a: Standing, b: Standing, c: Standing, taken: str) -> None:
    fleet = Fleet(a=a, b=b, c=c)
    assert fleet.ask(fleet.selects("warm", "a", "b", "c")) == taken


def test_spillover_fills_one_target_before_the_next() -> None:
    fleet = Fleet(a="stopped", b="stopped")
    ask = asking(fleet, fleet.selects("spillover", "a", "b", spillover=2))
    # then both have two, and there is no third one: in turn
    assert ask(6) == ["a", "a", "b", "b", "a", "b"]


def test_an_end_makes_room_for_the_next_request() -> None:
    fleet = Fleet(a="ready", b="stopped")
    selections = fleet.selects("spillover", "a", "b")
    assert fleet.ask(selections) == "a"
    selections.end("w", 1)
    selections.end("w", 1)  # said twice
    assert asking(fleet, selections)(2) == ["a", "b"]


def test_requests_of_a_lost_worker_count_no_more() -> None:
    fleet = Fleet(a="ready", b="stopped")
    selections = fleet.selects("spillover", "a", "b")
    assert fleet.ask(selections, "lost") == "a"
    selections.lost("lost")
    assert fleet.ask(selections) == "a"


def test_ready_targets_share_the_work_in_turn() -> None:
    fleet = Fleet(a="ready", b="ready", c="ready")
    selections = fleet.selects("spillover", "a", "b", "c", spillover=5)
    taken = []
    for number in range(1, 7):
        taken.append(fleet.ask(selections))
        selections.end("w", number)
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_the_least_busy_active_target_is_taken() -> None:
    fleet = Fleet(a="ready", b="starting")
    assert asking(fleet, fleet.selects("spillover", "a", "b", spillover=9))(4) == list("abab")


def test_a_stopping_target_is_skipped_until_none_is_left() -> None:
    fleet = Fleet(a="stopping", b="stopped")
    selections = fleet.selects("spillover", "a", "b")
    assert fleet.ask(selections) == "b"
    fleet.standings["b"] = "stopping"
    assert fleet.ask(selections) == ""


def test_models_of_peers_are_cold_until_they_are_asked() -> None:
    fleet = Fleet(a="ready")
    ask = asking(fleet, fleet.selects("spillover", "p/x", "a", "p/y", spillover=1))
    assert ask(3) == ["a", "p/x", "p/y"]


def test_what_is_counted_has_a_bound() -> None:
    fleet = Fleet(a="ready", b="stopped")
    fleet.selects("spillover", "a", "b")
    selections = Selections(lambda: fleet.selectors, lambda name: fleet.standings[name], most=1)
    assert asking(fleet, selections)(3) == ["a", "b", "b"]


def test_an_unknown_selector_has_no_target() -> None:
    assert Selections(dict, lambda _: None).select("w", 1, "gone") == ""


def test_requests_chosen_by_another_supervisor_count() -> None:
    fleet = Fleet(a="ready", b="stopped")
    selections = fleet.selects("spillover", "a", "b")
    selections.hold("w", 1, "s", "a")

    assert fleet.ask(selections) == "b"
    selections.end("w", 1)
    assert fleet.ask(selections) == "a"
