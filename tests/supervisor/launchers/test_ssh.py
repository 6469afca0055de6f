"""Models behind a real sshd, on this machine."""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from arriero.supervisor.launchers.guard import filled, guarded
from tests.supervisor.launchers.elsewhere import (
    config,
    is_gone,
    is_stopped,
    servers,
    stamps,
    turn,
    unload,
)
from tests.supervisor.train import open_train

SSHD = shutil.which("sshd", path=f"/usr/sbin:/usr/local/sbin:{os.environ.get('PATH', '')}")
pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="there is no sshd: openssh-server has it"
)

OPTIONS = "OPTIONS"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    """An sshd that lets us in; gives the command that gets there."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(make, check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    (folder / "config").write_text(
        f"HostKey {folder / 'host'}\nAuthorizedKeysFile {folder / 'authorized'}\nPidFile none\n"
        "ListenAddress 127.0.0.1\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
        "AllowStreamLocalForwarding yes\nAllowTcpForwarding yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it leaves its rights; sshd(8)
    assert SSHD is not None
    while True:
        port = free_port()
        command = [SSHD, "-D", "-e", "-p", str(port), "-f", str(folder / "config")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if "Server listening" in line:
                    break
                assert "Address already in use" in line or "Cannot bind any" in line, line
            else:
                continue  # somebody took the port meanwhile
            options = (
                f"-T -F none -p {port} -i {folder / 'user'} -o BatchMode=yes -o LogLevel=ERROR "
                "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
            )
            try:
                yield f"ssh {options} {OPTIONS} {getpass.getuser()}@127.0.0.1 ${{COMMAND_LINE}}"
            finally:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
            return


async def test_killed_ssh_leaves_nothing(tmp_path: Path, sshd: str) -> None:
    async with open_train(
        tmp_path, config(tmp_path, {"start": sshd.replace(OPTIONS, "")})
    ) as train:
        await turn(train)
        (server,) = servers(tmp_path)
        assert server.environ()["GREETING"] == "a b"
        assert "SSH_CONNECTION" in server.environ()  # it came that way
        (model,) = train.dispatcher.engine.models(0, 0)
        ssh = psutil.Process(model.pid or 0)
        assert ssh.name() == "ssh"
        assert not any("GREETING" in word for word in ssh.cmdline())  # others may read that
        ssh.kill()
        await is_stopped(train)
        await is_gone(server)


@pytest.mark.nightly
async def test_it_ends_there_before_it_counts_as_ended(tmp_path: Path, sshd: str) -> None:
    """Its port here is a socket that ssh forwards: nothing of it listens on the network."""
    there = {
        "start": sshd.replace(OPTIONS, f"-L {tmp_path}/${{START_ID}}:127.0.0.1:${{PORT}}"),
        "endpoint": f"unix:{tmp_path}/${{START_ID}}",
    }
    async with open_train(tmp_path, config(tmp_path, there)) as train:
        grant = await turn(train)
        assert grant.endpoint.startswith(f"unix:{tmp_path}/arriero-")
        await unload(train)
        assert stamps(tmp_path)[-2:] == ["term", "exit"]


@pytest.mark.nightly
async def test_lost_connection_ends_both_sides(tmp_path: Path, sshd: str) -> None:
    async with open_train(
        tmp_path, config(tmp_path, {"start": sshd.replace(OPTIONS, "")})
    ) as train:
        await turn(train)
        (server,) = servers(tmp_path)
        session = next(one for one in server.parents() if one.name() == "sshd")
        session.kill()
        await is_stopped(train)
        await is_gone(server)


@pytest.mark.nightly
@pytest.mark.parametrize("shell", ["fish", "zsh", "csh"])
def test_login_shells_hand_the_guard_on(shell: str) -> None:
    """What ssh hands to the shell of the user, whatever that is."""
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    words = guarded(("sh", "-c", 'echo "$0|$1"', "it's", "a b $HOME !x"), 1)
    line = filled(("${COMMAND_LINE}",), words)[0]
    assert shlex.split(line) == list(words)
    with subprocess.Popen(
        [shell, "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.read().splitlines()[-1] == b"it's|a b $HOME !x"
