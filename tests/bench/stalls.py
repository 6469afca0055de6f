"""What is the worst that a client's bytes do to others? Prints the longest stall for each shape.

    python -m tests.bench.stalls [--mib 1,16,64] [--only WORD] [--json FILE]

One worker; a hostile client sends one shape after the other, on as many connections as the shape
wants. Meanwhile a second client asks for ``/health`` again and again, on a connection of its own
each time, and the longest of its round trips is what is shown; beside it the longest without any
load, which is the noise of this machine. The worker has to be the same process in the end.
"""

import argparse
import json
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

MIB = 1024**2

# The promise, in milliseconds.
GOAL_MS = 50.0

# Seconds for one shape; what is not sent by then is left out.
SHAPE_S = 60.0

_POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %b\r\n"
    b"%b\r\nConnection: close\r\n\r\n"
)
_JSON = b"application/json"
_MARK = b"swap-progress: small: loading 42%\\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Bytes that make work.

    Attributes:
        name: For people.
        build: (bytes) -> a whole request of about that size.
        connections: On which it is sent at the same time.
        most_mib: It is not made larger than that.
    """

    name: str
    build: Callable[[int], bytes]
    connections: int = 1
    most_mib: int = 64


def post(body: bytes, content_type: bytes = _JSON) -> bytes:
    """Return a request with that body."""
    return _POST % (content_type, b"Content-Length: %d" % len(body)) + body


def repeated(begin: bytes, piece: bytes, end: bytes) -> Callable[[int], bytes]:
    """Return what builds a JSON body of many times `piece`."""
    return lambda size: post(begin + piece * ((size - 200) // len(piece)) + end)


def in_chunks(piece: bytes) -> Callable[[int], bytes]:
    """Return what builds a request whose body comes as many times the chunk `piece`."""
    head = _POST % (_JSON, b"Transfer-Encoding: chunked")

    def build(size: int) -> bytes:
        return head + piece * ((size - 200) // len(piece)) + b"0\r\n\r\n"

    return build


def form(piece: bytes, content_type: bytes) -> Callable[[int], bytes]:
    """Return what builds a form of many times `piece`."""
    return lambda size: post(piece * ((size - 200) // len(piece)), content_type)


def unknown_models(size: int) -> bytes:
    """Return many requests in one piece, each of which names a model that is not there."""
    last = post(b'{"model":"%b"}' % (b"smal" * 20))
    return last.replace(b"Connection: close\r\n", b"") * (size // 1500) + last


_MODEL = b'{"model":"small",'
_SAID = _MODEL + b'"messages":[{"role":"assistant","content":"' + _MARK
_MULTIPART = b"multipart/form-data; boundary=b"
_PART = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'

SHAPES: tuple[Shape, ...] = (
    Shape(name="an honest text", build=repeated(_MODEL + b'"x":"', b"words ", b'"}')),
    Shape(name="brackets", build=repeated(_MODEL + b'"x":[', b"[],", b"0]}")),
    Shape(name="deep brackets", build=repeated(_MODEL + b'"x":[', b"[[[[[[[[]]]]]]]],", b"0]}")),
    Shape(name="nesting without end", build=repeated(_MODEL + b'"x":', b"[", b"}")),
    Shape(name="objects", build=repeated(_MODEL + b'"x":[', b'{"":{}},', b"0]}")),
    Shape(name="short texts", build=repeated(_MODEL + b'"x":[', b'"",', b"0]}")),
    Shape(name="escaped quotes", build=repeated(_MODEL + b'"x":"', b'\\"', b'"}')),
    Shape(name="escaped letters", build=repeated(_MODEL + b'"x":"', b"\\u00e9", b'"}')),
    Shape(name="numbers", build=repeated(_MODEL + b'"x":[', b"1,", b"0]}")),
    Shape(name="one number", build=repeated(_MODEL + b'"x":', b"1", b"}")),
    Shape(name="members", build=repeated(_MODEL[:-1], b',"":0', b"}")),
    Shape(name="'model' at the end", build=repeated(b'{"x":[', b"[],", b'0],"model":"small"}')),
    Shape(
        name="two models", build=repeated(_MODEL + b'"x":[', b"[],", b'0],"y":{"model":"small"}}')
    ),
    Shape(name="almost 'model'", build=repeated(_MODEL + b'"x":[', b'"mode",', b"0]}")),
    Shape(name="blanks", build=repeated(b"", b" ", _MODEL[:-1] + b"}")),
    Shape(name="a marker in brackets", build=repeated(_SAID + b'","x":[', b"[],", b"0]}]}")),
    Shape(name="opening tags", build=repeated(_SAID, b"<think>", b'"}]}')),
    Shape(name="tags and markers", build=repeated(_SAID, b"<a>" + _MARK + b"</a>", b'"}]}')),
    Shape(name="tags", build=repeated(_SAID, b"<a></a>", b'"}]}')),
    Shape(name="markers", build=repeated(_SAID, _MARK, b'"}]}')),
    Shape(
        name="messages with markers",
        build=repeated(
            _MODEL + b'"messages":[', b'{"role":"user","content":"' + _MARK + b'"},', b"0]}"
        ),
    ),
    Shape(name="no JSON at all", build=repeated(b"", b"\xff", b"")),
    Shape(name="chunks of one byte", build=in_chunks(b"1\r\n \r\n")),
    Shape(
        name="chunks of one byte, 40 at once",
        build=in_chunks(b"1\r\n \r\n"),
        connections=40,
        most_mib=1,
    ),
    Shape(name="extensions of chunks", build=in_chunks(b"1;%b\r\n \r\n" % (b"e" * 4000))),
    Shape(name="parts of a form", build=form(_PART, _MULTIPART)),
    Shape(name="bytes of a form", build=form(b"\r\n--", _MULTIPART)),
    Shape(name="a form like a query", build=form(b"a=b&", b"application/x-www-form-urlencoded")),
    Shape(name="blanks as a query", build=form(b" ", b"application/x-www-form-urlencoded")),
    Shape(name="unknown models, one after the other", build=unknown_models, most_mib=1),
    Shape(
        name="brackets, 8 at once",
        build=repeated(_MODEL + b'"x":[', b"[],", b"0]}"),
        connections=8,
        most_mib=16,
    ),
)


@dataclass(slots=True)
class Probe:
    """Asks for ``/health`` until it is told to end.

    Attributes:
        longest_ms: Its longest round trip.
        count: How many there were.
    """

    port: int
    longest_ms: float = 0.0
    count: int = 0
    failed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Ask until `end`."""
        request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        while not self._over.is_set():
            since = time.perf_counter()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=SHAPE_S) as sock:
                    sock.sendall(request)
                    whole = b""
                    while data := sock.recv(4096):
                        whole += data
                if b" 200 " not in whole[:20]:
                    self.failed += 1
            except OSError:
                self.failed += 1
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - since) * 1000)
            self.count += 1
            self._over.wait(0.002)

    def end(self) -> None:
        """Let it end."""
        self._over.set()


