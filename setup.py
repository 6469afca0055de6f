"""Compresses the page where something is built of it: a wheel has each file in three forms.

All else is in pyproject.toml. A checkout that is installed in place has nothing to compress.
"""

import gzip
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_KINDS = {".js", ".css", ".svg"}


class BuildWithPage(build_py):
    """Copies the packages, and compresses the files of the page beside themselves."""

    def run(self) -> None:
        """Do both."""
        super().run()
        if self.editable_mode:
            return
        import brotli  # only what is built needs it

        for path in Path(self.build_lib, "arriero/worker/ui/static").rglob("*"):
            if path.suffix in _KINDS:
                data = path.read_bytes()
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 9, mtime=0))
                path.with_name(path.name + ".br").write_bytes(brotli.compress(data, quality=11))


setup(cmdclass={"build_py": BuildWithPage})
