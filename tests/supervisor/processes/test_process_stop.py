"""A process may be ended by a command, in the place of SIGTERM. Real processes; the real clock."""

import logging
import re
from collections.abc import Callable
from functools import partial

import httpx
import psutil
import pytest
import trio

from arriero.supervisor.processes import process
from arriero.supervisor.processes.process import Exit, RunningProcess, run_process
from arriero.supervisor.processes.reaper import Reaper
from arriero.supervisor.processes.spawn import SpawnSpec
from tests.supervisor.processes.helpers import (
    IGNORES_TERM,
    PATIENCE_S,
    Lines,
    Result,
    is_gone,
    shell,
)

# Tells which signal came: its exit code is 15 after SIGTERM, and 10 after SIGUSR1.
TELLS = "trap 'exit 15' TERM; trap 'exit 10' USR1; echo up; while :; do sleep 0.01; done"


def stopped_by(stop: str, script: str = TELLS) -> SpawnSpec:
    """`script`, with the shell command `stop`, to which $1 is the process id."""
    return shell(script, stop_argv=lambda pid: ("sh", "-c", stop, "sh", str(pid)))


async def stop(
    launch: SpawnSpec, reaper: Reaper, lines: Lines, grace_s: float = 3600
) -> tuple[Exit, float]:
    """Stop it once it is up; return how it ended, and after how long."""
    result = Result()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running = await nursery.start(result.run, launch, reaper, lines)
            await lines.wait_for("stdout")
            asked_at = trio.current_time()
            running.stop(grace_s=grace_s)
    assert not psutil.pid_exists(running.pid)
    return result.exit, trio.current_time() - asked_at


async def test_it_is_run_in_the_place_of_sigterm_and_its_output_is_that_of_the_process(
    reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines()

    ended, _ = await stop(
        stopped_by("echo stopping $1; echo now >&2; kill -USR1 $1"), reaper, lines
    )

    assert (ended.code, ended.asked, ended.killed) == (10, True, False)
    assert lines.stdout[1].startswith(b"stopping ")
    assert lines.stderr == [b"now"]
    assert ended.tail == ()  # what is told of an end is what the process itself wrote
    assert caplog.messages == []


async def test_it_has_the_environment_of_the_process(reaper: Reaper) -> None:
    lines = Lines()
    launch = shell(
        TELLS,
        env={"WHAT": "USR1"},
        stop_argv=lambda pid: ("sh", "-c", f"kill -$WHAT {pid}; echo r$LLAMA_SERVER_ROUTER_PORT"),
    )

    ended, _ = await stop(launch, reaper, lines)

    assert (ended.code, lines.stdout[1]) == (10, b"r")


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (("sh", "-c", "exit 3", "sk-secret"), r"exited with code 3 after \d+\.\d s"),
        (
            ("/nowhere/docker", "stop", "sk-secret"),
            "cannot start 'docker': the program was not found; give its full path, or check PATH",
        ),
    ],
)
async def test_where_it_fails_sigterm_is_sent_and_a_line_of_the_log_says_so(
    reaper: Reaper, caplog: pytest.LogCaptureFixture, argv: tuple[str, ...], reason: str
) -> None:
    ended, _ = await stop(shell(TELLS, stop_argv=lambda _: argv), reaper, Lines())

    assert (ended.code, ended.killed) == (15, False)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.fullmatch(reason, record.args[1])  # type: ignore[index, arg-type]
    assert record.getMessage().startswith("process.stop_command_failed pid=")


async def test_a_process_that_it_does_not_end_is_killed_after_the_grace(reaper: Reaper) -> None:
    ended, took_s = await stop(stopped_by("exit 0"), reaper, Lines(), grace_s=0.3)

    assert (ended.code, ended.killed) == (-9, True)  # it would have obeyed SIGTERM
    assert took_s >= 0.3


