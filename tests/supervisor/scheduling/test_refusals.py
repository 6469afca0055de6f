"""What waiters are told that get no model: code, words, and whether asking again may help."""

import pytest

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.scheduling.messages import refusals


@pytest.mark.parametrize(
    ("refusal", "code", "message", "transient"),
    [
        (
            refusals.removed("m"),
            "unknown_model",
            "model m was removed from the configuration",
            False,
        ),
        (
            refusals.unavailable("m", "it is unloaded"),
            "model_unavailable",
            "model m is not available: it is unloaded",
            True,
        ),
        (
            refusals.stalled("m", 120.0),
            "model_evicted",
            "model m has to stop, and this request had got no further for 120 s; ask again, or "
            "raise drainLimit if it needs longer",
            True,
        ),
        (
            refusals.hung("m", 0.5),
            "model_hung",
            "model m hung: no byte, no processor time and no answer to its check for 0.5 s; it is "
            "killed, and started again for the next request",
            True,
        ),
        (
            refusals.deserted("m"),
            "model_unavailable",
            "model m went away: nothing listens at its endpoint any more, though what started it "
            "still runs; it is started again for the next request",
            True,
        ),
        (
            refusals.failing("m", 3, 0),
            "model_unavailable",
            "model m has answered 3 requests in a row with an error of its server; it is started "
            "again for the next request",
            True,
        ),
        (
            refusals.failing("m", 3, 2),
            "model_unavailable",
            "model m has answered 3 requests in a row with an error of its server; it is started "
            "again for the next request; that did not help 2 times before",
            True,
        ),
        (
            refusals.too_slow("m", 60.0),
            "model_load_timeout",
            "model m failed to load: it was not ready after 60 s; raise healthCheckTimeout if it "
            "needs longer",
            False,
        ),
        (
            refusals.too_slow("m", 60.0, "it listens on another port"),
            "model_load_timeout",
            "model m failed to load: it was not ready after 60 s: it listens on another port",
            False,
        ),
    ],
)
def test_a_refusal_says_what_would_do(
    refusal: ErrorInfo, code: str, message: str, transient: bool
) -> None:
    assert refusal == ErrorInfo(code=code, message=message, transient=transient)
