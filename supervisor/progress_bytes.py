"""Deciding: which files a command loads, and how much of them its process has taken in.

The counters themselves are read in `progress_proc`.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Options of llama-server that name a file to load whole -> what they all mean.
# Source: llama-server --help, build 10068, and the older names that it still takes.
_OPTIONS: Final[Mapping[str, str]] = {
    "-m": "model",
    "--model": "model",
    "-mm": "mmproj",
    "--mmproj": "mmproj",
    "-md": "draft",
    "--model-draft": "draft",
    "--spec-draft-model": "draft",
    "-mv": "vocoder",
    "--model-vocoder": "vocoder",
}

# The same, for what the command line leaves out. Later ones win.
_VARIABLES: Final[Mapping[str, str]] = {
    "LLAMA_ARG_MODEL": "model",
    "LLAMA_ARG_MMPROJ": "mmproj",
    "LLAMA_ARG_MODEL_DRAFT": "draft",
    "LLAMA_ARG_SPEC_DRAFT_MODEL": "draft",
}

# "-00001-of-00003.gguf": llama.cpp is given the first part and finds the others beside it.
# Source: llama.cpp, llama_split_path.
_SPLIT: Final = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)

# More parts than any published model has; a name must not make us look for 99,999 files.
MAX_PARTS: Final = 1000

# Mapped pages that are llama-server's own program and libraries, not the model. Measured with
# build 10068: 20 MiB with its Vulkan libraries; CUDA's are larger, but then so are the models.
PROGRAM_BYTES: Final = 24 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBytes:
    """Counters of one process at one moment, in bytes.

    Attributes:
        rchar: Passed through read(2) and its kin, from wherever it came.
        rss_file: Pages of mapped files that it holds right now.

    ``read_bytes``, what was fetched from storage, was tried and dropped: it stays at zero with a
    warm page cache, and with a cold one it counts the program's libraries, which can be larger
    than the model.

    Source: proc(5), /proc/pid/io and /proc/pid/status.
    """

    rchar: int
    rss_file: int


def model_files(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    is_file: Callable[[Path], bool] = Path.is_file,
) -> tuple[Path, ...]:
    """Return the files that llama-server loads when it is started as `command`.

    Names what there is to be found without a shell: a model behind ``sh -c`` or ``-hf`` gives
    nothing, and progress then comes from other sources.

    Args:
        command: Program and arguments.
        env: The variables that the process gets.
        is_file: Tells whether a path is a file; relative paths are relative to its directory.

    Returns:
        Existing files only, each once: the model, its further parts, then the others.
    """
    named = _named_files(command, env or {})
    files = (path for name in named for path in _with_parts(Path(name)))
    return tuple(path for path in dict.fromkeys(files) if _exists(path, is_file))


def _named_files(command: Sequence[str], env: Mapping[str, str]) -> Iterable[str]:
    """Return file names, the model first. Said twice: the last one counts, as in llama.cpp."""
    found = dict.fromkeys(("model", *_OPTIONS.values()), "")
    for variable, kind in _VARIABLES.items():
        found[kind] = env.get(variable) or found[kind]
    arguments = iter(command)
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option.startswith("--"):
            option = option.replace("_", "-")  # as llama.cpp does
        if (kind_of := _OPTIONS.get(option)) is not None:
            found[kind_of] = value if equals else next(arguments, "")
    return [name for name in found.values() if name]


def _with_parts(path: Path) -> Iterator[Path]:
    yield path
    split = _SPLIT.fullmatch(path.name)
    if split is not None and 1 < (count := int(split["count"])) <= MAX_PARTS:
        for part in range(1, count + 1):
            yield path.with_name(f"{split['stem']}-{part:05d}-of-{count:05d}.gguf")


def _exists(path: Path, is_file: Callable[[Path], bool]) -> bool:
    try:
        return is_file(path)
    except (OSError, ValueError):  # no permission; a NUL in the name
        return False


def bytes_done(first: LoadBytes, now: LoadBytes, total: int) -> int:
    """Return how many bytes of the model files the process has taken in, 0 to `total`.

    Neither counter is right for every way of loading, but each stands nearly still while the
    other one is right, so the larger is taken. Measured with build 10068, a model of 253 MB and a
    cold page cache:

    - mapped (the default): `rss_file` grows by the whole model, `rchar` by 13 MB of metadata;
    - ``--no-mmap``: `rchar` grows by the model and 7 MB, `rss_file` by 21 MB of program.

    It can fall, when a server unmaps what it has copied to a GPU: remember the largest.

    Args:
        first: The counters soon after the process was started.
        now: The counters of the moment.
        total: Bytes of all model files.
    """
    mapped = now.rss_file - first.rss_file - PROGRAM_BYTES
    return max(0, min(max(now.rchar - first.rchar, mapped), total))


def total_bytes(
    files: Iterable[Path], *, stat: Callable[[Path], os.stat_result] = Path.stat
) -> int:
    """Return the bytes of all `files` together; one that can't be looked at counts nothing."""
    total = 0
    for path in files:
        try:
            total += stat(path).st_size
        except (OSError, ValueError):
            continue
    return total
