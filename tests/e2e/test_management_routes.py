"""What is asked of the program itself, on the whole of it: every worker answers alike."""

import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from trains import PATIENCE_S, Train

from tests.described import is_as_described

pytestmark = pytest.mark.e2e


def test_models_are_stopped_over_http(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    models = {
        "org/a": {"cmd": scripted(), "aliases": ["a"], "name": "A", "env": ["TOKEN=s3cret"]},
        "b": {"cmd": scripted("--api-key", "s3cret"), "apiKey": "s3cret"},
    }
    train = ride({"models": models, "routing": PARALLEL})
    with httpx.Client(
        base_url=train.url, timeout=PATIENCE_S, event_hooks={"response": [is_as_described]}
    ) as client:
        for method, path in (
            ("POST", "/api/models/unload/a"),
            ("POST", "/api/models/unload"),
            ("GET", "/unload"),
        ):
            assert client.get("/upstream/a/health").status_code == 200
            assert train.chat("b").status_code == 200
            running = {it["model"]: it for it in client.get("/running").json()["running"]}
            assert set(running) == {"org/a", "b"}
            assert running["org/a"]["name"] == "A"
            assert f"--port {running['b']['proxy'].rpartition(':')[2]}" in running["b"]["cmd"]
            assert "s3cret" not in str(running)
            for listing in ("/v1/models", "/api/ps", "/api/tags", "/api/activity?limit=5"):
                assert client.get(listing).status_code == 200
            assert client.request(method, path).status_code == 200
            assert train.model("org/a")["state"] == "stopped"
        assert client.get("/running").json() == {"running": []}
        assert client.get("/props?model=a").status_code == 409
        assert client.get("/upstream/b/index.js").status_code == 409
        assert client.post("/api/models/unload/none").status_code == 404


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_all_routes_answer_as_they_are_described(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    """By day all answers of the tests of a worker's pages are held against the description."""
    models = {
        "org/a": {"cmd": scripted(), "aliases": ["a"], "metadata": {"x": [1, None]}},
        "b": {"cmd": scripted(), "capabilities": {"in": ["text", "image"], "out": ["text"]}},
    }
    train = ride(
        {
            "models": models,
            "routing": PARALLEL,
            "apiKeys": ["sesame"],
            "selectors": {"any": {"strategy": "warm", "targets": ["b", "org/a"]}},
            "profiles": {"p": {"pins": {"x": "b"}}},
        }
    )
    with_key = {"Authorization": "Bearer sesame"}
    for model in ("a", "b", "any", "none"):
        httpx.post(f"{train.url}/v1/chat/completions", json={"model": model}, headers=with_key)
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{train.url}/openapi.json"),
            *("--header", "Authorization: Bearer sesame", "--include-tag", "arriero"),
            *("--checks", "all", "--max-examples", "60", "--no-color"),
            *("--exclude-path-regex", "^/(logs/stream|api/events)"),  # they go on for ever
        ],
        cwd=train.log.parent,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stdout
    assert train.ask("ping")["ok"]


PARALLEL = {
    "router": {
        "use": "group",
        "settings": {"groups": {"g": {"members": ["org/a", "b"], "swap": False}}},
    }
}
