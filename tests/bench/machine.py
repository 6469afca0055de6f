"""The machine: what is installed on it, and whether it is quiet enough to measure."""

import os
import platform
import shutil
import time
from collections.abc import Callable

import psutil

from tests.real.parts import LLAMA_SERVER, MODELS, default_cache
from tests.ui.browser import no_browser

from .errors import BenchError

# Cores that others may use, at most.
QUIET = 0.7

# Seconds to wait for that; the load average forgets slowly.
QUIET_WITHIN_S = 240.0

# Debian's packages of the programs that are used if there.
PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "h2load": "nghttp2-client"}


# Not a program, but needed likewise.
REAL_MODELS = "llama-server and two real models"


def find(program: str) -> str | None:
    """Return the path of a program, also outside of an ordinary user's PATH.

    llama-swap is in no package: ``LLAMA_SWAP`` may say where it is.
    """
    if program == "llama-swap" and (path := os.environ.get("LLAMA_SWAP")):
        return path
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def lacks(program: str) -> str | None:
    """Say what would have to be done to have `program`; None if it is there."""
    if program == REAL_MODELS:
        files = [default_cache() / part.product.target for part in (LLAMA_SERVER, *MODELS.values())]
        there = all(file.exists() for file in files)
        return None if there else "the real models are not here (make demo fetches them)"
    if program == "chromium":
        return no_browser() or None
    if find(program):
        return None
    if package := PACKAGES.get(program):
        return f"{program} is not installed (apt-get install {package})"
    return f"{program} is not installed (its binary in PATH, or LLAMA_SWAP=/path/to/it)"


def describe() -> dict[str, object]:
    """Return what the figures depend on."""
    return {"cores": os.cpu_count(), "python": platform.python_version(), "os": platform.platform()}


def wait_for_silence(*, at_first: bool, force: bool, note: Callable[[str], None]) -> float:
    """Return when the machine is quiet: how many cores are busy then.

    At first that is the load average of the last minute. Later it would be that of our own last
    round, so it is what is used right now, while all targets rest.

    Raises:
        BenchError: It did not become quiet in time, and `force` is not given.
    """
    deadline = time.monotonic() + QUIET_WITHIN_S
    while True:
        busy = psutil.cpu_percent(interval=0.5) / 100 * (psutil.cpu_count() or 1)
        load = max(busy, os.getloadavg()[0]) if at_first else busy
        if load < QUIET or force:
            return load
        if time.monotonic() > deadline:
            raise BenchError(
                f"cannot measure: {load:.1f} cores are busy with something else, and no more than "
                f"{QUIET} may be; --force measures nevertheless"
            )
        note(f"waiting until less than {QUIET} cores are busy (now {load:.1f})")
        time.sleep(0.5)
