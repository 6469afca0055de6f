"""A line of llama-server's stdout -> the report of its start, or None.

A plain llama-server that finds ``LLAMA_SERVER_ROUTER_PORT`` in its environment takes itself for
the child of a llama.cpp router and writes such lines to stdout:

    cmd_child_to_router:state:{"state":"loading","payload":{"stages":["text_model","spec_model"],
                               "current":"text_model","value":0.42}}
    cmd_child_to_router:state:{"state":"ready","payload":{...,"meta":{"n_ctx":512,...}}}

That is an internal interface of llama.cpp: it is used where it is found and never needed.

Source: llama.cpp, tools/server/server-models.cpp; seen with build 10068. Builds before the states
wrote a bare ``cmd_child_to_router:ready``.
"""

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

from arriero.protocol.read_json import JsonReader

# Longest line that is looked at. A `ready` line carries the model's description and is about
# 700 bytes; what is a hundred times longer is something else.
MAX_LINE_BYTES: Final = 64 * 1024

# llama.cpp has three stages today. More than that many is not believed.
MAX_STAGES: Final = 16
MAX_STAGE_NAME: Final = 64

# How the work is spread over stages, while nothing better is known: a draft model or a vision
# projector has about a tenth of the bytes of the model that it serves (1/40 to 1/5 in common
# pairs). Equal shares would show 50 % when 90 % is done.
STAGE_WEIGHTS: Final[Mapping[str, float]] = {"text_model": 8.0}
OTHER_STAGE_WEIGHT: Final = 1.0

_PREFIX: Final = b"cmd_child_to_router:"
_STATE: Final = _PREFIX + b"state:"
_OLD_READY: Final = _PREFIX + b"ready"


class LoadingReport(msgspec.Struct, frozen=True):
    """llama-server reads its models.

    The first report of a start only announces the stages: it comes with value 0.0 before the
    metadata are read. The next one, often with 0.0 again, comes when the tensors have their turn.

    Attributes:
        stages: All that is to be loaded, in order.
        current: The stage that is being loaded.
        value: Share of the current stage, 0.0 to 1.0.
    """

    stages: tuple[str, ...]
    current: str
    value: float

    @property
    def fraction(self) -> float:
        """Share of all stages together, 0.0 to 1.0."""
        if self.current not in self.stages:
            return self.value if len(self.stages) <= 1 else 0.0
        weights = [STAGE_WEIGHTS.get(stage, OTHER_STAGE_WEIGHT) for stage in self.stages]
        index = self.stages.index(self.current)
        return min(1.0, (sum(weights[:index]) + weights[index] * self.value) / sum(weights))

    @property
    def is_complete(self) -> bool:
        """True when the last stage is read; only the warm-up follows."""
        return self.value >= 1.0 and (not self.stages or self.current == self.stages[-1])


class ReadyReport(msgspec.Struct, frozen=True):
    """llama-server serves.

    Attributes:
        n_ctx: Tokens of context, if it reports them.
    """

    n_ctx: int | None = None


class SleepingReport(msgspec.Struct, frozen=True):
    """llama-server sleeps; when it wakes it is ready again."""


Report: TypeAlias = LoadingReport | ReadyReport | SleepingReport


class _ReportLine(msgspec.Struct):
    state: str
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Loading(msgspec.Struct):
    current: str
    value: float
    stages: list[str] = []


class _Meta(msgspec.Struct):
    n_ctx: int | None = None


class _Ready(msgspec.Struct):
    meta: _Meta | None = None


_line = JsonReader(_ReportLine)
_loading = JsonReader(_Loading)
_ready = JsonReader(_Ready)


def read_report_line(line: bytes | str) -> Report | None:
    """Return the report in `line`, or None if it is no usable one.

    Never raises, whatever the line is: stdout belongs to a program that changes every day.
    """
    data = line.encode("utf-8", "surrogateescape") if isinstance(line, str) else line
    if len(data) > MAX_LINE_BYTES or not data.startswith(_PREFIX):
        return None
    data = data.rstrip()
    if data == _OLD_READY:
        return ReadyReport()
    if not data.startswith(_STATE):
        return None
    report = _line.find(data[len(_STATE) :])
    if report is None:
        return None
    match report.state:
        case "loading":
            return _read_loading(report.payload)
        case "ready":
            return _read_ready(report.payload)
        case "sleeping":
            return SleepingReport()
        case _:
            return None  # "unloaded" and whatever comes next: not of a start


def _read_loading(payload: msgspec.Raw) -> LoadingReport | None:
    loading = _loading.find(payload)
    if (
        loading is None
        or len(loading.stages) > MAX_STAGES
        or any(len(name) > MAX_STAGE_NAME for name in (*loading.stages, loading.current))
    ):
        return None
    # Finite: JSON has no NaN, and msgspec refuses what overflows.
    value = min(1.0, max(0.0, loading.value))
    return LoadingReport(tuple(loading.stages), loading.current, value)


def _read_ready(payload: msgspec.Raw) -> ReadyReport:
    """Read the size of the context.

    A `ready` without one is a `ready` all the same.
    """
    ready = _ready.find(payload)
    meta = ready.meta if ready is not None else None
    n_ctx = meta.n_ctx if meta is not None else None
    return ReadyReport(n_ctx if n_ctx is not None and n_ctx > 0 else None)
