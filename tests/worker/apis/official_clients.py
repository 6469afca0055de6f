"""A server that streams what it is given, and the official clients that read it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.official import anthropic, anthropic_at, openai, openai_at


@dataclass
class Scripted:
    """Clients whose every request is answered with `body`, a stream of events."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic
    body: bytes = b""


@contextmanager
def open_scripted() -> Iterator[Scripted]:
    """Serve until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(scripted.body)))
            self.end_headers()
            self.wfile.write(scripted.body)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            with (
                openai_at(server.server_port) as one,
                anthropic_at(server.server_port) as two,
            ):
                scripted = Scripted(one, two)
                yield scripted
        finally:
            server.shutdown()
            thread.join()
