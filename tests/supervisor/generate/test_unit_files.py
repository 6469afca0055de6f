"""What `arriero unit` and `arriero example` give is for this installation."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.supervisor.cli.main import main
from arriero.supervisor.generate.unit_files import UNITS, program_of, shipped, unit_text
from tests.paths import ROOT

DEPLOY = ROOT / "deploy"


def test_what_is_shipped_is_what_the_repository_has() -> None:
    sources = {source for source, _ in UNITS.values()}

    built_here = {"Containerfile", "compose.yaml", "debian"}  # what is installed needs none of it
    there = {f.name for f in DEPLOY.iterdir()}
    assert sources == there - {"README.md", "grafana.json"} - built_here
    assert {s: shipped(s) for s in sources} == {s: (DEPLOY / s).read_text() for s in sources}


@pytest.mark.parametrize(
    ("argv0", "executable", "there", "program"),
    [
        ("/opt/arriero/bin/arriero", "/opt/arriero/bin/python3", "argv0", "argv0"),
        ("/home/me/.local/bin/arriero", "/usr/bin/python3", "argv0", "argv0"),
        ("/v/site/arriero/__main__.py", "/v/bin/python", "/v/bin/arriero", "/v/bin/arriero"),
        ("/v/site/arriero/__main__.py", "/usr/bin/python3", "", "/usr/bin/python3 -m arriero"),
        ("/x/pytest", "/usr/bin/python3", "/x/pytest", "/usr/bin/python3 -m arriero"),
    ],
)
def test_the_program_is_the_one_that_runs(
    argv0: str, executable: str, there: str, program: str
) -> None:
    there, program = (argv0 if word == "argv0" else word for word in (there, program))

    found = program_of(argv0, executable, lambda path: str(path) == there)

    assert " ".join(found) == program


def test_links_stay_as_they_are(tmp_path: Path) -> None:
    real = tmp_path / "arriero-0.1.0" / "bin"
    real.mkdir(parents=True)
    (real / "arriero").touch()
    (tmp_path / "arriero").symlink_to("arriero-0.1.0")
    linked = str(tmp_path / "arriero" / "bin" / "arriero")

    assert program_of(linked, "/usr/bin/python3", Path.is_file) == (linked,)


# Folders of programs, and how systemd is told of them.
FOLDERS = [
    ("/opt/arriero/bin", "/opt/arriero/bin/arriero", "PATH=/opt/arriero/bin:"),
    ("/home/me/my venv/bin", '"/home/me/my venv/bin/arriero"', '"PATH=/home/me/my venv/bin:'),
    ("/a%n/bin", '"/a%%n/bin/arriero"', "PATH=/a%%n/bin:"),
    ("/a$b/bin", '"/a$b/bin/arriero"', '"PATH=/a$b/bin:'),
    ("/a:b/bin", "/a:b/bin/arriero", "PATH="),
    ("/ñandú/bin", '"/ñandú/bin/arriero"', '"PATH=/ñandú/bin:'),
]


@pytest.mark.parametrize(("folder", "command", "path"), FOLDERS)
@pytest.mark.parametrize("source", ["arriero.service", "arriero-user.service"])
def test_a_unit_names_the_program_wherever_it_is(
    source: str, folder: str, command: str, path: str
) -> None:
    text = unit_text(shipped(source), (f"{folder}/arriero",))

    [start, reload] = re.findall(r"^Exec\w+=(.*)$", text, re.MULTILINE)
    assert start.startswith(f"{command} serve --config ")
    assert reload == f"{command} reload"
    [setting] = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    assert setting.startswith(path)
    assert "/usr/local/bin:/usr/" in setting
    assert folder == "/opt/arriero/bin" or "/opt/arriero" not in setting


def test_systemd_reads_back_what_was_written(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    for number, (folder, _, _) in enumerate(FOLDERS):
        place = tmp_path / str(number) / folder.lstrip("/")
        place.mkdir(parents=True)
        program = place / "arriero"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        unit = tmp_path / str(number) / "arriero.service"
        unit.write_text(unit_text(shipped("arriero.service"), (str(program),)))

        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
        )
        assert [line for line in done.stdout.splitlines() if "arriero" in line] == []


@pytest.mark.parametrize("folder", ["/a\nExecStartPre=/bin/x", '/a"b', "/a'b", "/a\\b"])
def test_what_systemd_would_not_start_makes_no_unit(folder: str) -> None:
    with pytest.raises(ValueError, match="systemd starts no program"):
        unit_text(shipped("arriero.service"), (f"{folder}/arriero",))


def test_a_unit_is_printed_or_written_and_nothing_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unit", "user"]) == 0
    text = capsys.readouterr().out
    assert main(["unit", "user", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "arriero.service").read_text() == text
    assert main(["unit", "sysusers", "-o", str(tmp_path / "mine.conf")]) == 0
    assert (tmp_path / "mine.conf").read_text() == (DEPLOY / "sysusers.conf").read_text()
    capsys.readouterr()

    assert main(["unit", "-o", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (tmp_path / "arriero.service").read_text() == text
    assert main(["unit", "-o", str(tmp_path / "no" / "such")]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_the_example_can_be_checked_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"

    assert main(["example", "-o", str(path)]) == 0
    assert path.read_text() == (ROOT / "config.example.yaml").read_text()
    assert main(["example"]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_python_m_arriero_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arriero", "unit", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example:  arriero unit user -o" in done.stdout
