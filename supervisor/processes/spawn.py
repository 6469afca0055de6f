"""One `subprocess.Popen`, with errors in words that clients may read."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO, Protocol

import msgspec

from ..errors import SpawnError
from ..host.file_limit import restore_descriptor_limit
from ..host.shortage import what_is_scarce
from ..llamacpp.load_report import VARIABLE as REPORT_VARIABLE

# Messages of systemd to this process are not meant for its children: a child that takes the
# notification socket for its own would be taken for the service.
# Source: sd_notify(3), sd_listen_fds(3), systemd.exec(5).
NOT_INHERITED = (
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)

NOT_FOUND = "the program was not found; give its full path, or check PATH"


class SpawnSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The program to start, and its surroundings.

    Attributes:
        argv: Program and arguments. There is no shell.
        env: Added to the environment of this process, and stronger than it.
        without: Variables of the environment of this process that it does not get.
        cwd: Folder to start in; None is that of this process.
        port: TCP port that the program listens on; it counts as ended only when
            nothing listens there. None when it listens nowhere.
        socket: Path of the unix socket that it listens on, likewise.
        pass_fds: Open files that it inherits, under the same numbers.
        report: Ask llama-server to report its progress on its standard output. It then ends
            by itself when its standard input does; see `load_report`.
        is_ours: It is a part of arriero, and may have as many open files as we.
        stop_argv: Process id -> command that ends it, in the place of SIGTERM; none: SIGTERM.
            Asked when it has to end.
        first_input: Written to its standard input, 32 kB at the most.
        ends_with_input: The end of its standard input ends it, in the place of SIGTERM: what it
            stands for is elsewhere, and is to end first.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    without: Collection[str] = ()
    cwd: Path | None = None
    port: int | None = None
    socket: str | None = None
    pass_fds: tuple[int, ...] = ()
    report: bool = False
    is_ours: bool = False
    stop_argv: Callable[[int], tuple[str, ...]] = lambda _: ()
    first_input: bytes = b""
    ends_with_input: bool = False


class PipedProcess(Protocol):
    """A child of this process, with pipes to it: a `subprocess.Popen`, or what is like one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None until it was reaped."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """The writing end of its standard input."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """The reading end of its standard output."""

    @property
    def stderr(self) -> IO[bytes] | None:
        """The reading end of its standard error."""

    def poll(self) -> int | None:
        """Reap it if it has ended; return `returncode`."""

    def wait(self) -> int | None:
        """Wait for its end, reap it, and return `returncode`."""


def environment(launch: SpawnSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of the new process."""
    unwanted = {*NOT_INHERITED, *launch.without, REPORT_VARIABLE}
    kept = {name: value for name, value in inherited.items() if name not in unwanted}
    own = dict(launch.env)
    # It counts when it is there, even empty.
    written = own.pop(REPORT_VARIABLE, "")
    report = {REPORT_VARIABLE: written or "1"} if launch.report else {}
    return kept | own | report


def spawn(launch: SpawnSpec, mark: tuple[str, str]) -> "subprocess.Popen[bytes]":
    """Start the program in a process group of its own, with three pipes.

    Returns once the program is loaded (exec has succeeded), which takes about a millisecond.
    To be called in the main thread: a thread may end, and things the kernel ties to the thread
    that forked (PR_SET_PDEATHSIG) would end with it.

    Raises:
        SpawnError: It cannot be started. The text names the program without its folder and
            never an argument: these may hold keys, and the text reaches clients.
    """
    if not launch.argv or not launch.argv[0]:
        raise SpawnError("cannot start a model: its command is empty")
    name = os.path.basename(launch.argv[0])
    try:
        process = subprocess.Popen(
            launch.argv,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=launch.cwd,
            env=environment(launch, os.environ) | dict([mark]),
            pass_fds=launch.pass_fds,
            process_group=0,  # signals reach its children; those of a terminal do not reach it
        )
    except OSError as exc:
        raise SpawnError(f"cannot start {name!r}: {_reason(exc, launch)}") from exc
    except ValueError as exc:
        raise SpawnError(f"cannot start {name!r}: its command holds a zero byte") from exc
    if not launch.is_ours:
        restore_descriptor_limit(process.pid)
    if launch.first_input:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: its task sees that
            process.stdin.write(launch.first_input)  # at once, for an empty pipe holds it
    return process


def _reason(error: OSError, launch: SpawnSpec) -> str:
    about_cwd = launch.cwd is not None and error.filename in {launch.cwd, str(launch.cwd)}
    match error.errno:
        case errno.ENOENT | errno.EACCES | errno.ENOTDIR if about_cwd:
            return "the folder to start it in cannot be entered"
        case errno.ENOENT if os.path.exists(launch.argv[0]):
            return "the interpreter that its first line names was not found"
        case errno.ENOENT | errno.ENOTDIR:
            return NOT_FOUND
        case errno.EACCES:
            return "it is not executable for this user"
        case errno.ENOEXEC:
            return "it is not a program for this machine"
        case _:
            return what_is_scarce(error) or error.strerror or "the system refused"
