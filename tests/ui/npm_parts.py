"""What npm has for the checks of the page: TypeScript's compiler and axe-core, installed once.

    python tests/ui/npm_parts.py [check]

It is pinned by ``package-lock.json`` beside this file, and lies in the cache that clones share.
With `check` the types of the page's modules are checked, as `make lint` does it.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that it runs as a script, too

from tests.judges.node_client import NODE, ensure_npm_folder
from tests.real.fetch import PartsError

HERE = Path(__file__).parent


def parts() -> Path:
    """Return the folder ``node_modules``.

    Raises:
        PartsError: It cannot be had.
    """
    return ensure_npm_folder(HERE, "ui") / "node_modules"


def axe_source() -> str:
    """Return the source of axe-core."""
    return (parts() / "axe-core" / "axe.min.js").read_text()


def check_types() -> int:
    """Check the types of the page's modules; return the exit status."""
    compiler = parts() / "typescript" / "bin" / "tsc"
    return subprocess.run((NODE, compiler, "-p", HERE / "tsconfig.json"), check=False).returncode


def main(argv: Sequence[str]) -> int:
    """Install it, and check types if asked; return the exit status."""
    try:
        if "check" in argv:
            return check_types()
        parts()
    except PartsError as exc:
        print(f"the types of the page's modules are not checked: {exc}", file=sys.stderr)
        return int(bool(os.environ.get("ARRIERO_NEEDS_BROWSER")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
