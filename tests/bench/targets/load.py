"""Load on one address, and what it got: wrk for speed, sockets of our own for paced streams.

wrk counts a response when its message is complete, which for a chunked reply is the last chunk.
Its percentiles come corrected for coordinated omission (a stall counts for the requests that
would have been sent during it), for all targets alike.
"""

import json
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import BenchError
from .upstream import CHUNKS, REPLY

SMALL_BODY = (
    '{"model":"small","messages":[{"role":"user","content":"What is the capital of France?'
    ' Answer in one word, please."}],"max_tokens":8,"temperature":0.0}'
)
STREAM_BODY = '{"model":"stream","messages":[{"role":"user","content":"Hello?"}],"stream":true}'
PATH = "/v1/chat/completions"

# Milliseconds between two chunks of a paced stream. 16 streams are then 4,000 chunks a second: a
# load that is far from the limit of every target, as generation is.
PACE_MS = 4

# Longest silence of any target, in seconds; also covers the start of a model in the warm-up.
SILENCE_S = 30.0

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{body}]]
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\n@{{"requests":%d,"duration_us":%d,"bytes":%d,"errors":%d,"p50_us":%d,"p99_us":%d}}\\n',
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of wrk got.

    Attributes:
        requests: Complete responses.
        per_s: Complete responses per second.
        p50_ms: Half of them took no longer.
        p99_ms: 99 of 100 took no longer.
        errors: Connections that failed, time-outs, and statuses of 400 and more.
    """

    requests: int
    per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


def run_wrk(port: int, body: str, *, connections: int, seconds: float, folder: Path) -> Load:
    """Send `body` again and again on so many connections.

    Raises:
        BenchError: wrk failed.
    """
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT.format(body=body))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds + SILENCE_S, check=False
    )
    found = [line[1:] for line in ended.stdout.splitlines() if line.startswith("@{")]
    if ended.returncode or not found:
        raise BenchError(f"cannot measure port {port}: {ended.stderr or ended.stdout}")
    values = json.loads(found[0])
    return Load(
        requests=values["requests"],
        per_s=values["requests"] / values["duration_us"] * 1e6,
        p50_ms=values["p50_us"] / 1000,
        p99_ms=values["p99_us"] / 1000,
        errors=values["errors"],
    )


def request(port: int, body: str, path: str = PATH) -> bytes:
    """Return a POST as sent."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def ask(port: int, body: str, path: str = PATH) -> bytes:
    """Send one request on a fresh connection and return the whole answer, head included.

    Raises:
        OSError: Nobody listens, the connection broke, or nothing came for `SILENCE_S`.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=SILENCE_S) as sock:
        sock.sendall(request(port, body, path))
        return receive(sock)


def receive(sock: socket.socket) -> bytes:
    """Return one whole answer.

    Raises:
        OSError: The connection broke, or nothing came for `SILENCE_S`.
    """
    answer = b""
    while not is_whole(answer):
        data = sock.recv(65536)
        if not data:
            raise ConnectionError(f"the answer ended after {len(answer)} bytes: {answer[:200]!r}")
        answer += data
    return answer


def is_whole(answer: bytes) -> bool:
    """Whether all of one answer is there, by its length or its last chunk."""
    head, found, rest = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(rest) >= int(line.partition(b":")[2])
    last = answer.rfind(b"\r\n0\r\n")  # trailers may follow
    return last >= 0 and answer.endswith(b"\r\n\r\n")


def warm_up(port: int, body: str, *, within_s: float = SILENCE_S) -> None:
    """Ask until the answer is the right one, byte for byte what the upstream sends.

    The first answers of a proxy that starts models may come late, or be an error or begin with
    words about progress.

    Raises:
        BenchError: There was no right answer in time.
    """
    deadline = time.monotonic() + within_s
    last = "no answer"
    while time.monotonic() < deadline:
        try:
            answer = ask(port, body)
        except OSError as exc:
            last = str(exc)
            time.sleep(0.05)  # it starts; asked again until the deadline
            continue
        if REPLY.encode() in answer or answer.count(b"data: ") == CHUNKS:
            return
        last = answer[:400].decode(errors="replace")
        time.sleep(0.05)
    raise BenchError(f"cannot warm up port {port} within {within_s:.0f} s: {last}")


def run_paced(port: int, *, connections: int, rounds: int) -> int:
    """Read `rounds` paced streams on each of so many connections at once.

    Returns:
        How many chunks came, in whole streams.

    Raises:
        BenchError: A stream was not whole.
    """
    body = f'{STREAM_BODY[:-1]},"pace_ms":{PACE_MS}}}'
    counts: list[int] = []

    def read_streams() -> None:
        counts.extend(ask(port, body).count(b"data: ") for _ in range(rounds))

    threads = [threading.Thread(target=read_streams) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if counts != [CHUNKS] * connections * rounds:
        raise BenchError(f"cannot count chunks on port {port}: streams had {sorted(set(counts))}")
    return sum(counts)
