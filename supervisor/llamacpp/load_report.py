"""When llama-server is asked for its own report (`progress.server_report`).

It is asked by a variable of the environment, which children inherit. Who finds it there ends with
the end of standard input, and standard input is our pipe for what was started itself only: a shell
gives ``/dev/null`` to what it starts in the background, which then ends as soon as it is ready. So
only what surely is llama-server itself is asked. `env` of a model is stronger: with any value the
report is asked for, with an empty one it is not.

Source: llama.cpp, tools/server/server.cpp; bash(1), "asynchronous command".
"""

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from .command import PROGRAM, WRAPPERS

VARIABLE: Final = "LLAMA_SERVER_ROUTER_PORT"

# To its standard input, before the end of that: who reads this word first ends in good order. The
# end alone has one of its threads call exit() while others still clean up after SIGTERM; build
# 10068 then aborted in eight of twelve stops, wrote a core file where these are on, and took
# 0.4 s for it where gdb is installed.
# Source: llama.cpp, tools/server/server-models.cpp (CMD_ROUTER_TO_CHILD_EXIT).
END_WORD: Final = b"cmd_router_to_child:exit\n"

_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_NUMBERS: Final = re.compile(r"[-+,:.\dA-Fa-fx]+")
_ELF: Final = b"\x7fELF"


def is_llama_server_itself(
    command: Sequence[str], env: Mapping[str, str], path: str | None = None
) -> bool:
    """Return whether llama-server is started, or a command that only becomes it.

    Reads four bytes of the program: a script of that name may do anything.

    Args:
        command: Program and arguments.
        env: Additions to the environment.
        path: The value of PATH that counts without one in `env`; None: that of this process.
    """
    word = llama_server_in_place(command)
    program = None if word is None else shutil.which(word, path=env.get("PATH", path))
    if program is None:
        return False
    try:
        with open(program, "rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def wants_report(env: Mapping[str, str], *, is_itself: bool) -> bool:
    """Return whether the report is asked for; see `is_llama_server_itself`."""
    return bool(env[VARIABLE]) if VARIABLE in env else is_itself


def llama_server_in_place(command: Sequence[str]) -> str | None:
    """Return the word of `command` that names llama-server.

    None if something before it does more.

    What stands before it is a program that runs another one in its own place, for the same user.
    """
    for at, word in enumerate(command):
        name = os.path.basename(word)
        if PROGRAM.fullmatch(name):
            return word
        is_wrapper = name in WRAPPERS and name != "sudo"
        if not is_wrapper and (at == 0 or not _is_of_wrapper(word, command[at - 1])):
            return None
    return None


def _is_of_wrapper(word: str, before: str) -> bool:
    """Return whether `word` belongs to the options of a wrapper."""
    if word.startswith("-") or _ASSIGNMENT.fullmatch(word) or _NUMBERS.fullmatch(word):
        return True
    # `-u NAME`, but not `-i ./start.sh`
    is_value = before.startswith("-") and before not in {"-", "--"}
    return is_value and "." not in os.path.basename(word) and shutil.which(word) is None