@contextmanager
def probing(port: int) -> Iterator[Probe]:
    """Ask for ``/health`` during the block."""
    probe = Probe(port)
    thread = threading.Thread(target=probe.run)
    thread.start()
    try:
        yield probe
    finally:
        probe.end()
        thread.join()


def send(port: int, request: bytes) -> str:
    """Send a request and return the status of its answer, or what became of it."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=SHAPE_S) as sock:
            sent = threading.Thread(target=_send_all, args=(sock, request), daemon=True)
            sent.start()
            answer = sock.recv(65536)
            while sock.recv(65536):
                pass
            sent.join(SHAPE_S)
    except OSError as exc:
        return type(exc).__name__
    return answer[9:12].decode("latin-1") if answer else "closed"


def _send_all(sock: socket.socket, request: bytes) -> None:
    with suppress(OSError):
        sock.sendall(request)


def measure(port: int, shape: Shape, size: int) -> tuple[Probe, str]:
    """Send a shape of so many bytes; return what others saw of it, and how it was answered."""
    request = shape.build(size)
    answers: list[str] = []
    with probing(port) as probe:
        threads = [
            threading.Thread(target=lambda: answers.append(send(port, request)))
            for _ in range(shape.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.05)  # what is done after the answer counts as well
    return probe, "/".join(sorted(set(answers)))


def workers_of(pid: int) -> list[int]:
    """Return the pids of the worker processes of an arriero."""
    children = psutil.Process(pid).children(recursive=True)
    return sorted(it.pid for it in children if "arriero.worker" in " ".join(it.cmdline()))


class _Model(BaseHTTPRequestHandler):
    """A model's server that reads all and says nothing of it."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left > 0:
            left -= len(self.rfile.read(min(left, MIB)))
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args: object) -> None:
        pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 0 if no stall was longer than promised, beyond the noise of the machine."""
    parser = argparse.ArgumentParser(description="Measure how long clients can stop the loop.")
    parser.add_argument("--mib", default="1,16,64", help="sizes of the bodies (default: 1,16,64)")
    parser.add_argument("--only", default="", help="only shapes with this word in their names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to FILE")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        with ThreadingHTTPServer(("127.0.0.1", args.serve), _Model) as server:
            server.serve_forever()
    from .targets.servers import (
        serve,  # not for the model's server, which is no part of the package
    )

    sizes = [int(size) for size in args.mib.split(",")]
    table = Table("shape", "answer", *(f"{size} MiB, ms" for size in sizes), title="longest stall")
    values: dict[str, dict[int, float]] = {}
    with tempfile.TemporaryDirectory(prefix="arriero-stalls-") as folder:
        command = f"{sys.executable} {Path(__file__).resolve()} --serve ${{PORT}}"
        models = {"small": {"cmd": command, "proxy": "http://127.0.0.1:${PORT}"}}
        with serve(Path(folder) / "a", models, workers=1) as (process, port, _):
            assert send(port, post(b'{"model":"small"}')) == "200"
            before = workers_of(process.pid)
            with probing(port) as quiet:
                time.sleep(2)
            for shape in SHAPES:
                if args.only not in shape.name:
                    continue
                found: dict[int, float] = {}
                told = ""
                for size in sizes:
                    if size <= shape.most_mib:
                        since = time.monotonic()
                        probe, told = measure(port, shape, size * MIB)
                        took_s = time.monotonic() - since
                        found[size] = probe.longest_ms
                        if probe.failed:
                            told += f" ({probe.failed} health checks failed)"
                        print(
                            f"{shape.name}, {size} MiB: {probe.longest_ms:.1f} ms "
                            f"in {took_s:.1f} s: {told}",
                            flush=True,
                        )
                values[shape.name] = found
                cells = (f"{found[it]:.1f}" if it in found else "" for it in sizes)
                table.add_row(shape.name, told, *cells)
            after = workers_of(process.pid)
    Console(width=110).print(table)
    worst = max((it for found in values.values() for it in found.values()), default=0.0)
    print(f"without load {quiet.longest_ms:.1f} ms; longest {worst:.1f} ms; {os.cpu_count()} cores")
    if args.json:
        args.json.write_text(json.dumps({"quiet_ms": quiet.longest_ms, "stalls_ms": values}) + "\n")
    if before != after:
        print(f"a worker ended: {before} before, {after} after", file=sys.stderr)
        return 1
    return 0 if worst <= GOAL_MS + quiet.longest_ms else 1


if __name__ == "__main__":
    sys.exit(main())
