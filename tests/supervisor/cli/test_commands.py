"""The command line against a small supervisor that speaks the real sockets."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import click
import msgspec
import pytest
import zmq

from arriero.protocol.codec import encode, encode_event, read_request
from arriero.protocol.control.base import Done, Refusal
from arriero.protocol.control.measures import HardwareRequest, MetricsRequest, PerformanceRequest
from arriero.protocol.control.messages import AnyReply, AnyRequest
from arriero.protocol.control.models import (
    ExplainReply,
    ExplainRequest,
    HoldReply,
    HoldRequest,
    LogsLine,
    LogsReply,
    LogsRequest,
    PinRequest,
    ProfileRequest,
    ProfilesReply,
    ProfilesRequest,
    ReleaseRequest,
    SwapReply,
    SwapRequest,
    UnloadReply,
    UnloadRequest,
)
from arriero.protocol.control.requests import (
    ActivityReply,
    ActivityRequest,
    CancelReply,
    CancelRequest,
    CaptureRequest,
    CapturesRequest,
    HistoryRequest,
    PreviewReply,
    PreviewRequest,
    RowsRequest,
    SpeedsRequest,
    UsageReply,
    UsageRequest,
)
from arriero.protocol.control.running import (
    DecisionsRequest,
    PingReply,
    PingRequest,
    RestartRequest,
    ScaleRequest,
    ShutdownRequest,
    StatusReply,
    StatusRequest,
    WorkersReply,
    WorkersRequest,
)
from arriero.protocol.control.settings import ConfigRequest, ReloadReply, ReloadRequest
from arriero.protocol.events import (
    AnyEvent,
    Heartbeat,
    LogLine,
    ProgressMade,
    QueueChanged,
    RequestEnded,
    StateChanged,
)
from arriero.protocol.records import RecordFilter, UsageRow, csv_record
from arriero.protocol.values import (
    ConfigChanges,
    ConfigStatus,
    ErrorInfo,
    ModelStatus,
    Phase,
    ProfileStatus,
    Progress,
    State,
    WorkerStatus,
)
from arriero.supervisor.cli.config_options import as_command
from arriero.supervisor.cli.main import COMMANDS, arriero, main
from arriero.supervisor.cli.output import clock
from arriero.supervisor.cli.serve import serving
from arriero.supervisor.errors import SupervisorError
from arriero.supervisor.generate.places import Layout, SearchPlace
from arriero.supervisor.lifetime.order import Order
from tests.records import record

ENDPOINT = "http://127.0.0.1:5802"

COMMAND = [sys.executable, "-m", "arriero"]
IDS = {"a": "a", "b": "b", "nick": "b"}
WORKER = WorkerStatus(worker=1, pid=9, state="serving", in_flight=2, leases=("a",))
PROFILES = ProfilesReply(
    active="night", profiles=(ProfileStatus(id="night", pins={"new": "a", "old": None}),)
)
LINES = (LogsLine(t=1.0, model="a", stream="stderr", line="listening"),)
UNKNOWN = Refusal(
    error=ErrorInfo(code="unknown_model", message="there is no model 'c'", did_you_mean=("b",))
)


ASKED = {"asked": "nick", "model": "b", "duration_ms": 1840.2, "stream": True} | {
    "path": "/v1/chat/completions", "input_tokens": 1000, "output_tokens": 40,
}  # fmt: skip

BAD_CONFIG = Refusal(
    error=ErrorInfo(code="bad_config", message="cannot use the configuration: 2 problems"),
    problems=("c.yaml:1:2: ttl: found 'x'", "c.yaml:3:4: \x1b[2Jcmd: there is none"),
)

NOT_RUNNING = Refusal(error=ErrorInfo(code="unknown_request", message="no request 'r9' is running"))


def step(phase: Phase, fraction: float | None = None, other: str | None = None) -> ProgressMade:
    progress = Progress(
        model="b", swap=2, phase=phase, fraction=fraction, other=other, elapsed_s=1.0
    )
    return ProgressMade(model="b", progress=progress)


STEPS: tuple[AnyEvent, ...] = (
    step("draining", other="a"),
    StateChanged(model="b", state="starting", swap=2),
    step("loading", 0.5),
    StateChanged(model="b", state="ready", swap=2, endpoint=ENDPOINT),
)


class SmallSupervisor:
    """A supervisor without models: ROUTER and XPUB in a thread, answers from a table.

    Attributes:
        asked: The requests so far.
        swaps_answer: What `swap` is answered, after its steps were published; None: nothing.
        waits_for_subscriber: Whether `swap` goes on only when somebody sees its steps.
        answers_first: Whether its steps are published when it was answered already.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[AnyRequest] = []
        self.swaps_answer: AnyReply | None = SwapReply(
            model="b", state="ready", endpoint=ENDPOINT, took_s=3.1
        )
        self.waits_for_subscriber = True
        self.answers_first = False
        self.epoch = "e"
        self._seq = {"events": 41, "log": 7, "usage": 3}
        self._state: State = "stopped"
        self._topics: list[bytes] = []
        self._lock = threading.Condition()
        self._stop = threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._events = self._context.socket(zmq.XPUB)
        self._control.bind(f"ipc://{folder}/control.sock")
        self._events.bind(f"ipc://{folder}/events.sock")
        self._to_publish: list[AnyEvent] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def publish(self, *events: AnyEvent) -> None:
        """Publish once somebody has subscribed."""
        with self._lock:
            assert self._lock.wait_for(self._is_heard, timeout=10)
            self._to_publish += events

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._control, zmq.POLLIN)
        poller.register(self._events, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(10))
            with self._lock:
                if self._events in ready:
                    self._take_subscription()
                for event in self._to_publish:
                    self._send(event)
                self._to_publish.clear()
                if self._control in ready:
                    client, empty, data = self._control.recv_multipart()
                    request = read_request(data)
                    self.asked.append(request)
                    answer = self._answer(request)
                    if answer is not None:
                        self._control.send_multipart([client, empty, encode(answer)])

    def _is_heard(self) -> bool:
        """Whether somebody hears all that it wants to: heartbeats are the last of its topics."""
        return any(topic.startswith(b"heartbeat") for topic in self._topics)

    def _take_subscription(self) -> None:
        said = self._events.recv()
        if said[0]:
            self._topics.append(said[1:])
            self._lock.notify_all()

    def _send(self, event: AnyEvent) -> None:
        if event.seq == 0 and not isinstance(event, Heartbeat):
            self._seq[event.numbered_as] += 1
            event = msgspec.structs.replace(event, seq=self._seq[event.numbered_as])
        if isinstance(event, StateChanged):
            self._state = event.state
        self._events.send_multipart(
            encode_event(msgspec.structs.replace(event, epoch=event.epoch or self.epoch))
        )

    def _answer(self, request: AnyRequest) -> AnyReply | None:
        if getattr(request, "model", None) not in {None, *IDS}:
            return UNKNOWN
        match request:
            case PingRequest():
                return PingReply(version="0.1.0", epoch=self.epoch, pid=4, uptime_s=61.0)
            case StatusRequest():
                return self._status()
            case SwapRequest(wait=wait, model=name):
                while wait and self.waits_for_subscriber and not self._is_heard():
                    assert self._events.poll(10_000)
                    self._take_subscription()
                if self.answers_first:
                    self._to_publish += STEPS
                else:
                    for event in STEPS:
                        self._send(event)
                if not wait:
                    return SwapReply(model=IDS[name], state="starting")
                return self.swaps_answer
            case UnloadRequest():
                return UnloadReply(unloaded=("a",), took_s=0.5)
            case HoldRequest():
                return HoldReply(devices=("gpu0",), unloaded=("a",), took_s=0.5)
            case ReleaseRequest():
                return HoldReply(devices=("gpu0",))
            case LogsRequest():
                return LogsReply(lines=LINES, seq=self._seq["log"])
            case ExplainRequest(model=name):
                return ExplainReply(
                    model=IDS[name],
                    state="stopped",
                    action="swap",
                    stops=("a",),
                    ahead=(),
                    why="a takes the room",
                )
            case PreviewRequest(body=body, path=path):
                return PreviewReply(model="a", path=path, body=body.upper(), changed=True)
            case ReloadRequest(drain=True):
                return BAD_CONFIG
            case ReloadRequest(dry_run=dry_run):
                changes = ConfigChanges(added=("c",))
                return ReloadReply(generation=2, applied=not dry_run, changes=changes)
            case CancelRequest(request_id="r9"):
                return NOT_RUNNING
            case CancelRequest(request_id=request_id):
                return CancelReply(request_id=request_id, result="cancelled")
            case ActivityRequest(limit=limit, where=where):
                more = 4 if limit == 1000 and where.most_id is None else None
                return ActivityReply(
                    records=(record("r1", **ASKED), record("r2", **ASKED)),
                    seq=self._seq["usage"],
                    next=more,
                )
            case UsageRequest(by=by):
                row = UsageRow(day="2026-11-29", model="b", requests=2, output_tokens=80)
                other = UsageRow(day="2026-11-28", model="b", requests=1, cost_usd=Decimal("0.5"))
                total = UsageRow(requests=3, output_tokens=80, cost_usd=Decimal("0.5"))
                return UsageReply(rows=(row, other) if by else (total,), total=total)
            case RowsRequest() | SpeedsRequest() | HistoryRequest():
                return None
            case ConfigRequest() | DecisionsRequest():
                return None
            case CapturesRequest() | CaptureRequest():
                return None
            case WorkersRequest():
                return WorkersReply(workers=(WORKER,))
            case ProfilesRequest():
                return PROFILES
            case ProfileRequest(profile=name):
                return msgspec.structs.replace(PROFILES, active=name)
            case PinRequest() | ScaleRequest() | ShutdownRequest() | RestartRequest():
                return Done()
            case MetricsRequest() | PerformanceRequest() | HardwareRequest():
                return None  # no command asks for these

    def _status(self) -> StatusReply:
        return StatusReply(
            version="0.1.0",
            epoch=self.epoch,
            seq=self._seq["events"],
            t=1000.0,
            uptime_s=61.0,
            listen="127.0.0.1:8080",
            models=(
                ModelStatus(model="a", state="ready", since=990.0, endpoint="http://127.0.0.1:1"),
                ModelStatus(model="b", state=self._state, since=990.0),
            ),
            queue=(),
            workers=(WORKER,),
            control_requests=len(self.asked),
            lease_requests=0,
            config=ConfigStatus(generation=1, loaded_at=990.0, files=("c.yaml",)),
        )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARRIERO_SOCKET_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def supervisor(folder: Path) -> Generator[SmallSupervisor, None, None]:
    small = SmallSupervisor(folder)
    yield small
    small.end()


