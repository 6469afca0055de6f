"""The API key that the server of a model demands.

It stands in what the server is started with: in an option, or in a variable of its environment,
be it through a shell, ``env`` or a container's ``-e``. A reader of that has the key already,
so ``--api-key`` is believed behind any program, any wrapper included.

Sources: llama.cpp, common/arg.cpp (several keys with commas between them, as in CSV, all of which
are taken; ``_`` in the name of an option is ``-``; a file has one in each line, and ``#`` begins a
comment), tried with build 10068; vLLM, vllm/entrypoints/openai/cli_args.py (the last option
counts, and goes before the variable).
"""

import csv
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ..text.command_line import split_command
from .command import server_options

# Placeholder of a key that is made anew for each start.
API_KEY: Final = "${API_KEY}"

_LLAMA: Final = "LLAMA_API_KEY"
_LLAMA_FILE: Final = "LLAMA_ARG_API_KEY_FILE"
_VLLM: Final = "VLLM_API_KEY"

_OPTION: Final = re.compile(r"--api[-_]key(?P<file>[-_]file)?(?:=(?P<value>.*))?", re.DOTALL)
# Alone, or as in -e LLAMA_API_KEY=..., -eLLAMA_API_KEY=... and --env=LLAMA_API_KEY=...
_VARIABLE: Final = re.compile(
    rf"(?:-e|--env=)?(?P<name>{_LLAMA}|{_LLAMA_FILE}|{_VLLM})=(?P<value>.*)", re.DOTALL
)
_IS_VLLM: Final = re.compile(r"vllm(?![^\W_])")  # vllm, vllm.entrypoints..., vllm-openai:latest
_WORTH_READING: Final = re.compile(rf"--api[-_]key|{_LLAMA}|{_LLAMA_FILE}|{_VLLM}")
_BLANK: Final = re.compile(r"\s")  # a word that has one is a script, as far as it is looked at
_SHELL_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)\})")

# Characters. What is shorter is no secret, and would be found in many a text by chance.
LEAST_SECRET: Final = 8

# A script within a script within a script is read, and no more.
_DEPTH: Final = 3

_CONTAINERS: Final = frozenset({"docker", "nerdctl", "podman"})

# Characters that a header can carry: see RFC 9110, section 5.5. Blanks around a value do not count,
# so a key that ends with one cannot be shown; one that begins with one can, because of what is
# before it.
_SENDABLE: Final = re.compile(r"[^\x00-\x1f\x7f]*[^\x00-\x20\x7f]")


class WantedKey(NamedTuple):
    """The key that a server demands, or its file; none if both are empty.

    Attributes:
        key: The key; empty if it has to be read from the file.
        file: Has the key in its first line that is one; empty for none. As the server sees it.
    """

    key: str = ""
    file: str = ""

    def __repr__(self) -> str:
        return "<WantedKey>"  # it is none of a log's business


def wanted_key(
    command: Sequence[str],
    env: Mapping[str, str],
    inherited: Mapping[str, str],
    *,
    is_vllm: bool | None = None,
) -> WantedKey:
    """Return the key that a server with this command demands.

    Of several keys the first one.

    Args:
        command: Program and arguments, without macros.
        env: Additions to its environment.
        inherited: The environment itself.
        is_vllm: It is vLLM, or it is not; None to decide by the command.
    """
    if is_vllm is None:
        is_vllm = any(map(_IS_VLLM.match, map(os.path.basename, command)))
    all_of_it = {**inherited, **env}
    options: list[str] = []
    files: list[str] = []
    variables = dict(env)
    if os.path.basename(command[0] if command else "") not in _CONTAINERS and (
        is_vllm or server_options(command, env) is not None
    ):
        variables = all_of_it
    for name, value in _read(command, all_of_it, _DEPTH):
        match name:
            case "key":
                options.append(value)
            case "file":
                files.append(value)
            case _:
                variables[name] = value
    if is_vllm:
        found = [*reversed(options), variables.get(_VLLM, "")]
    else:
        listed = [*options, variables.get(_LLAMA, "")]
        found = [key for keys in listed for key in _split(keys)]
        if server_options(command, env) is None:  # it may be vLLM after all
            found.append(variables.get(_VLLM, ""))
        files.append(variables.get(_LLAMA_FILE, ""))
    key = first_sendable(found)
    return WantedKey(key, "" if key or is_vllm else next(filter(None, files), ""))


def holding(own_keys: Collection[str], environ: Mapping[str, str]) -> frozenset[str]:
    """Return the variables of `environ` that hold one of our own keys.

    No model gets to see them.

    Args:
        own_keys: Those that clients show to us.
        environ: The environment.
    """
    if not own_keys:
        return frozenset()
    return frozenset(
        name for name, value in environ.items() if any(_holds(value, key) for key in own_keys)
    )


def _holds(value: str, key: str) -> bool:
    return key in value if len(key) >= LEAST_SECRET else key == value


def first_sendable(keys: Iterable[str]) -> str:
    """Return the first of `keys` that a header can carry; empty if there is none."""
    return next(filter(_SENDABLE.fullmatch, keys), "")


def key_in_file(text: str) -> str:
    """Return the first key in the text of a file of keys; empty if there is none."""
    return first_sendable(line for line in text.split("\n") if not line.startswith("#"))


def _read(
    words: Sequence[str], variables: Mapping[str, str], depth: int, *, is_script: bool = False
) -> Iterator[tuple[str, str]]:
    """Give each key with its place: ``key``, ``file``, or a variable."""
    assigned = dict(variables)
    following = iter(words)
    for word in following:
        if (option := _OPTION.fullmatch(word)) is not None:
            value = option["value"]
            if value is None:
                value = next(following, "")
            yield ("file" if option["file"] else "key"), _resolved(value, assigned, is_script)
        elif _BLANK.search(word) is None and (variable := _VARIABLE.fullmatch(word)) is not None:
            value = _resolved(variable["value"], assigned, is_script)
            yield variable["name"], value
        elif depth and _WORTH_READING.search(word) and _BLANK.search(word):
            yield from _read(_words_of_script(word), assigned, depth - 1, is_script=True)
        elif is_script and (found := re.fullmatch(r"(\w+)=(.*)", word, re.DOTALL)) is not None:
            assigned[found[1]] = _resolved(found[2], assigned, is_script)


def _resolved(value: str, variables: Mapping[str, str], is_script: bool) -> str:
    """Return `value` as a shell expands it; empty if that is unknown."""
    if not is_script or "$" not in value:
        return value
    found = _SHELL_VARIABLE.fullmatch(value)
    return "" if found is None else variables.get(found[1] or found[2], "")


def _words_of_script(script: str) -> Sequence[str]:
    """Return the words of a shell script, with the separators of commands."""
    lexer = shlex.shlex(script, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:  # a quote that is not closed
        return split_command(script)


def _split(keys: str) -> Sequence[str]:
    """Return the keys in a list as llama-server reads it."""
    if "," not in keys and '"' not in keys:
        return (keys,)
    try:
        return next(csv.reader([keys]), [])
    except csv.Error:  # a line end in the middle
        return ()
