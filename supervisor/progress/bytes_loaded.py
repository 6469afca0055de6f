"""Bytes of the model files that a loading process has read.

The counters themselves are read in `proc_counters`.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

# Mapped pages that are llama-server's own program and libraries, not the model. Measured with
# build 10068: 20 MiB with its Vulkan libraries; CUDA's are larger, but then so are the models.
PROGRAM_BYTES: Final = 24 * 1024 * 1024


class LoadBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one process at one moment, in bytes.

    Attributes:
        rchar: Passed through read(2) and its kin, from wherever it came.
        rss_file: Pages of mapped files that it holds right now.

    ``read_bytes``, what was fetched from storage, was tried and dropped: it stays at zero with a
    warm page cache, and with a cold one it counts the program's libraries, which can be larger
    than the model.

    Source: proc(5), /proc/pid/io and /proc/pid/status.
    """

    rchar: int
    rss_file: int


def bytes_done(first: LoadBytes, now: LoadBytes, total: int) -> int:
    """Return the bytes of the model files read so far, 0 to `total`.

    Neither counter is right for every way of loading, but each stands nearly still while the
    other one is right, so the larger is taken. Measured with build 10068, a model of 253 MB and a
    cold page cache:

    - mapped (the default): `rss_file` grows by the whole model, `rchar` by 13 MB of metadata;
    - ``--no-mmap``: `rchar` grows by the model and 7 MB, `rss_file` by 21 MB of program.

    It can fall, when a server unmaps what it has copied to a GPU: remember the largest.

    Args:
        first: The counters soon after the process was started.
        now: The counters of the moment.
        total: Bytes of all model files.
    """
    mapped = now.rss_file - first.rss_file - PROGRAM_BYTES
    return max(0, min(max(now.rchar - first.rchar, mapped), total))


def total_bytes(
    files: Iterable[Path], *, stat: Callable[[Path], os.stat_result] = Path.stat
) -> int:
    """Return the size of all `files` together.

    One that can't be looked at counts nothing.
    """
    total = 0
    for path in files:
        try:
            total += stat(path).st_size
        except (OSError, ValueError):
            continue
    return total
