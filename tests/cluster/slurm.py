"""A real Slurm on this machine: its controller and two nodes, for as long as a block runs."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil
from trains import eventually

from tests.start_port import free_ports

# Debian has them in packages of the same names, and munge; a user's PATH may be without sbin.
PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "scancel", "squeue", "sbatch")

NODES = ("n1", "n2")

_SBIN = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

# Nodes say what they have, whatever this machine has; no control groups, which need a system's
# rights; and a job that is to end does so within KillWait.
_CONFIG = """
ClusterName=arriero
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1
KillWait=5
{nodes}
PartitionName=all Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def is_there() -> bool:
    """Return whether this machine has all of its programs."""
    return all(shutil.which(name, path=_SBIN) for name in PROGRAMS)


class Slurm:
    """A cluster of two nodes.

    Attributes:
        environ: For programs that are to use it.
    """

    def __init__(self) -> None:
        # munge's socket has to have a short path.
        self._folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environ = {"SLURM_CONF": str(self._folder / "slurm.conf"), "PATH": _SBIN}

    def begin(self) -> None:
        """Start it; return when both nodes can be used."""
        folder = self._folder
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.touch(0o400)
        key.chmod(0o600)
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        first = free_ports(1 + len(NODES))
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 "
            "RealMemory=4000 State=UNKNOWN"
            for port, name in enumerate(NODES, first + 1)
        ]
        (folder / "slurm.conf").write_text(
            _CONFIG.format(
                host=host,
                controller=first,
                user=psutil.Process().username(),
                folder=folder,
                nodes="\n".join(nodes),
                names=",".join(NODES),
            )
        )
        self._start(
            *("munged", "--foreground", "--force", f"--key-file={key}"),
            *(f"--socket={folder}/munge.sock", f"--pid-file={folder}/munge.pid"),
            *(f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"),
        )
        eventually((folder / "munge.sock").exists, what="munge")
        self._start("slurmctld", "-D", "-f", self.environ["SLURM_CONF"])
        for name in NODES:
            (folder / f"spool-{name}").mkdir()
            self._start("slurmd", "-D", "-f", self.environ["SLURM_CONF"], "-N", name)
        eventually(lambda: self.run("sinfo", "-h", "-o", "%t").strip() == "idle", what="two nodes")

    def _start(self, *command: str) -> None:
        with (self._folder / f"{len(self._daemons)}-{command[0]}.log").open("wb") as output:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=os.environ | self.environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._folder,
                    start_new_session=True,
                )
            )

    def run(self, *command: str) -> str:
        """Run a program of its; return what it says."""
        return subprocess.run(
            command,
            env=os.environ | self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stdout

    def jobs(self, states: str = "pending,running,completing") -> list[str]:
        """Return the names of jobs."""
        return self.run("squeue", "-h", "-o", "%j", f"--states={states}").split()

    def close(self) -> None:
        """End all jobs, and it."""
        if self._daemons:
            self.run("scancel", "--quiet", "--state=pending")
            self.run("scancel", "--quiet", "--state=running")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
