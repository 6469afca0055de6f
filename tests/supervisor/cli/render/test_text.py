"""Events as lines and answers as tables."""

import re

import pytest
from msgspec.structs import replace

from arriero.protocol.control.models import ExplainReply, PlaceStanding, SwapReply, UnloadReply
from arriero.protocol.control.running import StatusReply
from arriero.protocol.control.settings import ReloadReply
from arriero.protocol.events import (
    AnyEvent,
    ConfigChanged,
    Heartbeat,
    LogLine,
    ProgressMade,
    QueueChanged,
    StateChanged,
    WorkerChanged,
)
from arriero.protocol.values import (
    ConfigChanges,
    ConfigStatus,
    ErrorInfo,
    FailedReload,
    ModelChange,
    ModelStatus,
    PeerModelStatus,
    PeerStatus,
    Progress,
    QueueEntry,
    WorkerStatus,
)
from arriero.supervisor.cli.render.events import event_line
from arriero.supervisor.cli.render.text import (
    aligned,
    changes_table,
    config_lines,
    describe,
    duration,
    explanation,
    headline,
    machine_line,
    models_table,
    peers_table,
    percent,
    refusal_line,
    reload_line,
    swapped_line,
    unloaded_line,
    workers_table,
)

LOADING = Progress(
    model="b",
    swap=2,
    phase="loading",
    fraction=0.426,
    eta_s=3.14,
    elapsed_s=2.5,
    bytes_done=40_000_000,
    bytes_total=98_000_000,
    detail="text_model",
)
DRAINING = Progress(model="b", swap=2, phase="draining", other="a", elapsed_s=0.5)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            StateChanged(
                model="a", state="ready", swap=1, pid=12, endpoint="http://127.0.0.1:5801"
            ),
            "T  state      a                 ready at http://127.0.0.1:5801 (pid 12)",
        ),
        (
            StateChanged(
                model="a", state="stopped", swap=1, error=ErrorInfo(code="x", message="it\ndied")
            ),
            r"T  state      a                 stopped: it\x0adied",
        ),
        (
            StateChanged(
                model="a", state="starting", swap=2, error=ErrorInfo(code="x", message="it died")
            ),
            "T  state      a                 starting",  # the error is that of the start before
        ),
        (
            ProgressMade(model="b", progress=LOADING),
            "T  progress   b                 loading 42 %, 3.1 s left, 40.0 MB of 98.0 MB, "
            "2.5 s so far, text_model",
        ),
        (
            ProgressMade(model="b", progress=DRAINING),
            "T  progress   b                 draining a, 0.5 s so far",
        ),
        (
            QueueChanged(
                queue=(QueueEntry(model="b", waiting=2), QueueEntry(model="c", waiting=0))
            ),
            "T  queue      -                 b (2 waiting), then c (ordered)",
        ),
        (QueueChanged(queue=()), "T  queue      -                 nobody waits"),
        (
            LogLine(model="a", line="\x1b[32mgood\x1b[0m\tnews", stream="stderr"),
            "T  log        a                 stderr  good\tnews",
        ),
        (
            WorkerChanged(worker=1, pid=9, state="gone", reason="killed"),
            "T  worker     -                 worker 1 (pid 9) gone: killed",
        ),
        (
            ConfigChanged(generation=3),
            "T  config     -                 generation 3 is in force",
        ),
        (
            ConfigChanged(generation=3, summary="models: 1 added"),
            "T  config     -                 generation 3 is in force: models: 1 added",
        ),
        (
            ConfigChanged(generation=3, problems=("c.yaml:1:2: ttl: found 'x'", "another")),
            "T  config     -                 generation 3 stays in force: "
            "c.yaml:1:2: ttl: found 'x'",
        ),
        (Heartbeat(seq=41), "T  heartbeat  -                 nothing new since 41"),
    ],
)
def test_an_event_is_one_line_of_time_type_model_and_text(event: AnyEvent, line: str) -> None:
    assert event_line(event, "T") == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.9, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h 0 min"),
        (172_800, "2 d 0 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.0, "0 %"), (0.29, "29 %"), (0.999, "99 %"), (1.0, "99 %")]
)
def test_a_share_is_never_shown_as_complete(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_what_is_not_known_is_left_out() -> None:
    assert describe(Progress(model="b", swap=2, phase="starting", elapsed_s=0.0)) == (
        "starting, 0.0 s so far"
    )


STATUS = StatusReply(
    version="0.1.0",
    epoch="e",
    seq=41,
    t=1000.0,
    uptime_s=75.0,
    listen="127.0.0.1:8080",
    models=(
        ModelStatus(
            model="a",
            state="draining",
            since=990.0,
            swap=1,
            pid=12,
            endpoint="http://127.0.0.1:5801",
            in_flight=11,
        ),
        ModelStatus(model="b", state="stopped", since=997.5, progress=DRAINING),
        ModelStatus(
            model="c",
            state="stopped",
            since=1000.5,
            error=ErrorInfo(code="model_load_failed", message="it died"),
            retry_in_s=2.0,
        ),
    ),
    queue=(QueueEntry(model="b", waiting=1),),
    workers=(
        WorkerStatus(worker=1, pid=9, state="serving", in_flight=11, leases=("a",)),
        WorkerStatus(worker=2, pid=10, state="starting"),
    ),
    control_requests=1,
    lease_requests=2,
    config=ConfigStatus(generation=3, loaded_at=940.0, files=("c.yaml",)),
)


def test_the_status_of_the_models_is_an_aligned_table() -> None:
    assert aligned(models_table(STATUS.models, STATUS.t)) == [
        "MODEL  STATE     FOR    IN FLIGHT  ENDPOINT               REMARKS",
        "a      draining  10 s          11  http://127.0.0.1:5801  -",
        "b      stopped   2.5 s          0  -                      draining a, 0.5 s so far",
        "c      stopped   0.0 s          0  -                      it died; "
        "may be started again in 2.0 s",
    ]


@pytest.mark.parametrize(
    ("removed", "remark"),
    [
        (False, "runs with an older command"),
        (True, "removed from the configuration"),
    ],
)
def test_a_process_that_the_configuration_does_not_know_is_remarked(
    removed: bool, remark: str
) -> None:
    model = ModelStatus(model="a", state="ready", since=0.0, stale=True, removed=removed)

    assert models_table((model,), 1.0).rows[0][-1] == remark


CHANGES = ConfigChanges(
    added=("new",),
    removed=("old",),
    relaunch=(ModelChange(model="a", keys=("cmd", "env")),),
    adjusted=(ModelChange(model="a", keys=("ttl",)),),
    settings=("workers",),
    needs_restart=("listen",),
)


def test_the_changes_of_a_reload_are_a_table_that_says_what_they_mean() -> None:
    assert aligned(changes_table(CHANGES)) == [
        "MODEL  CHANGE    WHAT IT MEANS",
        "new    added     answers from now on",
        "old    removed   refuses requests; ends after those that run",
        "a      cmd, env  a running one goes on as it is; the next start takes this",
        "a      ttl       at once",
        "-      workers   at once",
        "-      listen    when arriero is started anew",
    ]
    assert changes_table(CHANGES, drain=True).rows[2][-1].startswith("a running one ends")
    assert changes_table(ConfigChanges()).rows == ()


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (ReloadReply(generation=4, applied=True, changes=CHANGES), "generation 4 is in force"),
        (
            ReloadReply(generation=4, applied=True, changes=CHANGES, draining=("a", "b")),
            "generation 4 is in force; draining a, b",
        ),
        (
            ReloadReply(generation=3, applied=False, changes=CHANGES),
            "a dry run: nothing was changed, generation 3 stays in force",
        ),
        (
            ReloadReply(generation=3, applied=False, changes=ConfigChanges()),
            "nothing to change: generation 3 stays in force",
        ),
    ],
)
def test_a_reload_says_what_is_in_force(reply: ReloadReply, line: str) -> None:
    assert reload_line(reply) == line


