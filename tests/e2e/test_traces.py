"""Collectors of traces that mean no good: what the whole program makes of them.

By day the exporter's own parts meet the same, see tests/supervisor/telemetry.
"""

import re
import time
from collections.abc import Callable

import httpx
import psutil
import pytest
from trains import PATIENCE_S, Train, eventually

from tests.collector import HOSTILE, floods, open_hostile

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]

REQUESTS = 30


@pytest.fixture(scope="module")
def environ_of_ride() -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [*HOSTILE, "flooding", "nobody"])
def test_a_hostile_collector_costs_no_request_anything(
    kind: str, ride: Callable[..., Train], scripted: Callable[..., str]
) -> None:
    with open_hostile(HOSTILE.get(kind, floods)) as url:
        endpoint = "http://127.0.0.1:9" if kind == "nobody" else url  # where nobody listens
        config = {
            "models": {"a": {"cmd": scripted()}},
            "telemetry": {"traces": True, "endpoint": endpoint},
        }
        train = ride(config)
        eventually(lambda: "telemetry.exporting" in train.log_text())
        train.chat("a")
        before = lost(train)
        slowest = most = 0.0
        for _ in range(REQUESTS):
            began = time.monotonic()
            assert train.chat("a").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            most = max(most, exporter_bytes(train))
            time.sleep(0.1)

        def is_told() -> bool:
            nonlocal most
            most = max(most, exporter_bytes(train))
            return kind == "redirecting" or lost(train) > before

        eventually(is_told, within_s=60)
        assert slowest < 8.0  # some collectors never let go
        assert 0 < most < 500 * 1024**2


def lost(train: Train) -> float:
    text = httpx.get(f"{train.url}/metrics", timeout=PATIENCE_S).text
    found = re.search(r'^arriero_traced_requests_total\{result="lost"\} (.*)$', text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def exporter_bytes(train: Train) -> int:
    """Main memory of the exporter; 0 while there is none."""
    for child in psutil.Process(train.process.pid).children():
        try:
            if "arriero.supervisor.telemetry.exporter_child" in child.cmdline():
                return int(child.memory_info().rss)
        except psutil.Error:
            pass
    return 0
