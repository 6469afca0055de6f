"""A whole arriero, as a user starts it: real supervisor, real workers, real sockets."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml
import zmq

from tests.start_port import START_PORT

# What every train is started with, unless a test says otherwise.
DEFAULTS: dict[str, Any] = {"listen": "127.0.0.1:0", "workers": 1, "startPort": START_PORT}

# In the command lines of processes that are no models' servers.
OWN_PARTS = (
    "-m arriero.worker",
    "reaper_child.py",
    "store.store_child",
    "telemetry.exporter_child",
)

# Everything on a busy two-core machine; a test that needs as long as this has failed.
PATIENCE_S = 30.0


def eventually(holds: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str = "") -> Any:
    """Return what `holds` gives as soon as it is true; fail when it is not `within_s`.

    Most of what is waited for comes at once. What does not is asked for less often: each answer
    takes the time of those that are waited for.
    """
    deadline = time.monotonic() + within_s
    pause_s = 0.005
    while True:
        if found := holds():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {what or holds}")
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, 0.03)


@dataclass
class Train:
    """A running `arriero serve`."""

    process: subprocess.Popen[bytes]
    socket_dir: Path
    log: Path
    url: str = ""
    log_begin: int = 0  # where in the log the part of the test begins that has the train now
    _checked: int = 0
    _context: zmq.Context[zmq.Socket[bytes]] = field(default_factory=zmq.Context)

    def ask(self, cmd: str, *, within_s: float = PATIENCE_S, **more: Any) -> dict[str, Any]:
        """One question on the control socket, as ten lines of any language would put it."""
        with self._context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(f"ipc://{self.socket_dir}/control.sock")
            socket.send(json.dumps({"v": 1, "cmd": cmd, **more}).encode())
            if not socket.poll(int(within_s * 1000)):
                raise AssertionError(f"no answer to {cmd}\n{self.log.read_text()[-3000:]}")
            return json.loads(socket.recv())  # type: ignore[no-any-return]

    def model(self, name: str) -> dict[str, Any]:
        """The status of one model."""
        (found,) = (model for model in self.ask("status")["models"] if model["model"] == name)
        return found  # type: ignore[no-any-return]

    def worker(self) -> psutil.Process:
        """Return the only worker."""
        (pid,) = self.workers().values()
        return psutil.Process(pid)

    def workers(self) -> dict[int, int]:
        """Number -> process id of the workers that serve."""
        found = self.ask("workers")["workers"]
        return {one["worker"]: one["pid"] for one in found if one["state"] == "serving"}

    def write_config(self, config: dict[str, Any]) -> None:
        """Replace the file, as an editor does."""
        file = self.log.parent / "config.yaml"
        new = file.with_suffix(".new")
        new.write_text(yaml.safe_dump(DEFAULTS | config))
        new.rename(file)

    def reload(self, config: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Put another configuration in the place of this one; return what that changed."""
        self.write_config(config)
        answer = self.ask("reload", **options)
        assert answer["ok"], answer
        return answer["changes"]  # type: ignore[no-any-return]

    def unload_all(self) -> list[psutil.Process]:
        """End all models, requests or not; return those of their processes that run on."""
        models = []
        for process in self.children():
            with suppress(psutil.NoSuchProcess):
                command = " ".join(process.cmdline())
                if not any(part in command for part in OWN_PARTS):
                    models.append(process)
        self.ask("unload", mode="now")
        deadline = time.monotonic() + PATIENCE_S
        while (left := alive(models)) and time.monotonic() < deadline:
            time.sleep(0.005)
        return left

    def begin_anew(self, config: dict[str, Any]) -> None:
        """Be as if just started with this configuration; no model runs."""
        self.reload(config)
        assert self.ask("status")["config"]["needs_restart"] == []

        def is_idle() -> bool:
            status = self.ask("status")
            states = {model["model"]: model["state"] for model in status["models"]}
            return states == dict.fromkeys(config["models"], "stopped") and not status["queue"]

        eventually(is_idle, what="a train on which nothing runs")
        count = (DEFAULTS | config)["workers"]
        eventually(lambda: len(self.workers()) == count, what=f"{count} workers")
        self.log_begin = self.log.stat().st_size

    def log_text(self) -> str:
        """What the log has told since the test got this train."""
        return self.log.read_bytes()[self.log_begin :].decode()

    def new_errors(self, expected: Collection[str]) -> list[str]:
        """The unexpected errors in what the log has told since the last time."""
        told = self.log.read_bytes()[self._checked :]
        told = told[: told.rfind(b"\n") + 1]
        self._checked += len(told)
        return unexpected_errors(told.decode(errors="replace"), expected)

    @contextmanager
    def events(self, *topics: str) -> Generator[Callable[[], dict[str, Any]], None, None]:
        """Give a function that waits for the next event; listening has begun on entering."""
        with self._context.socket(zmq.SUB) as socket:
            socket.linger = 0
            for topic in (*topics, "heartbeat/"):
                socket.subscribe(topic)
            socket.connect(f"ipc://{self.socket_dir}/events.sock")

            def next_event() -> dict[str, Any]:
                if not socket.poll(int(PATIENCE_S * 1000)):
                    raise AssertionError("no event")
                return json.loads(socket.recv_multipart()[1])  # type: ignore[no-any-return]

            while next_event()["type"] != "heartbeat":  # from here on nothing is missed
                pass
            yield next_event

    def chat(self, model: str, **more: Any) -> httpx.Response:
        """One chat request, not streamed; `headers` are those of the request."""
        headers = more.pop("headers", None)
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        url = f"{self.url}/v1/chat/completions"
        return httpx.post(url, json=body | more, timeout=PATIENCE_S, headers=headers)

    def emptied(self) -> "Train":
        """This train with no model loaded and nobody waiting: so each test of a shared one begins.

        What an earlier test left is cut off, if that has failed.
        """

        def is_empty() -> bool:
            self.ask("unload", mode="now")
            status = self.ask("status")
            states = {model["state"] for model in status["models"]}
            return states == {"stopped"} and not status["queue"]

        eventually(is_empty, what="a train without models")
        return self

    def children(self) -> list[psutil.Process]:
        """Every process that descends from the supervisor."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGTERM, *, within_s: float = PATIENCE_S) -> int:
        """Signal the supervisor and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