@contextmanager
def running(*args: str, **options: object) -> Generator["subprocess.Popen[str]", None, None]:
    """Run the command in a process of its own, which ends with the block."""
    process = subprocess.Popen(
        [*COMMAND, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip() for _ in range(count)]


def without_time(lines: Iterable[str]) -> list[str]:
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  ", "", line) for line in lines]


# --- questions and answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "request_", "line"),
    [
        ("ping", PingRequest(), "arriero 0.1.0, pid 4, up 1 min 1 s"),
        ("swap nick --no-wait", SwapRequest(model="nick", wait=False), "b is starting"),
        ("unload", UnloadRequest(), "unloaded a in 0.5 s"),
        ("unload a --now", UnloadRequest(model="a", mode="now"), "unloaded a in 0.5 s"),
        (
            "hold gpu0 --for 2h",
            HoldRequest(device="gpu0", for_s=7200),
            "gpu0 held for 2 h 0 min; unloaded a in 0.5 s",
        ),
        (
            "hold --no-wait",
            HoldRequest(wait=False),
            "gpu0 held until `arriero release`; unloaded a in 0.5 s",
        ),
        ("release gpu0", ReleaseRequest(device="gpu0"), "models may use gpu0 again"),
        ("pin nick", PinRequest(model="nick"), "nick stays while it is loaded"),
        ("unpin b", PinRequest(model="b", pinned=False), "b is as the configuration says again"),
        ("workers", WorkersRequest(), "     1    9  serving          2  a"),
        ("scale 4", ScaleRequest(workers=4), "workers from now on: 4"),
        ("profile", ProfilesRequest(), "night    yes     new -> a, old -> off  -"),
        ("profile day", ProfileRequest(profile="day"), "profile: day"),
        ("profile --none", ProfileRequest(profile=None), "profile: none"),
        ("explain b", ExplainRequest(model="b"), "why:    a takes the room"),
        (
            "logs a -n 5",
            LogsRequest(model="a", lines=5),
            f"{clock(1.0)}  a                 listening",
        ),
        ("reload", ReloadRequest(), "generation 2 is in force"),
        (
            "reload --dry-run",
            ReloadRequest(dry_run=True),
            "a dry run: nothing was changed, generation 2 stays in force",
        ),
        ("cancel r1", CancelRequest(request_id="r1"), "r1 is cancelled"),
        (
            "activity -n 2",
            ActivityRequest(limit=2),
            f"{clock(1.0)}  b      200  1000   40       -      -  1.8 s      -     -  r2",
        ),
        (
            "activity --model b --key k --outcome ok --status 2xx --until 1970-01-01T00:00Z --csv",
            ActivityRequest(
                where=RecordFilter(
                    models=("b",),
                    keys=("k",),
                    outcomes=("ok",),
                    least_status=200,
                    most_status=299,
                    until=0.0,
                )
            ),
            csv_record(record("r2", **ASKED)).strip(),
        ),
        (
            "usage --by day,model --since 2026-11-01 --model b",
            UsageRequest(by=("day", "model"), since="2026-11-01", models=("b",)),
            "all                       3       0   0       0   80  $0.5",
        ),
        (
            "usage --by= --csv",
            UsageRequest(by=()),
            ",,,3,0,0,0,80,0,0.5,0",
        ),
        ("shutdown", ShutdownRequest(), "the supervisor is shutting down"),
    ],
)
def test_a_command_asks_one_question_and_shows_the_answer(
    supervisor: SmallSupervisor,
    capsys: pytest.CaptureFixture[str],
    args: str,
    request_: AnyRequest,
    line: str,
) -> None:
    assert main(args.split()) == 0

    assert supervisor.asked == [request_]
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_explain_shows_what_would_go_upstream(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "body.json"
    file.write_text('{"model":"b"}')

    args = ["explain", "--request", str(file), "--path", "/v1/x", "--header", "X-Team: red"]
    assert main(args) == 0

    asked = PreviewRequest(body='{"model":"b"}', path="/v1/x", headers=(("X-Team", "red"),))
    assert supervisor.asked == [asked]
    assert capsys.readouterr().out == 'POST /v1/x to a\n{"MODEL":"B"}\n'
    assert main(["explain"]) == 2
    assert main([*args, "--header", "no colon"]) == 2


def test_status_shows_models_queue_and_workers(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "arriero 0.1.0 listens on 127.0.0.1:8080, up 1 min 1 s; queue: nobody waits",
        "configuration: generation 1 of c.yaml, in force for 10 s",
        "",
        "MODEL  STATE    FOR   IN FLIGHT  ENDPOINT            REMARKS",
        "a      ready    10 s          0  http://127.0.0.1:1  -",
        "b      stopped  10 s          0  -                   -",
        "",
        "WORKER  PID  STATE    IN FLIGHT  LEASES",
        "     1    9  serving          2  a",
    ]


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ("ping", PingReply),
        ("status", StatusReply),
        ("swap b --no-wait", SwapReply),
        ("unload", UnloadReply),
        ("logs", LogsReply),
        ("hold", HoldReply),
        ("release", HoldReply),
        ("pin b", Done),
        ("workers", WorkersReply),
        ("scale 4", Done),
        ("profile", ProfilesReply),
        ("profile day", ProfilesReply),
        ("explain b", ExplainReply),
        ("reload", ReloadReply),
        ("shutdown", Done),
    ],
)
def test_with_json_the_answer_is_one_object(
    supervisor: SmallSupervisor,
    capsys: pytest.CaptureFixture[str],
    args: str,
    kind: type[msgspec.Struct],
) -> None:
    assert main([*args.split(), "--json"]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["ok"] is True
    msgspec.json.decode(line, type=kind)


# --- swap -------------------------------------------------------------------------------------


def test_swap_shows_each_step_and_then_the_answer(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["swap", "nick"]) == 0

    assert without_time(capsys.readouterr().out.splitlines()) == [
        "progress   b                 draining a, 1.0 s so far",
        "state      b                 starting",
        "progress   b                 loading 50 %, 1.0 s so far",
        f"state      b                 ready at {ENDPOINT}",
        f"b is ready at {ENDPOINT}, after 3.1 s",
    ]
    assert supervisor.asked == [
        ExplainRequest(model="nick"),
        StatusRequest(),
        SwapRequest(model="nick"),
    ]


def test_with_json_each_step_is_a_line_and_the_last_line_is_the_answer(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["swap", "b", "--json"]) == 0

    *steps, answer = map(json.loads, capsys.readouterr().out.splitlines())
    assert [found["type"] for found in steps] == ["progress", "state", "progress", "state"]
    assert answer == json.loads(encode(supervisor.swaps_answer or Done()))


def test_an_answer_that_overtakes_the_steps_is_shown_after_them(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.answers_first = True

    assert main(["swap", "b", "--json"]) == 0

    *steps, answer = map(json.loads, capsys.readouterr().out.splitlines())
    assert [found["type"] for found in steps] == ["progress", "state", "progress", "state"]
    assert answer["state"] == "ready"


def test_a_start_that_fails_is_told_with_its_reason(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    error = ErrorInfo(code="model_load_failed", message="model b failed to load: no memory")
    supervisor.swaps_answer = Refusal(error=error)

    assert main(["swap", "b"]) == 1
    assert capsys.readouterr().err == "arriero: model b failed to load: no memory\n"


# --- exit statuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["swap", "swap --no-wait", "unload", "logs", "explain", "events --model"]
)
def test_an_unknown_model_is_refused_with_the_name_that_was_perhaps_meant(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([*command.split(), "c"]) == 1

    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "arriero: there is no model 'c'; did you mean b?\n")


def test_a_reload_shows_what_changes_and_what_that_means(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reload"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "MODEL  CHANGE  WHAT IT MEANS",
        "c      added   answers from now on",
        "generation 2 is in force",
    ]


def test_a_reload_of_a_file_with_mistakes_shows_them_and_fails(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reload", "--drain"]) == 1

    assert capsys.readouterr().err.splitlines() == [
        "arriero: cannot use the configuration: 2 problems",
        "  c.yaml:1:2: ttl: found 'x'",
        "  c.yaml:3:4: cmd: there is none",
    ]


def test_with_json_a_refusal_is_the_answer_too(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "c", "--json"]) == 1
    assert capsys.readouterr().out.encode() == encode(UNKNOWN) + b"\n"


@pytest.mark.parametrize(
    "args",
    [
        "",
        "swop b",
        "swap",
        "scale 0",
        "scale 65",
        "profile day --none",
        "logs -n 0",
        "events --type nonsense",
        "serve --watch-config",
        "serve no-such-folder",
        "serve docs --config c.yaml",
        "serve pyproject.toml",
    ],
)
def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str], args: str) -> None:
    assert main(args.split()) == 2
    assert "Usage:" in capsys.readouterr().err


