"""A process lives exactly as long as its task. Real processes; the real clock.

The scripts below are the faults: each is a program that misbehaves in one way.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

from arriero.supervisor.errors import SpawnError
from arriero.supervisor.processes.line_splitter import MAX_LINE_BYTES
from arriero.supervisor.processes.process import Exit, RunningProcess, run_process
from arriero.supervisor.processes.reaper import Reaper
from arriero.supervisor.processes.spawn import SpawnSpec, environment
from tests.supervisor.processes.helpers import (
    IGNORES_TERM,
    PATIENCE_S,
    Lines,
    Result,
    is_gone,
    shell,
)

SLEEPS = "exec sleep 3600"
REPORT = "LLAMA_SERVER_ROUTER_PORT"

# Binds the port (0: one that the system chooses), says which, and listens until it is killed.
LISTENS = (
    "import signal, socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
    "print(s.getsockname()[1], flush=True); signal.pause()"
)


def python(code: str, *args: str, **fields: object) -> SpawnSpec:
    return SpawnSpec(argv=(sys.executable, "-I", "-S", "-c", code, *args), **fields)  # type: ignore[arg-type]


async def run(launch: SpawnSpec, reaper: Reaper, on_line: Callable[..., None]) -> Exit:
    with trio.fail_after(PATIENCE_S):
        return await run_process(launch, on_line=on_line, reaper=reaper)


async def test_a_process_that_ends_is_reported_with_its_code_and_its_lines(
    reaper: Reaper,
) -> None:
    lines = Lines()

    ended = await run(shell("echo out; echo err 1>&2; exit 3"), reaper, lines)

    assert (ended.code, ended.asked, ended.killed, ended.tail) == (3, False, False, ("err",))
    assert (lines.stdout, lines.stderr) == ([b"out"], [b"err"])
    assert str(ended) == f"exited with code 3 after {ended.ran_s:.1f} s"


async def test_a_signal_is_named_in_the_report(reaper: Reaper) -> None:
    ended = await run(shell("kill -ILL $$"), reaper, Lines())

    assert ended.code == -signal.SIGILL
    assert str(ended).startswith("ended by signal 4 (Illegal instruction) after ")


async def test_the_last_twenty_lines_of_standard_error_are_kept(reaper: Reaper) -> None:
    ended = await run(shell("for i in $(seq 30); do echo $i; echo e$i 1>&2; done"), reaper, Lines())

    assert ended.tail == tuple(f"e{number}" for number in range(11, 31))


async def test_stop_sends_sigterm_and_the_process_is_reaped(reaper: Reaper) -> None:
    result = Result()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, shell(SLEEPS), reaper, Lines())
            assert psutil.pid_exists(running.pid)
            running.stop(grace_s=3600)

    assert (result.exit.code, result.exit.asked, result.exit.killed) == (
        -signal.SIGTERM,
        True,
        False,
    )
    assert not psutil.pid_exists(running.pid)
    running.stop(grace_s=0)  # too late: no effect, and no error


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(
    reaper: Reaper,
) -> None:
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, shell(IGNORES_TERM), reaper, lines)
            await lines.wait_for("stdout")
            asked_at = trio.current_time()
            running.stop(grace_s=0.2)

    assert (result.exit.code, result.exit.killed) == (-signal.SIGKILL, True)
    assert trio.current_time() - asked_at >= 0.2


async def test_a_second_stop_with_less_patience_kills_at_once(reaper: Reaper) -> None:
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, shell(IGNORES_TERM), reaper, lines)
            await lines.wait_for("stdout")
            running.stop(grace_s=3600)
            await trio.testing.wait_all_tasks_blocked()
            running.stop(grace_s=0)

    assert result.exit.killed


async def test_cancelling_the_task_ends_the_process(reaper: Reaper) -> None:
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running: RunningProcess = await nursery.start(
                partial(run_process, on_line=lines, reaper=reaper, term_grace_s=0.1),
                shell(IGNORES_TERM),
            )
            await lines.wait_for("stdout")
            nursery.cancel_scope.cancel()

    assert not psutil.pid_exists(running.pid)


async def test_the_lines_of_a_process_that_is_being_cancelled_are_still_read(
    reaper: Reaper,
) -> None:
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(run_process, on_line=lines, reaper=reaper),
                shell("trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.02; done"),
            )
            await lines.wait_for("stdout")
            nursery.cancel_scope.cancel()

    assert lines.stdout == [b"up", b"bye"]


async def test_a_stopped_process_can_still_obey(reaper: Reaper) -> None:
    result = Result()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, shell(SLEEPS), reaper, Lines())
            os.kill(running.pid, signal.SIGSTOP)
            running.stop(grace_s=3600)

    assert result.exit.code == -signal.SIGTERM


async def test_children_that_outlive_the_leader_are_killed_at_once(reaper: Reaper) -> None:
    lines = Lines()

    # without our mark in its environment, so that nothing but its group tells whose it is
    script = "trap '' TERM; env -i sleep 3600 & echo $!; exit 1"
    ended = await run(shell(script), reaper, lines)

    assert (ended.code, ended.survivors) == (1, ())
    assert is_gone(int(lines.stdout[0]))
    assert ended.ran_s < PATIENCE_S / 2  # not the hour that its child sleeps


async def test_a_grandchild_that_left_the_group_and_holds_the_pipes_is_killed(
    reaper: Reaper,
) -> None:
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            script = "setsid sh -c 'echo $$; exec sleep 3600' & wait"
            running = await nursery.start(result.run, shell(script), reaper, lines)
            await lines.wait_for("stdout")
            asked_at = trio.current_time()
            running.stop(grace_s=3600)
        while not is_gone(int(lines.stdout[0])):  # noqa: ASYNC110  nobody tells when
            await trio.sleep(0.01)

    assert trio.current_time() - asked_at < PATIENCE_S / 2  # 0.26 s; its grace is an hour


async def test_pipes_held_by_a_stranger_delay_the_end_by_half_a_second(reaper: Reaper) -> None:
    """A grandchild that wiped its environment out cannot be told from a stranger."""
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            script = "env -i setsid sh -c 'echo $$; exec sleep 3600' & wait"
            running = await nursery.start(result.run, shell(script), reaper, lines)
            await lines.wait_for("stdout")
            asked_at = trio.current_time()
            running.stop(grace_s=3600)
    late_s = trio.current_time() - asked_at
    os.kill(int(lines.stdout[0]), signal.SIGKILL)  # it is there, or this would fail

    assert 0.5 <= late_s < PATIENCE_S / 2


async def test_ended_means_that_nobody_listens_on_the_port(reaper: Reaper, tmp_path: Path) -> None:
    """The listener has left its group and holds no pipe: only the port gives it away."""
    lines = Lines()
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    script = (
        f'setsid {sys.executable} -I -S -c "{LISTENS}" {port} </dev/null >"$OUT" 2>&1 &'
        'until [ -s "$OUT" ]; do sleep 0.02; done'
    )

    ended = await run(shell(script, port=port, env={"OUT": f"{tmp_path}/out"}), reaper, lines)

    assert (ended.code, ended.port_closed) == (0, True)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


async def test_a_strangers_server_on_the_port_is_left_alone_and_reported(
    reaper: Reaper,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]

        ended = await run(shell("exit 0", port=port), reaper, Lines())

    assert not ended.port_closed


async def test_standard_input_stays_open_until_the_process_is_stopped(reaper: Reaper) -> None:
    """llama-server with its report on ends when its standard input does, and not before."""
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                result.run,
                shell("trap '' TERM; echo up; cat; echo end of input; exit 7"),
                reaper,
                lines,
            )
            await lines.wait_for("stdout")
            await trio.testing.wait_all_tasks_blocked()
            assert lines.stdout == [b"up"]
            running.stop(grace_s=3600)

    assert (lines.stdout, result.exit.code) == ([b"up", b"end of input"], 7)


async def test_a_flood_of_lines_does_not_keep_others_from_running(reaper: Reaper) -> None:
    result, count = Result(), 0

    def on_line(stream: str, line: bytes) -> None:
        nonlocal count
        count += 1

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, shell("exec yes"), reaper, on_line)
            turns = 0
            while count < 100_000:
                await trio.lowlevel.checkpoint()
                turns += 1
            running.stop(grace_s=3600)

    assert turns > 100_000 / 33  # another task gets its turn after every 32 lines


async def test_an_endless_line_is_passed_on_in_pieces(reaper: Reaper) -> None:
    lines = Lines()

    await run(shell("head -c 100000 /dev/zero"), reaper, lines)

    assert {len(line) for line in lines.stdout[:-1]} == {MAX_LINE_BYTES}
    assert sum(map(len, lines.stdout)) == 100_000


async def test_a_bug_in_the_line_callback_does_not_leave_the_process_behind(
    reaper: Reaper,
) -> None:
    started: list[RunningProcess] = []

    def on_line(stream: str, line: bytes) -> None:
        raise KeyError(line)

    with pytest.raises(ExceptionGroup):
        async with trio.open_nursery() as nursery:
            started.append(
                await nursery.start(
                    partial(run_process, on_line=on_line, reaper=reaper),
                    shell(f"sleep 0.1; echo; {SLEEPS}"),
                )
            )

    assert not psutil.pid_exists(started[0].pid)


async def test_the_process_leads_a_group_of_its_own_in_our_session(reaper: Reaper) -> None:
    lines = Lines()

    await run(python("import os; print(os.getpid(), os.getpgrp(), os.getsid(0))"), reaper, lines)

    pid, group, session = map(int, lines.stdout[0].split())
    assert (group, session) == (pid, os.getsid(0))


async def test_open_files_are_inherited_only_when_named(reaper: Reaper) -> None:
    reading, writing = os.pipe()
    try:
        lines = Lines()
        await run(
            python(f"import os; os.write({writing}, b'x')", pass_fds=(writing,)), reaper, lines
        )
        assert os.read(reading, 1) == b"x"
        ended = await run(python(f"import os; os.write({writing}, b'x')"), reaper, lines)
    finally:
        os.close(reading)
        os.close(writing)

    assert ended.code == 1
    assert ended.tail[-1] == "OSError: [Errno 9] Bad file descriptor"


def test_the_environment_is_ours_without_what_systemd_says_to_us() -> None:
    inherited = {"HOME": "/root", "NOTIFY_SOCKET": "/run/n", "LISTEN_FDS": "1", "A": "old"}

    assert environment(shell("", env={"A": "new"}), inherited) == {"HOME": "/root", "A": "new"}


@pytest.mark.parametrize(
    ("env", "report", "found"),
    [
        ({}, True, {REPORT: "1"}),
        ({}, False, {}),
        ({REPORT: "7"}, True, {REPORT: "7"}),
        ({REPORT: ""}, False, {}),  # llama-server takes an empty one for one
        ({REPORT: "1"}, False, {}),
    ],
)
def test_who_is_not_asked_for_its_report_does_not_inherit_the_question(
    env: dict[str, str], report: bool, found: dict[str, str]
) -> None:
    assert environment(shell("", env=env, report=report), {REPORT: "from above"}) == found


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("/nowhere/llama-server",), "the program was not found; give its full path"),
        (("llama-server-that-is-nowhere",), "the program was not found; give its full path"),
        (("{tmp}/plain/llama-server",), "it is not executable for this user"),
        (("{tmp}/garbage/llama-server",), "it is not a program for this machine"),
        (("{tmp}/script/llama-server",), "the interpreter that its first line names"),
        (("sh\0",), "its command holds a zero byte"),
    ],
)
async def test_a_program_that_cannot_start_is_told_in_words_without_its_arguments(
    reaper: Reaper, tmp_path: Path, argv: tuple[str], reason: str
) -> None:
    for name, content, mode in [
        ("plain", b"#!/bin/sh\n", 0o644),
        ("garbage", b"\x7fELF\x02 no, it is not", 0o755),
        ("script", b"#!/nowhere/sh\n", 0o755),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "llama-server").write_bytes(content)
        (tmp_path / name / "llama-server").chmod(mode)

    launch = SpawnSpec(argv=(argv[0].format(tmp=tmp_path), "--api-key", "sk-secret"))
    async with trio.open_nursery() as nursery:
        with pytest.raises(SpawnError) as caught:
            await nursery.start(partial(run_process, on_line=Lines(), reaper=reaper), launch)

    assert reason in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "/" not in str(caught.value)


async def test_a_folder_that_is_not_there_is_not_taken_for_a_missing_program(
    reaper: Reaper,
) -> None:
    with pytest.raises(SpawnError, match="the folder to start it in cannot be entered"):
        await run(shell("exit 0", cwd=Path("/nowhere")), reaper, Lines())


async def test_an_empty_command_is_refused(reaper: Reaper) -> None:
    with pytest.raises(SpawnError, match="its command is empty"):
        await run(SpawnSpec(argv=()), reaper, Lines())


async def test_nothing_stays_open_after_many_processes(reaper: Reaper) -> None:
    await run(shell("exit 0"), reaper, Lines())
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(10):
        await run(shell("exit 0"), reaper, Lines())

    assert len(os.listdir("/proc/self/fd")) == before
