"""What one model, request, message, reload or file meets ends with it, and with nothing else."""

import errno
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
import zmq

from arriero.protocol.codec import AnyReply, decode_reply, encode
from arriero.protocol.control.base import Done, Refusal
from arriero.protocol.control.messages import AnyRequest
from arriero.protocol.control.models import LogsRequest
from arriero.protocol.control.running import PingRequest
from arriero.protocol.lease import Grant, Refuse
from arriero.protocol.transport import connected, open_context
from arriero.supervisor.control.server import open_control_server
from arriero.supervisor.models.start import choices, load_progress
from arriero.supervisor.reload.change_detector import View
from arriero.supervisor.reload.watcher import watch
from tests.supervisor.failures import NO_THREAD, refused
from tests.supervisor.train import SERVER, open_train


def fails(failure: Exception) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise failure

    return fail


def fails_soon(failure: Exception) -> Callable[..., Any]:
    async def fail(*_: Any, **__: Any) -> NoReturn:
        await trio.lowlevel.checkpoint()
        raise failure

    return fail


SIDE_BY_SIDE = f"""
models:
  a: {{cmd: {SERVER!r}}}
  b: {{cmd: 'sh -c "{SERVER}; true"'}}
groups: {{all: {{members: [a, b], swap: false}}}}
"""


# --- one model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "what", "words"),
    [
        ("fork", refused(errno.EAGAIN), "TasksMax="),
        ("fork", refused(errno.ENOMEM), "memory"),
        ("fork", refused(errno.EMFILE), "ulimit -n"),
        ("fork", refused(errno.ENFILE), "fs.file-max"),
        ("pidfd", refused(errno.EMFILE), "ulimit -n"),
        ("pipe", refused(errno.EMFILE), "ulimit -n"),
        ("port", refused(errno.EMFILE), "ulimit -n"),
        ("thread", NO_THREAD, "ulimit -u"),
        ("own mistake", ZeroDivisionError("secret"), "ZeroDivisionError"),
    ],
)
async def test_model_that_cannot_start_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, what: Exception, words: str
) -> None:
    async with open_train(tmp_path, SIDE_BY_SIDE) as train:
        assert isinstance(await train.ask("a"), Grant)
        with monkeypatch.context() as broken:
            match where:
                case "fork":
                    broken.setattr(subprocess, "Popen", fails(what))
                case "pidfd":
                    broken.setattr(os, "pidfd_open", fails(what))
                case "pipe":
                    broken.setattr(os, "dup", fails(what))
                case "port":
                    broken.setattr(choices, "pick_port", fails(what))
                case "thread":  # which is needed for a server behind a wrapper
                    broken.setattr(trio.to_thread, "run_sync", fails_soon(what))
                case "own mistake":
                    broken.setattr(load_progress, "model_files", fails(what))
            answer = await train.ask("b")
        assert isinstance(answer, Refuse)
        assert words in answer.error.message
        assert "secret" not in answer.error.message
        assert isinstance(await train.ask("a"), Grant)


async def test_full_disk_costs_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_train(tmp_path, SIDE_BY_SIDE) as train:
        monkeypatch.setattr(tempfile, "mkstemp", fails(refused(errno.ENOSPC)))
        assert isinstance(await train.ask("a"), Grant)
    assert any("durations.not_saved" in line for line in caplog.messages)


# --- one request on the control socket ----------------------------------------------------------


async def test_failing_request_spares_the_next(tmp_path: Path) -> None:
    async def answer(request: AnyRequest) -> AnyReply:
        await trio.lowlevel.checkpoint()
        if isinstance(request, LogsRequest):
            raise NO_THREAD
        return Done()

    with (
        open_context() as context,
        connected(context, zmq.DEALER, tmp_path / "c") as client,
        trio.fail_after(20),
    ):
        async with open_control_server(context, tmp_path / "c", answer):
            client.send([b"", encode(LogsRequest())])
            client.send([b"", encode(PingRequest())])
            told = [decode_reply((await client.receive())[1], Done) for _ in "12"]

    told.sort(key=lambda reply: reply.ok)  # who asks without waiting gets them as they come
    assert isinstance(told[0], Refusal)
    assert (told[0].error.code, told[1].ok) == ("internal_error", True)
    assert "ulimit -u" in told[0].error.message


# --- one watched file ---------------------------------------------------------------------------


async def test_failing_look_is_not_the_last(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    async def run_sync(*_: Any, **__: Any) -> View:
        nonlocal looks
        looks += 1
        await trio.lowlevel.checkpoint()
        if looks < 20:
            raise NO_THREAD
        return {Path("x"): ()}

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: watch(dict, told.set, first={Path("x"): None}))
        await told.wait()
        nursery.cancel_scope.cancel()

    assert looks > 20