def test_a_type_of_event_that_concerns_no_model_cannot_be_narrowed_to_one(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "--model", "b", "--type", "queue"]) == 2
    assert "no event of type queue concerns a single model" in capsys.readouterr().err


def test_without_a_socket_the_user_is_told_where_it_was_looked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ping"]) == 3

    assert capsys.readouterr().err == (
        f"arriero: cannot reach a supervisor at {folder}/control.sock: the file does not exist; "
        "start a supervisor with `arriero serve`, or give the folder of a running one with "
        "--socket-dir DIR\n"
    )


def test_a_socket_that_was_left_behind_is_told_from_one_that_is_not_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SmallSupervisor(folder).end()
    _leave_behind(folder / "control.sock")

    assert main(["ping"]) == 3
    assert "the file exists, but nobody listens on it" in capsys.readouterr().err


def _leave_behind(path: Path) -> None:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def test_a_supervisor_that_does_not_answer_in_time_is_told_of(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    supervisor.swaps_answer = None

    assert main(["swap", "b", "--timeout", "0.2"]) == 3
    assert "did not answer within 0.2 s" in capsys.readouterr().err


def test_a_supervisor_that_ends_while_it_is_asked_is_told_of_at_once(folder: Path) -> None:
    small = SmallSupervisor(folder)
    small.swaps_answer = None
    try:
        with running("swap", "b") as process:
            lines_of(process, len(STEPS))
            small.end()
            _, told = process.communicate(timeout=20)
    finally:
        small.end()

    assert process.returncode == 3
    assert "went away before it answered" in told


def test_ctrl_c_ends_a_swap_with_130_and_says_that_the_model_goes_on(
    supervisor: SmallSupervisor,
) -> None:
    supervisor.swaps_answer = None

    with running("swap", "b") as process:
        lines_of(process, len(STEPS))
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert process.returncode == 130
    assert told == ("arriero: the supervisor goes on with it; `arriero unload b` would stop it\n\n")


def test_a_reader_that_goes_away_ends_the_command_quietly(supervisor: SmallSupervisor) -> None:
    with running("events") as process:
        lines_of(process, 4)
        assert process.stdout is not None
        process.stdout.close()
        supervisor.publish(*[QueueChanged(queue=())] * 3)
        assert process.stderr is not None
        told = process.stderr.read()
        status = process.wait(timeout=20)

    assert (status, told) == (141, "")


# --- following --------------------------------------------------------------------------------

PRESENT = [
    "state      a                 ready at http://127.0.0.1:1",
    "state      b                 stopped",
    "queue      -                 nobody waits",
    "worker     -                 worker 1 (pid 9) serving",
]


def test_events_without_follow_shows_the_present_and_ends(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["events", "--no-follow"]) == 0
    assert without_time(capsys.readouterr().out.splitlines()) == PRESENT


def test_events_shows_the_present_and_then_what_follows(supervisor: SmallSupervisor) -> None:
    with running("events") as process:
        present = lines_of(process, 4)
        supervisor.publish(Heartbeat(seq=41), LogLine(model="a", line="x", stream="stderr"))
        supervisor.publish(*STEPS[2:])
        news = lines_of(process, 2)

    assert without_time(present) == PRESENT
    assert without_time(news) == [
        "progress   b                 loading 50 %, 1.0 s so far",
        f"state      b                 ready at {ENDPOINT}",
    ]


def test_a_follower_that_missed_an_event_shows_the_present_again(
    supervisor: SmallSupervisor,
) -> None:
    with running("events") as process:
        lines_of(process, 4)
        supervisor.publish(msgspec.structs.replace(QueueChanged(queue=()), seq=43))
        again = lines_of(process, 4)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)

    assert without_time(again) == PRESENT
    assert told.startswith("arriero: some events were missed; this is the state\n")
    assert process.returncode == 130


