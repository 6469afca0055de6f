"""A collector of OpenTelemetry: OTLP over HTTP on loopback, read by its own protobuf classes."""

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Behaviour: TypeAlias = Callable[[socket.socket], None]


@dataclass
class Batch:
    """One request that came: its header fields, its resource, its spans."""

    fields: dict[str, str]
    resource: dict[str, object]
    spans: list[Span]


@dataclass
class CollectorServer:
    """What has come.

    Attributes:
        status: With which it answers.
    """

    url: str
    batches: list[Batch] = field(default_factory=list)
    status: int = 200

    @property
    def spans(self) -> list[Span]:
        return [span for batch in self.batches for span in batch.spans]


@contextmanager
def open_collector() -> Generator[CollectorServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = decompress(body)
            if (self.path, self.headers["content-type"]) != (
                "/v1/traces",
                "application/x-protobuf",
            ):
                self.send_error(404)
                return
            if found.status == 200:
                found.batches += _batches(dict(self.headers), body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(found.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = CollectorServer(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _batches(fields: dict[str, str], body: bytes) -> Iterator[Batch]:
    request = ExportTraceServiceRequest.FromString(body)
    for group in request.resource_spans:
        spans = [span for scope in group.scope_spans for span in scope.spans]
        lowered = {name.lower(): value for name, value in fields.items()}
        yield Batch(lowered, attributes(group.resource), spans)


def attributes(owner: object) -> dict[str, object]:
    """Return the attributes of a span, or of a resource."""
    return {it.key: _value(it.value) for it in owner.attributes}  # type: ignore[attr-defined]


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return [_value(it) for it in value.array_value.values]
    return getattr(value, kind)


@contextmanager
def open_hostile(behave: Behaviour) -> Generator[str]:
    """Give the URL of a server whose connections are left to `behave`; it may raise OSError."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        open_ones: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    conn, _ = listener.accept()
                    open_ones.append(conn)
                    threading.Thread(target=one, args=(conn,), daemon=True).start()

        def one(conn: socket.socket) -> None:
            with suppress(OSError), conn:
                behave(conn)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for conn in open_ones:
            with suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)


def _answers(data: bytes) -> Behaviour:
    def behave(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(data)
        conn.recv(65536)

    return behave


def _says_nothing(conn: socket.socket) -> None:
    while conn.recv(65536):
        pass


def _drips(conn: socket.socket) -> None:
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        conn.sendall(b"a: b\r\n")
        time.sleep(0.05)


HOSTILE: dict[str, Behaviour] = {
    "silent": _says_nothing,
    "dripping": _drips,
    "closing": lambda conn: None,
    "no http": _answers(b"\x00\x01 what?\r\n\r\n" * 100),
    "lying length": _answers(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
    "redirecting": _answers(
        b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "later": _answers(b"HTTP/1.1 503 x\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n"),
}


def floods(conn: socket.socket) -> None:
    """Answer without an end, and fast."""
    conn.recv(65536)
    conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        conn.sendall(bytes(1024**2))
