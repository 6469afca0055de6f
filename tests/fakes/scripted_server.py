"""A model server that behaves, or misbehaves, as its command line says. A real process for tests.

    python -S scripted_upstream.py --port 5801 --load-s 0.4 --report --name qwen

It stands for a ``llama-server``: while it loads it answers 503 ``Loading model`` everywhere, then
it serves ``/health``, ``/v1/models``, ``/v1/chat/completions``, ``/v1/completions``,
``/v1/embeddings``, ``/v1/audio/transcriptions`` (answers as a chat) and ``/echo`` over HTTP/1.1
with keep-alive. A WebSocket, wherever, is an echo. `--help` lists the faults.

One request can ask for a fault of its own, in the header ``X-Script`` or in the member ``script``
of its JSON body, both such as ``status=418`` or ``chunks=3,delay=0.1``:

    status=N   answer with that status and an error as JSON
    close      close the connection in the middle of the answer
    sleep=F    wait F seconds before the head of the answer
    gate=FILE  wait until there is such a file: before the last chunk, or in the middle of an object
    hold=FILE  the same before the head of the answer
    chunks=N   so many chunks with content; delay=F seconds before each of them
    until=FILE no more of these chunks once there is such a file
    hang=mute  answer neither this request nor any other one from now on, not even /health
    hang=spin  the same, but use all the processor time there is
    die=N      SIGKILL this process after N chunks of this answer
    say=N      write N lines to the log first
    echo       answer as ``/echo`` does, whatever the path

With ``--stamp FILE`` it appends a line ``<event> <time.time_ns()>`` to FILE when something
happens: ``spawn``, ``listen``, ``ready`` (at the moment from which it answers 200), ``term``,
``exit``; a grandchild is noted as ``child <pid>``.

Threads and few imports, because it has to start fast: a connection has a thread, the main thread
waits for signals. Shapes, times and exit codes are those of llama-server (build 10068), observed.
"""

import argparse
import contextlib
import errno
import json
import os
import signal
import site
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

Json = dict[str, Any]

STEPS = 10  # reports between the first and the last of a load
EXIT_ON_EOF = 1  # what llama-server exits with when its stdin closes
GATE_S = 120  # the longest wait at a gate
CHILD_LIVES_S = 60.0  # a grandchild that a failed test forgot ends by itself

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}


def read_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line as values."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0] if __doc__ else None,
        formatter_class=partial(argparse.HelpFormatter, width=100),  # to ask for it takes imports
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0: chosen by the system and told on stderr")
    add("--host", default="127.0.0.1", help="a path that ends in .sock is that of a unix socket")
    add("--api-key", help="asked for on all paths but /health; also LLAMA_API_KEY, VLLM_API_KEY")
    add("--api-key-file", help="the same, its first line")
    add("--name", default="scripted", help="the `model` of all answers, and header X-Upstream")
    add("--load-s", type=float, default=0.0, help="seconds from start to ready")
    add("--load-gate", help="a file: it loads until that is there")
    add("--listen-late", action="store_true", help="bind when loaded, not at the start")
    add("--report", action="store_true", help="tell the load on stdout; exit on stdin's end")
    add("--log-lines", type=int, default=0, help="write so many lines to stderr while loading")
    add("--die-at-s", type=float, help="end by itself so long after the start")
    add("--exit-code", type=int, default=1, help="of --die-at-s; negative: by that signal")
    add("--never-ready", action="store_true", help="load for ever")
    add("--hang-health", action="store_true", help="accept on /health and never answer")
    add("--ignore-term", action="store_true", help="do nothing on SIGTERM")
    add(
        "--stubborn-stdin",
        action="store_true",
        help="with --report, as llama-server: SIGTERM when ready closes the port and then waits "
        "for the end of stdin; `exit` while loading is lost, and stdin with it",
    )
    add("--fork-child", action="store_true", help="a grandchild in the group ignores SIGTERM")
    add("--always-status", type=int, help="answer every POST with that status and an error")
    add("--chunks", type=int, default=5, help="chunks with content in a stream")
    add("--reasoning", type=int, default=0, help="so many chunks of it come before, in chats")
    add("--chunk-delay-s", type=float, default=0.0, help="before each of them")
    add("--die-after-chunks", type=int, help="SIGKILL itself after so many chunks of a stream")
    add("--stamp", help="file to append events to")
    add("--model", "-m", help="a file, told by /props")
    add("--metrics", help="a file, told by /metrics")
    add("--build", default="b1-scripted", help="told by /props")
    add("--slot-save-path", help="folder: it saves and restores its two slots, as llama-server")
    add("--slots-s", type=float, default=0.0, help="how long each of that takes")
    add("--slot-bytes", type=int, default=0, help="more bytes of a saved slot")
    add("--slots-forget", action="store_true", help="restored slots are of no use")
    add("--sleep-mode", action="store_true", help="/sleep, /wake_up and /is_sleeping, as vLLM")
    add("--sleep-s", type=float, default=0.0, help="how long falling asleep and waking take")
    add("--sleep-fails", action="store_true", help="/sleep answers 500")
    add("--wake-fails", action="store_true", help="/wake_up answers 500")
    add("--insomnia", action="store_true", help="/sleep answers 200, and it does not sleep")
    return parser.parse_args(argv)