async def test_one_that_hangs_has_the_grace_of_the_process_and_leaves_nothing(
    reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines()
    hangs = "sleep 3600 & echo $!; wait"

    ended, took_s = await stop(
        stopped_by(hangs, "echo up; exec sleep 3600"), reaper, lines, grace_s=0.5
    )

    assert (ended.code, ended.killed) == (-9, True)
    assert 0.5 <= took_s < PATIENCE_S / 2
    assert is_gone(int(lines.stdout[1]))
    assert caplog.records[0].args[1] == "it was not done in time"  # type: ignore[index]


async def test_less_patience_ends_it_too(reaper: Reaper) -> None:
    result, lines = Result(), Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            launch = stopped_by("echo hangs; sleep 3600", IGNORES_TERM)
            running = await nursery.start(result.run, launch, reaper, lines)
            await lines.wait_for("stdout")
            running.stop(grace_s=3600)
            await lines.wait_for("stdout", 2)
            running.stop(grace_s=0)

    assert result.exit.killed


async def test_without_any_patience_it_is_not_run(
    reaper: Reaper, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines()

    ended, _ = await stop(stopped_by("echo no"), reaper, lines, grace_s=0)

    assert (ended.code, lines.stdout) == (-9, [b"up"])
    assert caplog.messages == []  # nor was it begun


async def test_it_may_do_more_after_the_process_has_ended_whose_number_stays_its_own(
    reaper: Reaper,
) -> None:
    """So a `kill` at its end cannot hit a stranger."""
    lines = Lines()

    ended, _ = await stop(
        stopped_by("kill -USR1 $1; sleep 0.2; kill -0 $1 && echo done"), reaper, lines
    )

    assert (ended.code, lines.stdout) == (10, [b"up", b"done"])


async def test_its_process_may_end_by_itself_without_it(reaper: Reaper) -> None:
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        ended = await run_process(stopped_by("echo no", "exit 4"), on_line=lines, reaper=reaper)

    assert (ended.code, ended.asked, lines.stdout) == (4, False, [])


async def test_it_is_run_when_the_task_is_cancelled(reaper: Reaper) -> None:
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            running: RunningProcess = await nursery.start(
                partial(run_process, on_line=lines, reaper=reaper),
                stopped_by("kill -USR1 $1; echo done"),
            )
            await lines.wait_for("stdout")
            nursery.cancel_scope.cancel()

    assert not psutil.pid_exists(running.pid)
    assert lines.stdout == [b"up", b"done"]


async def test_standard_input_stays_open_until_it_is_done(reaper: Reaper) -> None:
    """llama-server ends when its standard input does: the command may still need it."""
    lines = Lines()
    reads = "echo up; cat; echo end of input; exit 7"

    ended, _ = await stop(stopped_by("sleep 0.1; echo asked", reads), reaper, lines)

    assert (ended.code, lines.stdout) == (7, [b"up", b"asked", b"end of input"])


@pytest.mark.parametrize("report", [True, False])
async def test_server_with_its_report_on_reads_that_it_has_to_end(
    reaper: Reaper, report: bool
) -> None:
    """Before its input ends, which would have it exit while it still cleans up."""
    lines = Lines()
    script = "trap '' TERM; echo up; read -r word; echo got=$word; read -r more || exit 7"

    ended, _ = await stop(shell(script, report=report), reaper, lines)

    assert ended.code == 7
    assert lines.stdout == [b"up", b"got=cmd_router_to_child:exit" if report else b"got="]


async def test_who_has_filled_its_own_input_holds_nobody_up(reaper: Reaper) -> None:
    fills = "head -c 65536 /dev/zero > /proc/self/fd/0; "

    ended, _ = await stop(shell(fills + IGNORES_TERM, report=True), reaper, Lines(), grace_s=0.1)

    assert ended.killed


async def test_who_has_closed_its_own_input_ends_all_the_same(reaper: Reaper) -> None:
    closes = "exec 0<&-; echo up; while :; do sleep 0.01; done"

    ended, _ = await stop(shell(closes, report=True), reaper, Lines())

    assert ended.asked
    assert not ended.killed


async def test_who_has_not_heard_that_it_has_to_end_is_asked_again(
    reaper: Reaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As llama-server does not that becomes ready in this moment."""
    monkeypatch.setattr(process, "_ASK_AGAIN_S", 0.1)
    script = "trap 'trap \"exit 3\" TERM' TERM; echo up; while :; do sleep 0.01; done"

    ended, _ = await stop(shell(script, report=True), reaper, Lines())

    assert (ended.code, ended.killed) == (3, False)


async def test_real_server_with_its_report_on_ends_in_good_order(
    reaper: Reaper, llama: Callable[..., str]
) -> None:
    """It aborted in most stops, and exited with 1 in others; a few of them tell."""
    for _ in range(5):
        lines, result = Lines(), Result()
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                argv = tuple(llama("tiny").replace("${PORT}", "0").split())
                launch = SpawnSpec(argv=argv, report=True)
                running = await nursery.start(result.run, launch, reaper, lines)
                while not any(b'"state":"ready"' in line for line in lines.stdout):
                    await lines.wait_for("stdout", len(lines.stdout) + 1)
                while not (url := re.search(rb"listening on (http\S+)", b"\n".join(lines.stderr))):
                    await lines.wait_for("stderr", len(lines.stderr) + 1)
                # It hears that it has to end once it does what it is asked for.
                slots = await trio.to_thread.run_sync(httpx.get, url[1].decode() + "/slots")
                assert slots.status_code == 200
                running.stop(grace_s=PATIENCE_S)
        assert result.exit.code == 0
