"""The code of another commit, beside that of this working tree.

It is taken out of git into a temporary folder, without a trace in the repository, and runs with
the same interpreter and the same packages; what measures it is the benchmark of today.
"""

import io
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.paths import ROOT

from .errors import BenchError

_GIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """How to start one version of arriero.

    Attributes:
        label: In tables: ``arriero``, or the commit.
        command: Program and first arguments; those of ``arriero`` follow.
        env: Added to the environment.
    """

    label: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


OURS = Code(label="arriero", command=(sys.executable, "-m", "arriero"))


def checkout(commit: str, folder: Path) -> Code:
    """Put the code of `commit` into `folder`.

    Raises:
        BenchError: There is no such commit, or it has no package of ours.
    """
    label = _git("rev-parse", "--short", "--verify", "--end-of-options", f"{commit}^{{commit}}")
    tree = folder / label
    with tarfile.open(fileobj=io.BytesIO(_git_bytes("archive", label))) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda it, _: it)  # 3.11.4
        archive.extractall(tree)
    return code_of(tree, folder / f"{label}-path", label=label)


def code_of(tree: Path, path: Path, *, label: str) -> Code:
    """Make the code in `tree` importable from the new folder `path`.

    The packages lie beside each other in a tree, and within `arriero` when imported.

    Raises:
        BenchError: It has no package of ours, or Python finds another.
    """
    settings = tomllib.loads((tree / "pyproject.toml").read_text())
    try:
        places: dict[str, str] = settings["tool"]["setuptools"]["package-dir"]
        own = tree / places["arriero"]
    except KeyError:
        raise BenchError(f"cannot run {label}: it is from before there were packages") from None
    (path / "arriero").mkdir(parents=True)
    for file in own.glob("*.py"):
        (path / "arriero" / file.name).symlink_to(file)
    for name, place in places.items():
        if name != "arriero":
            path.joinpath(*name.split(".")).symlink_to(tree / place)
    # Stronger than the installation; and the working directory is no place for modules.
    env = {"PYTHONPATH": str(path), "PYTHONSAFEPATH": "1"}
    for part in ("supervisor", "worker"):
        found = subprocess.run(
            [sys.executable, "-c", f"import arriero.{part} as it; print(it.__file__)"],
            capture_output=True,
            text=True,
            env=os.environ | env,
            timeout=_GIT_S,
            check=False,
        )
        if not found.stdout.startswith(str(path)):
            raise BenchError(f"cannot run {label}: Python took {found.stdout or found.stderr}")
    return Code(label=label, command=OURS.command, env=env)


def _git(*arguments: str) -> str:
    return _git_bytes(*arguments).decode().strip()


def _git_bytes(*arguments: str) -> bytes:
    try:
        ended = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise BenchError(f"cannot ask git: {exc}") from exc
    if ended.returncode:
        words = ended.stderr.decode(errors="replace").strip()
        raise BenchError(f"cannot ask git for {arguments[-1]}: {words}")
    return ended.stdout
