"""Options on the files of a configuration, and the command line as llama-swap has it."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

T = TypeVar("T", bound=Callable[..., Any])

# Options of llama-swap, all of which `serve` has. Its command has no name, and one dash will do.
_OPTIONS: Final = frozenset(
    {"config", "config-dir", "listen", "tls-cert-file", "tls-key-file", "watch-config"}
)

# What ours is called with that is no command either.
_OWN: Final = frozenset({"-h", "--help", "--version"})


def unknown_keys(command: T) -> T:
    """Add the options that say what unknown keys are."""
    strict = click.option(
        "--strict",
        "unknown",
        flag_value="errors",
        help="Unknown keys are errors, even in a file that has only keys of llama-swap.",
    )
    lenient = click.option(
        "--lenient",
        "unknown",
        flag_value="warnings",
        default="by file",
        help="Unknown keys are warnings, even in a file that has keys of arriero's own.",
    )
    return lenient(strict(command))


def as_command(args: Sequence[str]) -> list[str]:
    """Return `args` as this program reads them, if they are written for llama-swap.

    That is ``-config FILE -listen :8080``: no name of a command, and one dash before a long name.
    Source: llama-swap's command line; Go's `flag`.
    """
    if not args or args[0] in _OWN:
        return [*args]
    if args[0] == "-version":
        return ["--version"]
    has_command = not args[0].startswith("-")
    if has_command and args[0] != "serve":
        return [*args]
    return ["serve", *map(_in_long_form, args[1:] if has_command else args)]


def _in_long_form(word: str) -> str:
    is_short = word.startswith("-") and not word.startswith("--")
    return f"-{word}" if is_short and word[1:].partition("=")[0] in _OPTIONS else word
