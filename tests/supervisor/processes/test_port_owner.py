"""Real processes, real sockets: whose is the listener?"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

import pytest

from arriero.supervisor.processes.port_owner import listens_on, stranger_on
from arriero.supervisor.processes.reaper_child import MARK_NAME

# Does nothing until the end of its input.
IDLE = "import sys; sys.stdin.read()"

# Listens, says where, and does nothing more.
LISTEN = """
import socket, sys
host, port = sys.argv[1:] or ("127.0.0.1", 0)
server = socket.create_server((host, int(port)))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
IN_A_CHILD = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], start_new_session=True).returncode)
"""
# Leaves a child behind, whose parent is another process by the time at which it listens.
ORPHANS = """
import os, subprocess, sys
if os.fork() == 0:
    new_session, *arguments = sys.argv[1:]
    subprocess.Popen([sys.executable, *arguments], start_new_session=new_session == "yes")
    os._exit(0)
os.wait()
sys.stdin.read()
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Generator[Start, None, None]:
    """A function that starts Python in a group of its own; the end closes all inputs."""
    with ExitStack() as stack:

        def begin(*arguments: str, mark: str = "") -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
                env=os.environ | ({MARK_NAME: mark} if mark else {}),
            )
            stack.enter_context(process)
            return process

        yield begin


def port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@contextmanager
def kept_port() -> Generator[int, None, None]:
    """A port of 127.0.0.1 on which nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def test_a_server_that_listens_itself_is_no_stranger(start: Start) -> None:
    server = start("-c", LISTEN)

    port = port_of(server)
    assert listens_on(port, "127.0.0.1", server.pid)
    assert stranger_on(port, "127.0.0.1", server.pid) is None


def test_a_child_in_a_session_of_its_own_is_no_stranger(start: Start) -> None:
    wrapper = start("-c", IN_A_CHILD, "-c", LISTEN)

    assert stranger_on(port_of(wrapper), "127.0.0.1", wrapper.pid) is None


def later(start: Start, *arguments: str, mark: str = "") -> "subprocess.Popen[str]":
    """Start a process that is younger than all others, as the kernel counts."""
    time.sleep(3 / os.sysconf("SC_CLK_TCK"))
    return start(*arguments, mark=mark)


def test_a_program_that_ran_before_is_a_stranger(start: Start) -> None:
    theirs = start("-c", LISTEN)
    port = port_of(theirs)
    ours = later(start, "-c", IDLE)

    assert stranger_on(port, "127.0.0.1", ours.pid) == theirs.pid


def test_a_program_of_another_start_is_a_stranger(start: Start) -> None:
    ours = start("-c", IDLE, mark="m.1.")
    theirs = later(start, "-c", LISTEN, mark="other.1.")

    assert stranger_on(port_of(theirs), "127.0.0.1", ours.pid) == theirs.pid


def test_a_program_that_was_started_later_may_work_for_ours(start: Start) -> None:
    """A service manager, say, was asked for it."""
    ours = start("-c", IDLE, mark="m.1.")
    theirs = later(start, "-c", LISTEN)
    port = port_of(theirs)

    assert stranger_on(port, "127.0.0.1", ours.pid) is None
    assert stranger_on(port, "127.0.0.1", ours.pid, listens_itself=True) == theirs.pid


def test_a_stranger_is_found_behind_a_server_that_has_ended(start: Start) -> None:
    theirs = start("-c", LISTEN)
    port = port_of(theirs)
    ours = later(start, "-c", "")
    os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)  # ended, and not yet reaped

    assert stranger_on(port, "127.0.0.1", ours.pid) == theirs.pid


def test_a_stranger_that_shares_the_port_is_found(start: Start) -> None:
    shares = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
    theirs = start("-c", shares, "0")
    port = port_of(theirs)
    ours = start("-c", shares, str(port))
    assert port_of(ours) == port

    assert not listens_on(port, "127.0.0.1", ours.pid)
    assert stranger_on(port, "127.0.0.1", ours.pid) == theirs.pid


def test_a_process_that_lost_its_parent_is_known_by_its_group(start: Start) -> None:
    leader = start("-c", ORPHANS, "no", "-c", LISTEN)
    port = port_of(leader)
    other = later(start, "-c", IDLE)

    assert stranger_on(port, "127.0.0.1", leader.pid) is None
    assert stranger_on(port, "127.0.0.1", other.pid) is not None


def test_a_process_that_left_its_group_as_well_is_known_by_its_mark(start: Start) -> None:
    leader = start("-c", ORPHANS, "yes", "-c", LISTEN, mark="m.1.")
    other = start("-c", IDLE, mark="m.2.")
    port = port_of(leader)

    assert stranger_on(port, "127.0.0.1", leader.pid) is None
    assert stranger_on(port, "127.0.0.1", other.pid) is not None


def test_two_processes_without_a_mark_have_nothing_in_common(start: Start) -> None:
    theirs = start("-c", LISTEN)
    port = port_of(theirs)
    ours = later(start, "-c", IDLE)
    assert MARK_NAME not in os.environ

    assert stranger_on(port, "127.0.0.1", ours.pid) == theirs.pid


def test_nobody_on_the_port_is_no_stranger(start: Start) -> None:
    ours = start("-c", IDLE)
    with kept_port() as port:
        assert stranger_on(port, "127.0.0.1", ours.pid) is None


def test_a_listener_on_another_address_is_not_in_the_way(start: Start) -> None:
    ours = start("-c", IDLE)
    with kept_port() as port:
        theirs = start("-c", LISTEN, "127.0.0.2", str(port))

        assert port_of(theirs) == port
        assert stranger_on(port, "127.0.0.1", ours.pid) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_listener_of_another_user_may_be_there_for_ours(start: Start) -> None:
    as_nobody = f"import os, socket; os.setuid(65534)\n{LISTEN}"
    ours, theirs = start("-c", IDLE), start("-c", as_nobody)
    port = port_of(theirs)

    assert stranger_on(port, "127.0.0.1", ours.pid) is None
    assert stranger_on(port, "127.0.0.1", ours.pid, listens_itself=True) == 0


@pytest.mark.parametrize("name", ["docker", "docker-compose", "podman-compose", "lxc", "tmux"])
def test_who_asks_a_service_to_do_the_work_may_have_it_done_by_a_stranger(
    start: Start, name: str
) -> None:
    named = f"open('/proc/self/comm', 'w').write('{name}'); print(0, flush=True); {IDLE}"
    theirs = start("-c", LISTEN)
    port = port_of(theirs)
    ours = later(start, "-c", named)
    assert port_of(ours) == 0  # it has its name

    assert stranger_on(port, "127.0.0.1", ours.pid) is None


def test_who_listens_for_others_is_no_stranger_however_long_it_has_run(start: Start) -> None:
    theirs = start("-c", f"open('/proc/self/comm', 'w').write('dockerd')\n{LISTEN}")
    port = port_of(theirs)
    ours = later(start, "-c", IDLE)

    assert stranger_on(port, "127.0.0.1", ours.pid) is None
