"""The files that a llama-server command loads."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def model_files(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    is_file: Callable[[Path], bool] = Path.is_file,
) -> tuple[Path, ...]:
    """Return the files that llama-server loads for `command`.

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
    """Return file names, the model first.

    Of one that is given twice the last one counts, as in llama.cpp.
    """
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
