"""What all commands end with, and write."""

import sys
from io import TextIOWrapper
from typing import Final

EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141


def show_any_text() -> None:
    """Have what a terminal cannot show end no command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