def test_the_configuration_is_told_with_what_is_wrong_about_it() -> None:
    status = ConfigStatus(
        generation=3,
        loaded_at=940.0,
        files=("a.yaml", "b.yaml"),
        needs_restart=("listen",),
        failed=FailedReload(t=998.0, problems=("a.yaml:1:2: ttl: bad", "another"), more=5),
    )

    assert config_lines(status, 1000.0) == [
        "configuration: generation 3 of a.yaml, b.yaml, in force for 1 min 0 s; "
        "needs a restart: listen",
        "the last reload failed 2.0 s ago: a.yaml:1:2: ttl: bad "
        "(and 6 more; `arriero reload --dry-run` shows them)",
    ]
    assert config_lines(STATUS.config, 1000.0) == [
        "configuration: generation 3 of c.yaml, in force for 1 min 0 s"
    ]


@pytest.mark.parametrize(("count", "told"), [(1, "1 warning"), (2, "2 warnings")])
def test_the_warnings_of_a_configuration_are_counted_and_told(count: int, told: str) -> None:
    found = tuple(f"a.yaml:{number}:1: oh\x1b" for number in range(count))
    status = ConfigStatus(
        generation=1, loaded_at=0.0, files=("a.yaml",), warnings=count, findings=found
    )

    line, *shown = config_lines(status, 1.0)

    assert line.endswith(f"; {told}")
    assert shown == [f"warning: a.yaml:{number}:1: oh\\x1b" for number in range(count)]


def test_of_many_warnings_the_first_are_told() -> None:
    status = ConfigStatus(generation=1, loaded_at=0.0, warnings=99, findings=("a",) * 20)

    _, *shown = config_lines(status, 1.0)

    assert shown == ["warning: a"] * 5 + ["... and 94 more, see `arriero check`"]


