"""Completion in shells: the names of models, and how bash asks.

Source: click.shell_completion, whose script for bash takes a colon in a name for its end.
"""

import os
from pathlib import Path
from typing import Final

import click
from click.shell_completion import BashComplete, split_arg_string

from arriero.protocol.control.base import Refusal
from arriero.protocol.control.running import StatusReply, StatusRequest

from .connection import open_link
from .find_sockets import CommandFailed, socket_folder
from .place import LocalPlace

# Seconds for the supervisor's answer: somebody has pressed a key, and waits.
_ANSWER_S: Final = 0.2

# What each command does, for shells that show it: to import all of them takes five times as long as
# the rest of an answer. The first words of their docstrings, which a test holds against these.
SUMMARIES: Final = {
    "activity": "Show what became of the last requests: tokens, times, cost.",
    "ask": "Ask MODEL, and write its answer.",
    "cancel": "End the running request ID, whoever's it is.",
    "chat": "Talk with MODEL.",
    "check": "Tell what a configuration says, and what is wrong with it.",
    "completion": (
        "Print what SHELL (default: yours) reads to complete commands, options and models."
    ),
    "events": "Show the present state as events, then what happens.",
    "example": "Print a configuration that shows every key, to take from what is needed.",
    "explain": "Show what a request for MODEL would meet, without doing it.",
    "hold": "Keep DEVICE (ram, gpu0, ...), or all, free of models.",
    "import": "Make a configuration from that of another program; it is written to stdout.",
    "init": "Look for models (GGUF files), and write a configuration for them.",
    "key": "Make keys for clients, and tell what they are good for.",
    "keygen": "Write a new secret key to FILE, and show its public key.",
    "logs": "Show what the process of MODEL, or of all models, wrote.",
    "man": "Print the page of a COMMAND for man(1), or of arriero itself.",
    "pin": "Have MODEL stay while it is loaded.",
    "ping": "Ask whether the supervisor is there.",
    "profile": "Choose the profile NAME, or show all profiles.",
    "release": "Let models use DEVICE, or all, again.",
    "reload": "Read the configuration again, and put in force what changed.",
    "restart": "Replace the supervisor, by another version too; models and running requests go on.",
    "scale": "Run N workers (1 to 64) from now on.",
    "schema": "Print the JSON schema of the configuration, for editors.",
    "serve": "Run the supervisor and its workers until SIGTERM or Ctrl-C.",
    "shutdown": "End the supervisor in good order, with all models and workers.",
    "status": "Show the models, who waits for them, other machines, and the workers.",
    "swap": "Make MODEL ready, and show how far it is.",
    "top": "Watch models, memory, requests and logs, and load, unload and cancel by keys.",
    "unit": "Print a file for systemd, with the path of this installation.",
    "unload": "Stop MODEL, or all models.",
    "unpin": "Let MODEL be as the configuration says again.",
    "usage": "Show tokens and cost by day, model and key, for as long as three years.",
    "workers": "Show the worker processes.",
}


class BashCompletion(BashComplete):
    """Asks with the line up to the cursor: bash's own words end at colons, which names have."""

    source_template = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} word before= type value
    word=${line##*[[:space:]]}
    # Bash replaces what comes behind the last of these.
    [[ $COMP_WORDBREAKS == *:* ]] && before=${word%%"${word##*[:=]}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        plain)
            printf -v value %%q "${value#"$before"}"
            COMPREPLY+=("$value")
            ;;
        esac
    done < <(COMP_WORDS=$line %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def source(self) -> str:
        """Return the script; it asks for no version of bash: 4.4 is of 2016."""
        return self.source_template % self.source_vars()

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is completed, and that one."""
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])


def model_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the models of the running supervisor whose names begin so.

    None, without a word, if there is no supervisor that answers at once.
    """
    if ctx.params.get("control"):  # whose answer may take longer than somebody waits
        return []
    folder = ctx.params.get("socket_dir") or socket_folder(os.environ, _exists)
    try:
        with open_link(LocalPlace(folder), connect_s=_ANSWER_S) as link:
            reply = link.ask(StatusRequest(), StatusReply, within_s=_ANSWER_S)
    except (CommandFailed, OSError):
        return []
    if isinstance(reply, Refusal):
        return []
    return [one.model for one in reply.models if one.model.startswith(incomplete)]


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return True
