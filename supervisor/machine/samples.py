"""One sample of processors, memory and network, by psutil. Blocks for a millisecond."""

import os
from datetime import datetime
from typing import Final

from arriero.protocol.machine import NetworkUse, SystemSample

_MIB: Final = 1024**2

# Network interfaces that are told of: a machine with containers has one for each.
_MAX_INTERFACES: Final = 64


def system_sample(now: datetime) -> SystemSample:
    """Return what the machine does at `now`; use of the cores since the call before."""
    import psutil  # takes 25 ms, and nobody needs it at the start

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    interfaces = psutil.net_io_counters(pernic=True)
    one, five, fifteen = os.getloadavg()
    return SystemSample(
        timestamp=now,
        cpu_util_per_core=tuple(psutil.cpu_percent(percpu=True)),
        mem_total_mb=memory.total // _MIB,
        mem_used_mb=memory.used // _MIB,
        mem_free_mb=memory.available // _MIB,
        swap_total_mb=swap.total // _MIB,
        swap_used_mb=swap.used // _MIB,
        load_avg_1=one,
        load_avg_5=five,
        load_avg_15=fifteen,
        net_io=tuple(
            NetworkUse(name=name, bytes_recv=use.bytes_recv, bytes_sent=use.bytes_sent)
            for name, use in sorted(interfaces.items())[:_MAX_INTERFACES]
            if name != "lo"
        ),
    )
