"""The guard, in the shells that there are: it ends with its input, and nothing is left."""

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from arriero.supervisor.errors import SpawnError
from arriero.supervisor.launchers.guard import SCRIPT, filled, first_words, guarded, read_host

SHELLS = [found for name in ("dash", "bash") if (found := shutil.which(name)) is not None]
LIMIT_S = 30
OBEYS = 'trap "echo told; exit 3" TERM; echo up; while :; do sleep 0.02; done'
DEFIES = 'trap "" TERM; echo up; while :; do sleep 0.02; done'


class Guarded:
    """A command under guard, which has said what it says at first."""

    def __init__(self, shell: str, *command: str, env: dict[str, str] | None = None) -> None:
        _, *rest = guarded(command, 1)
        self.process = subprocess.Popen(
            [shell, *rest], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(first_words(env or {}))
        self.process.stdin.flush()
        self.host = read_host(self.process.stdout.readline().rstrip(b"\n"))

    def line(self) -> bytes:
        assert self.process.stdout
        return self.process.stdout.readline()

    def ends(self) -> tuple[int, bytes]:
        """Return how it ended and what it said, when all have let go of its output."""
        try:
            assert self.process.stdout
            code = self.process.wait(LIMIT_S)
            return code, self.process.stdout.read()
        finally:
            self.process.kill()
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
                assert pipe is not None
                pipe.close()


def hang_up(one: Guarded) -> None:
    assert one.process.stdin
    one.process.stdin.close()


def terminate(one: Guarded) -> None:
    one.process.terminate()


@pytest.mark.parametrize("shell", SHELLS)
def test_command_has_its_environment_and_its_end_is_passed_on(shell: str) -> None:
    env = {"KEY": "$(id) 'a' \\n", "OTHER": "x=y"}
    says = 'printf "%s\\n" "$KEY|$OTHER|$1"; exit 7'
    one = Guarded(shell, "sh", "-c", says, "sh", "it's", env=env)
    assert one.host
    assert one.ends() == (7, b"$(id) 'a' \\n|x=y|it's\n")

    assert Guarded(shell, "/nowhere/llama-server").ends() == (127, b"")


@pytest.mark.parametrize("end", [hang_up, terminate])
@pytest.mark.parametrize("shell", SHELLS)
def test_it_ends_with_its_input_and_when_told(shell: str, end: Callable[[Guarded], None]) -> None:
    one = Guarded(shell, "sh", "-c", OBEYS)
    assert one.line() == b"up\n"
    end(one)
    assert one.ends() == (3, b"told\n")

    stubborn = Guarded(shell, "sh", "-c", DEFIES)
    assert stubborn.line() == b"up\n"
    end(stubborn)
    assert stubborn.ends() == (128 + 9, b"")


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_command_leaves_behind_is_ended(shell: str) -> None:
    one = Guarded(shell, "sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!")
    left = int(one.line())
    assert one.ends() == (0, b"")
    deadline = time.monotonic() + LIMIT_S
    with suppress(psutil.NoSuchProcess):
        while psutil.Process(left).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_login_shell_changes_the_script() -> None:
    assert not set(SCRIPT) & set("'\\\n")


def test_templates_are_filled_with_words_or_with_one_line() -> None:
    command = ("sh", "-c", "a b", "it's")
    assert filled(("srun", "-N1", "${COMMAND}"), command) == ("srun", "-N1", *command)
    (ssh, box, line) = filled(("ssh", "box", "exec ${COMMAND_LINE}"), command)
    assert (ssh, box, shlex.split(line)) == ("ssh", "box", ["exec", *command])


@pytest.mark.parametrize(
    "env", [{"A": "a\nb"}, {"A-B": "x"}, {"A B": "x"}, {"A": "x" * 33_000}], ids=str
)
def test_what_cannot_be_handed_over_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(SpawnError, match="cannot start it"):
        first_words(env)


@pytest.mark.parametrize(
    ("line", "host"),
    [
        (b"arriero-host box-2.example", "box-2.example"),
        (b"arriero-host a/b", None),
        (b"arriero-host @evil:80", None),
        (b"x arriero-host box", None),
        (b"arriero-host " + b"a" * 254, None),
    ],
)
def test_a_host_is_a_name(line: bytes, host: str | None) -> None:
    assert read_host(line) == host
