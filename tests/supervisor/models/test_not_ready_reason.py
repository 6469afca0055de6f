import pytest

from arriero.supervisor.host.http_get import Response
from arriero.supervisor.models.signs.health import Outcome
from arriero.supervisor.models.start.not_ready_reason import place_shown, why_not_ready

URL = "http://127.0.0.1:9001/health?key=s3cret"


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (
            None,
            "it accepts connections at http://127.0.0.1:9001 and does not answer /health; raise",
        ),
        (Outcome("unreachable"), "nobody listens at http://127.0.0.1:9001 (proxy); raise health"),
        (Outcome("hung up"), "it closes the connection without an answer when it is asked for"),
        (Outcome("not http"), "what it answers is not HTTP when it is asked for /health at"),
        (Outcome(Response(404)), "it answered 404 at /health: set checkEndpoint to a path"),
        (Outcome(Response(401)), "it answered 401 at /health: set apiKey to the key that it wants"),
        (Outcome(Response(403)), "it answered 403 at /health: set apiKey"),
        (Outcome(Response(302)), "it answered 302 at /health: set checkEndpoint"),
        (
            Outcome(Response(302, {"location": "https://example.org/"}), "elsewhere"),
            "it answered 302 at /health, which leads to another host and is not followed: set",
        ),
        (
            Outcome(Response(302), "too often"),
            "it answered 302 at /health, and led from one address",
        ),
        (Outcome(Response(503)), "it answered 503 at /health, so it still loads; raise health"),
        (Outcome(Response(500)), "it answered 500 at /health: its log may say why; or set check"),
    ],
)
def test_it_says_what_is_missing_and_what_would_do(outcome: Outcome | None, told: str) -> None:
    shown = "http://127.0.0.1:9001"
    why = why_not_ready(outcome, URL, shown, says_ready=False)
    assert why.startswith(told)
    despite = why_not_ready(outcome, URL, shown, says_ready=True)
    assert despite.startswith(f"its own report says that it is ready, but {told.partition('(')[0]}")
    assert "s3cret" not in why + despite


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("https://user:s3cret@box:1/v1", "https://box:1"),
        ("unix:/home/jo/s/m.sock", "the socket 'm.sock'"),
        ("http://" + "x" * 999, "http://" + "x" * 73),
    ],
)
def test_neither_keys_nor_folders_are_shown(endpoint: str, shown: str) -> None:
    assert place_shown(endpoint) == shown
