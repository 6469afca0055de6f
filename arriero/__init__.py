"""A proxy in front of llama-server that tells waiting clients truthfully how far it is.

    arriero.protocol    what the processes say to each other
    arriero.supervisor  starts and stops models; the command `arriero`
    arriero.worker      answers clients

    digests             SHA-256 and random words, without OpenSSL
    idle_memory         free memory is given back when there is nothing else to do
    late_modules        modules that are loaded when somebody uses them

The packages lie beside this folder (pyproject.toml maps them in). All programs begin with this
file: it sees to it that large modules which hardly anybody uses are not loaded until somebody does.
The version is looked up when it is asked for.
"""

from typing import TYPE_CHECKING

from .late_modules import let_wait

if TYPE_CHECKING:
    __version__: str

let_wait()


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("arriero")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
