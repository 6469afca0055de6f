"""All metrics as text, read by the library's parsers."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_plain

from arriero.protocol.machine import GpuSample, NetworkUse, SystemSample
from arriero.protocol.values import (
    ConfigStatus,
    DeviceStatus,
    ModelStatus,
    PeerStatus,
    QueueEntry,
    WorkerStatus,
)
from arriero.supervisor.metrics import declared
from arriero.supervisor.metrics.merge import Merged
from arriero.supervisor.metrics.page import KnownNow, page
from arriero.supervisor.metrics.tallies import ModelTally, Tallies
from tests.records import record
from tests.worker.growth import assert_linear

ODD = 'or"g\\q{model="x"}\n# HELP x'
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GPU = GpuSample(
    timestamp=NOW, id=1, name=ODD, uuid="", temp_c=60, vram_temp_c=70, gpu_util_pct=99,
    mem_util_pct=50.0, mem_used_mb=2, mem_total_mb=4, fan_speed_pct=30, power_draw_w=99.5,
)  # fmt: skip
SYSTEM = SystemSample(
    timestamp=NOW, cpu_util_per_core=(1.5, 100.0), mem_total_mb=8, mem_used_mb=2, mem_free_mb=6,
    swap_total_mb=2, swap_used_mb=1, load_avg_1=0.5, load_avg_5=1.0, load_avg_15=2.0,
    net_io=(NetworkUse(name="eth0", bytes_recv=7, bytes_sent=9),),
)  # fmt: skip


def tally(model: str) -> ModelTally:
    """One with something in each field."""
    tallies = Tallies(lambda _: True)
    tallies.note_records(
        [
            record(
                model=model,
                ttft_ms=5.0,
                input_tokens=3,
                output_tokens=2,
                prompt_ms=1.0,
                gen_ms=2.0,
            ),
            record(model=model, status=503, outcome="rejected"),
        ]
    )
    tallies.note_exit(model, -9)
    found = tallies.snapshot()[model]
    found.loads["ready"] = found.evictions["room"] = 1
    found.load.add(4.0)
    found.stages.update(dict.fromkeys(("draining", "starting", "loading", "warming"), (2, 3.5)))
    return found


def known(*models: str) -> KnownNow:
    """What is known where these models are, and all else is there."""
    statuses = tuple(
        ModelStatus(model=model, state="ready", since=1.0, in_flight=2, memory={"gpu0": 5})
        for model in models
    )
    return KnownNow(
        version="1.2.3",
        started_at=1000.5,
        models=statuses,
        queue=(QueueEntry(model=models[0], waiting=3),),
        devices=(DeviceStatus(device="gpu0", total=9, reserve=1, foreign=2, reserved=3, free=4),),
        workers=(WorkerStatus(worker=1, pid=1, state="serving"),),
        config=ConfigStatus(generation=7, loaded_at=1001.0),
        worker_restarts=1,
        lease_requests=5,
        traced={"exported": 7, "lost": 2},
        tallies={model: tally(model) for model in (*models, "")},
        system=SYSTEM,
        gpus=(GPU, replace(GPU, id=0, name="B", uuid="u-0", temp_c=None)),
        peers=(
            PeerStatus(peer="box2", url="http://b", kind="openai", failures=3, models=2),
            PeerStatus(
                peer="box3",
                url="http://c",
                kind="arriero",
                watched=True,
                link="away",
                circuit="open",
                listed_at=1002.0,
            ),
        ),
    )


def test_other_machines_have_circuits() -> None:
    found = values(page(known("a"), Merged(), open_metrics=False), read_plain)

    circuits = {
        (name, state): of(found, "arriero_peer_circuit", peer=name, state=state)
        for name in ("box2", "box3")
        for state in ("closed", "open", "half-open")
    }
    assert [key for key, value in circuits.items() if value] == [
        ("box2", "closed"),
        ("box3", "open"),
    ]
    assert of(found, "arriero_peer_up", peer="box3") == 0
    assert ("arriero_peer_up", frozenset({("peer", "box2")})) not in found
    assert of(found, "arriero_peer_failures_total", peer="box2") == 3
    assert of(found, "arriero_peer_list_timestamp_seconds", peer="box3") == 1002.0


Reader = Callable[[str], Iterable[Metric]]
FORMS = pytest.mark.parametrize(
    ("read", "open_metrics"), [(read_plain, False), (read_open, True)], ids=["plain", "open"]
)


def values(text: bytes, read: Reader) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples, of which none is there twice."""
    found = [
        ((it.name, frozenset(it.labels.items())), it.value)
        for metric in read(text.decode())
        for it in metric.samples
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def of(
    found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, /, **labels: str
) -> float:
    return found[name, frozenset(labels.items())]


@FORMS
def test_all_that_is_declared_is_shown(read: Reader, open_metrics: bool) -> None:
    own = Merged()
    own.add("a", b"llamacpp:x 1\n")
    text = page(known("a", ODD), own, open_metrics=open_metrics)
    shown = {metric.name: metric for metric in read(text.decode())}

    for it in declared.ALL:
        metric = shown[it.name.removesuffix("_total") if it.kind == "counter" else it.name]
        assert (metric.type, metric.documentation) == (it.kind, it.help)
        for sample in metric.samples:
            labels = set(sample.labels) - {"le"}
            assert labels == set(it.labels) or (
                labels | {"uuid"} == set(it.labels) and it.labels[-1] == "uuid"
            )
    assert set(shown) == {it.name.removesuffix("_total") for it in declared.ALL} | {"llamacpp:x"}


@FORMS
def test_values_are_those_that_are_known(read: Reader, open_metrics: bool) -> None:
    found = values(page(known("a", ODD), Merged(), open_metrics=open_metrics), read)

    assert of(found, "arriero_traced_requests_total", result="lost") == 2
    assert of(found, "arriero_model_state", model=ODD, state="ready") == 1
    assert of(found, "arriero_model_state", model=ODD, state="stopped") == 0
    assert of(found, "arriero_model_queued_requests", model="a") == 3
    assert of(found, "arriero_model_queued_requests", model=ODD) == 0
    assert of(found, "arriero_model_reserved_bytes", model="a", device="gpu0") == 5
    assert of(found, "arriero_model_exits_total", model="a", code="SIGKILL") == 1
    assert of(found, "arriero_model_load_stage_seconds_sum", model="a", stage="loading") == 3.5
    assert of(found, "arriero_model_load_seconds_bucket", model="a", le="2.5") == 0
    assert of(found, "arriero_model_load_seconds_bucket", model="a", le="5.0") == 1
    assert of(found, "arriero_model_load_seconds_bucket", model="a", le="+Inf") == 1
    assert of(found, "arriero_model_load_seconds_count", model="a") == 1
    assert of(found, "arriero_tokens_total", model="a", kind="input") == 3
    for model in ("a", ""):
        for status, outcome in (("200", "ok"), ("503", "rejected")):
            labels = {"model": model, "api": "openai", "status": status, "outcome": outcome}
            assert of(found, "arriero_requests_total", **labels) == 1
    assert of(found, "arriero_workers", state="serving") == 1
    assert of(found, "llamaswap_memory_free_bytes") == 6 * 1024**2
    assert of(found, "llamaswap_network_bytes_total", interface="eth0", direction="sent") == 9
    assert of(found, "llamaswap_gpu_temperature_celsius", id="1", name=ODD) == 60
    assert of(found, "llamaswap_gpu_memory_used_bytes", id="0", name="B", uuid="u-0") == 2097152
    assert ("llamaswap_gpu_temperature_celsius", frozenset({("id", "0")})) not in found


def test_nothing_but_models_without_samples() -> None:
    least = replace(known("a"), devices=(), queue=(), tallies={}, system=None, gpus=())

    text = page(least, Merged(), open_metrics=False)

    assert b"llamaswap_" not in text
    assert b"arriero_device" not in text
    alone = replace(least, system=replace(SYSTEM, net_io=()))
    text = page(alone, Merged(), open_metrics=False)
    assert b"llamaswap_memory_free_bytes 6291456.0" in text or b"free_bytes 6291456\n" in text
    assert b"\nllamaswap_network" not in text
    assert b"llamaswap_gpu" not in text


def test_four_times_the_models_take_four_times_as_long() -> None:
    there = {
        count: known(*(f"org/model-{number}" for number in range(count))) for count in (50, 200)
    }

    def written(count: int) -> bytes:
        return page(there[count], Merged(), open_metrics=False)

    assert_linear(written, 50)
    assert written(200).count(b"\n") > 15_000
