"""What an operator does, and what happens to arriero, under a real systemd.

Run by test_real_systemd.py: ``as_an_operator.py PORT``. Prints what went wrong.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import httpx
import msgspec

URL = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"
AS_ARRIERO = ("setpriv", "--reuid=4242", "--regid=4242", "--clear-groups")


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def arriero(*words: str) -> str:
    return run(*AS_ARRIERO, "/opt/arriero/bin/arriero", *words, "--socket-dir", "/run/arriero")


def shown(name: str) -> str:
    return run("systemctl", "show", "-P", name, "arriero")


def until(holds: Callable[[], bool], what: str, within_s: float = 60.0) -> float:
    began = time.monotonic()
    while not holds():
        if time.monotonic() > began + within_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def pids() -> dict[str, int]:
    models = msgspec.json.decode(arriero("status", "--json"))["models"]
    return {model["model"]: model["pid"] for model in models}


def processes() -> list[str]:
    return run("pgrep", "-u", "4242", check=False).split()


class Stream:
    """A stream of six seconds."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        until(lambda: len(self.frames) > 3, "a stream")

    def _read(self) -> None:
        body = {"model": "a", "stream": True, "messages": [], "script": "chunks=60,delay=0.1"}
        with httpx.stream("POST", URL, json=body, timeout=60) as response:
            self.frames += (line for line in response.iter_lines() if line)

    def is_whole(self) -> bool:
        self._thread.join(60)
        return self.frames[-1:] == ["data: [DONE]"] and "w60 " in "".join(self.frames)


def chat(model: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    assert httpx.post(URL, json=body, timeout=60).status_code == 200


def is_back(main: str) -> bool:
    return shown("MainPID") not in {"0", main} and shown("ActiveState") == "active"


def main() -> None:
    until(lambda: run("systemctl", "is-system-running", check=False) == "running", "systemd")
    run("systemctl", "start", "arriero")
    assert shown("StatusText").startswith("serving 2 models")
    for model in "ab":
        chat(model)
    before, first = pids(), shown("MainPID")

    stream = Stream()
    os.kill(int(first), signal.SIGKILL)
    print(f"killed, and back after {until(lambda: is_back(first), 'a restart'):.2f} s")
    assert pids() == before, "models were started anew"
    assert stream.is_whole()

    stream = Stream()
    second = shown("MainPID")
    os.kill(int(second), signal.SIGSTOP)  # it feeds no watchdog
    print(f"hung, and back after {until(lambda: is_back(second), 'a restart'):.2f} s")
    assert pids() == before, "models were started anew"
    assert stream.is_whole()

    stream = Stream()
    third = shown("MainPID")
    arriero("restart")
    run("systemctl", "reload", "arriero")
    until(lambda: shown("ActiveState") == "active", "an end of the reload")
    assert shown("MainPID") == third, run("systemctl", "status", "--no-pager", "arriero")
    assert pids() == before, "models were started anew"
    assert stream.is_whole()
    # no program that it has started can speak for the service
    for pid in set(processes()) - {third}:
        command = run("ps", "-p", pid, "-o", "args=")
        with open(f"/proc/{pid}/environ", "rb") as environ:
            assert b"NOTIFY_SOCKET=" not in environ.read() or "arriero.worker" in command, command

    run("systemctl", "stop", "arriero")
    assert (shown("ActiveState"), shown("Result"), processes()) == ("inactive", "success", [])

    run("systemctl", "start", "arriero")
    chat("a")
    os.kill(int(shown("MainPID")), signal.SIGKILL)
    run("systemctl", "stop", "arriero")  # before it is restarted
    print(f"nobody came, and all had ended {until(lambda: not processes(), 'an end'):.2f} s later")


main()
