"""`ask`, `chat` and `top` against a running arriero, on terminals and without."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from trains import PATIENCE_S, Stream, Train, eventually

from arriero.supervisor.cli.main import main
from tests.paths import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]  # terminals are read as they are drawn

_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\(.|[=>78M])")


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], size: tuple[int, int]):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            [sys.executable, "-m", "arriero.supervisor", *command],
            stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.is_drawn = command[0] == "top"
        self.raw = ""
        self._mark = 0

    def resize(self, columns: int, lines: int) -> None:
        self._size = (columns, lines)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> bool:
        """Read what there is, or wait a moment."""
        if not select.select([self.master], [], [], 0.05)[0]:
            return False
        self.raw += os.read(self.master, 65536).decode(errors="replace")
        return True

    def wait_for(self, *texts: str) -> str:
        """Return what was written since the last wait, once all these stand in it.

        Curses leaves out letters that stand there already, so after a while all is drawn anew.
        """
        began = looked_at = time.monotonic()
        while True:
            self.read()
            said = _SEQUENCE.sub("", self.raw[self._mark :])
            if all(text in said for text in texts):
                self._mark = len(self.raw)
                return said
            now = time.monotonic()
            assert now < began + PATIENCE_S, (texts, said[-3000:])
            if self.is_drawn and now > looked_at + 1.0:
                looked_at = now
                self.resize(self._size[0], self._size[1] ^ 1)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        """Type Ctrl-C once it waits: readline misses it between its prompt and that."""
        process = psutil.Process(self.process.pid)
        eventually(lambda: process.status() == psutil.STATUS_SLEEPING, what="a program that waits")
        self.type("\x03")

    def ends(self) -> int:
        """Return the exit status; all is as it was before."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self.read()
            assert time.monotonic() < deadline, self.raw[-3000:]
        while self.read():
            pass
        assert termios.tcgetattr(self._slave)[:4] == self.before[:4]
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@contextmanager
def terminal(
    train: Train, *command: str, size: tuple[int, int] = (80, 24), **environ: str
) -> Generator[Terminal]:
    """Run a command of arriero on a terminal."""
    given = os.environ | {
        "ARRIERO_SOCKET_DIR": str(train.socket_dir), "TERM": "xterm-256color", "LANG": "C.UTF-8",
    }  # fmt: skip
    found = Terminal(command, given | environ, size)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def spoken(start_shared_train: Callable[..., Train], scripted: Callable[..., str]) -> Train:
    """A train with a model that is never loaded, and one that is at once."""
    return start_shared_train(
        {
            "progressDelay": "0s",
            "models": {
                "stuck": {"cmd": scripted("--never-ready")},
                "quick": {"cmd": scripted("--name", "quick"), "aliases": ["nick"]},
            },
        }
    )


