"""The file of learned durations. Losing it costs an ETA, no start."""

import logging
from pathlib import Path
from typing import Final

from ..host.state_file import load_state, save_state
from .stage_times import Durations

log = logging.getLogger(__name__)

FILE_NAME: Final = "durations.json"


def load_durations(path: Path) -> Durations:
    """Return the learned durations; see `load_state`."""
    return load_state(path, "durations", Durations, Durations.decode, log)


def save_durations(path: Path, durations: Durations) -> bool:
    """Write `durations`; return whether that went well. See `save_state`."""
    return save_state(path, "durations", durations.encode(), log)
