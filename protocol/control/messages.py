"""All messages of the control socket.

One request is one frame of JSON, sent by a plain REQ socket; the answer is one frame of JSON.
``cmd`` distinguishes the requests. Every reply has ``ok``; a refusal has ``error`` beside it.
"""

from typing import TypeAlias

from .base import Done, Refusal
from .measures import (
    HardwareReply,
    HardwareRequest,
    MetricsReply,
    MetricsRequest,
    PerformanceReply,
    PerformanceRequest,
)
from .models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    LogsReply,
    LogsRequest,
    PinRequest,
    ProfileRequest,
    ProfilesReply,
    ProfilesRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
    UnloadReply,
    UnloadRequest,
)
from .requests import (
    ActivityReply,
    ActivityRequest,
    CancelReply,
    CancelRequest,
    CaptureReply,
    CaptureRequest,
    CapturesReply,
    CapturesRequest,
    HistoryReply,
    HistoryRequest,
    PreviewReply,
    PreviewRequest,
    RowsReply,
    RowsRequest,
    SpeedsReply,
    SpeedsRequest,
    UsageReply,
    UsageRequest,
)
from .running import (
    DecisionsReply,
    DecisionsRequest,
    PingReply,
    PingRequest,
    RestartRequest,
    ScaleRequest,
    ShutdownRequest,
    StatusReply,
    StatusRequest,
    WorkersReply,
    WorkersRequest,
)
from .settings import ConfigReply, ConfigRequest, ReloadReply, ReloadRequest

AnyRequest: TypeAlias = (
    PingRequest
    | StatusRequest
    | SwapRequest
    | UnloadRequest
    | HoldRequest
    | ReleaseRequest
    | PinRequest
    | LogsRequest
    | ExplainRequest
    | PreviewRequest
    | ReloadRequest
    | CancelRequest
    | ActivityRequest
    | RowsRequest
    | SpeedsRequest
    | HistoryRequest
    | DecisionsRequest
    | ConfigRequest
    | UsageRequest
    | CapturesRequest
    | CaptureRequest
    | WorkersRequest
    | ScaleRequest
    | ProfilesRequest
    | ProfileRequest
    | MetricsRequest
    | PerformanceRequest
    | HardwareRequest
    | ShutdownRequest
    | RestartRequest
)


AnyReply: TypeAlias = (
    PingReply
    | StatusReply
    | SwapReply
    | UnloadReply
    | HoldReply
    | LogsReply
    | ExplainReply
    | PreviewReply
    | ReloadReply
    | CancelReply
    | ActivityReply
    | RowsReply
    | SpeedsReply
    | HistoryReply
    | DecisionsReply
    | ConfigReply
    | UsageReply
    | CapturesReply
    | CaptureReply
    | WorkersReply
    | ProfilesReply
    | MetricsReply
    | PerformanceReply
    | HardwareReply
    | Done
    | Refusal
)
