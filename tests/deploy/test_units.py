"""What an operator copies is accepted by systemd and fits the program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from arriero.supervisor.cli.find_sockets import SYSTEM_FOLDER
from arriero.supervisor.cli.main import COMMANDS
from arriero.supervisor.processes.reaper_child import __file__ as reaper_file
from tests.paths import ROOT

DEPLOY = ROOT / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.socket")])
SERVICE = (DEPLOY / "arriero.service").read_text()


def settings(name: str) -> list[str]:
    """Return the values of a setting of the service, in order; comments do not count."""
    return re.findall(rf"^{name}=(.*)$", SERVICE, re.MULTILINE)


def verify(units: list[Path], folder: Path) -> str:
    """Return what systemd has to say against `units`; `folder` is for a copy.

    The program is not installed here, so another one stands in for it.
    """
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for unit in units:
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (folder / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(folder / unit.name for unit in UNITS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    about_ours = [line for line in done.stdout.splitlines() if "arriero" in line]
    return "\n".join(about_ours) or ("" if done.returncode == 0 else done.stdout)


def test_systemd_has_nothing_to_say_against_the_units(tmp_path: Path) -> None:
    assert [unit.name for unit in UNITS] == [
        "arriero-user.service",
        "arriero.service",
        "arriero.socket",
    ]
    assert verify(UNITS, tmp_path) == ""


def test_systemd_would_say_if_there_were_something(tmp_path: Path) -> None:
    broken = tmp_path / "arriero.service"
    broken.write_text(SERVICE.replace("KillMode=mixed", "KillMode=mixd"))

    assert "Failed to parse kill mode" in verify([broken], tmp_path)


def test_models_outlive_the_supervisor_by_one_more_file(tmp_path: Path) -> None:
    more = (DEPLOY / "adopt.conf").read_text().partition("[Service]")[2]
    both = tmp_path / "both" / "arriero.service"
    both.parent.mkdir()
    both.write_text(SERVICE.replace("\n[Install]", f"{more}\n[Install]"))

    assert verify([both, *(unit for unit in UNITS if unit.name != both.name)], tmp_path) == ""
    assert re.findall("^KillMode=(.*)$", more, re.MULTILINE) == ["process"]


def test_the_service_leaves_the_program_the_time_it_takes() -> None:
    [stop_s] = settings("TimeoutStopSec")
    [start_s] = settings("TimeoutStartSec")

    from arriero.supervisor import app
    from arriero.supervisor.lifetime import shutdown

    assert float(stop_s) >= shutdown.DRAIN_LIMIT_S + 15
    assert float(start_s) > app.WORKERS_LIMIT_S


def test_the_sockets_are_where_the_command_looks_for_them() -> None:
    assert [f"/run/{name}" for name in settings("RuntimeDirectory")] == [str(SYSTEM_FOLDER)]
    assert settings("RuntimeDirectoryMode") == ["0700"]


def test_a_reload_is_a_command_that_waits_for_its_end_and_has_the_time_for_it() -> None:
    from arriero.supervisor.reload import reloader as reloading

    [command] = settings("ExecReload")
    [limit_s] = settings("TimeoutStartSec")  # systemd.service(5): it holds for ExecReload=, too
    program, name = command.split()
    assert name in COMMANDS
    assert [start.split()[0] for start in settings("ExecStart")] == [program]
    assert float(limit_s) > reloading.READ_LIMIT_S + reloading.FOLLOW_LIMIT_S


def test_the_gpu_is_not_taken_away() -> None:
    assert settings("PrivateDevices") == ["no"]
    assert settings("SupplementaryGroups") == ["video render"]
    assert settings("MemoryDenyWriteExecute") == settings("DevicePolicy") == []


# What makes up the exposure, for machines without systemd-analyze; see the reasons in the unit.
HARDENED = {
    "NoNewPrivileges": ["yes"],
    "ProtectSystem": ["strict"],
    "ProtectProc": ["invisible"],
    "PrivateMounts": ["yes"],
    "CapabilityBoundingSet": [""],
    "SystemCallArchitectures": ["native"],
    "SystemCallErrorNumber": ["EPERM"],
}

# In tenths: the range is 0 to 10.
MAX_EXPOSED = 30


def test_the_service_is_hardened() -> None:
    assert {name: settings(name) for name in HARDENED} == HARDENED
    assert settings("SystemCallFilter")[0].split()[0] == "@system-service"
    for missing in ("PrivateUsers", "RestrictNamespaces", "PrivateNetwork", "IPAddressDeny"):
        assert settings(missing) or re.search(rf"^#   .*\b{missing}=", SERVICE, re.MULTILINE)
    [tasks] = settings("TasksMax")
    assert 4096 <= int(tasks) <= 32768


def test_a_service_is_little_exposed_as_systemd_counts_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")

    def verdict(text: str) -> "subprocess.CompletedProcess[str]":
        (tmp_path / "arriero.service").write_text(text)
        return subprocess.run(
            [
                "systemd-analyze",
                "security",
                "--no-pager",
                "--offline=true",
                f"--threshold={MAX_EXPOSED}",
                str(tmp_path / "arriero.service"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    found = verdict(SERVICE)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    assert found.returncode == 0, found.stdout[-400:]
    open_one = re.sub("^SystemCallFilter=.*$", "", SERVICE, flags=re.MULTILINE)
    assert verdict(open_one).returncode != 0


def test_the_readme_tells_of_every_file_and_of_the_reaper() -> None:
    readme = (DEPLOY / "README.md").read_text()

    assert [f.name for f in DEPLOY.iterdir() if f"`{f.name}`" not in readme] == ["README.md"]
    assert f"`{Path(reaper_file).name}`" in readme
