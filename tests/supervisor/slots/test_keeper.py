"""Slots on disk, with processes that save and restore as llama-server does."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from arriero.protocol.lease import Grant
from arriero.protocol.values import Phase
from arriero.supervisor.scheduling.messages.events import Released, UnloadRequested
from arriero.supervisor.slots import keeper as limits
from tests.supervisor.train import SERVER, Train, open_train


class Slots:
    """A folder with a llama-server and its slots."""

    def __init__(self, folder: Path) -> None:
        self.home = folder
        self.folder = folder / "slots"
        self.folder.mkdir(mode=0o700)
        self.stamps = folder / "stamps"
        self.model = folder / "m.gguf"
        self.model.write_bytes(b"x")
        self.program = folder / "llama-server"
        self.program.write_text(f'#!/bin/sh\nexec {SERVER.partition(" --")[0]} "$@"\n')
        self.program.chmod(0o700)

    def config(self, *options: str, more: str = "") -> str:
        words = [str(self.program), "--port", "${PORT}", "-m", str(self.model)]
        words += ["--slot-save-path", str(self.folder), "--stamp", str(self.stamps), *options]
        model = {"cmd": " ".join(words), "saveSlots": True}
        return f"{more}\nmodels: {json.dumps({'m': model})}"

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def done(self) -> list[str]:
        """What the processes did with their slots."""
        lines = self.stamps.read_text().splitlines() if self.stamps.exists() else []
        return [line.split()[0] for line in lines if line.startswith(("save", "restore"))]


@pytest.fixture
def slots(tmp_path: Path) -> Slots:
    return Slots(tmp_path)


async def visit(train: Train, *, use: int = 0) -> None:
    """Let the model be started, used so often, and stopped."""
    grant = await train.ask("m")
    assert isinstance(grant, Grant), grant
    for _ in range(use):
        await chat(grant.endpoint)
    train.dispatcher.handle(Released("w1", "m", grant.lease))
    train.dispatcher.handle(UnloadRequested("m"))
    await train.dispatcher.wait_until(lambda engine: engine.state("m") == "stopped")


async def chat(endpoint: str) -> None:
    """One chat, so that a slot has something in it."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    body = b'{"messages":[]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        async for _ in stream:
            pass


async def test_slots_come_back_after_a_stop(slots: Slots) -> None:
    phases: list[Phase] = []

    def note(train: Train) -> Callable[[], None]:
        def look() -> None:
            (model,) = train.dispatcher.engine.models(0, 0)
            if model.progress is not None:
                phases.append(model.progress.phase)

        return look

    async with open_train(slots.home, slots.config("--slots-s", "0.05")) as train:
        await visit(train, use=1)
        (file,) = slots.files()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with trio.CancelScope() as watching:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(train.follow, note(train))
                await visit(train)
                watching.cancel()

    assert slots.done() == ["save", "save", "restore", "save", "save"]
    assert "restoring" in phases
    assert slots.files()[0].read_text() == "12"


async def test_slots_survive_the_supervisor(slots: Slots) -> None:
    async with open_train(slots.home, slots.config()) as train:
        await visit(train, use=1)
    async with open_train(slots.home, slots.config()) as train:
        await visit(train)

    assert slots.done() == ["save", "save", "restore", "save", "save"]


@pytest.mark.parametrize("changed", ["arguments", "build", "model"])
async def test_slots_of_another_server_are_removed(slots: Slots, changed: str) -> None:
    async with open_train(slots.home, slots.config()) as train:
        await visit(train, use=1)
    (old,) = slots.files()
    options: tuple[str, ...] = ()
    if changed == "model":
        os.utime(slots.model, ns=(1, 1))
    elif changed == "build":
        slots.program.write_text(slots.program.read_text().replace("$@", '$@" --build "b2'))
    else:
        options = ("--chunks", "4")
    async with open_train(slots.home, slots.config(*options)) as train:
        await train.ask("m")
        assert slots.files() == []

    assert "restore" not in slots.done()
    assert not old.exists()


async def test_nothing_is_kept_beyond_the_limit(slots: Slots) -> None:
    (slots.folder / "other").write_text("not ours")
    large = f"{SERVER.partition(' --')[0]} --slot-bytes 2000000"
    slots.program.write_text(f'#!/bin/sh\nexec {large} "$@"\n')
    async with open_train(slots.home, slots.config(more="saveSlotsLimit: 1MiB")) as train:
        await visit(train, use=1)

    assert slots.done() == ["save"]
    assert slots.files() == [slots.folder / "other"]


async def test_empty_slots_leave_no_file(slots: Slots) -> None:
    async with open_train(slots.home, slots.config()) as train:
        await visit(train)

    assert slots.done() == ["save", "save"]
    assert slots.files() == []


async def test_slow_disk_delays_no_stop(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SAVE_LIMIT_S", 0.2)
    async with open_train(slots.home, slots.config("--slots-s", "60")) as train:
        began_at = trio.current_time()
        await visit(train, use=1)
        assert trio.current_time() - began_at < 30

    assert slots.files() == []


async def test_slow_disk_delays_no_start(slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_train(slots.home, slots.config()) as train:
        await visit(train, use=1)
    monkeypatch.setattr(limits, "RESTORE_LIMIT_S", 0.2)
    slots.program.write_text(slots.program.read_text().replace("$@", '$@" --slots-s "60'))
    async with open_train(slots.home, slots.config()) as train:
        with trio.fail_after(30):
            assert isinstance(await train.ask("m"), Grant)


async def test_stop_at_once_saves_nothing(slots: Slots) -> None:
    async with open_train(slots.home, slots.config("--slots-s", "60")) as train:
        await train.ask("m")
        train.dispatcher.handle(UnloadRequested("m", at_once=True))
        with trio.fail_after(30):
            await train.dispatcher.wait_until(lambda engine: engine.state("m") == "stopped")

    assert slots.done() == []


async def test_server_without_slots_is_left_alone(slots: Slots) -> None:
    program = slots.program.read_text()
    slots.program.write_text(program.replace('"$@"', f"--port $2 --stamp {slots.stamps}"))
    async with open_train(slots.home, slots.config()) as train:
        await visit(train)
        await visit(train)
        assert train.slots.why_off("m")

    assert slots.files() == []


async def test_files_of_gone_models_are_swept(slots: Slots) -> None:
    async with open_train(slots.home, slots.config()) as train:
        await visit(train, use=1)
    assert slots.files()
    async with open_train(slots.home, slots.config().replace("true", "false")) as train:
        await train.slots.sweep()

    assert slots.files() == []
