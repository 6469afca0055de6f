"""Pages cost a worker nothing until somebody asks for one."""

import subprocess
import sys
from typing import Any

import pytest
import trio

from arriero.worker.server import lazy_pages as late_pages
from tests.worker.rig import Rig, post

RUNNING = b"GET /running HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_starting_worker_imports_no_page_code() -> None:
    code = "import sys, arriero.worker.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "arriero.worker.server.http1" in loaded
    assert not {"quart", "flask", "werkzeug", "hypercorn", "asyncio", "jinja2"} & set(loaded)


async def test_first_callers_share_one_app(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = late_pages.LatePages._make_app

    def counted(pages: late_pages.LatePages) -> Any:
        made.append(make(pages))
        return made[-1]

    monkeypatch.setattr(late_pages.LatePages, "_make_app", counted)
    answers = []

    async def ask() -> None:
        answers.append(await rig.ask(RUNNING))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 5
    assert len(made) == 1


@pytest.mark.parametrize(
    "failure",
    [ImportError("there is no quart any more"), RuntimeError("can't start new thread")],
)
async def test_unloadable_app_refuses_pages_only(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
) -> None:
    def fail(_: late_pages.LatePages) -> Any:
        raise failure

    with monkeypatch.context() as broken:
        broken.setattr(late_pages.LatePages, "_make_app", fail)
        answer = await rig.ask(RUNNING)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"cannot show a page now" in answer
        assert (await rig.ask(post())).startswith(b"HTTP/1.1 200")
    assert (await rig.ask(RUNNING)).startswith(b"HTTP/1.1 200")  # it is tried again

    assert str(failure) in caplog.text