def test_a_follower_outlives_a_restart_of_the_supervisor(folder: Path) -> None:
    first = SmallSupervisor(folder)
    with running("events", "--json") as process:
        lines_of(process, 4)
        first.end()
        second = SmallSupervisor(folder)
        second.epoch = "f"
        try:
            again = [json.loads(line) for line in lines_of(process, 4)]
        finally:
            second.end()

    assert {found["epoch"] for found in again} == {"f"}


def test_logs_follow_shows_old_lines_then_new_ones_and_none_twice(
    supervisor: SmallSupervisor,
) -> None:
    def said(line: str, seq: int) -> LogLine:
        return LogLine(model="b", line=line, stream="stderr", seq=seq)

    with running("logs", "nick", "--follow", "--json") as process:
        old = lines_of(process, 1)
        supervisor.publish(said("contained in the answer", 7), said("new", 8))
        new = lines_of(process, 1)

    assert [json.loads(line)["line"] for line in old + new] == ["listening", "new"]


def test_activity_follow_shows_old_requests_then_new_ones_and_none_twice(
    supervisor: SmallSupervisor,
) -> None:
    def ended(request_id: str, seq: int) -> RequestEnded:
        return RequestEnded(model="b", record=record(request_id), seq=seq)

    with running("activity", "--follow", "--json") as process:
        old = lines_of(process, 2)
        supervisor.publish(ended("contained in the answer", 3), ended("new", 4))
        new = lines_of(process, 1)

    assert [json.loads(line)["request_id"] for line in old + new] == ["r1", "r2", "new"]


