"""What thousands of clients cost that wait for one model, and what they are told meanwhile.

    python -m tests.bench.waiters [--waiters 100,1000,5000] [--load-s 20] [--json FILE]

All streams are opened at once, in the mode `reasoning`, for a scripted upstream that loads for
`--load-s` seconds. Two workers, this client and a prober share the cores of this machine.

lost        Streams that ended otherwise than whole.
staleness   From the event that tells of a step of ten percent to the frame that shows it (or more),
            over all steps of all streams that had begun by then.
first word  From the request to the first frame: the silence of half a second is part of it.
/health     Asked twenty times a second by another process, each time on a new connection.
memory      What supervisor and workers have more of (PSS) with all waiting, for each of them.
CPU         User and system time of the supervisor and of the workers, up to the last answer.
served      From the event ``ready`` to the end of the last stream.
"""

import argparse
import json
import re
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
import zmq

from tests.paths import ROOT

from .against import OURS, Code
from .errors import BenchError
from .targets.load import PATH
from .targets.models import scripted
from .targets.servers import START_S, serve

_PROBE_EVERY_S = 0.05
_STEP = 10  # percent

# Seconds without any byte for anybody after which those that are left are lost.
_SILENCE_S = 40.0

_PERCENT = re.compile(rb"loading (\d+)%")
_DONE = b"data: [DONE]\n\n"
_LAST_CHUNK = b"\r\n0\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one run found; times in seconds unless the name says otherwise."""

    waiters: int
    lost: int
    staleness_p50_s: float
    staleness_p99_s: float
    first_word_p99_s: float
    health_p99_ms: float
    health_max_ms: float
    pss_each_kb: float
    rss_each_kb: float
    cpu_supervisor_s: float
    cpu_workers_s: float
    served_after_s: float
    spread: tuple[int, ...]
    events: int
    queue_events: int


@dataclass(slots=True)
class Stream:
    """One client: what it has seen."""

    sock: socket.socket
    asked_at: float = 0.0
    first_at: float = 0.0
    tail: bytes = b""
    shown: list[tuple[float, int]] = field(default_factory=list)  # when it showed which step
    whole: bool = False


@dataclass(slots=True)
class News:
    """What the supervisor published: times of the steps, of `ready`; numbers of events."""

    steps: dict[int, float] = field(default_factory=dict)
    ready_at: float = 0.0
    events: int = 0
    queue_events: int = 0

    def listen(self, sockets: Path, over: threading.Event) -> None:
        """Follow the events until `over`."""
        with zmq.Context() as context, context.socket(zmq.SUB) as events:
            events.linger = 0
            events.rcvhwm = 1_000_000
            events.subscribe(b"")
            events.connect(f"ipc://{sockets / 'events.sock'}")
            while not over.is_set():
                if not events.poll(100):
                    continue
                at = time.monotonic()
                event = json.loads(events.recv_multipart()[1])
                self.events += event["type"] not in {"heartbeat", "log", "usage"}
                self.queue_events += event["type"] == "queue"
                if event["type"] == "state" and event["state"] == "ready":
                    self.ready_at = at
                elif event["type"] == "progress":
                    percent = int((event["progress"]["fraction"] or 0.0) * 100 + 1e-9)
                    for step in range(_STEP, percent + 1, _STEP):
                        self.steps.setdefault(step, at)


def measure(
    folder: Path, *, waiters: int, load_s: float, workers: int = 2, code: Code = OURS
) -> Found:
    """Let so many streams wait for one start.

    Raises:
        BenchError: It cannot be measured at all.
    """
    models = {
        "slow": scripted("slow", "--report", "--load-s", str(load_s), stamps=folder / "stamps")
    }
    folder.mkdir()
    with serve(folder / "arriero", models, workers=workers, code=code) as (process, port, sockets):
        _wait_until_ready(folder / "arriero" / "log")
        ours = psutil.Process(process.pid)
        servers = [one for one in ours.children() if "arriero.worker" in " ".join(one.cmdline())]
        if len(servers) != workers:
            raise BenchError(f"cannot find {workers} workers")
        before = _memory([ours, *servers])
        cpu = [_cpu_s([ours]), _cpu_s(servers)]
        news, over = News(), threading.Event()
        listener = threading.Thread(target=news.listen, args=(sockets, over))
        listener.start()
        try:
            with _probing(port, folder / "probes"):
                streams, spread, after = _wait(port, waiters, [ours, *servers], load_s)
                ended = time.monotonic()
            cpu = [_cpu_s([ours]) - cpu[0], _cpu_s(servers) - cpu[1]]
        finally:
            over.set()
            listener.join()
        probes = sorted(float(line) for line in (folder / "probes").read_text().split())
        stale, first = _staleness(streams, news), sorted(s.first_at - s.asked_at for s in streams)
        return Found(
            waiters=waiters,
            lost=sum(not stream.whole for stream in streams),
            staleness_p50_s=_share(stale, 0.5),
            staleness_p99_s=_share(stale, 0.99),
            first_word_p99_s=_share(first, 0.99),
            health_p99_ms=1000 * _share(probes, 0.99),
            health_max_ms=1000 * _share(probes, 1.0),
            rss_each_kb=(after[0] - before[0]) / waiters / 1000,
            pss_each_kb=(after[1] - before[1]) / waiters / 1000,
            cpu_supervisor_s=cpu[0],
            cpu_workers_s=cpu[1],
            served_after_s=ended - news.ready_at if news.ready_at else -1.0,
            spread=spread,
            events=news.events,
            queue_events=news.queue_events,
        )


