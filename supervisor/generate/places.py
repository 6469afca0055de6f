"""Where model files lie on a machine, and the program that serves them. Pure.

Sources: huggingface_hub, "Environment variables" (HF_HOME, HF_HUB_CACHE); llama.cpp, common/
common.cpp (LLAMA_CACHE); Ollama, docs/faq.md (OLLAMA_MODELS, and where its service keeps them);
LM Studio, "Import models".
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

# Where llama-server is looked for when it is not in PATH, below the home folder and elsewhere: what
# its own build makes, what its image of Docker has, Homebrew on Linux.
_IN_HOME: Final = (".local/bin", "llama.cpp/build/bin", "src/llama.cpp/build/bin", "bin")
_ELSEWHERE: Final = (
    "/usr/local/bin",
    "/opt/llama.cpp/build/bin",
    "/opt/llama.cpp/bin",
    "/opt/llama.cpp",
    "/app",
    "/home/linuxbrew/.linuxbrew/bin",
)
SERVER: Final = "llama-server"

GET_SERVER: Final = (
    f"there is no {SERVER} on this machine: install your distribution's package (llama.cpp or "
    "llama-cpp), or unpack an archive of llama.cpp's release page for your kind of GPU, and put it "
    "into PATH"
)


class Layout(Enum):
    """How files lie in a folder."""

    TREE = "with its folders"
    FLAT = "without its folders"
    OLLAMA = "as Ollama keeps them"


class SearchPlace(msgspec.Struct, frozen=True):
    """A folder in which models are looked for.

    Attributes:
        folder: Absolute.
        layout: How files lie there.
        owner: The program whose cache it is; empty: nobody's.
        is_named: It was asked for: if it cannot be read, that is an error.
    """

    folder: Path
    layout: Layout = Layout.TREE
    owner: str = ""
    is_named: bool = False

    def __str__(self) -> str:
        """Return the folder, and whose it is."""
        if self.owner:
            return f"{self.folder} ({self.owner})"
        return f"{self.folder}{' (its own files)' if self.layout is Layout.FLAT else ''}"


def named_places(folders: Sequence[Path]) -> tuple[SearchPlace, ...]:
    """Return the places for folders, and files, that were named."""
    return tuple(SearchPlace(folder.absolute(), is_named=True) for folder in folders)


def usual_places(
    environ: Mapping[str, str], home: Path | None, here: Path
) -> tuple[SearchPlace, ...]:
    """Return where models usually lie; most of it is not there.

    Args:
        environ: The environment.
        home: Home folder of the user; None if there is none.
        here: The current folder; its folders are not looked at, for it may be anything.
    """
    found = [SearchPlace(here, Layout.FLAT)]

    def add(folder: Path | None, owner: str = "", layout: Layout = Layout.TREE) -> None:
        if folder is not None and folder.is_absolute():
            found.append(SearchPlace(folder, layout, owner))

    def told(name: str, *below: str) -> Path | None:
        return Path(environ[name], *below) if environ.get(name) else None

    def at_home(*below: str) -> Path | None:
        return home and home.joinpath(*below)

    cache = told("XDG_CACHE_HOME") or at_home(".cache")
    add(at_home("models"))
    add(
        told("HF_HUB_CACHE") or told("HF_HOME", "hub") or (cache and cache / "huggingface" / "hub"),
        "Hugging Face",
    )
    add(told("LLAMA_CACHE") or (cache and cache / "llama.cpp"), "llama.cpp")
    add(at_home(".lmstudio", "models"), "LM Studio")
    add(at_home(".cache", "lm-studio", "models"), "LM Studio")
    if (chosen := told("OLLAMA_MODELS")) is not None:
        add(chosen, "Ollama", Layout.OLLAMA)
    else:
        add(at_home(".ollama", "models"), "Ollama", Layout.OLLAMA)
        add(Path("/usr/share/ollama/.ollama/models"), "Ollama", Layout.OLLAMA)
    return tuple({place.folder: place for place in reversed(found)}.values())[::-1]


def find_server(
    in_path: Callable[[str], str | None],
    is_program: Callable[[Path], bool],
    beside: Path,
    home: Path | None,
) -> str | None:
    """Return how llama-server is called: by its name if it is in PATH, else by its place.

    Args:
        in_path: Finds a program in PATH.
        is_program: Returns whether a path is a file that can be run.
        beside: The folder of this program's own Python: wheels put programs there.
        home: Home folder of the user.
    """
    if in_path(SERVER) is not None:
        return SERVER
    folders = [beside, *(home / name for name in _IN_HOME if home), *map(Path, _ELSEWHERE)]
    return next((str(one / SERVER) for one in folders if is_program(one / SERVER)), None)
