"""A proxy in front of llama-server that tells waiting clients truthfully how far it is.

    arriero.protocol    what the processes say to each other
    arriero.supervisor  starts and stops models; the command `arriero`
    arriero.worker      answers clients

The packages lie beside this folder (pyproject.toml maps them in) and need nothing of this file.
Importing it costs nothing: the version is looked up when it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("arriero")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
