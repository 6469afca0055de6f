"""When the configuration is read again, and what is said about it."""

import socket
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from arriero.protocol.control.base import Refusal
from arriero.protocol.control.settings import ReloadReply
from arriero.protocol.events import AnyEvent, ConfigChanged
from arriero.protocol.values import ConfigChanges
from arriero.supervisor.config.load import Config, parse_config
from arriero.supervisor.errors import ConfigError, Problem
from arriero.supervisor.host.systemd import Notifier
from arriero.supervisor.reload.reloader import (
    PAUSE_S,
    READ_LIMIT_S,
    SHOWN_PROBLEMS,
    ActiveConfig,
    Reloader,
)

ONE = parse_config("workers: 1\nmodels: {a: {cmd: 'run ${PORT}'}}", environ={})
TWO = parse_config(
    "workers: 1\nmodels: {a: {cmd: 'run ${PORT}'}, b: {cmd: 'run ${PORT}'}}", environ={}
)


@dataclass
class Scene:
    """A reloader, the files that it reads, and what it does.

    Attributes:
        files: What the next attempts find.
        reads: How often they were read.
        may_read: Clear: reading hangs.
        followed: Changes that were put in force, and whether models were to be drained.
        may_follow: What workers need to follow.
    """

    files: Config | Exception = ONE
    reads: int = 0
    may_read: threading.Event = field(default_factory=threading.Event)
    followed: list[tuple[ConfigChanges, bool]] = field(default_factory=list)
    may_follow: trio.Event = field(default_factory=trio.Event)
    events: list[AnyEvent] = field(default_factory=list)
    in_force: ActiveConfig = field(default_factory=lambda: ActiveConfig(ONE, loaded_at=1.0))

    def load(self) -> Config:
        self.reads += 1
        assert self.may_read.wait(10)
        if isinstance(self.files, Exception):
            raise self.files
        return self.files

    async def follow(self, changes: ConfigChanges, drain: bool) -> tuple[str, ...]:
        self.followed.append((changes, drain))
        await self.may_follow.wait()
        return ("a",) if drain else ()


@asynccontextmanager
async def opened(
    environ: dict[str, str] | None = None, read_limit_s: float = READ_LIMIT_S
) -> AsyncGenerator[tuple[Scene, Reloader], None]:
    scene = Scene()
    scene.may_read.set()
    scene.may_follow.set()
    reloader = Reloader(
        scene.in_force,
        scene.load,
        follow=scene.follow,
        publish=scene.events.append,
        notifier=Notifier(environ or {}),
        headline=lambda: "serving",
        read_limit_s=read_limit_s,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reloader.run)
        yield scene, reloader
        scene.may_read.set()
        nursery.cancel_scope.cancel()


async def until(holds: Callable[[], object]) -> None:
    """Return when a thread has done its part; real time, because threads know no other."""
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110 - no event comes out of a thread
            await trio.sleep(0.001)


async def test_difference_is_a_new_generation() -> None:
    async with opened() as (scene, reloader):
        scene.files = TWO
        reply = await reloader.reload(dry_run=False, drain=False)

    changes = ConfigChanges(added=("b",))
    assert reply == ReloadReply(generation=2, applied=True, changes=changes)
    assert scene.followed == [(changes, False)]
    assert scene.in_force.config == TWO
    assert scene.in_force.loaded_at > 1.0
    assert scene.events == [ConfigChanged(generation=2, summary="models: 1 added")]
    assert scene.in_force.routes().generation == 2
    assert [spec.model for spec in scene.in_force.specs()] == ["a", "b"]


async def test_no_difference_bothers_nobody() -> None:
    async with opened() as (scene, reloader):
        reply = await reloader.reload(dry_run=False, drain=False)

    assert reply == ReloadReply(generation=1, applied=False, changes=ConfigChanges())
    assert (scene.followed, scene.in_force.loaded_at) == ([], 1.0)
    assert scene.events == [ConfigChanged(generation=1, summary="nothing is different")]