class Request:
    """One request, read whole."""

    def __init__(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        try:
            found = json.loads(body) if body else {}
        except ValueError:
            found = None  # not JSON: fine for /echo, an error elsewhere
        self.json: Json | None = found if isinstance(found, dict) else None
        self.script = parse_script(self.header("x-script"))
        wanted = (self.json or {}).get("script")
        if isinstance(wanted, str):
            self.script |= parse_script(wanted)
        elif isinstance(wanted, dict):
            self.script |= {key: str(value) for key, value in wanted.items()}

    def header(self, name: str) -> str:
        """The value of the header `name` (lower case), or nothing."""
        return next((value for key, value in self.headers if key.lower() == name), "")


def parse_script(text: str) -> dict[str, str]:
    """Read ``chunks=3,delay=0.1,close``."""
    pairs = (item.strip().partition("=") for item in text.split(",") if item.strip())
    return {key: value for key, _, value in pairs}


class Connection:
    """Bytes of one client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def _more(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError("the client went away")
        self.buffer += data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            self._more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            self._more()
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def read(self) -> Request:
        """Wait for the next request; `OSError` when the client goes."""
        first, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        method, path, _version = first.split(" ", 2)
        headers = [(key, value.strip()) for key, _, value in (x.partition(":") for x in lines)]
        request = Request(method, path, headers, b"")
        if request.header("expect").lower() == "100-continue":
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in request.header("transfer-encoding").lower():
            parts = []
            while size := int(self._until(b"\r\n").partition(b";")[0], 16):
                parts.append(self._take(size))
                self._take(2)
            while self._until(b"\r\n"):
                pass  # trailers
            return Request(method, path, headers, b"".join(parts))
        length = int(request.header("content-length") or 0)
        return Request(method, path, headers, self._take(length)) if length else request


class Upstream:
    """The server: its arguments, whether it is ready, and what it answers."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.started = time.monotonic()
        self.ready = False
        self.hangs = False
        self.listener: socket.socket | None = None
        variables = (os.environ.get(name) for name in ("LLAMA_API_KEY", "VLLM_API_KEY"))
        self.key = args.api_key or next(filter(None, variables), None)
        if args.api_key_file:
            with open(args.api_key_file) as file:
                self.key = file.readline().strip()
        self.url = ""
        self.stdin_ended = threading.Event()
        self.slots = [0, 0]  # tokens that they hold
        self.asleep = False

    def stamp(self, event: str, value: int | None = None) -> None:
        """Append ``event value`` to the file of stamps; the value is the time unless given."""
        now = time.time_ns()
        if self.args.stamp:
            line = f"{event} {now if value is None else value}\n".encode()
            fd = os.open(self.args.stamp, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, line)  # one write: lines of several processes do not mix
            os.close(fd)

    def end(self, code: int) -> NoReturn:
        """End this process at once, whichever thread asks for it; open answers are cut."""
        self.stamp("exit")
        if code < 0:
            os.kill(os.getpid(), -code)
            time.sleep(10)  # the signal may take effect a moment later
        os._exit(code)

    # --- the life of the process --------------------------------------------------------------

    def run(self) -> NoReturn:
        """Load, serve, and end on SIGTERM or SIGINT."""
        args = self.args
        self.stamp("spawn")
        if args.fork_child:
            self.fork_child()
        wanted = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # in every thread: sigwait takes them
        if not args.listen_late:
            self.listen()
        spawn_thread(self.load)
        if args.log_lines:
            spawn_thread(self.flood)
        if args.report:
            spawn_thread(self.watch_stdin)
        if args.die_at_s is not None:
            spawn_thread(self.die_later)
        while True:
            signal.sigwait(wanted)
            self.stamp("term")
            if args.ignore_term:
                continue
            if self.ready and args.report and args.stubborn_stdin and self.listener:
                self.listener.shutdown(socket.SHUT_RDWR)
                self.listener.close()
                self.stdin_ended.wait()
                self.end(EXIT_ON_EOF)
            self.end(0)

    def fork_child(self) -> None:
        """Leave a child in this process group that SIGTERM does not end."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # before the fork: it never listens
        if pid := os.fork():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.stamp("child", pid)
            return
        time.sleep(CHILD_LIVES_S)
        os._exit(0)

    def listen(self) -> None:
        """Bind, and answer connections from now on."""
        args = self.args
        try:
            if args.host.endswith(".sock"):
                self.listener = socket.socket(socket.AF_UNIX)
                self.listener.bind(args.host)  # as llama-server: fails if a file is there
                self.listener.listen(512)
            else:
                self.listener = socket.create_server((args.host, args.port), backlog=512)
        except OSError as exc:
            sys.stderr.write(f"E srv  start: couldn't bind HTTP server socket: {exc}\n")
            self.end(1)
        self.stamp("listen")
        if args.host.endswith(".sock"):
            self.url = f"unix://{args.host}"
        else:
            host, port = self.listener.getsockname()[:2]
            self.url = f"http://{host}:{port}"
        sys.stderr.write(f"I srv  start: HTTP server bound to {self.url}\n")
        sys.stderr.flush()
        spawn_thread(self.accept, self.listener)

    def load(self) -> None:
        """Take as long as a load takes, then be ready."""
        args = self.args
        for step in range(STEPS + 1):
            pause = args.load_s * step / STEPS - (time.monotonic() - self.started)
            if pause > 0:
                time.sleep(pause)
            if args.never_ready and step == STEPS - 1:
                return
            value = {"stages": ["text_model"], "current": "text_model", "value": step / STEPS}
            self.report("loading", value)
        if args.load_gate:
            wait_for(args.load_gate)
        if args.listen_late:
            self.listen()
        self.ready = True
        self.stamp("ready")
        self.report("ready", self.card())
        sys.stderr.write(f"I srv  llama_server: listening on {self.url}\n")
        sys.stderr.flush()

    def report(self, state: str, payload: Json) -> None:
        """Tell the parent, as llama-server does when LLAMA_SERVER_ROUTER_PORT is set."""
        if self.args.report:
            told = json.dumps({"state": state, "payload": payload}, separators=(",", ":"))
            with contextlib.suppress(OSError):  # nobody reads any more
                os.write(1, f"cmd_child_to_router:state:{told}\n".encode())

    def flood(self) -> None:
        """Write many lines to stderr; blocks when nobody reads them, as a real log would."""
        with contextlib.suppress(OSError):
            for number in range(self.args.log_lines):
                os.write(2, f"I load_tensors: layer {number:6d} assigned to device CPU\n".encode())

    def watch_stdin(self) -> None:
        """End when the parent says so, or when it is gone."""
        for line in sys.stdin:
            if line.strip() == "cmd_router_to_child:exit":
                if self.args.stubborn_stdin and not self.ready:
                    return
                self.end(0)
        self.stdin_ended.set()
        self.end(EXIT_ON_EOF)

    def spin(self) -> NoReturn:
        """Use processor time; the pauses let others have some, too."""
        while True:
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass
            time.sleep(0.02)

    def die_later(self) -> None:
        """End by itself, as a crash would."""
        time.sleep(max(0.0, self.args.die_at_s - (time.monotonic() - self.started)))
        self.end(self.args.exit_code)

    # --- HTTP ---------------------------------------------------------------------------------

    def accept(self, listener: socket.socket) -> None:
        """Give every connection a thread, until the listening socket is shut down."""
        with contextlib.suppress(OSError):
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError as exc:
                    if exc.errno not in {errno.EMFILE, errno.ENFILE}:
                        raise
                    time.sleep(0.01)  # as cpp-httplib does: there may be room in a moment
                    continue
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    spawn_thread(self.serve, sock)
                except (RuntimeError, MemoryError):  # no thread to be had: C++ aborts
                    self.end(-signal.SIGABRT)

    def serve(self, sock: socket.socket) -> None:
        """Answer request after request, until the client goes or a script closes."""
        connection = Connection(sock)
        with sock, contextlib.suppress(OSError):
            while True:
                request = connection.read()
                self.answer(request, sock)
                if request.header("connection").lower() == "close":
                    return

    def answer(self, request: Request, sock: socket.socket) -> None:
        """Answer one request; `ConnectionAbortedError` when the script closes the connection."""
        script, path = request.script, request.path.partition("?")[0]
        if "hang" in script:
            self.hangs = True
            if script["hang"] == "spin":
                spawn_thread(self.spin)
        if self.hangs or (path == "/health" and self.args.hang_health):
            while sock.recv(65536):
                pass  # never answered; the client may go
            raise ConnectionResetError
        if not self.ready:
            message = {"message": "Loading model", "type": "unavailable_error", "code": 503}
            return self.send_json(request, sock, 503, {"error": message})
        if self.key and path != "/health" and not self.is_shown_key(request):
            error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
            return self.send_json(request, sock, 401, {"error": error})
        for number in range(int(script.get("say", 0))):
            print(f"line {number} of a log that is kept", file=sys.stderr)
        time.sleep(float(script.get("sleep", 0)))
        if "hold" in script:
            wait_for(script["hold"])
        always = (self.args.always_status or 200) if request.method == "POST" else 200
        if (status := int(script.get("status", always))) != 200:
            error = {"message": f"scripted {status}", "type": "scripted", "code": status}
            return self.send_json(request, sock, status, {"error": error})
        if request.header("upgrade").lower() == "websocket":
            self.echo_messages(request, sock)
        if path == "/echo" or "echo" in script:
            return self.send_json(request, sock, 200, self.echo(request))
        if request.method == "GET" and path == "/health":
            return self.send_json(request, sock, 200, {"status": "ok"})
        if request.method == "GET" and path == "/v1/models":
            return self.send_json(request, sock, 200, {"object": "list", "data": [self.card()]})
        if request.method == "GET" and path == "/metrics" and self.args.metrics:
            with open(self.args.metrics, "rb") as told:
                body = told.read()
            sock.sendall(self.head(200, f"Content-Length: {len(body)}", "text/plain") + body)
            return None
        if (more := self.answer_more(request, path)) is not None:
            return self.send_json(request, sock, *more)
        if self.asleep:  # vLLM crashes, or answers with what is left of its memory
            self.end(-signal.SIGABRT)
        kinds = {
            "/v1/chat/completions": "chat.completion",
            "/v1/completions": "text_completion",
            "/v1/embeddings": "embedding",
            "/v1/audio/transcriptions": "chat.completion",
        }
        if request.method != "POST" or path not in kinds:
            error = {"message": "File Not Found", "type": "not_found_error", "code": 404}
            return self.send_json(request, sock, 404, {"error": error})
        if request.json is None and "audio" not in path:
            error = {"message": "not a JSON object", "type": "invalid_request_error", "code": 400}
            return self.send_json(request, sock, 400, {"error": error})
        if (request.json or {}).get("stream") and kinds[path] != "embedding":
            return self.stream(request, sock, kinds[path])
        return self.send_json(request, sock, 200, self.whole(request, kinds[path]))

    def answer_more(self, request: Request, path: str) -> tuple[int, Json] | None:
        """What only llama-server or vLLM knows."""
        args = self.args
        action = request.path.partition("?action=")[2]
        if args.slot_save_path and path == "/props":
            about = {"build_info": args.build, "model_path": args.model}
            return 200, {"total_slots": len(self.slots), **about}
        if args.slot_save_path and path.startswith("/slots/") and action:
            time.sleep(args.slots_s)
            self.stamp(action)
            slot = int(path.rpartition("/")[2])
            file = os.path.join(args.slot_save_path, (request.json or {})["filename"])
            if action == "save":
                with open(file, "w") as opened:
                    opened.write(str(self.slots[slot]) + " " * args.slot_bytes)
                return 200, {"id_slot": slot, "n_saved": self.slots[slot], "n_written": 1}
            with open(file) as opened:
                self.slots[slot] = int(opened.read())
            return 200, {"id_slot": slot, "n_restored": self.slots[slot], "n_read": 1}
        if args.sleep_mode and path in {"/sleep", "/wake_up"}:
            time.sleep(args.sleep_s)
            self.stamp(path[1:])
            if args.sleep_fails if path == "/sleep" else args.wake_fails:
                return 500, {"error": "scripted"}
            self.asleep = path == "/sleep" and not args.insomnia
            return 200, {}
        if args.sleep_mode and path == "/is_sleeping":
            return 200, {"is_sleeping": self.asleep}
        return None

    def echo_messages(self, request: Request, sock: socket.socket) -> NoReturn:
        """Open a WebSocket and send back whatever comes, until it is closed."""
        site.main()  # what -S leaves out; few tests want it
        from wsproto import WSConnection, events
        from wsproto.connection import ConnectionType

        lines = "".join(f"{key}: {value}\r\n" for key, value in request.headers)
        ws = WSConnection(ConnectionType.SERVER)
        ws.receive_data(f"GET {request.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        while True:
            for event in ws.events():
                answer: events.Event | None = None
                match event:
                    case events.Request():
                        answer = events.AcceptConnection()
                    case events.TextMessage(data=text):
                        answer = events.TextMessage(text)
                    case events.Ping() | events.CloseConnection():
                        answer = event.response()
                    case _:
                        pass
                if answer is not None:
                    sock.sendall(ws.send(answer))
                if isinstance(event, events.CloseConnection):
                    raise ConnectionAbortedError
            if not (data := sock.recv(65536)):
                raise ConnectionResetError
            ws.receive_data(data)

    def is_shown_key(self, request: Request) -> bool:
        """Whether one of the keys is shown, as llama-server and vLLM want it."""
        scheme, _, shown = request.header("authorization").partition(" ")
        return scheme == "Bearer" and shown in (self.key or "").split(",")

    def head(self, status: int, framing: str, content_type: str) -> bytes:
        """The head of an answer."""
        return (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Scripted')}\r\nServer: llama.cpp\r\n"
            f"X-Upstream: {self.args.name}/{os.getpid()}\r\n"
            f"Content-Type: {content_type}\r\n{framing}\r\n\r\n"
        ).encode("latin-1")

    def send_json(self, request: Request, sock: socket.socket, status: int, answer: Json) -> None:
        """Send an answer that has a length."""
        body = json.dumps(answer).encode()
        head = self.head(status, f"Content-Length: {len(body)}", "application/json; charset=utf-8")
        if "close" in request.script:
            sock.sendall(head + body[: len(body) // 2])
            raise ConnectionAbortedError
        if gate := request.script.get("gate"):
            sock.sendall(head + body[: len(body) // 2])
            wait_for(gate)
            head, body = b"", body[len(body) // 2 :]
        sock.sendall(head + body)

    def stream(self, request: Request, sock: socket.socket, kind: str) -> None:
        """Send an answer as server-sent events, one in each chunk of the transfer coding."""
        script, args = request.script, self.args
        count = int(script.get("chunks", args.chunks))
        delay_s = float(script.get("delay", args.chunk_delay_s))
        deadly = int(script["die"]) if "die" in script else args.die_after_chunks
        sock.sendall(self.head(200, "Transfer-Encoding: chunked", "text/event-stream"))
        for number, event in self.events(request, kind, count):
            if 0 < number <= count and "until" in script and os.path.exists(script["until"]):
                continue
            if 0 < number <= count and delay_s:
                time.sleep(delay_s)
            if number == count and "gate" in script:
                wait_for(script["gate"])
            data = b"data: %b\n\n" % event
            sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))
            if deadly is not None and number == deadly:
                self.end(-signal.SIGKILL)
            if "close" in script and number == (count + 1) // 2:
                raise ConnectionAbortedError
        sock.sendall(b"0\r\n\r\n")

    def events(self, request: Request, kind: str, count: int) -> Iterator[tuple[int, bytes]]:
        """The events of a stream: (how many chunks had content so far, JSON)."""
        base = self.base(f"{kind}.chunk" if kind == "chat.completion" else kind)

        def choice(text: str | None, finish: str | None, first: bool = False) -> Json:
            if kind != "chat.completion":
                part: Json = {"text": text or ""}
            elif first:
                part = {"delta": {"role": "assistant", "content": None}}
            else:
                part = {"delta": {} if text is None else {"content": text}}
            return base | {"choices": [{"index": 0, "finish_reason": finish, **part}]}

        if kind == "chat.completion":
            yield 0, json.dumps(choice(None, None, first=True)).encode()
            for number in range(1, self.args.reasoning + 1):
                thought = {"index": 0, "delta": {"reasoning_content": word(number)}}
                yield 0, json.dumps(base | {"choices": [thought]}).encode()
        for number in range(1, count + 1):
            yield number, json.dumps(choice(word(number), None)).encode()
        timings = {"prompt_n": 7, "predicted_n": count, "predicted_per_second": 100.0}
        yield count + 1, json.dumps(choice(None, "stop") | {"timings": timings}).encode()
        options = (request.json or {}).get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            final = base | {"choices": [], "usage": usage(count)}
            yield count + 1, json.dumps(final).encode()
        yield count + 1, b"[DONE]"

    # --- what answers are made of -------------------------------------------------------------

    def base(self, kind: str) -> Json:
        return {
            "id": "scripted-1",
            "object": kind,
            "created": int(time.time()),
            "model": self.args.name,
        }

    def card(self) -> Json:
        """This model in a list of models."""
        return {
            "id": self.args.name,
            "object": "model",
            "owned_by": "llamacpp",
            "meta": {"n_ctx": 512, "n_params": 1, "size": 1},
        }

    def whole(self, request: Request, kind: str) -> Json:
        """An answer that is not streamed."""
        if kind == "embedding":
            asked = (request.json or {}).get("input", "")
            inputs = asked if isinstance(asked, list) else [asked]
            data = [
                {"object": "embedding", "index": index, "embedding": [0.25, 0.5, -0.25, 1.0]}
                for index in range(len(inputs))
            ]
            return self.base("list") | {"data": data, "usage": usage(0)}
        count = int(request.script.get("chunks", self.args.chunks))
        text = "".join(map(word, range(1, count + 1)))
        if kind == "chat.completion":
            part: Json = {"message": {"role": "assistant", "content": text}}
        else:
            part = {"text": text}
        choices = [{"index": 0, "finish_reason": "stop", **part}]
        told = usage(count)
        if self.args.slot_save_path:
            cached = min(self.slots[0], 6) * (not self.args.slots_forget)
            told["prompt_tokens_details"] = {"cached_tokens": cached}
            self.slots[0] = 7 + count
        return self.base(kind) | {"choices": choices, "usage": told}

    def echo(self, request: Request) -> Json:
        """What arrived here."""
        import hashlib  # here: OpenSSL takes 10 ms to load, and few tests want it

        return {
            "name": self.args.name,
            "pid": os.getpid(),
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "length": len(request.body),
            "sha256": hashlib.sha256(request.body).hexdigest(),
        }


def word(number: int) -> str:
    """The text of the chunk `number`, from 1."""
    return f"w{number} "


def wait_for(file: str) -> None:
    """Return when there is such a file, or nobody can want it any more."""
    for _ in range(100 * GATE_S):
        if os.path.exists(file):
            return
        time.sleep(0.01)


def usage(count: int) -> Json:
    """Tokens of an answer."""
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def spawn_thread(target: Any, *args: object) -> None:
    """Run `target` beside the rest; it does not keep the process alive."""
    threading.Thread(target=target, args=args, daemon=True).start()
