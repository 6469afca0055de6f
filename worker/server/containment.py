"""The edge of one connection: whatever happens on it ends at most itself.

The one place in this package where any exception is caught. It is a bug, in this program or in a
library, that somebody's bytes have found; streams of others are worth more than a clean end.
"""

import logging
import traceback
from collections.abc import Awaitable

from arriero.protocol.flood_log import FloodLog

FLOOD_LOG = FloodLog(logging.getLogger(__name__))
"""Of each kind of failure the first has a line with its traceback; the others are counted."""


async def contain(serving: Awaitable[None]) -> None:
    """Serve one connection; what it raises is logged. Being cancelled passes.

    Args:
        serving: Closes the connection, whatever becomes of it.
    """
    try:
        await serving
    except* Exception as failures:  # noqa: BLE001 - hostile bytes may find anything
        for failure in _leaves(failures):
            FLOOD_LOG.exception(_kind_of(failure), exc=failure)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for failure in group.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            found += _leaves(failure)
        else:
            found.append(failure)
    return found


def _kind_of(failure: Exception) -> str:
    """Return the line that says what failed; failures of one kind have the same."""
    frames = traceback.extract_tb(failure.__traceback__)
    place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
    line = f"connection.failed error={type(failure).__name__} at={place}"
    return line.replace("%", "%%")  # it is a template