def test_activity_follow_shows_a_request_as_events_does(supervisor: SmallSupervisor) -> None:
    with running("activity", "--follow") as process:
        lines = lines_of(process, 2)

    said = "usage      b                 200, 1000 tokens in, 40 out, 1.8 s: "
    assert without_time(lines) == [said + "r1", said + "r2"]


def test_a_request_that_nobody_knows_cannot_be_cancelled(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cancel", "r9"]) == 1
    assert capsys.readouterr().err == "arriero: no request 'r9' is running\n"


# --- terminal ---------------------------------------------------------------------------------


@contextmanager
def on_terminal(*args: str, **environ: str) -> Generator[Callable[[], str], None, None]:
    """Run the command on a terminal of its own; gives a function that returns all it wrote."""
    ours, theirs = os.openpty()
    given = {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(
        [*COMMAND, *args], stdout=theirs, stderr=theirs, env=os.environ | given | environ
    )
    os.close(theirs)

    def read_all() -> str:
        written = b""
        while True:
            try:
                written += os.read(ours, 4096)
            except OSError:  # EIO: the last writer has closed its side
                return written.decode()

    try:
        yield read_all
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_on_a_terminal_status_is_drawn_in_colour(supervisor: SmallSupervisor) -> None:
    with on_terminal("status") as read_all:
        written = read_all()

    assert "\x1b[32mready" in written
    assert "http://127.0.0.1:1" in written


@pytest.mark.parametrize(
    ("command", "columns", "rows"), [("status", 60, 2), ("activity", 80, 2), ("activity", 60, 2)]
)
def test_on_a_narrow_terminal_each_row_is_a_line(
    supervisor: SmallSupervisor, command: str, columns: int, rows: int
) -> None:
    with on_terminal(command, COLUMNS=str(columns), NO_COLOR="1") as read_all:
        lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in read_all().splitlines()]

    head = next(at for at, line in enumerate(lines) if "model " in line and line.strip()[0] in "mc")
    table = lines[head + 2 : head + 2 + rows]
    assert all(len(line) <= columns for line in lines[head : head + 2 + rows])
    assert all(line.strip() for line in table)
    assert not lines[head + 2 + rows].strip()


def test_no_color_leaves_the_colours_out(supervisor: SmallSupervisor) -> None:
    with on_terminal("status", NO_COLOR="1") as read_all:
        written = read_all()

    assert "\x1b[32m" not in written
    assert "ready" in written


def test_on_a_terminal_swap_draws_a_bar_and_ends_with_the_answer(
    supervisor: SmallSupervisor,
) -> None:
    with on_terminal("swap", "b") as read_all:
        written = read_all()

    *_, bar, answer = written.rstrip().splitlines()
    assert "━" * 30 in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", bar)
    assert answer.endswith(f"b is ready at {ENDPOINT}, after 3.1 s")


def completed(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    monkeypatch.setenv("_ARRIERO_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", line)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("arriero swap ", ["plain,a", "plain,b"]),
        ("arriero unload b", ["plain,b"]),
        ("arriero events --model ", ["plain,a", "plain,b"]),
        ("arriero events --model=b", ["plain,b"]),
        ("arriero swap a ", []),
        ("arriero scal", ["plain,scale"]),
        ("arriero serve --config ", ["file,"]),
        ("arriero init ", ["file,"]),
        ("arriero unload --no", ["plain,--now"]),
        ("arriero 'swap", ["plain,swap"]),
    ],
)
def test_a_shell_is_told_what_may_come_next(
    supervisor: SmallSupervisor,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    offered: list[str],
) -> None:
    assert completed(line, capsys, monkeypatch) == offered