def test_the_workers_are_an_aligned_table() -> None:
    assert aligned(workers_table(STATUS.workers)) == [
        "WORKER  PID  STATE     IN FLIGHT  LEASES",
        "     1    9  serving          11  a",
        "     2   10  starting          0  -",
    ]


PEERS = (
    PeerStatus(
        peer="box2",
        url="http://box2:8080",
        kind="arriero",
        watched=True,
        link="up",
        models=12,
        left_out=3,
        listed_at=95.0,
        running=(
            PeerModelStatus(model="qwen", state="starting", waiting=1, fraction=0.426),
            PeerModelStatus(model="gem\x1bma", state="ready", running=2),
            PeerModelStatus(model="tiny", state="ready"),
        ),
    ),
    PeerStatus(
        peer="box3",
        url="http://box3",
        kind="openai",
        circuit="open",
        why="cannot reach it",
        retry_at=104.0,
        models=1,
        failing=("a", "b"),
    ),
)


def test_other_machines_are_a_table() -> None:
    rows = aligned(peers_table(PEERS, 100.0))

    assert [re.split(" {2,}", row) for row in rows] == [
        ["MACHINE", "STATE", "CIRCUIT", "MODELS", "LIST", "RUNS", "REMARKS"],
        ["box2", "up", "closed", "12", "5.0 s",
         "qwen (starting, 42 %, 1 waiting), gem\\x1bma (2 running), tiny", "3 names left out"],
        ["box3", "-", "open", "1", "-", "-", "cannot reach it; asked again in 4.0 s; fails: a, b"],
    ]  # fmt: skip


def test_another_machine_is_a_line() -> None:
    assert [machine_line(it, 100.0) for it in PEERS] == [
        "box2: up, 12 models, qwen (starting, 42 %, 1 waiting), gem\\x1bma (2 running), tiny, "
        "3 names left out",
        "box3: circuit open, 1 model, cannot reach it, asked again in 4.0 s, fails: a, b",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert aligned(workers_table(())) == ["WORKER  PID  STATE  IN FLIGHT  LEASES"]


def test_the_headline_tells_of_the_whole_supervisor() -> None:
    assert headline(STATUS) == (
        "arriero 0.1.0 listens on 127.0.0.1:8080, up 1 min 15 s; queue: b (1 waiting)"
    )


def test_an_explanation_says_what_stops_who_is_ahead_and_why() -> None:
    reply = ExplainReply(
        model="b", state="stopped", action="swap", stops=("a",), ahead=(), why="a takes the room"
    )

    assert explanation(reply) == [
        "b is stopped; a request would start it after others have made room",
        "stops:  a",
        "ahead:  nobody",
        "why:    a takes the room",
    ]


def test_an_explanation_says_which_machine_answers() -> None:
    there = PlaceStanding(
        target="box2/m", host="box2", state="ready", running=2, waiting=0, wait_s=0.0, usable=True
    )
    here = PlaceStanding(
        target="m", host="", state="", running=0, waiting=1, wait_s=30.0, usable=False, why="gone"
    )
    reply = ExplainReply(
        model="m",
        state="ready",
        action="pass",
        stops=(),
        ahead=(),
        why="'box2' has it in memory",
        places=(there, here),
        why_there="'box2' has it in memory",
    )
    table = [
        "MACHINE  MODEL   STATE  RUNNING  WAITING   WAIT  REMARKS",
        "box2     box2/m  ready        2        0  0.0 s  -",
        "here     m       -            0        1   30 s  not asked: gone",
    ]

    assert explanation(reply) == [
        "m is at 2 machines; a request would be passed on to box2",
        "why:    'box2' has it in memory",
        "",
        *table,
    ]
    assert explanation(replace(reply, action="serve", why="it is ready"))[-5:] == [
        "here:   'box2' has it in memory",
        "",
        *table,
    ]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ErrorInfo(code="unknown_model", message="no model 'qwn'", did_you_mean=("qwen", "q")),
            "no model 'qwn'; did you mean qwen, q?",
        ),
        (
            ErrorInfo(code="unknown_model", message="no; did you mean q?", did_you_mean=("q",)),
            "no; did you mean q?",
        ),
        (
            ErrorInfo(code="model_unavailable", message="it waits", transient=True),
            "it waits (it may work a little later)",
        ),
    ],
)
def test_a_refusal_names_what_was_perhaps_meant_once(error: ErrorInfo, line: str) -> None:
    assert refusal_line(error) == line


def test_answers_about_starting_and_stopping_are_sentences() -> None:
    ready = SwapReply(model="b", state="ready", endpoint="http://127.0.0.1:5802", took_s=3.14)

    assert swapped_line(ready) == "b is ready at http://127.0.0.1:5802, after 3.1 s"
    assert swapped_line(SwapReply(model="b", state="starting")) == "b is starting"
    assert unloaded_line(UnloadReply(unloaded=("a", "b"), took_s=0.4)) == "unloaded a, b in 0.4 s"
    assert unloaded_line(UnloadReply(unloaded=(), took_s=0.0)) == "nothing was running"