def test_ask_writes_the_answer_alone(
    spoken: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ARRIERO_SOCKET_DIR", str(spoken.socket_dir))
    attached = tmp_path / "text"
    attached.write_text("some text\n")

    def run(*words: str, stdin: Path = Path(os.devnull)) -> tuple[int, str, str]:
        before = os.dup(0)
        with stdin.open("rb") as file:
            os.dup2(file.fileno(), 0)
        try:
            status = main(["ask", *words])
        finally:
            os.dup2(before, 0)
            os.close(before)
        said = capfd.readouterr()
        return status, said.out, said.err

    assert run("nick", "who", "are", "you?") == (0, "w1 w2 w3 w4 w5 \n", "")
    status, out, err = run("quick", "sum up", "--json", "--max-tokens", "9", stdin=attached)
    assert (status, err) == (0, "")
    assert json.loads(out) | {"took_s": 0, "request_id": ""} == {
        "model": "quick", "content": "w1 w2 w3 w4 w5 ", "reasoning": "", "finish_reason": "stop",
        "prompt_tokens": 7, "output_tokens": 5, "request_id": "", "took_s": 0,
    }  # fmt: skip
    status, out, err = run("quik", "hi")
    assert (status, out) == (1, "")
    assert "did you mean 'quick'" in err
    assert run("quick")[0] == 2

    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    status, out, err = run("quick", "hi", "--url", nobody)
    assert (status, out) == (3, "")
    assert "`arriero serve`" in err
    assert run("quick", "hi", "--url", spoken.url)[0] == 0


def test_chat_shows_the_load_and_goes_on_after_ctrl_c(spoken: Train, tmp_path: Path) -> None:
    spoken.emptied()
    with terminal(spoken, "chat", "stuck", "--system", "be brief") as talk:
        talk.wait_for("/help", "> ")
        talk.type("hi\n")
        talk.wait_for("loading")
        talk.interrupt()
        talk.wait_for("Ctrl-C once more", "> ")
        spoken.emptied()
        talk.type("/model quick\nhi again\n")
        talk.wait_for("w1 w2 w3 w4 w5", "> ")
        talk.type(f"/save {tmp_path}/it.json\n")
        talk.wait_for("messages are in", "> ")
        talk.type("/model quik\n")
        talk.wait_for("did you mean 'quick'?", "> ")
        talk.interrupt()
        talk.wait_for("Ctrl-C once more", "> ")
        talk.interrupt()
        assert talk.ends() == 130
    saved = json.loads((tmp_path / "it.json").read_text())
    assert [one["role"] for one in saved] == ["system", "user", "assistant"]


def test_top_shows_what_happens_and_obeys_keys(spoken: Train) -> None:
    spoken.emptied()
    with terminal(spoken, "top") as top:
        top.wait_for("stuck", "quick", "0 waiting")
        top.type("/stuck\r")
        top.wait_for("1 of 2")
        top.type("\r")
        top.wait_for("starting")
        top.type("U")
        top.wait_for("(y/n)")
        top.type("y")
        eventually(lambda: not top.read() and spoken.model("stuck")["state"] == "stopped")
        stream = Stream(spoken, "quick", runs_on=True)
        top.wait_for("answer", "127.0.0.1")
        top.resize(40, 15)
        top.wait_for("stuck", "answer")
        top.resize(120, 30)
        top.wait_for("CLIENT, ID")
        top.type("x")
        top.wait_for("(y/n)")
        top.type("y")
        top.wait_for("is cancelled")
        assert stream.finish().errors()[0]["code"] == "cancelled"
        top.type("q")
        assert top.ends() == 0
        assert "\x1b[?1049l" in top.raw[-200:]  # the screen is as it was


def test_top_without_a_terminal_looks_once(
    spoken: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARRIERO_SOCKET_DIR", str(spoken.socket_dir))
    stream = Stream(spoken, "quick", runs_on=True)
    eventually(lambda: spoken.model("quick")["in_flight"])

    assert main(["top"]) == 0
    assert re.search(r"^quick +ready", capfd.readouterr().out, re.MULTILINE)
    assert main(["top", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [one["model"] for one in found["requests"]] == ["quick"]
    assert found["status"]["url"] == spoken.url
    stream.finish()


@pytest.mark.nightly
def test_top_lives_through_a_restart(
    start_train: Callable[..., Train], scripted: Callable[..., str], tmp_path: Path
) -> None:
    config = {"models": {"one": {"cmd": scripted()}}}
    train, here = start_train(config), tmp_path / "s"
    here.symlink_to(train.socket_dir)
    with terminal(train, "top", ARRIERO_SOCKET_DIR=str(here), LC_ALL="C", NO_COLOR="1") as top:
        top.wait_for("one", "stopped")
        train.stop()
        top.wait_for("connecting")
        again = start_train(config)
        here.unlink()
        here.symlink_to(again.socket_dir)

        def is_loaded() -> bool:
            top.read()
            top.type("l")  # until somebody is there to hear of it
            return bool(again.model("one")["state"] == "ready")

        eventually(is_loaded)
        top.wait_for("ready")
        assert top.raw.isascii()
        assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", top.raw)
        os.kill(top.process.pid, signal.SIGTERM)
        assert top.ends() == 128 + signal.SIGTERM
