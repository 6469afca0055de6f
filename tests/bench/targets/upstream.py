"""Upstreams that cost as little as possible, so that a benchmark measures what is before them.

    python upstream.py small --port 5801 --prefix DIR    one small JSON reply for every POST
    python upstream.py stream --port 5802                200 server-sent events for every POST

``small`` becomes an nginx (``return 200``): nothing at hand answers faster. Where there is none it
is the loop that ``stream`` is, because nginx cannot stream separate chunks: epoll in Python without
any HTTP library. Each chunk is a write of its own, as with a real model server, and between two
writes of one reply those of all other connections get their turn. At full speed the writes
themselves are most of the work, so what a proxy leaves of the two cores decides. If the body has
``"pace_ms":N``, a chunk comes N ms after the one before: the rhythm of a real model, for measuring
the cost of one relayed chunk. With ``"bulk":true`` all chunks are one write: the upstream is
nothing then, and the proxy all. A body of more than 1 MB is an upload: it is read and forgotten,
and answered as ``small`` does.

Both answer ``/health`` with 200, run in the foreground as one process, and end on SIGTERM.
"""

import argparse
import heapq
import os
import re
import select
import shutil
import socket
import time
from pathlib import Path

CHUNKS = 200

REPLY = (
    '{"choices":[{"finish_reason":"stop","index":0,"message":{"role":"assistant",'
    '"content":"Paris."}}],"created":1790000000,"model":"small","system_fingerprint":"b1",'
    '"object":"chat.completion","usage":{"completion_tokens":3,"prompt_tokens":31,'
    '"total_tokens":34},"id":"chatcmpl-1"}'
)

_EVENT = (
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" word"}}],'
    b'"created":1790000000,"id":"chatcmpl-9Xi7bArDLuQSzQFVeCL7WqsaBU1Ezx8Z","model":"stream",'
    b'"system_fingerprint":"b1-571d0d5","object":"chat.completion.chunk"}\n\n'
)
# What a llama-server says last: why it ended, and what it used.
_LAST = (
    b'data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":1790000000,'
    b'"id":"chatcmpl-9Xi7bArDLuQSzQFVeCL7WqsaBU1Ezx8Z","model":"stream",'
    b'"system_fingerprint":"b1-571d0d5","object":"chat.completion.chunk","timings":{"cache_n":0,'
    b'"prompt_n":12,"prompt_ms":31.5,"predicted_n":198,"predicted_ms":792.0}}\n\n'
)
_DONE = b"data: [DONE]\n\n"


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
HEALTHY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n"
    b'{"status":"ok"}'
)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(REPLY),
    REPLY.encode(),
)
PIECES = [*[_framed(_EVENT)] * (CHUNKS - 2), _framed(_LAST), _framed(_DONE) + b"0\r\n\r\n"]

# Bytes of a body from which on it is an upload.
UPLOAD_BYTES = 1_000_000


class Client:
    """One connection: what it has said and what it is still owed."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard = b""
        self.unread = 0  # bytes of an upload that are still to come
        self.owed: list[bytes] = []  # next piece last
        self.pace_s = 0.0
        self.watched = select.EPOLLIN

    def take(self, data: bytes, *, only_small: bool) -> None:
        """Begin the reply, if the request is whole. Nothing is pipelined by those who ask here."""
        if self.unread:
            self.unread -= len(data)
            if not self.unread:
                self.owed, self.pace_s = [SMALL], 0.0
            return
        self.heard += data
        head, found, body = self.heard.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        missing = int(length[1]) - len(body) if length else 0
        if missing > UPLOAD_BYTES:
            self.unread, self.heard = missing, b""
        if missing > 0:
            return
        self.heard = b""
        if head.startswith(b"GET"):
            self.owed, self.pace_s = [HEALTHY], 0.0
            return
        if only_small:
            self.owed, self.pace_s = [SMALL], 0.0
            return
        if b'"bulk":true' in body:
            self.owed, self.pace_s = [HEAD + b"".join(PIECES)], 0.0
            return
        pace = re.search(rb'"pace_ms": *(\d+)', body)
        self.pace_s = int(pace[1]) / 1000 if pace else 0.0
        self.owed = [HEAD + PIECES[0], *PIECES[1:]][::-1]


class Streamer:
    """The epoll loop."""

    def __init__(self, listener: socket.socket, *, only_small: bool) -> None:
        self.listener = listener
        self.only_small = only_small
        self.poll = select.epoll()
        self.poll.register(listener, select.EPOLLIN)
        self.clients: dict[int, Client] = {}
        self.due: list[tuple[float, int, Client]] = []  # paced pieces: when, of whom

    def run(self) -> None:
        """Serve until the process is ended."""
        while True:
            pause = max(0.0, self.due[0][0] - time.monotonic()) if self.due else -1
            for fd, what in self.poll.poll(pause):
                if fd == self.listener.fileno():
                    self.accept()
                elif what & ~(select.EPOLLIN | select.EPOLLOUT):
                    self.forget(fd)
                elif what & select.EPOLLIN:
                    self.hear(fd)
                else:
                    self.send(fd, self.clients[fd])
            while self.due and self.due[0][0] <= time.monotonic():
                _, fd, client = heapq.heappop(self.due)
                if self.clients.get(fd) is client:
                    self.send(fd, client)

    def accept(self) -> None:
        sock, _ = self.listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clients[sock.fileno()] = Client(sock)
        self.poll.register(sock, select.EPOLLIN)

    def forget(self, fd: int) -> None:
        self.poll.unregister(fd)
        self.clients.pop(fd).sock.close()

    def hear(self, fd: int) -> None:
        client = self.clients[fd]
        try:
            data = client.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.forget(fd)
            return
        client.take(data, only_small=self.only_small)
        if client.owed:
            self.send(fd, client)

    def send(self, fd: int, client: Client) -> None:
        """Write one piece; the next comes with the next round of the loop, or when it is due."""
        piece = client.owed.pop()
        try:
            sent = client.sock.send(piece)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.forget(fd)
            return
        if sent < len(piece):
            client.owed.append(piece[sent:])
            self.watch(fd, client, select.EPOLLOUT)
        elif client.owed and client.pace_s:
            self.watch(fd, client, select.EPOLLIN)
            heapq.heappush(self.due, (time.monotonic() + client.pace_s, fd, client))
        else:
            self.watch(fd, client, select.EPOLLOUT if client.owed else select.EPOLLIN)

    def watch(self, fd: int, client: Client, what: int) -> None:
        if client.watched != what:
            client.watched = what
            self.poll.modify(fd, what)


def become_nginx(port: int, folder: Path) -> None:
    """Turn this process into an nginx that answers every POST with `REPLY`, if there is one."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        return
    folder.mkdir(exist_ok=True)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(f"""{user}daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    default_type application/json;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port};
        location = /health {{ return 200 '{{"status":"ok"}}'; }}
        location / {{ return 200 '{REPLY}'; }}
    }}
}}
""")
    os.execv(nginx, [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")])


def main() -> None:
    """Run one of the two until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("small", "stream"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prefix", type=Path, help="folder for the files of nginx")
    args = parser.parse_args()
    if args.kind == "small":
        if args.prefix is None:
            parser.error("small needs --prefix")
        become_nginx(args.port, args.prefix)
    listener = socket.create_server(("127.0.0.1", args.port), backlog=512)
    Streamer(listener, only_small=args.kind == "small").run()


if __name__ == "__main__":
    main()
