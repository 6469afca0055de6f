"""All judges at once: processes that are started before they are needed, and asked in any order."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from tests.judges.asked import PATIENCE_S, READY, Asked, Seen, dumps, loads_seen
from tests.judges.node_client import NODE, ensure_node_client

HERE = Path(__file__).parent

# The clients for Python; one more is for Node.
PYTHONS = ("openai", "anthropic", "langchain", "litellm")

# Seconds; 6 s of an idle processor, while others want it as well.
IMPORTS_S = 90.0


Answers: TypeAlias = Callable[[], list[Seen]]


class Judges:
    """One process of them."""

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._numbers = itertools.count()
        self._ready = Future[Seen]()
        self._open: dict[int, Future[Seen]] = {READY: self._ready}
        self._words = b""
        self._threads = [threading.Thread(target=run) for run in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()

    def ask(self, asked: Asked) -> Future[Seen]:
        """Ask now, hear later; the first question waits for all that has to be imported."""
        self._ready.result(IMPORTS_S)
        number, future = next(self._numbers), Future[Seen]()
        self._open[number] = future
        assert self._process.stdin is not None
        self._process.stdin.write(dumps(number, asked))
        self._process.stdin.flush()
        return future

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, seen = loads_seen(line)
            self._open.pop(number).set_result(seen)
        for future in self._open.values():  # nobody is left to answer these
            future.set_exception(AssertionError(f"the judges died: {self._words.decode()}"))

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._words = (self._words + line)[-4000:]

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        self._process.stderr.close()  # type: ignore[union-attr]


class Panel:
    """All of them, by the first word of their names."""

    def __init__(self, judges: dict[str, Judges]) -> None:
        self._judges = judges

    def ask(self, asked: Asked) -> Future[Seen]:
        """Ask the judge that is named."""
        return self._judges[asked.judge.partition(" ")[0]].ask(asked)

    def ask_all(self, queries: Iterable[Asked]) -> Answers:
        """Ask all of them at once; return what waits for the answers, in their order."""
        futures = [self.ask(asked) for asked in queries]
        return lambda: [future.result(PATIENCE_S * 1.5) for future in futures]


@contextmanager
def convened() -> Generator[Panel]:
    """Give a panel whose processes have been started; they end with the block."""
    node = ensure_node_client()
    # All in one process: they import much that they have in common.
    modules = [f"judge_{name}" for name in PYTHONS]
    of_python = Judges(sys.executable, HERE / "answer.py", *modules)
    of_node = Judges(NODE, HERE / "judge_node.mjs", node)
    try:
        yield Panel(dict.fromkeys(PYTHONS, of_python) | {"node": of_node})
    finally:
        for judges in (of_python, of_node):
            judges.close()
