"""What is asked of the program itself, on the whole of it: every worker answers alike."""

import gzip
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families as read_plain
from trains import PATIENCE_S, Train, eventually

from tests.described import is_as_described

pytestmark = pytest.mark.e2e

KEY = {"Authorization": "Bearer s3cret-key"}
OPEN_METRICS: Callable[[str], Iterable[Metric]] = open_metrics.text_string_to_metric_families
# As Prometheus 3 asks by default.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;"
    "escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
OWN = b"""\
# TYPE llamacpp:n_decode_total counter
llamacpp:n_decode_total 4
llamacpp:x{model="b"} 1
arriero_worker_restarts_total 99
}{ no sample "
"""


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
        # A worker hears of it a moment later.
        eventually(lambda: client.get("/running").json() == {"running": []}, what="no model")
        assert client.get("/props?model=a").status_code == 409
        assert client.get("/upstream/b/index.js").status_code == 409
        assert client.post("/api/models/unload/none").status_code == 404
        for path in ("/api/models/pin/a", "/api/models/unpin/b"):
            refused = client.post(path)  # memory does not decide here
            assert f"cannot {path.split('/')[3]} " in refused.json()["error"]["message"]
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                409,
                "memory_not_counted",
            )
        for path in ("/api/devices/hold", "/api/devices/release"):
            refused = client.post(path, json={"device": "gpu9"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                404,
                "device_not_found",
            )


def scrape(train: Train) -> dict[str, float]:
    """All samples by how Prometheus would write them, as its plain text."""
    response = httpx.get(f"{train.url}/metrics", headers=KEY, timeout=PATIENCE_S)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = [
        (it.name + "".join(f" {k}={v}" for k, v in sorted(it.labels.items())), it.value)
        for metric in read_plain(response.text)
        for it in metric.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_a_day_is_told_in_numbers(
    ride: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    told = tmp_path / "metrics"
    told.write_bytes(OWN)
    models = {
        "a": {"cmd": scripted("--metrics", str(told), "--load-s", "0.1"), "scrapeMetrics": True},
        "b": {"cmd": scripted()},
    }
    train = ride({"models": models, "apiKeys": ["s3cret-key"]})
    assert httpx.get(f"{train.url}/metrics", timeout=PATIENCE_S).status_code == 401
    before = scrape(train)
    assert before["arriero_model_state model=a state=stopped"] == 1
    assert before["arriero_workers state=serving"] == 1
    assert not [name for name in before if "no-such" in name or "model=a code" in name]

    for model in ("b", "no-such-model", "a"):
        train.chat(model, headers=KEY)
    # A request has ended for its client a moment before its record is there.
    ok = "arriero_requests_total api=openai model=a outcome=ok status=200"
    eventually(lambda: scrape(train).get(ok) == before.get(ok, 0) + 1, what=ok)
    now = scrape(train)

    def more(name: str) -> float:
        return now[name] - before.get(name, 0)

    assert more("arriero_model_loads_total model=a result=ready") == 1
    assert more("arriero_model_load_seconds_sum model=a") >= 0.1
    assert more("arriero_model_load_stage_seconds_count model=a stage=starting") == 1
    assert more("arriero_model_evictions_total model=b reason=room") == 1
    assert sum(more(name) for name in now if "exits_total" in name and "model=b" in name) == 1
    assert more("arriero_tokens_total kind=output model=a") > 0
    assert now["arriero_model_state model=a state=ready"] == 1
    assert not [name for name in now if "no-such" in name]
    assert sum(more(it) for it in now if it.startswith("arriero_requests_total") and "404" in it)
    # What a's server tells of itself, as far as it is a sample, and under a's name.
    assert now["arriero_model_scrape_success model=a"] == 1
    assert now["llamacpp:n_decode_total model=a"] == 4
    assert now["llamacpp:x exported_model=b model=a"] == 1
    assert now["arriero_worker_restarts_total"] == 0

    with ThreadPoolExecutor(20) as crowd:  # all get it, though one text is written at a time
        found = [crowd.submit(scrape, train) for _ in range(20)]
        assert (
            len({it.result()["arriero_model_loads_total model=a result=ready"] for it in found})
            == 1
        )

    asked = {**KEY, "Accept": PROMETHEUS, "Accept-Encoding": "gzip"}
    with httpx.stream("GET", f"{train.url}/metrics", headers=asked) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["content-type"].startswith("application/openmetrics-text;")
    assert response.headers["content-encoding"] == "gzip"
    assert len(list(OPEN_METRICS(gzip.decompress(raw).decode()))) > 20

    with httpx.Client(base_url=train.url, headers=KEY, timeout=PATIENCE_S) as client:
        assert client.get("/api/hardware").json()["schema_version"] == 1
        samples = client.get("/api/performance?after=2026-01-01T00:00:00+02:00")
        assert samples.json()["enabled"] is True
        assert client.get("/api/performance?after=yesterday").status_code == 400
    train.reload({"models": models, "apiKeys": ["s3cret-key"], "performance": {"disabled": True}})
    off = httpx.get(f"{train.url}/api/performance", headers=KEY, timeout=PATIENCE_S)
    assert (off.status_code, off.json()["enabled"]) == (503, False)
    assert "llamaswap_" not in httpx.get(f"{train.url}/metrics", headers=KEY).text


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
    folder = train.log.parent
    (folder / "schemathesis.toml").write_text(STREAMS)
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{train.url}/openapi.json"),
            *("--header", "Authorization: Bearer sesame", "--include-tag", "arriero"),
            *("--checks", "all", "--max-examples", "60", "--no-color"),
            *("--exclude-path-regex", "^/logs/stream"),  # text that never ends
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert asked.returncode == 0, asked.stdout
    assert train.ask("ping")["ok"]


# Events without an end: of each answer the first one is read.
STREAMS = """
[[operations]]
include-path-regex = "^/api/(live|events)$"
max-stream-events = 1
"""

PARALLEL = {
    "router": {
        "use": "group",
        "settings": {"groups": {"g": {"members": ["org/a", "b"], "swap": False}}},
    }
}
