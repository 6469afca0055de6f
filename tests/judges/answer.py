"""A process of judges: each question of stdin is asked in a thread of its own.

    python tests/judges/answer.py MODULE...

Apart from the tests, because these clients are slow to import, warn of their own deprecations and
print what they like; nobody but this file writes to the real stdout.
"""

import importlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.judges.asked import READY, Asked, Seen, dumps, loads_asked, raised


def main(modules: list[str]) -> None:
    """Answer until stdin ends."""
    out = os.dup(1)
    os.dup2(2, 1)
    judges: dict[str, Callable[[Asked, dict[str, list[object]]], Seen]] = {}
    for module in modules:
        judges |= importlib.import_module(f"tests.judges.{module}").JUDGES
    talks: dict[str, list[object]] = {}  # by name; one judge has a talk at a time

    def answer(line: bytes) -> None:
        number, asked = loads_asked(line)
        try:
            seen = judges[asked.judge](asked, talks)
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is what the client's user sees
            seen = raised(exc)
        os.write(out, dumps(number, seen))

    os.write(out, dumps(READY, Seen()))
    for line in sys.stdin.buffer:
        threading.Thread(target=answer, args=(line,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1:])
