"""What is known at one moment -> all metrics. Pure."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Final, TypeAlias, get_args

import msgspec

from arriero.protocol.machine import GpuSample, SystemSample
from arriero.protocol.values import (
    CircuitPhase,
    ConfigStatus,
    DeviceStatus,
    ModelStatus,
    PeerStatus,
    QueueEntry,
    State,
    WorkerStatus,
)

from . import declared
from .declared import MetricDeclaration
from .exposition import Exposition, histogram_series, label, series, summary_series
from .merge import Merged
from .tallies import NONE, Histogram, ModelTally

_MIB: Final = 1024**2
_STATES: Final[tuple[State, ...]] = get_args(State)
_CIRCUIT_PHASES: Final[tuple[CircuitPhase, ...]] = get_args(CircuitPhase)


class KnownNow(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at one moment.

    Attributes:
        version: Of this program.
        started_at: Unix time at which it began.
        models, queue, devices, workers, config: How they stand.
        worker_restarts: Workers that died and were replaced.
        lease_requests: Times that a worker had to ask for a model.
        traced: Requests whose spans were exported or lost, by that.
        tallies: What was counted, by model.
        system, gpus: The last samples of the machine.
        peers: Other machines.
    """

    version: str
    started_at: float
    models: tuple[ModelStatus, ...]
    queue: tuple[QueueEntry, ...]
    devices: tuple[DeviceStatus, ...]
    workers: tuple[WorkerStatus, ...]
    config: ConfigStatus
    worker_restarts: int
    lease_requests: int
    traced: Mapping[str, int]
    tallies: Mapping[str, ModelTally]
    system: SystemSample | None = None
    gpus: tuple[GpuSample, ...] = ()
    peers: tuple[PeerStatus, ...] = ()


def page(known: KnownNow, own: Merged, *, open_metrics: bool) -> bytes:
    """Return all metrics. Takes milliseconds for hundreds of models: a thread does it.

    Args:
        known: What is known.
        own: What model servers tell of themselves.
        open_metrics: In the form of OpenMetrics.
    """
    text = Exposition(open_metrics=open_metrics)
    _program(text, known)
    _models(text, known)
    _counted(text, known.tallies)
    _devices(text, known.devices)
    _peers(text, known.peers)
    if known.system is not None:
        _system(text, known.system)
    _gpus(text, known.gpus)
    succeeded = own.succeeded.items()
    text.add(declared.SCRAPE_OK, [(label("model", model), int(ok)) for model, ok in succeeded])
    text.add_foreign(own.lines(open_metrics=open_metrics))
    return text.text()


def _program(text: Exposition, known: KnownNow) -> None:
    text.add(declared.BUILD_INFO, [(label("version", known.version), 1)])
    text.add(declared.UPTIME, [("", known.started_at)])
    states: dict[str, int] = dict.fromkeys(("starting", "serving", "draining"), 0)
    for worker in known.workers:
        states[worker.state] += 1
    text.add(declared.WORKERS, [(label("state", it), count) for it, count in states.items()])
    text.add(declared.WORKER_RESTARTS, [("", known.worker_restarts)])
    text.add(declared.LEASE_REQUESTS, [("", known.lease_requests)])
    text.add(
        declared.TRACED_REQUESTS,
        [(label("result", it), count) for it, count in known.traced.items()],
    )
    text.add(declared.CONFIG_GENERATION, [("", known.config.generation)])
    text.add(declared.CONFIG_LOADED, [("", known.config.loaded_at)])
    text.add(declared.CONFIG_OK, [("", int(known.config.failed is None))])


def _models(text: Exposition, known: KnownNow) -> None:
    named = [(label("model", status.model), status) for status in known.models]
    text.add(
        declared.MODEL_STATE,
        [
            (f'{model},state="{state}"', int(status.state == state))
            for (model, status), state in product(named, _STATES)
        ],
    )
    waiting = {entry.model: entry.waiting for entry in known.queue}
    text.add(declared.MODEL_IN_FLIGHT, [(model, it.in_flight) for model, it in named])
    text.add(declared.MODEL_QUEUED, [(model, waiting.get(it.model, 0)) for model, it in named])
    text.add(
        declared.MODEL_RESERVED,
        [
            (f"{model},{label('device', device)}", size)
            for model, it in named
            if it.state != "stopped"
            for device, size in (it.memory or {}).items()
        ],
    )