async def test_draining_is_for_older_commands_too() -> None:
    async with opened() as (scene, reloader):
        reply = await reloader.reload(dry_run=False, drain=True)

    assert isinstance(reply, ReloadReply)
    assert (reply.generation, reply.applied, reply.draining) == (1, False, ("a",))
    assert scene.followed == [(ConfigChanges(), True)]


async def test_a_dry_run_changes_nothing() -> None:
    async with opened() as (scene, reloader):
        scene.files = TWO
        reply = await reloader.reload(dry_run=True, drain=True)
        scene.files = ConfigError([Problem("c.yaml", 1, 2, "ttl", "bad")])
        refusal = await reloader.reload(dry_run=True, drain=True)

    assert reply == ReloadReply(generation=1, applied=False, changes=ConfigChanges(added=("b",)))
    assert isinstance(refusal, Refusal)
    assert refusal.problems == ("c.yaml:1:2: ttl: bad",)
    assert (scene.followed, scene.events, scene.in_force.failed) == ([], [], None)
    assert scene.in_force.config is ONE


async def test_mistakes_change_nothing_and_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with opened() as (scene, reloader):
        scene.files = ConfigError([Problem("c.yaml", n, 2, "ttl", "bad") for n in range(1, 31)])
        refusal = await reloader.reload(dry_run=False, drain=True)
        failed = scene.in_force.status().failed
        scene.files = ONE
        await reloader.reload(dry_run=False, drain=False)

    assert isinstance(refusal, Refusal)
    assert (refusal.error.code, len(refusal.problems)) == ("bad_config", SHOWN_PROBLEMS)
    assert "30 problems" in refusal.error.message
    assert failed is not None
    assert (failed.problems, failed.more) == (refusal.problems, 30 - SHOWN_PROBLEMS)
    assert scene.events[0] == ConfigChanged(generation=1, problems=refusal.problems)
    assert "config.problem c.yaml:1:2: ttl: bad" in caplog.messages
    assert scene.followed == []
    assert scene.in_force.failed is None  # the next one was a good one


async def test_warnings_are_told_every_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("WARNING", "arriero")
    warned = replace(ONE, warnings=(Problem("c.yaml", 1, 2, "hooks", "there is no such model"),))
    async with opened() as (scene, reloader):
        scene.files = warned
        await reloader.reload(dry_run=True, drain=False)
        assert (caplog.messages, scene.in_force.status().warnings) == ([], 0)
        await reloader.reload(dry_run=False, drain=False)
        assert scene.in_force.status().warnings == 1
        scene.files = ONE
        await reloader.reload(dry_run=False, drain=False)

    assert caplog.messages == ["config.warning c.yaml:1:2: hooks: there is no such model"]
    status = scene.in_force.status()
    assert (status.warnings, status.generation) == (0, 1)


async def test_bug_in_reading_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as (scene, reloader):
        scene.files = ZeroDivisionError("secret")
        refusal = await reloader.reload(dry_run=False, drain=False)

    assert isinstance(refusal, Refusal)
    assert "ZeroDivisionError" in refusal.problems[0]
    assert "secret" not in refusal.problems[0]
    assert "config.bug" in caplog.messages


async def test_hanging_files_are_given_up() -> None:
    async with opened(read_limit_s=0.2) as (scene, reloader):
        scene.may_read.clear()
        for _ in range(3):
            refusal = await reloader.reload(dry_run=False, drain=False)
            assert isinstance(refusal, Refusal)
            assert "longer than 0.2 s" in refusal.problems[0]
        assert scene.reads == 1
        scene.may_read.set()
        await until(lambda: not reloader._limiter.borrowed_tokens)
        assert isinstance(await reloader.reload(dry_run=False, drain=False), ReloadReply)


