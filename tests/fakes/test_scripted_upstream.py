"""The scripted upstream does what its command line and its requests say."""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.paths import SCRIPTED_COMMAND

ANSWER_WITHIN_S = 30.0
CHAT = "/v1/chat/completions"


class Upstream:
    """A started scripted upstream."""

    def __init__(self, process: "subprocess.Popen[bytes]", stamps: Path) -> None:
        assert process.stderr is not None
        self.process = process
        self.stderr = process.stderr
        self._stamps = stamps

    def port(self) -> int:
        """Wait until it listens; the port that the system chose."""
        for line in self.stderr:
            if b"bound to" in line:
                return int(line.rpartition(b":")[2])
        raise AssertionError("it ended without listening")

    def wait_until_ready(self) -> None:
        for line in self.stderr:
            if b"listening on" in line:
                return
        raise AssertionError("it ended before it was ready")

    def ready_port(self) -> int:
        port = self.port()
        self.wait_until_ready()
        return port

    def stamps(self) -> dict[str, int]:
        pairs = (line.split() for line in self._stamps.read_text().splitlines())
        return {event: int(value) for event, value in pairs}

    def wait(self) -> int:
        return self.process.wait(ANSWER_WITHIN_S)


Start = Callable[..., Upstream]


def kill_group(pgid: int) -> None:
    with suppress(ProcessLookupError):  # all of it has ended
        os.killpg(pgid, signal.SIGKILL)


@pytest.fixture
def start(tmp_path: Path) -> Generator[Start, None, None]:
    with ExitStack() as cleanup:

        def start_one(*args: str) -> Upstream:
            stamps = tmp_path / "stamps"
            process = subprocess.Popen(
                [*SCRIPTED_COMMAND, "--stamp", stamps, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,
            )
            cleanup.enter_context(process)  # closes the pipes
            cleanup.callback(process.wait)
            cleanup.callback(kill_group, process.pid)
            return Upstream(process, stamps)

        yield start_one


Answer = tuple[int, dict[str, str], bytes]


def ask(
    port: int, path: str, body: object = None, script: str = "", method: str | None = None
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    headers = {"Content-Type": "application/json"} | ({"X-Script": script} if script else {})
    data = None if body is None else json.dumps(body)
    try:
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_it_loads_as_long_as_it_was_told_and_serves_from_its_stamp_on(start: Start) -> None:
    upstream = start("--load-s", "0.2")
    answer = ask(upstream.ready_port(), "/health")

    assert (answer[0], answer[2]) == (200, b'{"status": "ok"}')
    stamps = upstream.stamps()
    assert stamps["listen"] < stamps["ready"]
    assert stamps["ready"] - stamps["spawn"] >= 0.19e9


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/anything"])
def test_it_answers_503_everywhere_while_it_loads(start: Start, path: str) -> None:
    status, _, body = ask(start("--never-ready").port(), path)

    assert (status, json.loads(body)["error"]["message"]) == (503, "Loading model")


def test_it_can_listen_late(start: Start) -> None:
    upstream = start("--load-s", "0.2", "--listen-late")
    assert ask(upstream.ready_port(), "/health")[0] == 200

    stamps = upstream.stamps()
    assert stamps["spawn"] + 0.15e9 < stamps["listen"] <= stamps["ready"]


def test_the_report_rises_and_ends_with_ready(start: Start) -> None:
    upstream = start("--load-s", "0.05", "--report", "--name", "qwen")
    assert upstream.process.stdout is not None
    prefix = b"cmd_child_to_router:state:"
    told = []
    for line in upstream.process.stdout:
        assert line.startswith(prefix)
        told.append(json.loads(line.removeprefix(prefix)))
        if told[-1]["state"] == "ready":
            break

    values = [told_one["payload"]["value"] for told_one in told[:-1]]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.0, 1.0)
    assert told[-1]["payload"]["id"] == "qwen"


@pytest.mark.parametrize("load_s", ["0", "60"])
def test_with_the_report_it_ends_when_stdin_does(start: Start, load_s: str) -> None:
    upstream = start("--report", "--load-s", load_s)
    upstream.port()
    assert upstream.process.stdin is not None
    upstream.process.stdin.close()

    assert upstream.wait() == 1


def test_a_stubborn_one_closes_its_port_on_sigterm_and_waits_for_the_end_of_stdin(
    start: Start,
) -> None:
    upstream = start("--report", "--stubborn-stdin")
    port = upstream.ready_port()
    upstream.process.terminate()
    deadline = time.monotonic() + ANSWER_WITHIN_S
    with suppress(ConnectionError):
        while True:
            ask(port, "/health")
            assert time.monotonic() < deadline

    assert upstream.process.poll() is None
    assert upstream.process.stdin is not None
    upstream.process.stdin.close()
    assert upstream.wait() == 1


def test_it_ends_at_once_and_with_0_on_sigterm(start: Start) -> None:
    upstream = start()
    upstream.ready_port()
    upstream.process.terminate()

    assert upstream.wait() == 0
    assert list(upstream.stamps()) == ["spawn", "listen", "ready", "term", "exit"]


def test_it_can_ignore_sigterm(start: Start) -> None:
    upstream = start("--ignore-term")
    port = upstream.ready_port()
    upstream.process.terminate()
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while "term" not in upstream.stamps():
        assert time.monotonic() < deadline

    assert ask(port, "/health")[0] == 200


def test_its_grandchild_outlives_sigterm_in_the_same_group(start: Start) -> None:
    upstream = start("--fork-child")
    upstream.ready_port()
    child = upstream.stamps()["child"]
    assert os.getpgid(child) == upstream.process.pid
    os.killpg(upstream.process.pid, signal.SIGTERM)

    assert upstream.wait() == 0
    status = Path(f"/proc/{child}/status").read_text()
    assert "State:\tZ" not in status


@pytest.mark.parametrize("code", [3, -signal.SIGSEGV])
def test_it_can_die_while_it_loads(start: Start, code: int) -> None:
    upstream = start("--load-s", "60", "--die-at-s", "0.05", "--exit-code", str(code))

    assert upstream.wait() == code
    assert "ready" not in upstream.stamps()


def test_it_can_flood_its_log(start: Start) -> None:
    upstream = start("--log-lines", "20000", "--load-s", "0.01")
    seen = 0
    while seen < 20000:
        line = upstream.stderr.readline()
        assert line
        seen += b"assigned to device" in line


def test_a_stream_is_a_role_then_the_chunks_then_stop_then_done(start: Start) -> None:
    port = start("--name", "qwen", "--chunks", "2").ready_port()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    status, headers, body = ask(port, CHAT, options)

    assert (status, headers["Transfer-Encoding"]) == (200, "chunked")
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n")]
    assert events[-2:] == [b"[DONE]", b""]
    chunks = [json.loads(event) for event in events[:-2]]
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {
        ("chat.completion.chunk", "qwen")
    }
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": None},
        {"content": "w1 "},
        {"content": "w2 "},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        (CHAT, "chat.completion", lambda a: a["choices"][0]["message"]["content"]),
        ("/v1/completions", "text_completion", lambda a: a["choices"][0]["text"]),
    ],
)
def test_an_answer_that_is_not_streamed_has_the_same_words(
    start: Start, path: str, kind: str, text: Callable[[object], str]
) -> None:
    _, _, body = ask(start("--chunks", "3").ready_port(), path, {"stream": False})

    answer = json.loads(body)
    assert (answer["object"], text(answer)) == (kind, "w1 w2 w3 ")


