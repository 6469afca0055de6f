"""What is built of this tree, and that it works where it is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

import pytest

from tests.examples import IS_NIGHT
from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]

# Seconds for each program; only one that hangs takes as long.
LIMIT_S = 300

# What is no part of the project: made by tools, or the history.
MADE = shutil.ignore_patterns(
    ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)
DATA = {
    "arriero.service": "deploy/arriero.service",
    "arriero-user.service": "deploy/arriero-user.service",
    "arriero.socket": "deploy/arriero.socket",
    "adopt.conf": "deploy/adopt.conf",
    "sysusers.conf": "deploy/sysusers.conf",
    "config.example.yaml": "config.example.yaml",
}


class Built(NamedTuple):
    """A copy of the tree, what was built of it, and the wheel's content where it was put."""

    tree: Path
    source: Path | None
    wheel: Path
    site: Path


def build(folder: Path, hook: str, into: Path) -> Path:
    """Call the build backend in `folder`, as `pip wheel` and `build` do, without a network."""
    code = f"from setuptools import build_meta as b; print(b.{hook}({str(into)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return into / done.stdout.split()[-1]


def copy_tree(to: Path) -> None:
    """Copy the project's files: those that git knows, or all where there is no git."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        shutil.copytree(ROOT, to, symlinks=True, ignore=MADE)
        return
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    for name in listed.stdout.rstrip("\0").split("\0"):
        if os.path.lexists(ROOT / name):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name, follow_symlinks=False)


def unpacked(source: Path, folder: Path) -> Path:
    """Return the tree that a source distribution has."""
    with tarfile.open(source) as opened:
        opened.extraction_filter = getattr(tarfile, "data_filter", lambda it, _: it)  # 3.11.4
        opened.extractall(folder / "unpacked")
    [tree] = (folder / "unpacked").iterdir()
    return tree


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """At night the wheel is built of the source distribution: that is what distributions do."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    copy_tree(tree)
    source = build(tree, "build_sdist", folder) if IS_NIGHT else None
    wheel = build(unpacked(source, folder) if source else tree, "build_wheel", folder)
    site = folder / "site"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-compile", "--target", str(site), str(wheel)),
        ],
        check=True,
        timeout=LIMIT_S,
    )
    return Built(tree, source, wheel, site)


@pytest.fixture
def installed(built: Built, tmp_path: Path) -> Callable[..., str]:
    """A function that runs Python beside what was installed, far from the repository."""

    def run(*args: str) -> str:
        done = subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            # Before the editable installation of this environment.
            env=os.environ | {"PYTHONPATH": str(built.site)},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run


def files_below(folder: Path) -> set[str]:
    """Names of all files, as an archive would name them."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.nightly
def test_the_source_distribution_has_every_file_of_the_tree(built: Built) -> None:
    assert built.source is not None
    with tarfile.open(built.source) as opened:
        members = opened.getmembers()
    assert {m.type for m in members} <= {tarfile.REGTYPE, tarfile.DIRTYPE}  # no links
    top = f"arriero-{VERSION}"
    names = {m.name.removeprefix(f"{top}/") for m in members if m.isfile()}

    in_tree = {name for name in files_below(built.tree) if ".egg-info/" not in name}
    assert in_tree - names == set()
    assert {name for name in names - in_tree if ".egg-info/" not in name} == {
        "PKG-INFO",
        "setup.cfg",
    }
    assert {
        "tests/conftest.py",
        "docs/security.md",
        "deploy/README.md",
        "config.schema.json",
    } < names


@pytest.mark.nightly
def test_the_wheel_has_the_packages_and_their_data_and_nothing_else(built: Built) -> None:
    with ZipFile(built.wheel) as opened:
        names = set(opened.namelist())
        data = {name: opened.read(f"arriero/supervisor/data/{name}") for name in DATA}
    in_tree = files_below(built.tree / "arriero") | {
        f"{package}/{name}"
        for package in ("supervisor", "worker", "protocol")
        for name in files_below(built.tree / package)
    }
    compressed = {
        f"{name}{suffix}"
        for name in in_tree
        if name.startswith("worker/ui/static/")
        for suffix in (".br", ".gz")
    }
    there = in_tree | compressed
    assert {n for n in names if ".dist-info/" not in n} == {f"arriero/{n}" for n in there}
    assert data == {name: (ROOT / path).read_bytes() for name, path in DATA.items()}


@pytest.mark.nightly
def test_an_installed_arriero_knows_its_version(installed: Callable[..., str]) -> None:
    assert installed("-m", "arriero", "--version") == f"arriero, version {VERSION}\n"
    code = "import arriero, sys; assert 'importlib.metadata' not in sys.modules; "
    assert installed("-S", "-c", code + "print(arriero.__file__)").strip().endswith("__init__.py")
    assert installed("-c", "import arriero; print(arriero.__version__)") == f"{VERSION}\n"


@pytest.mark.nightly
def test_it_is_what_was_built_that_runs(built: Built, installed: Callable[..., str]) -> None:
    code = "import arriero.supervisor as s, arriero as a; print(a.__file__); print(s.__file__)"
    said = installed("-c", code).split()

    assert [Path(name).is_relative_to(built.site) for name in said] == [True, True]


@pytest.mark.nightly
def test_an_installed_arriero_brings_its_example_and_its_units(
    built: Built, installed: Callable[..., str], tmp_path: Path
) -> None:
    assert installed("-m", "arriero", "example") == (ROOT / "config.example.yaml").read_text()

    unit = installed("-m", "arriero", "unit")
    [start] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    program = start.removeprefix("ExecStart=").partition(" serve ")[0]
    assert Path(program.split()[0].strip('"')).exists()
    code = (
        "import arriero.supervisor.cli.main as c, sys\n"
        "for which in sys.argv[1:]: assert not c.main(['unit', which]); print(end='\\0')"
    )
    *shown, end = installed("-c", code, "-h", "socket", "user", "adopt", "sysusers").split("\0")
    assert (len(shown), all(shown), end) == (5, True, "")


def test_only_pythons_that_are_permitted_are_named() -> None:
    [least] = [PROJECT["requires-python"].removeprefix(">=")]
    named = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if line.startswith("Programming Language :: Python :: 3.")
    ]
    assert named[0] == least
    assert [tuple(map(int, one.split("."))) for one in named] == [
        (3, 11 + number) for number in range(len(named))
    ]
