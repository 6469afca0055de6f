"""Settings in a llama-server command: its address and its files.

Only what surely is llama-server is looked at, because its options are known. In ``docker run ...``
or behind a script, a port and a path may be those of another world.

Source: llama-server --help, build 10434.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from .model_files import model_files

DEFAULT_PORT: Final = "8080"

PROGRAM: Final = re.compile(
    r"llama-server(?:-(?:\d+|b\d+|cpu|cuda\w*|hip|metal|rocm|sycl|vulkan))*(?:\.exe)?"
)

# Programs that run another one where they are themselves.
WRAPPERS: Final = frozenset(
    {"chrt", "env", "ionice", "nice", "nohup", "numactl", "setsid", "stdbuf", "sudo", "taskset"}
)

# Options that name files besides those of `model_files`, with commas between them, and whether
# each has a scale after a colon.
_MORE_FILES: Final[Mapping[str, bool]] = {
    "--lora": False,
    "--lora-scaled": True,
    "--control-vector": False,
    "--control-vector-scaled": True,
}

# With these a file may be fetched first.
_FETCHING: Final = re.compile(
    r"-(?:mu|mmu|dr|hfr?|hfr?v|hfr?d)|--(?:model-url|mmproj-url|docker-repo|spec-draft-hf|hf-repo.*)"
)
_FETCHING_VARIABLE: Final = re.compile(r"LLAMA_ARG_.*(?:_URL|_REPO)(?:_V)?")
_SCALE: Final = re.compile(r":[-+.\d]+\Z")

# Commands whose settings are remembered: eight parts ask for those of each model.
_MAX_KNOWN: Final = 4096


class CommandSetting(msgspec.Struct, frozen=True):
    """One setting, from the two places that it may have.

    Attributes:
        option: In the command, which wins; None if absent.
        variable: In the environment; None if absent.
    """

    option: str | None
    variable: str | None

    @property
    def value(self) -> str | None:
        """The value in force."""
        return self.variable if self.option is None else self.option

    @property
    def is_contradiction(self) -> bool:
        """True if both places have one, and they differ."""
        return None not in {self.option, self.variable} and self.option != self.variable


class ServerOptions(msgspec.Struct, frozen=True):
    """The settings of a llama-server.

    Attributes:
        host, port: Its address; ``${PORT}`` stands as it was written.
        slot_save_path: The folder in which it saves its slots.
        files: Of models: the model first, adapters last. Empty if it may fetch something.
    """

    host: CommandSetting
    port: CommandSetting
    slot_save_path: CommandSetting
    files: tuple[Path, ...]

    @property
    def socket(self) -> str | None:
        """The path of its unix socket; None if it listens on TCP."""
        host = self.host.value
        return host if host is not None and host.endswith(".sock") else None


def server_options(command: Sequence[str], env: Mapping[str, str]) -> ServerOptions | None:
    """Return the settings in `command`; None if it is not surely llama-server.

    Args:
        command: Program and arguments.
        env: Additions to the environment.
    """
    return _server_options(tuple(command), tuple(env.items()))


@lru_cache(_MAX_KNOWN)
def _server_options(
    command: tuple[str, ...], variables: tuple[tuple[str, str], ...]
) -> ServerOptions | None:
    arguments = server_arguments(command)
    if arguments is None:
        return None
    env = dict(variables)
    options = dict(_options(arguments))  # given twice: the last one counts
    fetches = any(map(_FETCHING.fullmatch, arguments)) or any(
        map(_FETCHING_VARIABLE.fullmatch, env)
    )
    return ServerOptions(
        host=CommandSetting(options.get("--host"), env.get("LLAMA_ARG_HOST")),
        port=CommandSetting(options.get("--port"), env.get("LLAMA_ARG_PORT")),
        slot_save_path=CommandSetting(
            options.get("--slot-save-path"), env.get("LLAMA_ARG_SLOT_SAVE_PATH")
        ),
        files=() if fetches else tuple(_files(arguments, env)),
    )


def server_arguments(command: Sequence[str]) -> Sequence[str] | None:
    """Return what follows llama-server in `command`; None if it is not surely that."""
    for at, word in enumerate(command):
        name = os.path.basename(word)
        if PROGRAM.fullmatch(name):
            return command[at + 1 :]
        if at == 0 and name not in WRAPPERS:
            break
    return None


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    following = iter(arguments)
    for word in following:
        option = word.replace("_", "-")  # as llama.cpp does
        if option in {"--host", "--port", "--slot-save-path", *_MORE_FILES}:
            yield option, next(following, "")


def _files(arguments: Sequence[str], env: Mapping[str, str]) -> Iterator[Path]:
    yield from model_files(arguments, env, is_file=lambda _: True)
    for option, value in _options(arguments):
        if option in _MORE_FILES:
            for name in filter(None, value.split(",")):
                yield Path(_SCALE.sub("", name) if _MORE_FILES[option] else name)
