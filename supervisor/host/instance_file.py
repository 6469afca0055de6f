"""A number of this arriero, for other machines: it stays the same, whatever they call it."""

import logging
import re
from pathlib import Path
from typing import Final

from arriero.digests import random_hex

from .state_file import load_state, save_state

log = logging.getLogger(__name__)

FILE_NAME: Final = "instance"

_BYTES: Final = 8
_NUMBER: Final = re.compile(rb"[0-9a-f]{16}")


def instance_of(path: Path) -> str:
    """Return the number in the file `path`, which is made if there is none.

    Without a folder that can be written it is another one after each start.
    """
    number = load_state(path, "instance", str, _read, log)
    if not number:
        number = random_hex(_BYTES)
        save_state(path, "instance", number.encode() + b"\n", log)
    return number


def _read(data: bytes) -> str:
    if not _NUMBER.fullmatch(data.strip()):
        raise ValueError("it is no number of an arriero")
    return data.strip().decode()
