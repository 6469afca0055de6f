"""Stands for ``arriero serve`` in tests of the demo: a real process that can misbehave.

The environment variable FAKE names what goes wrong: `nothing`, `no-progress`, `no-answer`,
`dies` (before it listens), `leaves-llama` (its child outlives it).
"""

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

FAULT = os.environ["FAKE"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if FAULT != "no-progress":
            self._send({"reasoning_content": "swap-progress: loading 42%\n"})
        if FAULT != "no-answer":
            self._send({"content": "Paris."})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, delta: dict[str, str]) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        line = json.dumps({**chunk, "choices": [choice]})
        self.wfile.write(f"data: {line}\n\n".encode())

    def log_message(self, *_: object) -> None: ...


def main() -> None:
    if FAULT == "dies":
        sys.exit("cannot start: the moon is full")
    config = yaml.safe_load(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    host, _, port = config["listen"].partition(":")
    llama = Path(sys.argv[sys.argv.index("--socket-dir") + 1]) / "llama-server"
    llama.symlink_to("/bin/sleep")
    child = subprocess.Popen((llama, "60"), process_group=0)

    def stop(*_: object) -> None:
        if FAULT != "leaves-llama":
            child.kill()
            child.wait()
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