def test_without_a_supervisor_no_model_is_offered_and_nothing_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as silent:  # one that does not answer is none
        assert completed("arriero swap ", capsys, monkeypatch) == []
        silent.bind(str(folder / "control.sock"))
        silent.listen()
        assert completed("arriero swap ", capsys, monkeypatch) == []


# --- help and serve -----------------------------------------------------------------------------


def paths_of(command: click.Command, path: tuple[str, ...] = ()) -> Iterable[tuple[str, ...]]:
    """Give the words of each command, and of those within it."""
    if path:
        yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from paths_of(below, (*path, name))


@pytest.mark.parametrize("columns", [40, 80])
def test_the_help_of_each_command_has_an_example(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for path in paths_of(arriero):
        assert main([*path, "--help"]) == 0
        told = capsys.readouterr().out
        assert f"Example: arriero {path[0]}" in " ".join(told.split()), path
        # Click folds to 50 at least; a list of choices below stays whole, as it is one word.
        text = told.partition("Options:")[0]
        assert max(map(len, text.splitlines())) <= max(columns, 50), path
        assert "\x1b" not in told


def test_the_commands_are_told_in_order_and_each_is_called_as_it_is_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    told = re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out, re.MULTILINE)
    assert told == sorted(COMMANDS)
    context = click.Context(arriero)
    found = [arriero.get_command(context, name) for name in COMMANDS]
    assert [command.name for command in found if command is not None] == list(COMMANDS)


