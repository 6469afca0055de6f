"""Loads that go on when a test says so, and real models that are as small as can be."""

import time
from collections.abc import Sequence
from pathlib import Path

from trains import Train, eventually

from tests.paths import ROOT
from tests.real.parts import ensure_llama_server
from tests.real.tiny_gguf import write_tiny_gguf
from tests.start_port import free_ports

TEMPLATE = ROOT / "tests" / "judges" / "tools.jinja"

# Ids of tokens of the random model: its vocabulary is three words and then the bytes. Where a tool
# may be called, a brace begins the call.
BRACE, END = 3 + ord("{"), 0

_SCRIPT = """\
echo >> "$2"
until [ -e "$1" ]; do sleep 0.02; done
shift 2
exec "$@"
"""


def free_port() -> int:
    """Return where the ports of a train begin whose models may come to theirs late.

    A port is bound only when the gate opens, and by then another train could have chosen it.
    """
    return free_ports(30)


class Gate:
    """Commands that wait before it until it is open, and are counted.

    With it a test need not guess how long a load takes: it lets all requests come and then opens.
    """

    def __init__(self, folder: Path, *, is_open: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self._open, self._starts = folder / "open", folder / "starts"
        self._script = folder / "gate.sh"
        self._script.write_text(_SCRIPT)
        if is_open:
            self.open()

    def command(self, command: str) -> str:
        """Return `command` behind the gate."""
        return f"/bin/sh {self._script} {self._open} {self._starts} {command}"

    def open(self) -> None:
        self._open.touch()

    def close(self) -> None:
        self._open.unlink(missing_ok=True)

    @property
    def starts(self) -> int:
        """How often a command was started, gone through or not."""
        return self._starts.stat().st_size if self._starts.exists() else 0


def queued(train: Train, **models: int) -> None:
    """Return once exactly so many requests wait for each of these models."""
    wanted = sorted(models.items())

    def all_wait() -> bool:
        time.sleep(0.05)  # whoever is asked all the time has no time for the requests
        queue = [(one["model"], one["waiting"]) for one in train.ask("status")["queue"]]
        return sorted(queue) == wanted

    eventually(all_wait, within_s=60, what=f"requests that wait: {wanted}")


def tiny_server(folder: Path, *options: str, context: int = 512, slots: int = 2) -> str:
    """Return the command of a real llama-server with a random model that loads in no time."""
    model = folder / "tiny.gguf"
    if not model.exists():
        write_tiny_gguf(model)
    return " ".join(
        [
            f"{ensure_llama_server()} --host 127.0.0.1 --port ${{PORT}} -m {model} -t 1",
            f"-c {context} --parallel {slots} --no-webui",
            *options,
        ]
    )


def with_tools(*, thinks: bool = False) -> Sequence[str]:
    """Return the options of a server whose model knows tools, and thinks first if asked to."""
    thinking = "'{\"enable_thinking\":%s}'" % ("true" if thinks else "false")
    return (f"--jinja --chat-template-file {TEMPLATE}", f"--chat-template-kwargs {thinking}")
