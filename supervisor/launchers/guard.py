"""Runs a command on another machine for as long as its standard input is open. Pure.

What goes over to the other machine is a shell and this script. It reads the variables of the
environment from its input first, so that no key stands on a command line. It says on which machine
it runs, starts the command, and gives it SIGTERM, and SIGKILL later, when its input ends: it ends
when the program that brought it here (ssh, srun, kubectl) is told to, is killed, or loses its
connection.

The shell is any that POSIX describes. The script holds no single quote, backslash or line end, so
that login shells such as fish and csh hand it on unchanged.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Final

from ..config.schema.launcher_types import COMMAND_LINE, COMMAND_WORDS
from ..errors import SpawnError

# Bytes of the environment: a pipe holds that much before anybody reads.
MAX_ENVIRONMENT: Final = 32 * 1024

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HOST: Final = re.compile(rb"arriero-host ([A-Za-z0-9._-]{1,253})")

# $0: seconds from SIGTERM to SIGKILL. The rest: the command. `setsid` gives it a group of its own,
# where there is such a program; the first `kill` is for that. `wait` returns early when a signal
# comes, so it is asked again after each; it returns 127 if it has told the end before. What may be
# left behind, for a moment, has no output, which would keep the connection open.
SCRIPT: Final = (
    "_c= _d= _n= _r= _x=; "
    '_k() { kill -s "$1" -- "-$_c" || kill -s "$1" "$_c"; }; '
    '_e() { _k TERM; sleep "$0"; _k KILL; }; '
    '_t() { _d=$_d.; [ -z "$_c" ] || { (_e) </dev/null 3<&- >/dev/null 2>&1 & _x="$_x $!"; }; }; '
    "trap _t TERM HUP INT; "
    'while IFS= read -r _v && [ -n "$_v" ]; do export "$_v"; done; '
    'echo "arriero-host $(uname -n)"; '
    "exec 3<&0; "
    "_s=setsid; command -v setsid >/dev/null 2>&1 || _s=; "
    '$_s "$@" <&3 3<&- & _c=$!; '
    "(while read -r _v; do :; done; _e) <&3 3<&- >/dev/null 2>&1 & _w=$!; "
    '[ -z "$_d" ] || _t; '
    'while :; do wait "$_c"; _s=$?; [ "$_s" = 127 ] && [ -n "$_r" ] || _r=$_s; '
    '[ "$_n" = "$_d" ] && break; _n=$_d; done; '
    "kill $_w $_x 2>/dev/null; "
    'kill -s KILL -- "-$_c" 2>/dev/null; '
    'exit "$_r"'
)


def guarded(command: Sequence[str], kill_after_s: float) -> tuple[str, ...]:
    """Return the words that run `command` under guard.

    Args:
        command: Program and arguments.
        kill_after_s: Seconds from SIGTERM to SIGKILL.
    """
    return ("sh", "-c", SCRIPT, str(max(1, round(kill_after_s))), *command)


def filled(template: Sequence[str], command: Sequence[str]) -> tuple[str, ...]:
    """Return `template` with a command in it.

    Args:
        template: Words; one is ``${COMMAND}``, or holds ``${COMMAND_LINE}``.
        command: Program and arguments.
    """
    words: list[str] = []
    for word in template:
        if word == COMMAND_WORDS:
            words += command
        else:
            words.append(word.replace(COMMAND_LINE, shlex.join(command)))
    return tuple(words)


def first_words(env: Mapping[str, str]) -> bytes:
    """Return what the guard reads first: the environment, and an empty line.

    Raises:
        SpawnError: It cannot be handed over.
    """
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name) or "\n" in value:
            raise SpawnError(
                f"cannot start it: the variable {name[:60]!r} of its env cannot be handed to "
                "another machine; write a name of letters, digits and _, and no line end"
            )
    said = b"".join(f"{name}={value}\n".encode() for name, value in env.items()) + b"\n"
    if len(said) > MAX_ENVIRONMENT:
        raise SpawnError(
            f"cannot start it: its env has {len(said)} bytes, and {MAX_ENVIRONMENT} can be handed "
            "to another machine"
        )
    return said


def read_host(line: bytes) -> str | None:
    """Return the machine on which the guard runs, if `line` says that."""
    found = _HOST.fullmatch(line)
    return None if found is None else found[1].decode()
