"""Other ways in and out: uploads, clients that speak HTTP/2, and models behind TLS."""

import re
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import trustme

from ..errors import BenchError
from ..machine import find
from ..plan import Plan, Step
from ..targets.load import PATH, SILENCE_S, SMALL_BODY, STREAM_BODY, receive, run_wrk, warm_up
from ..targets.models import scripted
from ..targets.nginx import Front, proxy_config, tls_upstream_config
from ..targets.servers import Target, cpu_s, free_port, running_nginx, serve, workers_of

UPLOAD_BYTES = 100_000_000

_BOUNDARY = "----of-the-benchmark"

_TLS_CONNECTIONS = 64
_H2_CONNECTIONS = 16
_H2_STREAMS = 4


def uploads(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """A form with a file of 100 MB, which the upstream reads and forgets, on one connection."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nstream\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        "Content-Type: audio/wav\r\n\r\n"
    ).encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    request = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(head) + UPLOAD_BYTES + len(tail)}\r\n\r\n"
    ).encode()
    parts = [request + head, bytes(UPLOAD_BYTES), tail]
    warm_up(target.stream, STREAM_BODY)
    before = target.cpu_s()
    took = 0.0
    with socket.create_connection(("127.0.0.1", target.stream), timeout=SILENCE_S) as sock:
        for _ in range(plan.uploads):
            took += _upload(sock, parts)
    found = {"upload": plan.uploads * UPLOAD_BYTES / 1e6 / took}
    if target.pid is not None:
        found["cpu-upload"] = (target.cpu_s() - before) / plan.uploads * 1e3
    return found


def _upload(sock: socket.socket, parts: list[bytes]) -> float:
    """Return the seconds from the first byte to the end of the answer."""
    began = time.monotonic()
    for part in parts:
        sock.sendall(part)
    answer = receive(sock)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise BenchError(f"cannot upload: {answer[:300]!r}")
    return time.monotonic() - began


def http2(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """The small request over HTTP/2 in plain text: 16 connections with 4 streams each."""
    assert target.http2 is not None
    body = folder / "body.json"
    body.write_text(SMALL_BODY)
    warm_up(target.small, SMALL_BODY)
    command = [find("h2load") or "h2load", "-c", str(_H2_CONNECTIONS), "-m", str(_H2_STREAMS)]
    command += ["-D", str(max(1, round(plan.load_s))), "-d", str(body)]
    command += ["-H", "content-type: application/json", f"http://127.0.0.1:{target.http2}{PATH}"]
    before = target.cpu_s()
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=plan.load_s + SILENCE_S, check=False
    )
    per_s, done, failed = read_h2load(ended.stdout)
    if not done:
        raise BenchError(f"cannot measure {target.name} over HTTP/2: {ended.stdout[-500:]}")
    return {
        "http2": per_s,
        "cpu-http2": (target.cpu_s() - before) / done * 1e6,
        "errors": float(failed),
    }


def read_h2load(text: str) -> tuple[float, int, int]:
    """Return what h2load says: requests per second, how many were answered, how many were not."""
    speed = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    if not speed or not counts:
        return 0.0, 0, 0
    return float(speed[1]), int(counts[1]), int(counts[2]) + int(counts[3])


def behind_tls(plan: Plan, target: Target, folder: Path) -> dict[str, float]:
    """The small request, to a server with TLS: for arriero a peer."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        folder / "server.pem"
    )
    body = SMALL_BODY
    upstream = free_port()
    prefix = folder / "tls"
    prefix.mkdir()
    config = tls_upstream_config(prefix, upstream, folder / "server.pem")
    with running_nginx(prefix, config, port=upstream), ExitStack() as stack:
        if target.kind == "nginx":
            port = free_port()
            front = Front(port=port, behind=upstream, authority=folder / "ca.pem")
            config = proxy_config(folder, [front], workers=target.workers)
            process = stack.enter_context(running_nginx(folder, config, port=port))
        else:
            body = body.replace('"small"', '"peer/small"')
            peer = {"proxy": f"https://127.0.0.1:{upstream}", "models": ["small"]}
            process, port, _ = stack.enter_context(
                serve(
                    folder / "arriero",
                    {"a": scripted("a")},
                    workers=target.workers,
                    code=target.code,
                    values={"peers": {"peer": peer}},
                    env={"SSL_CERT_FILE": str(folder / "ca.pem")},
                )
            )
        warm_up(port, body)
        workers = workers_of(psutil.Process(process.pid), target.marker)
        before = cpu_s(workers)
        load = run_wrk(port, body, connections=_TLS_CONNECTIONS, seconds=plan.load_s, folder=folder)
        used = cpu_s(workers) - before
    return {
        "tls": load.per_s,
        "cpu-tls": used / load.requests * 1e6,
        "errors": float(load.errors),
    }


HTTP2 = Step(
    name="HTTP/2",
    rows=("http2", "cpu-http2"),
    measure=http2,
    kinds=("nginx", "arriero"),
    needs=("h2load",),
)
UPLOADS = Step(name="uploads", rows=("upload", "cpu-upload"), measure=uploads)
BEHIND_TLS = Step(
    name="behind TLS",
    rows=("tls", "cpu-tls"),
    measure=behind_tls,
    kinds=("nginx", "arriero"),
    needs=("wrk", "nginx"),
    sampled=True,
    own=True,
    most=True,
)