def test_a_command_imports_nothing_of_the_others() -> None:
    code = "import sys, arriero.supervisor.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()

    assert "click" in loaded
    assert not {"zmq", "trio", "rich", "yaml", "importlib.metadata"} & set(loaded)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"arriero, version \d+\.\d+\.\d+\n", capsys.readouterr().out)


Run = Callable[[Callable[..., int]], None]


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that puts another one in the place of what opens all parts of the supervisor."""
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)
    monkeypatch.setattr(serving, "fork_zygote", lambda: None)
    return lambda run: monkeypatch.setattr(serving, "run", run)


def test_serve_hands_its_options_on_and_ends_with_the_status_of_the_supervisor(
    instead: Run,
) -> None:
    given: list[Order] = []

    def serve(order: Order, *_: object) -> int:
        given.append(order)
        return 7

    instead(serve)

    args = "--config c.yaml --config d.yaml --config-dir /e --watch-config --lenient"
    more = "--listen :8080 --workers 2 --socket-dir /s --log-level debug"
    assert main(["serve", *args.split(), *more.split()]) == 7
    assert given == [
        Order(
            files=(Path("c.yaml"), Path("d.yaml")),
            directory=Path("/e"),
            unknown="warnings",
            watches=True,
            listen=":8080",
            workers=2,
            socket_dir=Path("/s"),
            log_level="debug",
        )
    ]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("-config F -listen :8080", "serve --config F --listen :8080"),
        ("-config=F -watch-config", "serve --config=F --watch-config"),
        ("--config F", "serve --config F"),
        ("-config-dir D -tls-key-file K", "serve --config-dir D --tls-key-file K"),
        ("-tls-cert-file=C", "serve --tls-cert-file=C"),
        ("serve -config F -listen :1", "serve --config F --listen :1"),
        ("-version", "--version"),
        ("--version", "--version"),
        ("-h", "-h"),
        ("-unheard F", "serve -unheard F"),
        ("status -config", "status -config"),
        ("", ""),
    ],
)  # fmt: skip
def test_llama_swap_s_command_line_is_one_of_ours(given: str, read: str) -> None:
    assert as_command(given.split()) == read.split()


def test_serve_takes_the_configuration_of_this_folder_as_check_does(
    instead: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    orders: list[Order] = []

    def serve(order: Order, *_: object) -> int:
        orders.append(order)
        return 0

    instead(serve)
    monkeypatch.chdir(tmp_path)

    assert main(["serve"]) == 0
    (tmp_path / "config.yaml").touch()
    assert main(["serve"]) == 0
    assert main(["serve", "--config-dir", "."]) == 0
    assert main(["serve", str(tmp_path)]) == 0
    assert [order.files for order in orders] == [(), (Path("config.yaml"),), (), ()]
    # Without one it looks where models usually are; folders go before a file.
    usual, *none, named = [order.search and order.search.places for order in orders]
    assert (usual or ())[0] == SearchPlace(tmp_path, Layout.FLAT)
    assert none == [None, None]
    assert named == (SearchPlace(tmp_path, is_named=True),)


def test_a_supervisor_that_cannot_be_started_says_why_with_status_1(
    instead: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(*_: object) -> int:
        raise SupervisorError("c.yaml:3: unknown key 'modles'\nc.yaml:9: no cmd")

    instead(serve)

    assert main(["serve", "--config", "c.yaml"]) == 1
    assert capsys.readouterr().err == (
        "arriero: c.yaml:3: unknown key 'modles'\nc.yaml:9: no cmd\n"
    )


def test_in_json_its_failure_is_json_as_well(
    instead: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("excepthook", "unraisablehook"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.INFO)
    monkeypatch.setattr(
        logging, "basicConfig", lambda handlers: monkeypatch.setattr(root, "handlers", handlers)
    )

    def serve(*_: object) -> int:
        raise SupervisorError("c.yaml:3: unknown key 'modles'\nc.yaml:9: no cmd")

    instead(serve)
    try:
        assert main(["serve", "--config", "c.yaml", "--log-format", "json"]) == 1
        sys.excepthook(ValueError, ValueError("no"), None)
    finally:
        logging.captureWarnings(capture=False)

    said, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert said["message"].endswith("unknown key 'modles'\nc.yaml:9: no cmd")
    assert failed["traceback"] == "ValueError: no"


def test_all_requests_are_written_page_by_page(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["activity", "--all", "--json", "--since", "1970-01-02T00:00Z"]) == 0

    first, last = supervisor.asked
    assert isinstance(first, ActivityRequest)
    assert (first.limit, first.where.since) == (1000, 86400.0)
    where = msgspec.structs.replace(first.where, most_id=4)
    assert last == msgspec.structs.replace(first, where=where)
    found = [json.loads(line)["request_id"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["r2", "r1"] * 2


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("activity --all", "add --json or --csv"),
        ("activity --follow --csv", "--json only"),
        ("activity --since yesterday", "write 24h (ago)"),
        ("activity --status 4x", "404, or 4xx"),
        ("usage --by hour", "write some of day,model,key"),
        ("usage --since 2026-13-01", "write 24h (ago)"),
    ],
)
def test_senseless_options_are_refused(
    supervisor: SmallSupervisor, capsys: pytest.CaptureFixture[str], args: str, told: str
) -> None:
    assert main(args.split()) == 2

    assert supervisor.asked == []
    assert told in capsys.readouterr().err


def test_a_supervisor_has_nothing_of_what_read_its_command_line(tmp_path: Path) -> None:
    config = tmp_path / os.fsdecode(b"not-utf-8-\xff.yaml")
    config.write_text("models: {}\n")
    code = (
        "import sys\n"
        "from arriero.supervisor.cli.serve import entry, serving\n"
        "def run(order, *_):\n"
        "    print(*order.files, order.workers, 'click' in sys.modules)\n"
        "    return 7\n"
        "serving.run, serving.fork_zygote = run, lambda: None\n"
        "sys.exit(entry.main())"
    )
    command = [sys.executable, "-c", code, "serve", "--config", str(config), "--workers", "3"]
    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode == 7, done.stderr
    assert done.stdout.decode() == f"{ascii_path(config)} 3 False\n"


@pytest.mark.parametrize(
    ("args", "status", "shown"),
    [
        ("serve --help", 0, "Usage: arriero serve"),
        ("serve no-such-folder", 2, "there is no folder no-such-folder"),
        ("serve --config no-such-file", 1, "arriero: cannot use the configuration"),
        ("example", 0, "yaml-language-server"),
    ],
)
def test_a_program_ends_as_its_command_does(
    tmp_path: Path, args: str, status: int, shown: str
) -> None:
    command = [sys.executable, "-m", "arriero", *args.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == status
    assert (done.stdout + done.stderr).count(shown) == 1


def ascii_path(path: Path) -> str:
    """Return `path` as it is shown where it cannot be as it is."""
    return str(path).encode(errors="backslashreplace").decode()