# A line of this program's begins with a time and a level, or under journald with a priority; what
# servers of models write is kept apart.
_ERROR = re.compile(r"^(?:\S+ \S+ (?:ERROR|CRITICAL) \S+ |<[0-3]>\S+ )(?P<event>\S*)")
_TRACEBACK = re.compile(
    r"\s*(?:[|+] *)*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\)"
)


def unexpected_errors(log: str, expected: Collection[str] = ()) -> list[str]:
    """Return the lines of a log that tell of an error nobody expects, and all tracebacks.

    Args:
        log: All of it.
        expected: Names of events, as `worker.hung`: their lines may have the level ERROR.
    """
    found = []
    for line in log.splitlines():
        error = _ERROR.match(line)
        if (error and error["event"] not in expected) or _TRACEBACK.match(line):
            found.append(line)
    return found


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. A zombie has ended; whoever adopted it has not looked yet."""

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return [process for process in processes if runs(process)]


class Stream:
    """A chat stream that is read in a thread, frame by frame.

    One that `runs_on` keeps its last chunk until it is told to end: no machine is too slow for it.
    One that `flows` has one chunk after the other until then.
    """

    def __init__(
        self,
        train: Train,
        model: str,
        *,
        chunks: int = 5,
        delay_s: float = 0.0,
        within_s: float = PATIENCE_S,
        runs_on: bool = False,
        flows: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.headers: httpx.Headers = httpx.Headers()  # of the response
        self._sent = headers or {}
        self.frames: list[str] = []
        self.status = 0
        self.error: Exception | None = None
        self._url = f"{train.url}/v1/chat/completions"
        self._body: dict[str, Any] = {
            "model": model,
            "stream": True,
            "messages": [],
            "script": f"chunks={chunks},delay={delay_s}",
        }
        self._gate = train.log.parent / f"gate-{time.monotonic_ns()}"
        if runs_on:
            self._body["script"] += f",gate={self._gate}"
        if flows:
            self._body["script"] = f"chunks=3000,delay={delay_s},until={self._gate}"
        self._within_s = within_s
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            with httpx.stream(
                "POST", self._url, json=self._body, timeout=self._within_s, headers=self._sent
            ) as response:
                self.status = response.status_code
                self.headers = response.headers
                self.frames += (line for line in response.iter_lines() if line)
        except httpx.HTTPError as exc:
            self.error = exc

    def end(self) -> None:
        """Let it come to its end."""
        self._gate.touch()

    def finish(self) -> "Stream":
        """Return when it has come to its end."""
        self.end()
        self._thread.join(self._within_s)
        assert not self._thread.is_alive()
        return self

    def events(self) -> Iterator[dict[str, Any]]:
        for frame in self.frames:
            if frame.startswith("data: {"):
                yield json.loads(frame.removeprefix("data: "))

    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events()
            for choice in event.get("choices", [])
        )

    def lines(self) -> str:
        return "".join(
            choice["delta"].get("reasoning_content") or ""
            for event in self.events()
            for choice in event.get("choices", [])
        )

    def errors(self) -> list[dict[str, Any]]:
        return [event["error"] for event in self.events() if "error" in event]
