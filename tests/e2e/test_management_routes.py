"""What is asked of the program itself, on the whole of it: every worker answers alike."""

from collections.abc import Callable

import httpx
import pytest
from trains import PATIENCE_S, Train

pytestmark = pytest.mark.e2e


def test_models_are_stopped_over_http(
    ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    models = {
        "org/a": {"cmd": scripted(), "aliases": ["a"], "name": "A", "env": ["TOKEN=s3cret"]},
        "b": {"cmd": scripted("--api-key", "s3cret"), "apiKey": "s3cret"},
    }
    train = ride({"models": models, "routing": PARALLEL})
    with httpx.Client(base_url=train.url, timeout=PATIENCE_S) as client:
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
            assert client.request(method, path).status_code == 200
            assert train.model("org/a")["state"] == "stopped"
        assert client.get("/running").json() == {"running": []}
        assert client.get("/props?model=a").status_code == 409
        assert client.get("/upstream/b/index.js").status_code == 409
        assert client.post("/api/models/unload/none").status_code == 404


PARALLEL = {
    "router": {
        "use": "group",
        "settings": {"groups": {"g": {"members": ["org/a", "b"], "swap": False}}},
    }
}
