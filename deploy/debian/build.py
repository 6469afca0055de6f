"""Builds dist/arriero_VERSION_ARCHITECTURE.deb: `make deb`. Takes Python 3.11 and dpkg-deb.

The package has a virtual environment in /usr/lib/arriero with what requirements/run.txt has
locked, by hash: what was tested together. Debian's own packages of the same libraries are older
than what pyproject.toml asks for, and another minor version of Python could not use what is
compiled; hence `Depends: python3.11`.
"""

import compileall
import gzip
import hashlib
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

from arriero.supervisor.generate.unit_files import UNITS, shipped, unit_text

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
VERSION: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

# Locked beside what runs, because it builds.
_BUILDS: Final = frozenset({"pip", "setuptools"})

_HOME: Final = "usr/lib/arriero"
_SITE: Final = f"{_HOME}/lib/python3.11/site-packages"
_PROGRAM: Final = """\
#!/usr/lib/arriero/bin/python
import sys

from arriero.supervisor.cli.serve.entry import main

sys.exit(main())
"""
_CONTROL: Final = """\
Package: arriero
Version: {version}
Architecture: {architecture}
Maintainer: arriero's authors <arriero@localhost>
Installed-Size: {size_kb}
Depends: python3.11, passwd
Recommends: systemd
Suggests: llama.cpp
Section: net
Priority: optional
Description: starts the language model that a request names
 arriero stands in front of llama-server, starts the model that a request
 names, stops another to make room, and tells the waiting client truthfully
 how far it is.
 .
 The service is not enabled by itself: write models into
 /etc/arriero/config.yaml first, then: systemctl enable --now arriero
"""
_SHELL_FILES: Final = {
    "bash": "usr/share/bash-completion/completions/arriero",
    "zsh": "usr/share/zsh/vendor-completions/_arriero",
    "fish": "usr/share/fish/vendor_completions.d/arriero.fish",
}


def build(into: Path) -> Path:
    """Build the package; return its path.

    Raises:
        SystemExit: It cannot be built here; says why.
        subprocess.CalledProcessError: A program failed; it has said why.
    """
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"make deb: needs Python 3.11, and this is {platform.python_version()}")
    if shutil.which("dpkg-deb") is None:
        sys.exit("make deb: there is no dpkg-deb; apt install dpkg")
    architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        tree = work / "root"
        _put_environment(tree, work)
        _put_files(tree)
        size = sum(path.lstat().st_size for path in tree.rglob("*"))
        control = _CONTROL.format(
            version=VERSION, architecture=architecture, size_kb=size // 1024 + 1
        )
        _put(tree / "DEBIAN" / "control", control)
        _put(tree / "DEBIAN" / "conffiles", "/etc/arriero/config.yaml\n")
        for name in ("postinst", "prerm", "postrm"):
            _put(tree / "DEBIAN" / name, (HERE / name).read_text(), 0o755)
        sums = [
            f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n"
            for path in sorted(tree.rglob("*"))
            if path.is_file()
            and not path.is_symlink()
            and not (name := path.relative_to(tree).as_posix()).startswith(("DEBIAN/", "etc/"))
        ]
        _put(tree / "DEBIAN" / "md5sums", "".join(sums))
        into.mkdir(exist_ok=True)
        package = into / f"arriero_{VERSION}_{architecture}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zxz", "-z3", "--build", str(tree), str(package))
    return package


def _put_environment(tree: Path, work: Path) -> None:
    """Put the virtual environment into `tree`: its Python is that of the machine it comes to."""
    locked = re.split(r"\n(?=[a-z])", (ROOT / "requirements" / "run.txt").read_text())
    kept = [one for one in locked if one.partition("==")[0] not in _BUILDS]
    (work / "run.txt").write_text("\n".join(kept) + "\n")
    source = work / "source"
    made = (".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*made))
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(work), str(source))
    [wheel] = work.glob("arriero-*.whl")
    site = tree / _SITE
    into = ("install", "--no-deps", "--no-compile", "--only-binary", ":all:", "--target", str(site))
    _run(*pip, *into, "--require-hashes", "-r", str(work / "run.txt"))
    shutil.rmtree(site / "bin", ignore_errors=True)  # programs of theirs
    _run(*pip, *into, str(wheel))
    shutil.rmtree(site / "bin")
    _put(tree / _HOME / "bin" / "arriero", _PROGRAM, 0o755)
    for name in ("python", "python3", "python3.11"):
        (tree / _HOME / "bin" / name).symlink_to("/usr/bin/python3.11")
    _put(
        tree / _HOME / "pyvenv.cfg",
        "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n",
    )
    # Never looked at again, whatever the times of the files are: dpkg brings and takes them all.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, stripdir=tree, prependdir="/", invalidation_mode=mode)


def _put_files(tree: Path) -> None:
    """Put all else into `tree`."""
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/arriero").symlink_to("../lib/arriero/bin/arriero")
    for which in ("service", "socket"):
        source, name = UNITS[which]
        text = unit_text(shipped(source), ("/usr/bin/arriero",))
        _put(tree / "usr/lib/systemd/system" / name, text)
    source, name = UNITS["sysusers"]
    _put(tree / "usr/lib/sysusers.d" / name, shipped(source))
    _put(tree / "etc/arriero/config.yaml", (HERE / "config.yaml").read_text(), 0o640)
    (tree / "etc/arriero").chmod(0o750)
    arriero = (sys.executable, "-m", "arriero")
    pages = tree / "usr/share/man/man1"
    _run(*arriero, "man", "--output", str(pages))
    for page in sorted(pages.iterdir()):
        _put(page.with_suffix(".1.gz"), gzip.compress(page.read_bytes(), 9, mtime=0))
        page.unlink()
    for shell, path in _SHELL_FILES.items():
        done = subprocess.run([*arriero, "completion", shell], check=True, stdout=subprocess.PIPE)
        _put(tree / path, done.stdout)
    about = tree / "usr/share/doc/arriero"
    _put(about / "copyright", (ROOT / "LICENSE").read_text())
    _put(about / "changelog.gz", gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), 9, mtime=0))
    for name in ("README.md", "SECURITY.md", "config.example.yaml", "config.schema.json"):
        _put(about / name, (ROOT / name).read_text())
    for page in sorted((ROOT / "docs").glob("*.md")):
        _put(about / "docs" / page.name, page.read_text())


def _put(path: Path, data: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(mode)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


if __name__ == "__main__":
    os.umask(0o022)
    print(build(ROOT / "dist").relative_to(ROOT))  # noqa: T201  what `make deb` says