async def test_needed_restart_is_remembered() -> None:
    async with opened() as (scene, reloader):
        scene.files = replace(ONE, listen=msgspec.structs.replace(ONE.listen, port=9))
        first = await reloader.reload(dry_run=False, drain=False)
        told = scene.in_force.status().needs_restart
        scene.files = ONE
        await reloader.reload(dry_run=False, drain=False)

    assert isinstance(first, ReloadReply)
    assert (first.applied, first.generation, told) == (False, 1, ("listen",))
    assert scene.in_force.status().needs_restart == ()


async def test_asking_meanwhile_causes_one_more() -> None:
    async with opened() as (scene, reloader), trio.open_nursery() as nursery:
        scene.may_read.clear()
        replies: list[ReloadReply | Refusal] = []

        async def ask(dry_run: bool, drain: bool) -> None:
            replies.append(await reloader.reload(dry_run=dry_run, drain=drain))

        nursery.start_soon(ask, False, False)
        await until(lambda: scene.reads == 1)
        scene.files = TWO  # the attempt under way may or may not see this
        for number in range(5):
            nursery.start_soon(ask, number == 0, number == 1)
        for _ in range(5):
            reloader.trigger()
        await wait_all_tasks_blocked()
        scene.files = ONE
        scene.may_read.set()
        await until(lambda: len(replies) == 6)

        assert scene.reads == 2
        assert scene.followed == [(ConfigChanges(), True)]  # once, for the one that asked


async def test_burst_of_signals_is_two_attempts() -> None:
    async with opened() as (scene, reloader):
        began = trio.current_time()
        for _ in range(10):
            reloader.trigger()
        await until(lambda: scene.events)
        for _ in range(9):
            reloader.trigger()
            await wait_all_tasks_blocked()
        burst_s = trio.current_time() - began
        await until(lambda: len(scene.events) == 2)

        assert trio.current_time() - began > PAUSE_S
        # more only if the machine is so busy that the burst lasts longer than a pause
        assert scene.reads == 2 or scene.reads <= 2 + burst_s / PAUSE_S


async def test_waiter_skips_pause_dry_run_too() -> None:
    async with opened() as (scene, reloader):
        began = trio.current_time()
        reloader.trigger()
        await until(lambda: scene.events)
        scene.files = TWO
        reloader.trigger()
        await reloader.reload(dry_run=True, drain=False)
        dry_s = trio.current_time() - began
        assert scene.in_force.generation == 1 or dry_s > PAUSE_S
        await until(lambda: scene.in_force.generation == 2)  # the trigger was not forgotten
        assert trio.current_time() - began > PAUSE_S


async def test_reading_does_not_stop_the_loop() -> None:
    async with opened() as (scene, reloader):
        scene.may_read.clear()
        reloader.trigger()
        await until(lambda: scene.reads == 1)  # the loop goes on while the thread waits
        scene.may_read.set()
        await until(lambda: scene.events)


async def test_closing_supervisor_applies_nothing() -> None:
    async with opened() as (scene, reloader):
        scene.files = TWO
        reloader.close()
        refusal = await reloader.reload(dry_run=False, drain=False)

    assert isinstance(refusal, Refusal)
    assert refusal.error.message == "cannot reload: arriero is stopping"
    assert (scene.in_force.generation, scene.followed) == (1, [])


async def test_service_manager_hears_begin_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        async with opened({"NOTIFY_SOCKET": str(tmp_path / "notify")}) as (scene, reloader):
            await reloader.reload(dry_run=False, drain=False)
            scene.files = ConfigError([])
            await reloader.reload(dry_run=False, drain=False)
            await reloader.reload(dry_run=True, drain=False)
        notes = [manager.recv(1000).split(b"\n") for _ in range(4)]
        with pytest.raises(BlockingIOError):
            manager.recv(1000)

    assert [note[0] for note in notes] == [b"RELOADING=1", b"READY=1"] * 2
    assert notes[0][1].startswith(b"MONOTONIC_USEC=")
    assert [notes[1][1], notes[3][1]] == [
        b"STATUS=serving",
        b"STATUS=serving; the last reload failed",
    ]