def _wait_until_ready(log: Path) -> None:
    """Return when all workers take connections, and are quiet."""
    deadline = time.monotonic() + START_S
    while b"supervisor.ready" not in log.read_bytes():
        if time.monotonic() > deadline:
            raise BenchError(f"cannot start arriero within {START_S:.0f} s")
        time.sleep(0.05)
    time.sleep(2.0)


def _wait(
    port: int, waiters: int, servers: Sequence[psutil.Process], load_s: float
) -> tuple[list[Stream], tuple[int, ...], tuple[int, int]]:
    """Open all streams and read them to their ends."""
    body = json.dumps(
        {"model": "slow", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    )
    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    poll = select.epoll()
    streams: dict[int, Stream] = {}
    for _ in range(waiters):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.connect_ex(("127.0.0.1", port))
        streams[sock.fileno()] = Stream(sock)
        poll.register(sock, select.EPOLLOUT)
    left, seen_at, memory = set(streams), time.monotonic(), (0, 0)
    spread: tuple[int, ...] = ()
    look_at = seen_at + load_s * 0.6  # all wait by then, or nothing is well anyway
    while left and time.monotonic() < seen_at + _SILENCE_S:
        for fd, what in poll.poll(0.1):
            stream, now = streams[fd], time.monotonic()
            if what & select.EPOLLOUT and not stream.asked_at:
                stream.sock.send(request)
                stream.asked_at = now
                poll.modify(fd, select.EPOLLIN)
                continue
            seen_at = now
            try:
                data = stream.sock.recv(65536)
            except OSError:
                data = b""
            if not _see(stream, data, now):
                left.discard(fd)
                poll.unregister(fd)
                stream.sock.close()
        if not spread and time.monotonic() > look_at:
            spread = tuple(_connections(one, port) for one in servers[1:])
            memory = _memory(servers)
    for fd in left:
        streams[fd].sock.close()
    poll.close()
    return list(streams.values()), spread, memory


def _see(stream: Stream, data: bytes, now: float) -> bool:
    """Take what came; False when the stream is over."""
    if not data:
        return False
    stream.first_at = stream.first_at or now
    stream.tail += data
    if found := _PERCENT.findall(stream.tail):
        stream.shown.append((now, int(found[-1])))
    stream.whole = stream.tail.endswith(b"\r\n\r\n") and (
        _DONE in stream.tail and _LAST_CHUNK in stream.tail[stream.tail.rfind(_DONE) :]
    )
    stream.tail = stream.tail[-2000:] if _DONE in stream.tail else stream.tail[-8:]
    return not stream.whole


def _staleness(streams: Sequence[Stream], news: News) -> list[float]:
    found: list[float] = []
    for stream in streams:
        for step, published_at in news.steps.items():
            if published_at < stream.first_at or not stream.first_at:
                continue  # it has not begun by then
            shown = [at for at, percent in stream.shown if percent >= step]
            if shown:
                found.append(max(0.0, min(shown) - published_at))
    return sorted(found)


def _share(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the sorted `values` lies; -1 of none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else -1.0


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    times = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in times)


def _memory(processes: Sequence[psutil.Process]) -> tuple[int, int]:
    """Return RSS and PSS of all, in bytes."""
    infos = [one.memory_full_info() for one in processes]
    return sum(one.rss for one in infos), sum(one.pss for one in infos)


def _connections(process: psutil.Process, port: int) -> int:
    return sum(
        1
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port
    )


# --- /health --------------------------------------------------------------------------------------


@contextmanager
def _probing(port: int, results: Path) -> Generator[None, None, None]:
    """Ask for ``/health`` while the block runs, from another process."""
    with results.open("w") as output:
        prober = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.waiters", "--probe", str(port)],
            stdout=output,
            cwd=ROOT,
        )
    try:
        yield
    finally:
        prober.terminate()
        prober.wait()


def probe(port: int) -> None:
    """Ask for ``/health`` until the process is ended; write how long each answer took."""
    while True:
        began = time.monotonic()
        took = _SILENCE_S
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_SILENCE_S) as sock:
                sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if sock.recv(4096).startswith(b"HTTP/1.1 200"):
                    took = time.monotonic() - began
        except OSError:
            pass
        print(f"{took:.6f}", flush=True)
        time.sleep(max(0.0, began + _PROBE_EVERY_S - time.monotonic()))


def raise_descriptor_limit() -> None:
    """Let this process, and arriero, have as many descriptors as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 0 when that was possible."""
    parser = argparse.ArgumentParser(description="Measure arriero with thousands of waiters.")
    parser.add_argument("--waiters", default="100,1000,5000", help="how many, one run for each")
    parser.add_argument("--load-s", type=float, default=20.0, help="seconds that the model loads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values to FILE")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.probe:
        probe(args.probe)
    raise_descriptor_limit()
    found = []
    try:
        with tempfile.TemporaryDirectory(prefix="arriero-waiters-") as folder:
            for count in map(int, args.waiters.split(",")):
                one = measure(Path(folder) / str(count), waiters=count, load_s=args.load_s)
                found.append(asdict(one))
                for name, value in found[-1].items():
                    print(
                        f"{name:18} {value if isinstance(value, int | tuple) else f'{value:.3f}'}"
                    )
                print(flush=True)
    except BenchError as exc:
        print(exc, file=sys.stderr)
        return 1
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
