"""The code of a commit is what runs, and nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

from .against import checkout, code_of
from .errors import BenchError

in_a_clone = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the sources are no clone")


def where(command: tuple[str, ...], env: dict[str, str]) -> str:
    """Return the file of the package that would run."""
    script = "import arriero.supervisor.app as it; print(it.__file__)"
    return subprocess.run(
        [command[0], "-c", script],
        capture_output=True,
        text=True,
        env=os.environ | env,
        cwd=ROOT,
        timeout=30,
        check=True,
    ).stdout.strip()


def test_a_tree_becomes_importable_before_the_installation(tmp_path: Path) -> None:
    code = code_of(ROOT, tmp_path / "path", label="ours")

    assert where(tuple(code.command), dict(code.env)).startswith(str(tmp_path))


@pytest.mark.nightly
@in_a_clone
def test_a_commit_is_taken_out_of_git(tmp_path: Path) -> None:
    code = checkout("HEAD", tmp_path)

    found = Path(where(tuple(code.command), dict(code.env)))
    assert found.resolve().is_relative_to(tmp_path / code.label)


@in_a_clone
def test_a_commit_that_does_not_exist_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no-such-commit"):
        checkout("no-such-commit", tmp_path)


def test_code_from_before_the_packages_is_said(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'other'\n")

    with pytest.raises(BenchError, match="before there were packages"):
        code_of(tmp_path, tmp_path / "path", label="old")
