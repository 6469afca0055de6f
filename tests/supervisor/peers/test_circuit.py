"""A circuit, on a clock that is turned by hand."""

import pytest

from arriero.supervisor.peers.circuit import Circuit, CircuitLimits

LIMITS = CircuitLimits(errors=3, first_s=1.0, longest_s=4.0, trial_s=30.0)


def told(circuit: Circuit, story: str) -> str:
    """Tell what happens, each at a second of its own; return where it stands after each.

    u: unreachable, e: an error, s: a success, a: a question of ours is answered, r: a request is
    sent if it may be, .: nothing.
    """
    found = ""
    for now, what in enumerate(story.split(), 1):
        at = float(now)
        match what:
            case "u":
                circuit.failed("unreachable", "refused", at, 0.0)
            case "e":
                circuit.failed("error", "status 500", at, 0.0)
            case "s":
                circuit.succeeded(at)
            case "a":
                circuit.answered(at)
            case "r" if circuit.is_usable(at):
                circuit.sent(at)
        phase = circuit.phase(at)
        found += {"closed": "c", "open": "o", "half-open": "h"}[phase]
        found += "" if circuit.is_usable(at) else "-"
        found += " "
    return found.strip()


@pytest.mark.parametrize(
    ("story", "phases"),
    [
        ("s e s", "c c c"),
        ("u . .", "o- h h"),  # who cannot be reached is not asked for a second
        ("e e e .", "c c o- h"),  # errors in a row
        ("e e s e e", "c c c c c"),
        ("u r . s", "o- h- h- c"),  # one tries, and no other meanwhile
        ("u r u . .", "o- h- o- o- h"),  # in vain: the pause doubles
        ("u u u u . .", "o- o- o- o- o- o-"),  # each of these is a trial in vain
        ("u s .", "o- c c"),
        ("u a", "o- c"),  # a question that is answered closes what could not be reached
        ("e e e a r s", "c c o- h h- c"),  # but for errors a request has to try
        ("u r . . a", "o- h- h- h- c"),
    ],
)
def test_where_it_stands(story: str, phases: str) -> None:
    assert told(Circuit(LIMITS), story) == phases


def test_late_words_change_nothing() -> None:
    circuit = Circuit(LIMITS)
    circuit.failed("unreachable", "refused", 10.0, 0.0)
    for at in (10.1, 10.5, 10.9):
        circuit.failed("unreachable", "refused", at, 0.0)
        circuit.succeeded(at)

    assert circuit.phase(10.9) == "open"
    assert circuit.until == 11.0
    assert circuit.opened == 1


def test_pauses_double_up_to_a_limit_and_are_spread() -> None:
    circuit = Circuit(LIMITS)
    pauses, now = [], 0.0
    for chance in (0.0, 0.0, 0.0, 0.0, 1.0):
        circuit.failed("unreachable", "refused", now, chance)
        pauses.append(circuit.until - now)
        now = circuit.until

    assert pauses == [1.0, 2.0, 4.0, 4.0, 3.0]
    circuit.succeeded(now)
    circuit.failed("unreachable", "refused", now, 0.0)
    assert circuit.until - now == 1.0


def test_pauses_go_on_if_only_questions_are_answered() -> None:
    circuit = Circuit(LIMITS)
    pauses, now = [], 0.0
    for _ in range(4):
        circuit.failed("unreachable", "it hung up", now, 0.0)
        pauses.append(circuit.until - now)
        now = circuit.until
        circuit.answered(now)
        assert circuit.phase(now) == "closed"
    circuit.failed("unreachable", "refused", now + LIMITS.longest_s + 1, 0.0)

    assert pauses == [1.0, 2.0, 4.0, 4.0]
    assert circuit.until == now + LIMITS.longest_s + 2


def test_a_trial_of_which_nothing_is_told_ends() -> None:
    circuit = Circuit(LIMITS)
    circuit.failed("unreachable", "refused", 0.0, 0.0)
    circuit.sent(1.0)

    assert [circuit.is_usable(at) for at in (1.0, 30.9, 31.0)] == [False, False, True]
