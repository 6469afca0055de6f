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
from arriero.protocol.control import AnyRequest, Done, LogsRequest, PingRequest, Refusal
from arriero.protocol.lease import FromSupervisor, Grant, Refuse
from arriero.protocol.transport import connected, open_context
from arriero.supervisor.config.load import parse_config
from arriero.supervisor.control.event_publisher import open_publisher
from arriero.supervisor.control.server import open_control_server
from arriero.supervisor.host.shortage import what_is_scarce, why
from arriero.supervisor.models import fleet
from arriero.supervisor.models.fleet import open_fleet
from arriero.supervisor.models.output_log import OutputLog
from arriero.supervisor.processes.reaper import open_reaper
from arriero.supervisor.reload.change_detector import View
from arriero.supervisor.reload.reloader import ActiveConfig
from arriero.supervisor.reload.watcher import watch
from arriero.supervisor.scheduling.dispatcher import Dispatcher
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.events import Waiter, Wanted
from tests.start_port import START_PORT
from tests.supervisor.models.test_fleet import SERVER

NO_THREAD = RuntimeError("can't start new thread")


def fails(failure: Exception) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise failure

    return fail


def fails_soon(failure: Exception) -> Callable[..., Any]:
    async def fail(*_: Any, **__: Any) -> NoReturn:
        await trio.lowlevel.checkpoint()
        raise failure

    return fail


def refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


# --- the words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (NO_THREAD, "ulimit -u"),
        (refused(errno.EAGAIN), "TasksMax="),
        (refused(errno.EMFILE), "ulimit -n"),
        (refused(errno.ENFILE), "fs.file-max"),
        (refused(errno.ENOMEM), "memory"),
        (MemoryError(), "memory"),
        (refused(errno.ENOSPC), "disk is full"),
        (ExceptionGroup("x", [ExceptionGroup("y", [NO_THREAD])]), "ulimit -u"),
    ],
)
def test_what_is_scarce_is_said_with_what_would_do(failure: Exception, words: str) -> None:
    assert words in (what_is_scarce(failure) or "")
    assert why(failure) == what_is_scarce(failure)


@pytest.mark.parametrize("failure", [ValueError("secret"), refused(errno.ENOENT), RuntimeError()])
def test_anything_else_is_our_own_mistake_and_keeps_its_text(failure: Exception) -> None:
    assert what_is_scarce(failure) is None
    assert why(failure).startswith(type(failure).__name__)
    assert "secret" not in why(failure)


# --- one model ----------------------------------------------------------------------------------


class Train:
    """Two models, `a` and `b`, that run beside each other."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._told, self._heard = trio.open_memory_channel[FromSupervisor](10)
        self._number = 0

    def send(self, _: str, message: FromSupervisor) -> None:
        self._told.send_nowait(message)

    async def ask(self, model: str) -> Grant | Refuse:
        self._number += 1
        self._dispatcher.handle(Wanted(Waiter("w1", self._number), model))
        answer = await self._heard.receive()
        assert isinstance(answer, Grant | Refuse)
        return answer


async def run_train(folder: Path, visit: Callable[[Train], Any]) -> None:
    text = f"""
startPort: {START_PORT}
models:
  a: {{cmd: {SERVER!r}}}
  b: {{cmd: {SERVER!r}}}
groups: {{all: {{members: [a, b], swap: false}}}}
"""
    in_force = ActiveConfig(parse_config(text, environ={}))
    with open_context() as context, trio.fail_after(40):
        async with open_reaper() as reaper, open_publisher(context, folder / "e") as publisher:
            engine = Engine(in_force.specs(), now=trio.current_time(), policy=in_force.policy())
            dispatcher = Dispatcher(engine, publisher)
            async with open_fleet(
                lambda: in_force.config,
                dispatcher,
                reaper=reaper,
                output_log=OutputLog(),
                durations_path=folder / "durations",
            ) as found:
                train = Train(dispatcher)
                dispatcher.connect(processes=found, send_to_worker=train.send)
                await visit(train)


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
async def test_a_model_that_cannot_start_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, what: Exception, words: str
) -> None:
    async def visit(train: Train) -> None:
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
                    broken.setattr(fleet, "is_listening", fails(what))
                case "thread":
                    broken.setattr(trio.to_thread, "run_sync", fails_soon(what))
                case "own mistake":
                    broken.setattr(fleet, "model_files", fails(what))
            answer = await train.ask("b")
        assert isinstance(answer, Refuse)
        assert words in answer.error.message
        assert "secret" not in answer.error.message
        assert isinstance(await train.ask("a"), Grant)

    await run_train(tmp_path, visit)


async def test_a_full_disk_costs_what_was_learned_and_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(train: Train) -> None:
        monkeypatch.setattr(tempfile, "mkstemp", fails(refused(errno.ENOSPC)))
        assert isinstance(await train.ask("a"), Grant)

    await run_train(tmp_path, visit)
    assert any("durations.not_saved" in line for line in caplog.messages)


# --- one request on the control socket ----------------------------------------------------------


async def test_a_request_that_fails_is_answered_and_the_next_one_works(tmp_path: Path) -> None:
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

    assert isinstance(told[0], Refusal)
    assert (told[0].error.code, told[1].ok) == ("internal_error", True)
    assert "ulimit -u" in told[0].error.message


# --- one watched file ---------------------------------------------------------------------------


async def test_a_look_that_cannot_be_had_is_not_the_last_one(
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
