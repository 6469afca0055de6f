"""Text of others on one line, and harmless to a terminal."""

import re
from typing import Final

# ECMA-48 control sequences: colours and cursor movements, as programs write them into logs.
_CONTROL_SEQUENCE: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return `text` on one line and harmless to a terminal.

    What a model's process writes, and what a configuration calls a model, is not ours: it could
    move the cursor, or turn the direction of writing.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", _CONTROL_SEQUENCE.sub("", text))
