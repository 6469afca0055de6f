"""What the pinned llama-server wants of a machine, and what to say where it is lacking."""

import ctypes
import os
import platform
import re
import signal
import subprocess
from pathlib import Path

from tests.real.fetch import PartsError

# What the compiler was allowed to use.
_CPU_FLAGS = frozenset({"avx2", "bmi2", "f16c", "fma"})

# The newest symbol version that the binaries ask of the C library is GLIBC_2.34.
_OLDEST_GLIBC = (2, 34)

# Seconds for `llama-server --version`, which takes 0.1 s with warm files.
_RUN_LIMIT_S = 60.0

# Debian's and Ubuntu's names.
_PACKAGES = {
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
    "libgcc_s.so.1": "libgcc-s1",
}

_ELSEWHERE = (
    "the pinned llama-server runs on x86-64 Linux only; the program itself takes any llama-server "
    "of yours (config.example.yaml)"
)


def check_machine() -> None:
    """Return if the pinned llama-server can run here, as far as one can tell before fetching it.

    Raises:
        PartsError: It cannot.
    """
    system, cpu = platform.system(), platform.machine()
    if (system, cpu) != ("Linux", "x86_64"):
        raise PartsError(f"cannot run llama-server on {system} {cpu}: {_ELSEWHERE}")
    if lacking := lacking_flags(Path("/proc/cpuinfo").read_text()):
        raise PartsError(
            f"cannot run llama-server: this CPU (or virtual machine) lacks {', '.join(lacking)}; "
            "use a machine with AVX2 (2013 and later), or a virtual machine of CPU type `host`"
        )
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "another C library").partition(" ")
    found = re.match(r"(\d+)\.(\d+)", version)
    if name != "glibc" or found is None or (int(found[1]), int(found[2])) < _OLDEST_GLIBC:
        raise PartsError(
            f"cannot run llama-server: it wants glibc 2.34 or newer, here is {name} {version}; use "
            "Debian 12, Ubuntu 22.04 or something newer"
        )


def lacking_flags(cpuinfo: str) -> list[str]:
    """Return which of the CPU features are missing in the text of ``/proc/cpuinfo``."""
    line = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return sorted(_CPU_FLAGS - set(line[1].split() if line else ()))


def has_libgomp() -> bool:
    """Say whether the system brings GCC's OpenMP runtime."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def check_runs(binary: Path) -> None:
    """Return if `binary` tells its version.

    Raises:
        PartsError: It does not run; the message says what would help.
    """
    try:
        done = subprocess.run(
            (binary, "--version"),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_RUN_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise PartsError(
            f"cannot run {binary}: it did not tell its version within {_RUN_LIMIT_S:.0f} s"
        ) from exc
    except OSError as exc:
        raise PartsError(
            f"cannot run {binary}: {exc.strerror}; a cache on a file system that is mounted "
            "`noexec` will not do: choose another with --cache or ARRIERO_CACHE"
        ) from exc
    if done.returncode != 0:
        raise PartsError(explain_failure(binary, done.returncode, done.stderr))


def explain_failure(binary: Path, code: int, stderr: str) -> str:
    """Return why `binary` did not run, given its exit status (as of subprocess) and last words."""
    if code == -signal.SIGILL:
        return (
            f"cannot run {binary}: it uses instructions that this CPU (or virtual machine) lacks; "
            "use a machine with AVX2, or a virtual machine of CPU type `host`"
        )
    if library := re.search(r"error while loading shared libraries: (\S+?):", stderr):
        package = _PACKAGES.get(Path(library[1]).name)
        advice = f"`apt install {package}` brings it" if package else "install it"
        return f"cannot run {binary}: the library {library[1]} is missing; {advice}"
    how = signal.Signals(-code).name if code < 0 else f"status {code}"
    last = stderr.strip().splitlines()[-1:] or ["nothing"]
    return f"cannot run {binary}: it ended with {how} and said: {last[0]}"
