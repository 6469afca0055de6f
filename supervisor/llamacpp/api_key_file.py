"""Reads a file of keys for a server, as the server itself does."""

import os
import stat
from typing import Final

from .api_key import key_in_file

# More than any list of keys has.
_MAX_BYTES: Final = 64 * 1024


def read_key_file(path: str) -> str:
    """Return the first key in the file at `path`; empty if there is none.

    Also if it cannot be read.

    The server reports the reason: it reads it, too. Never waits for another process.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            text = file.read(_MAX_BYTES)
    except (OSError, ValueError):  # such as a zero byte in the name
        return ""
    return key_in_file(text.decode(errors="surrogateescape"))
