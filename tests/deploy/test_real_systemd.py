"""The units, as they are, under a real systemd: a supervisor that is killed is replaced."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT, SCRIPTED_UPSTREAM

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
CONTROL_GROUPS = Path("/sys/fs/cgroup/unified")
TARGETS = ("default", "sysinit", "basic", "shutdown", "exit", "multi-user", "network-online")
SPACES = ("--pid", "--mount", "--cgroup", "--uts", "--ipc")
UNSHARE = ["unshare", *SPACES, "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def control_group() -> Generator[Path]:
    """A control group of our own, which is gone afterwards."""
    if os.geteuid() or not Path("/usr/lib/systemd/systemd").exists():
        pytest.skip("takes root, and systemd")
    if not (CONTROL_GROUPS / "cgroup.procs").exists():
        pytest.skip("takes a hierarchy of control groups that nobody needs")
    group = CONTROL_GROUPS / f"arriero-test-{os.getpid()}"
    group.mkdir()
    yield group
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)


def test_the_service_outlives_its_supervisor(control_group: Path, tmp_path: Path) -> None:
    units = tmp_path / "units"
    (units / "arriero.service.d").mkdir(parents=True)
    (tmp_path / "layers").mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    shutil.copy(ROOT / "deploy" / "arriero.service", units)
    shutil.copy(ROOT / "deploy" / "adopt.conf", units / "arriero.service.d")
    (units / "arriero.service.d" / "quick.conf").write_text("[Service]\nWatchdogSec=8\n")
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = f"{sys.executable} {SCRIPTED_UPSTREAM} --port ${{PORT}}"
    config = {
        "listen": f"127.0.0.1:{port}",
        "workers": 2,
        "adopt": True,
        "supervisorGrace": "10s",
        "models": {name: {"cmd": f"{server} --name {name}"} for name in "ab"},
        "groups": {"all": {"members": ["a", "b"], "swap": False}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    python, operator = sys.executable, str(HERE / "as_an_operator.py")
    command = [str(HERE / "under_systemd.sh"), str(tmp_path), str(ROOT), python]

    subprocess.run(
        [*UNSHARE, *command, python, operator, str(port)],
        timeout=240,
        check=False,
        preexec_fn=lambda: (control_group / "cgroup.procs").write_text(str(os.getpid())),
    )

    log = (tmp_path / "log").read_text()[-3000:]
    assert (tmp_path / "status").exists(), log
    said = (tmp_path / "said").read_text()
    print(said)
    assert (tmp_path / "status").read_text() == "0\n", said + log