def test_it_can_die_in_mid_stream(start: Start) -> None:
    upstream = start("--die-after-chunks", "2")
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(upstream.ready_port(), CHAT, {"stream": True})

    assert upstream.wait() == -signal.SIGKILL
    assert b"w2 " in caught.value.partial
    assert b"w3 " not in caught.value.partial


@pytest.mark.parametrize("script", ["header", "body"])
def test_a_request_can_ask_for_its_own_fault(start: Start, script: str) -> None:
    port = start().ready_port()
    in_header = script == "header"

    def asked(fault: str, **body: object) -> Answer:
        body |= {} if in_header else {"script": fault}
        return ask(port, CHAT, body, fault if in_header else "")

    assert asked("status=418")[0] == 418
    assert asked("chunks=9", stream=True)[2].count(b"w") == 9
    for stream in (True, False):
        with pytest.raises(http.client.IncompleteRead):
            asked("close", stream=stream)
    before = time.monotonic()
    asked("sleep=0.1")
    asked("chunks=2,delay=0.05", stream=True)
    assert time.monotonic() - before >= 0.2


def test_echo_tells_what_arrived_on_one_connection_after_another(start: Start) -> None:
    port = start("--name", "qwen").ready_port()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_WITHIN_S)
    sockets = set()
    for body in (b"", b"x" * 100_000, iter([b"abc", b"def"])):
        connection.request("POST", "/echo?a=1", body, {"X-Mine": "yes"})
        echo = json.load(connection.getresponse())
        assert connection.sock is not None
        sockets.add(connection.sock.fileno())
        sent = body if isinstance(body, bytes) else b"abcdef"
        assert (echo["name"], echo["method"], echo["path"]) == ("qwen", "POST", "/echo?a=1")
        assert echo["sha256"] == hashlib.sha256(sent).hexdigest()
        assert ["X-Mine", "yes"] in echo["headers"]
    connection.close()

    assert len(sockets) == 1


def test_a_hanging_health_check_leaves_the_rest_alive(start: Start) -> None:
    port = start("--hang-health").ready_port()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=0.1)
    connection.request("GET", "/health")
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()

    assert ask(port, "/v1/models")[0] == 200


def test_it_can_load_for_ever(start: Start) -> None:
    upstream = start("--never-ready", "--report", "--die-at-s", "0.2")
    assert upstream.process.stdout is not None
    told = upstream.process.stdout.read()

    assert b'"value":0.8' in told
    assert b"ready" not in told
    assert "ready" not in upstream.stamps()