_Lines: TypeAlias = Callable[[str, ModelTally], str]


def _counts(
    metric: MetricDeclaration, of: Callable[[ModelTally], Iterable[tuple[str, int]]]
) -> tuple[MetricDeclaration, _Lines]:
    head = f'{metric.labels[1]}="'
    return metric, lambda model, tally: series(
        metric, [(f'{model},{head}{what}"', count) for what, count in of(tally)]
    )


def _sum(
    metric: MetricDeclaration, of: Callable[[ModelTally], float]
) -> tuple[MetricDeclaration, _Lines]:
    return metric, lambda model, tally: series(metric, [(model, of(tally))])


def _sizes(
    metric: MetricDeclaration, of: Callable[[ModelTally], Histogram]
) -> tuple[MetricDeclaration, _Lines]:
    def lines(model: str, tally: ModelTally) -> str:
        found = of(tally)
        return histogram_series(metric, model, found) if any(found.counts) else ""

    return metric, lines


def _ends(model: str, tally: ModelTally) -> str:
    return series(
        declared.REQUESTS,
        [
            (f'{model},api="{api}",status="{status}",outcome="{outcome}"', count)
            for (api, status, outcome), count in tally.ends.items()
        ],
    )


def _stages(model: str, tally: ModelTally) -> str:
    return "".join(
        summary_series(declared.MODEL_STAGE_SECONDS, f'{model},stage="{stage}"', *found)
        for stage, found in tally.stages.items()
    )


def _tokens(tally: ModelTally) -> tuple[tuple[str, int], ...]:
    return (
        ("input", tally.input_tokens),
        ("cached", tally.cached_tokens),
        ("output", tally.output_tokens),
        ("reasoning", tally.reasoning_tokens),
        ("draft", tally.draft_tokens),
        ("draft_accepted", tally.draft_accepted),
    )


_COUNTED: Final = (
    (declared.REQUESTS, _ends),
    _counts(declared.MODEL_LOADS, lambda it: it.loads.items()),
    _counts(declared.MODEL_EVICTIONS, lambda it: it.evictions.items()),
    _counts(declared.MODEL_EXITS, lambda it: it.exits.items()),
    _counts(declared.TOKENS, _tokens),
    _sum(declared.PROMPT_TOKENS, lambda it: it.prefill_tokens),
    _sum(declared.PROMPT_SECONDS, lambda it: it.prefill_s),
    _sum(declared.OUTPUT_TOKENS, lambda it: it.decode_tokens),
    _sum(declared.OUTPUT_SECONDS, lambda it: it.decode_s),
    _sum(declared.COST, lambda it: it.cost_usd),
    _sizes(declared.REQUEST_SECONDS, lambda it: it.durations),
    _sizes(declared.QUEUE_SECONDS, lambda it: it.queued),
    _sizes(declared.WAITED_SECONDS, lambda it: it.waited),
    _sizes(declared.FIRST_TOKEN_SECONDS, lambda it: it.first_tokens),
    _sizes(declared.MODEL_LOAD_SECONDS, lambda it: it.load),
    (declared.MODEL_STAGE_SECONDS, _stages),
)


def _counted(text: Exposition, tallies: Mapping[str, ModelTally]) -> None:
    lines = [_lines_of(name, tally) for name, tally in tallies.items()]
    for (metric, _), of_models in zip(_COUNTED, zip(*lines, strict=True), strict=False):
        text.add_written(metric, "".join(of_models))


def _lines_of(name: str, tally: ModelTally) -> tuple[str, ...]:
    """Return the lines of a model, for each metric: most have not changed since the last scrape.

    What no model has to do with is counted, and no more.
    """
    if not tally.written:
        model = label("model", name)
        wanted = _COUNTED if name != NONE else _COUNTED[:1]
        lines = [lines_of(model, tally) for _, lines_of in wanted]
        tally.written = tuple(lines + [""] * (len(_COUNTED) - len(lines)))
    return tally.written


