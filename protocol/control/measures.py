"""What is measured: metrics, samples of the machine, and what that is."""

from datetime import datetime

from ..machine import GpuSample, Hardware, SystemSample
from .base import ControlReply, ControlRequest


class MetricsRequest(ControlRequest, frozen=True, kw_only=True, tag="metrics"):
    """All metrics, in the words of Prometheus.

    Attributes:
        open_metrics: In the form of OpenMetrics.
        gzip: Compressed.
    """

    open_metrics: bool = False
    gzip: bool = False


class MetricsReply(ControlReply, frozen=True, kw_only=True):
    """The metrics.

    Attributes:
        text: UTF-8, perhaps compressed.
        gzip: It is.
    """

    text: bytes
    gzip: bool


class PerformanceRequest(ControlRequest, frozen=True, kw_only=True, tag="performance"):
    """Samples of the machine.

    Attributes:
        after: Only those that are younger than this moment; None: all that are kept.
    """

    after: datetime | None = None


class PerformanceReply(ControlReply, frozen=True, kw_only=True):
    """Samples, the oldest first.

    Attributes:
        enabled: The machine is sampled.
    """

    enabled: bool
    sys_stats: tuple[SystemSample, ...] = ()
    gpu_stats: tuple[GpuSample, ...] = ()


class HardwareRequest(ControlRequest, frozen=True, kw_only=True, tag="hardware"):
    """What the machine is."""


class HardwareReply(ControlReply, frozen=True, kw_only=True):
    """What the machine is; None: that is not known yet, or cannot be."""

    hardware: Hardware | None
