"""The files in which a newcomer reads a request to a model that runs."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from arriero.worker.server import http1
from tests.paths import ROOT
from tests.worker.rig import Rig, post, read_response

MAX_FILES = 15
WORKER = str(Path(http1.__file__).parents[1]) + "/"
CONNECTION = http1.serve_connection.__code__


def listed() -> list[str]:
    """Return the files that the documentation lists."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    begin = text.index("## A request to a model that runs\n")
    section = text[begin : text.index("\n## ", begin)]
    return re.findall(r"(?m)^\| `worker/([\w/.]+)` \|", section)


def callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


class Tracer:
    """Notes which files of a worker run on behalf of a connection.

    Attributes:
        files: All of them.
        waiting: Those of them with a coroutine that ran.
    """

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.waiting: set[str] = set()

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        name = frame.f_code.co_filename  # compared as text: there are thousands of calls
        if event != "call" or not name.startswith(WORKER):
            return
        if any(caller.f_code is CONNECTION for caller in callers(frame)):
            name = name.removeprefix(WORKER)
            self.files.add(name)
            if frame.f_code.co_flags & inspect.CO_COROUTINE:
                self.waiting.add(name)


async def test_warm_request_reads_fifteen_files(rig: Rig) -> None:
    tracer = Tracer()
    request = post(b'{"model":"m","messages":[]}', close=False)
    async with await rig.connect() as stream:
        for _ in range(2):  # the first one waits for its lease
            await stream.send_all(request)
            await read_response(stream)
        before = sys.getprofile()
        sys.setprofile(tracer)
        try:
            await stream.send_all(request)
            await read_response(stream)
        finally:
            sys.setprofile(before)
    files = listed()

    assert len(files) == len(set(files)) <= MAX_FILES
    assert tracer.waiting <= set(files)
    assert set(files) <= tracer.files
