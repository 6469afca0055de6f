"""A Ray cluster of some nodes on 127.0.0.1, of which nothing is left."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.cluster.guard import end_all, marked
from tests.paths import ROOT
from tests.start_port import free_ports

# The environment that has Ray; see the Makefile.
PYTHON = ROOT / "build" / "cluster" / "bin" / "python"

_START = ROOT / "tests" / "cluster" / "start_ray.py"
_GUARD = ROOT / "tests" / "cluster" / "guard.py"

# Of one node, on a busy machine.
_START_LIMIT_S = 120

# Attempts to start one: on a busy machine half a minute may be short.
_TRIES = 5

# Variables that mark the processes of a cluster, and those of one attempt to start a node.
_MARK = "ARRIERO_TEST_CLUSTER"
_PART = "ARRIERO_TEST_NODE"


class Cluster:
    """One of them.

    Attributes:
        port: Of its head.
        environ: Variables for who speaks with it.
    """

    def __init__(self) -> None:
        self._mark = f"{_MARK}={secrets.token_hex(8)}"
        self._folder = Path(tempfile.mkdtemp(prefix="ar", dir="/tmp"))  # a short path, for sockets
        self._nodes: dict[str, psutil.Process] = {}  # their raylets
        self.port = free_ports(1)
        name, value = self._mark.split("=")
        self.environ = {
            name: value,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(24),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Without it Ray takes the address of this machine in the place of the loopback one.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        self._guard = subprocess.Popen(
            [sys.executable, str(_GUARD), self._mark, str(self._folder)], stdin=subprocess.PIPE
        )

    @property
    def address(self) -> str:
        """Of its head."""
        return f"127.0.0.1:{self.port}"

    def begin(self) -> None:
        """Start its head, on which nothing runs."""
        self._start("head", {}, "--head", f"--port={self.port}", "--include-dashboard=false",
                    f"--temp-dir={self._folder}")  # fmt: skip

    def add(self, name: str, **resources: float) -> None:
        """Start a node."""
        self._start(name, resources, f"--address={self.address}")

    def _start(self, name: str, resources: Mapping[str, float], *options: str) -> None:
        """Start a node; once more if it was not up in half a minute, which is Ray's own limit."""
        for attempt in range(_TRIES):
            part = f"{_PART}={name}-{attempt}"
            if self._attempt(name, part, resources, *options):
                self._nodes[name] = self._raylet(part)
                return
            end_all(part.encode())
        raise AssertionError((self._folder / f"{name}.log").read_text()[-3000:])

    def _raylet(self, part: str) -> psutil.Process:
        """Return the one of an attempt. What it forks has its name for a moment, and is younger."""
        found = []
        for pid in marked(part.encode()):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.name() == "raylet":
                    found.append(process)
        return min(found, key=psutil.Process.create_time)

    def _attempt(self, name: str, part: str, resources: Mapping[str, float], *options: str) -> bool:
        variable, _, value = part.partition("=")
        with (self._folder / f"{name}.log").open("wb") as output:
            ended = subprocess.run(
                [str(PYTHON), str(_START), "start", *options,
                 "--node-ip-address=127.0.0.1", "--object-store-memory=80000000",
                 f"--num-cpus={resources.get('cpus', 0):g}", "--memory=1000000000",
                 "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats",
                 f"--resources={json.dumps({k: v for k, v in resources.items() if k != 'cpus'})}"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=_START_LIMIT_S,
                env={k: v for k, v in (os.environ | self.environ | {variable: value}).items()
                     if k != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"},
            )  # fmt: skip
        return ended.returncode == 0

    def processes(self) -> list[psutil.Process]:
        """Return all processes that have to do with it, on any node, as they are now."""
        found = []
        for pid in marked(self._mark.encode(), str(self._folder)):
            try:
                process = psutil.Process(pid)
                process.name()
            except psutil.NoSuchProcess:
                continue
            found.append(process)
        return found

    def node_of(self, process: psutil.Process) -> str:
        """Return the node on which `process` runs."""
        parents = {parent.pid for parent in process.parents()}
        (name,) = (name for name, raylet in self._nodes.items() if raylet.pid in parents)
        return name

    def children(self, name: str) -> list[psutil.Process]:
        """Return all processes on a node that its raylet has started, and those have."""
        return self._nodes[name].children(recursive=True)

    def kill(self, name: str) -> None:
        """Kill the raylet of a node, as if it had lost its power. What it has started is alone."""
        self._nodes.pop(name).kill()

    @contextmanager
    def frozen(self, name: str) -> Generator[None]:
        """Have all on a node stand still while the block runs."""
        there = [self._nodes[name], *self.children(name)]
        for process in there:
            process.suspend()
        try:
            yield
        finally:
            for process in there:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def close(self) -> None:
        """End all of it."""
        end_all(self._mark.encode(), str(self._folder))
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait(30)
        deadline = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not left
