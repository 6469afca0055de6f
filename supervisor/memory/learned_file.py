"""The file of learned sizes. Losing it costs a run alone, no start."""

import logging
from pathlib import Path
from typing import Final

from ..host.state_file import load_state, save_state
from .learned import LearnedSizes

log = logging.getLogger(__name__)

SIZES_FILE_NAME: Final = "sizes.json"


def load_sizes(path: Path) -> LearnedSizes:
    """Return the learned sizes; see `load_state`."""
    return load_state(path, "sizes", LearnedSizes, LearnedSizes.decode, log)


def save_sizes(path: Path, sizes: LearnedSizes) -> bool:
    """Write `sizes`; return whether that went well. See `save_state`."""
    return save_state(path, "sizes", sizes.encode(), log)
