"""A web server that gives one file, badly: for tests of downloads."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class HostileIndex:
    """What the server does, and what it was asked.

    Attributes:
        body: The file.
        cuts: One for each request in turn: how many bytes it gets before the connection is cut.
            Those after the last are served whole.
        takes_ranges: Answers 206 to a range; otherwise 200 and the whole file.
        statuses: One for each request in turn, instead of a file.
        url: Of the file.
        ranges: The Range header of each request, "" where there was none.
    """

    body: bytes
    cuts: list[int] = field(default_factory=list)
    takes_ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    url: str = ""
    ranges: list[str] = field(default_factory=list)


@contextmanager
def serving(index: HostileIndex) -> Generator[None, None, None]:
    """Serve `index` while the block runs, on a port of the system's choice."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            index.ranges.append(wanted)
            if index.statuses:
                self.send_error(index.statuses.pop(0))
                return
            start = 0
            if wanted and index.takes_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                self.send_response(206)
                last = len(index.body) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(index.body)}")
            else:
                self.send_response(200)
            rest = index.body[start:]
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: index.cuts.pop(0)] if index.cuts else rest)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that hang up in the middle are what this is for."""

    with Server(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_address[1]}/file.whl"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