def _devices(text: Exposition, devices: tuple[DeviceStatus, ...]) -> None:
    values: tuple[tuple[MetricDeclaration, Callable[[DeviceStatus], int]], ...] = (
        (declared.DEVICE_TOTAL, lambda it: it.total),
        (declared.DEVICE_RESERVED, lambda it: it.reserved),
        (declared.DEVICE_FOREIGN, lambda it: it.foreign),
        (declared.DEVICE_FREE, lambda it: it.free),
        (declared.DEVICE_HELD, lambda it: int(it.held)),
    )
    for metric, value_of in values:
        text.add(metric, [(label("device", it.device), value_of(it)) for it in devices])


def _system(text: Exposition, found: SystemSample) -> None:
    cores = enumerate(found.cpu_util_per_core)
    text.add(declared.CPU, [(f'core="{core}"', percent) for core, percent in cores])
    text.add(declared.MEMORY_TOTAL, [("", found.mem_total_mb * _MIB)])
    text.add(declared.MEMORY_USED, [("", found.mem_used_mb * _MIB)])
    text.add(declared.MEMORY_FREE, [("", found.mem_free_mb * _MIB)])
    text.add(declared.SWAP_TOTAL, [("", found.swap_total_mb * _MIB)])
    text.add(declared.SWAP_USED, [("", found.swap_used_mb * _MIB)])
    text.add(
        declared.LOAD_AVERAGE,
        [
            ('interval="1m"', found.load_avg_1),
            ('interval="5m"', found.load_avg_5),
            ('interval="15m"', found.load_avg_15),
        ],
    )
    text.add(
        declared.NETWORK,
        [
            (f'{label("interface", it.name)},direction="{direction}"', count)
            for it in found.net_io
            for direction, count in (("recv", it.bytes_recv), ("sent", it.bytes_sent))
        ],
    )


def _peers(text: Exposition, peers: tuple[PeerStatus, ...]) -> None:
    named = [(label("peer", it.peer), it) for it in peers]
    watched = [(labels, it) for labels, it in named if it.watched]
    text.add(declared.PEER_UP, [(labels, int(it.link == "up")) for labels, it in watched])
    text.add(
        declared.PEER_CIRCUIT,
        [
            (f'{labels},state="{phase}"', int(it.circuit == phase))
            for (labels, it), phase in product(named, _CIRCUIT_PHASES)
        ],
    )
    text.add(declared.PEER_MODELS, [(labels, it.models) for labels, it in named])
    text.add(
        declared.PEER_LISTED,
        [(labels, it.listed_at) for labels, it in watched if it.listed_at is not None],
    )
    text.add(declared.PEER_FAILURES, [(labels, it.failures) for labels, it in named])


_GPU_VALUES: Final[tuple[tuple[MetricDeclaration, Callable[[GpuSample], float | None]], ...]] = (
    (declared.GPU_TEMPERATURE, lambda it: it.temp_c),
    (declared.GPU_VRAM_TEMPERATURE, lambda it: it.vram_temp_c),
    (declared.GPU_USE, lambda it: it.gpu_util_pct),
    (declared.GPU_MEMORY_USE, lambda it: it.mem_util_pct),
    (declared.GPU_MEMORY_USED, lambda it: _bytes(it.mem_used_mb)),
    (declared.GPU_MEMORY_TOTAL, lambda it: _bytes(it.mem_total_mb)),
    (declared.GPU_FAN, lambda it: it.fan_speed_pct),
    (declared.GPU_POWER, lambda it: it.power_draw_w),
)


def _gpus(text: Exposition, gpus: tuple[GpuSample, ...]) -> None:
    named = []
    for gpu in sorted(gpus, key=lambda gpu: gpu.id):
        labels = f'id="{gpu.id}",{label("name", gpu.name)}'
        named.append((f"{labels},{label('uuid', gpu.uuid)}" if gpu.uuid else labels, gpu))
    for metric, value_of in _GPU_VALUES:
        found = [(labels, value_of(gpu)) for labels, gpu in named]
        text.add(metric, [(labels, value) for labels, value in found if value is not None])


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * _MIB
