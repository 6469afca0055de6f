"""A key of idempotency is its caller's, for as long as one request with it runs."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from arriero.supervisor.workers.idempotency_keys import Claims

OWNERS = st.sampled_from(["w1", "w2"])
CALLERS = st.sampled_from(["", "anna"])
KEYS = st.sampled_from(["k", "l"])
IDS = st.sampled_from(["r1", "r2", "r3"])


def test_a_second_request_with_the_key_is_told_of_the_first() -> None:
    claims = Claims()

    assert claims.claim("w1", "anna", "k", "r1") == ""
    assert claims.claim("w2", "anna", "k", "r2") == "r1"


def test_a_repeat_with_the_same_id_is_a_second_request_too() -> None:
    claims = Claims()
    claims.claim("w1", "anna", "k", "r1")

    assert claims.claim("w1", "anna", "k", "r1") == "r1"


def test_callers_do_not_see_each_others_keys() -> None:
    claims = Claims()
    claims.claim("w1", "anna", "k", "r1")

    assert claims.claim("w1", "bert", "k", "r2") == ""
    assert claims.claim("w1", "", "k", "r3") == ""


def test_the_key_is_free_when_its_request_has_ended() -> None:
    claims = Claims()
    claims.claim("w1", "anna", "k", "r1")

    claims.unclaim("w1", "anna", "k", "r1")

    assert claims.claim("w2", "anna", "k", "r2") == ""


def test_the_end_of_another_request_frees_nothing() -> None:
    claims = Claims()
    claims.claim("w1", "anna", "k", "r1")

    claims.unclaim("w1", "anna", "k", "r2")
    claims.unclaim("w2", "anna", "k", "r1")
    claims.unclaim("w1", "bert", "k", "r1")

    assert claims.claim("w2", "anna", "k", "r3") == "r1"


def test_the_keys_of_a_lost_worker_are_free_and_no_others() -> None:
    claims = Claims()
    claims.claim("w1", "anna", "k", "r1")
    claims.claim("w2", "anna", "l", "r2")

    claims.lost("w1")

    assert claims.claim("w2", "anna", "k", "r3") == ""
    assert claims.claim("w1", "anna", "l", "r4") == "r2"


def test_what_is_too_much_to_be_kept_runs_all_the_same() -> None:
    claims = Claims(most=1)
    claims.claim("w1", "anna", "k", "r1")

    assert [claims.claim("w1", "anna", "l", name) for name in ("r2", "r3")] == ["", ""]
    assert len(claims) == 1
    assert claims.claim("w1", "anna", "k", "r4") == "r1"


class ClaimsAreExclusive(RuleBasedStateMachine):
    """Of requests that run at the same time, one has the key; with the last one it is free."""

    def __init__(self) -> None:
        super().__init__()
        self.claims = Claims()
        self.running: dict[tuple[str, str], tuple[str, str]] = {}

    @rule(owner=OWNERS, caller=CALLERS, key=KEYS, request=IDS)
    def come(self, owner: str, caller: str, key: str, request: str) -> None:
        runs = self.running.setdefault((caller, key), (owner, request))
        told = self.claims.claim(owner, caller, key, request)
        assert told in {"", runs[1]}
        if told == "":
            assert runs == (owner, request)

    @rule(owner=OWNERS, caller=CALLERS, key=KEYS, request=IDS)
    def end(self, owner: str, caller: str, key: str, request: str) -> None:
        self.claims.unclaim(owner, caller, key, request)
        if self.running.get((caller, key)) == (owner, request):
            del self.running[caller, key]

    @rule(owner=OWNERS)
    def die(self, owner: str) -> None:
        self.claims.lost(owner)
        self.running = {at: runs for at, runs in self.running.items() if runs[0] != owner}

    @invariant()
    def nothing_is_kept_that_does_not_run(self) -> None:
        assert len(self.claims) == len(self.running)


TestClaimsAreExclusive = ClaimsAreExclusive.TestCase
