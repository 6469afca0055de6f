"""State -> lines of `arriero top`, and what keys do."""

import msgspec
import pytest

from arriero.protocol.control.base import ControlRequest
from arriero.protocol.control.models import (
    HoldRequest,
    LogsLine,
    ReleaseRequest,
    SwapRequest,
    UnloadRequest,
)
from arriero.protocol.control.requests import CancelRequest
from arriero.protocol.control.running import StatusReply
from arriero.protocol.events import (
    ConfigChanged,
    InflightChanged,
    ProgressMade,
    QueueChanged,
    StateChanged,
)
from arriero.protocol.records import InflightRequest, RequestPhase
from arriero.protocol.values import (
    ConfigStatus,
    DeviceStatus,
    ErrorInfo,
    ModelStatus,
    PeerModelStatus,
    PeerStatus,
    Progress,
    QueueEntry,
    WorkerStatus,
)
from arriero.supervisor.cli.render.glyphs import ASCII, UNICODE, Glyphs, width_of
from arriero.supervisor.cli.top.controls import Controls, Quit, press, shown_models
from arriero.supervisor.cli.top.picture import picture, snapshot_rows
from arriero.supervisor.cli.top.train_view import TrainView

GIB = 1024**3
LOADING = Progress(model="qwen", swap=2, phase="loading", elapsed_s=4.0, fraction=0.425, eta_s=12.0)
MODELS = (
    ModelStatus(
        model="qwen", state="starting", since=90.0, swap=2, memory={"gpu0": 9 * GIB},
        progress=LOADING,
    ),
    ModelStatus(model="gemma", state="ready", since=40.0, in_flight=1, memory={"gpu0": 3 * GIB}),
    ModelStatus(
        model="broken", state="stopped", since=10.0, memory={"gpu0": GIB},
        error=ErrorInfo(code="model_load_failed", message="it ended with status 1"),
    ),
)  # fmt: skip
DEVICE = DeviceStatus(
    device="gpu0", total=24 * GIB, reserve=2 * GIB, foreign=4 * GIB, reserved=12 * GIB,
    free=6 * GIB,
)  # fmt: skip
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n\u202e名前" * 3


def status(*models: ModelStatus, devices: tuple[DeviceStatus, ...] = (DEVICE,)) -> StatusReply:
    return StatusReply(
        version="1.2", epoch="e", seq=7, t=100.0, uptime_s=60.0, listen="127.0.0.1:8080",
        models=models, queue=(QueueEntry(model="qwen", waiting=2),),
        workers=(WorkerStatus(worker=1, pid=9, state="serving"),), control_requests=1,
        lease_requests=1, config=ConfigStatus(generation=1, loaded_at=1.0), devices=devices,
    )  # fmt: skip


def request(
    ident: str, *, phase: RequestPhase = "answer", tokens: int = 0, model: str = "gemma"
) -> InflightRequest:
    return InflightRequest(
        id=ident, t=90.0, model=model, path="/v1/chat/completions", method="POST", peer="127.0.0.1",
        request_fields={}, response_fields={}, bytes_out=1, phase=phase, output_tokens=tokens,
        ttft_ms=1000.0 if phase == "answer" else None,
    )  # fmt: skip


def known(*models: ModelStatus) -> TrainView:
    view = TrainView()
    view.take_status(status(*(models or MODELS)))
    view.take(
        InflightChanged(
            worker="w1", t=100.0, requests=(request("r1", tokens=90), request("r2", phase="queue"))
        )
    )
    view.log = (LogsLine(t=1.0, model="qwen", stream="stderr", line="loading the model"),)
    return view


def lines(
    view: TrainView, controls: Controls, width: int, height: int, glyphs: Glyphs
) -> list[str]:
    found = picture(view, controls, 100.0, width, height, glyphs).rows
    assert len(found) == height
    assert all(width_of(row.text) <= width for row in found)
    return [row.text.rstrip() for row in found]


def test_all_is_on_a_terminal_of_80_columns() -> None:
    assert lines(known(), Controls(), 80, 16, UNICODE) == [
        "arriero 1.2 · 2 running · 2 waiting · 10 tokens/s · 127.0.0.1:8080",
        "gpu0 █████████████▓▓▓▓▒▒▒░░░░░░ 6.0 GiB free of 24.0 GiB; models 12.0 GiB, othe…",
        "1. qwen: 2 requests, while it is loading 42 %, 12 s left",
        "MODEL    STATE     RUN WAIT    MEMORY",
        "qwen     starting    -    2   9.0 GiB  ███░░░░░ loading 42 %, 12 s left",
        "gemma    ready       1    -   3.0 GiB",
        "broken   stopped     -    -         -  it ended with status 1",
        "REQUEST OF       PHASE          FOR  TOKENS     /S  CLIENT, ID",
        "gemma            answer        10 s      90   10.0  127.0.0.1 r1",
        "gemma            waits         10 s       -      -  127.0.0.1 r2",
        "── log of all models ───────────────────────────────────────────────────────────",
        "qwen  loading the model",
        "", "", "",
        "q quit  ? keys  Enter load  u unload  x cancel  h hold  / search  s sort",
    ]  # fmt: skip


def test_other_machines_have_a_line_each() -> None:
    view = known()
    assert view.status is not None
    peers = (
        PeerStatus(peer="box2", url="", kind="arriero", link="up", models=3),
        PeerStatus(peer="box3", url="", kind="openai", circuit="open", models=1),
    )
    view.status = msgspec.structs.replace(view.status, peers=peers)

    assert lines(view, Controls(), 40, 24, UNICODE)[2:5] == [
        "box2: up, 3 models",
        "box3: circuit open, 1 model",
        "1. qwen: 2 requests, while it is loadin…",
    ]
    assert "box2" not in "".join(lines(view, Controls(), 40, 9, UNICODE))


def test_a_narrow_terminal_shows_what_matters_most() -> None:
    assert lines(known(), Controls(), 40, 15, ASCII) == [
        "arriero 1.2 | 2 running | 2 waiting | 1~",
        "gpu0 ######===-... 6.0 GiB free of 24.0~",
        "1. qwen: 2 requests, while it is loadin~",
        "MODEL    STATE",
        "qwen     starting  ##.... 42 %",
        "gemma    ready",
        "broken   stopped   it ended with status~",
        "REQUEST OF PHASE          FOR     /S",
        "gemma      answer        10 s   10.0",
        "gemma      waits         10 s      -",
        "-- log of all models -------------------",
        "qwen  loading the model",
        "", "",
        "q quit  ? keys  Enter load  u unload",
    ]  # fmt: skip


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_nothing_of_others_drives_the_terminal(glyphs: Glyphs) -> None:
    evil = ModelStatus(
        model=HOSTILE, state="stopped", since=1.0, error=ErrorInfo(code="x", message=HOSTILE)
    )
    view = known(evil, *MODELS)
    assert view.status is not None
    peer = PeerStatus(
        peer=HOSTILE, url=HOSTILE, kind=HOSTILE, why=HOSTILE, failing=(HOSTILE,),
        running=(PeerModelStatus(model=HOSTILE, state="ready"),),
    )  # fmt: skip
    view.status = msgspec.structs.replace(view.status, peers=(peer, peer))
    view.queue = (QueueEntry(model=HOSTILE, waiting=1),)
    view.take(InflightChanged(worker=HOSTILE, requests=(request(HOSTILE, model=HOSTILE),)))
    view.log = (LogsLine(t=1.0, model=HOSTILE, stream="stderr", line=HOSTILE + "\udc80"),)
    for controls in (
        Controls(log_of="this model"), Controls(search="x\u202e"), Controls(message=HOSTILE),
        Controls(asks="sure", pending=UnloadRequest(model=HOSTILE, mode="now")),
        Controls(asks="device"), Controls(asks="help"), Controls(focus="requests"),
    ):  # fmt: skip
        for width in (20, 57, 120):
            for height in (4, 15, 40):
                drawn = "".join(lines(view, controls, width, height, glyphs))
                assert drawn.isprintable()
                assert not glyphs.is_ascii or drawn.isascii()
                drawn.encode()
    assert all(row.text.isprintable() for row in snapshot_rows(view, 100.0, 100, glyphs))


def test_of_200_models_those_around_the_chosen_one_are_shown() -> None:
    view = known(*(ModelStatus(model=f"m{i}", state="stopped", since=1.0) for i in range(200)))
    shown = lines(view, Controls(model="m150"), 80, 24, UNICODE)

    assert any(line.startswith("m150 ") for line in shown)
    assert any(line.endswith("of 200") for line in shown)
    assert len([line for line in shown if line.startswith("m1")]) >= 8


def test_a_terminal_of_no_size_is_no_mistake() -> None:
    for width, height in ((1, 1), (19, 3), (200, 1), (0, 0)):
        picture(known(), Controls(), 100.0, width, height, UNICODE)


def test_before_the_first_answer_it_says_that_it_waits() -> None:
    shown = lines(TrainView(), Controls(), 60, 10, ASCII)

    assert shown[0] == "arriero: connecting"
    assert "waiting for the supervisor" in shown


def test_a_lost_supervisor_is_told_in_the_first_line() -> None:
    view = known()
    view.is_connected = False

    assert "connecting" in lines(view, Controls(), 80, 10, UNICODE)[0]


def test_events_change_what_is_known() -> None:
    view = known()
    gone = InflightChanged(worker="w1", t=104.0, requests=(request("r1", tokens=130),))

    assert not view.take(QueueChanged(queue=()))
    assert not view.take(ProgressMade(model="gemma", progress=LOADING))
    assert view.models["gemma"].progress == LOADING
    assert view.take(StateChanged(model="qwen", state="ready", swap=2, t=101.0))
    assert (view.models["qwen"].state, view.models["qwen"].progress) == ("ready", None)
    assert view.take(StateChanged(model="new", state="ready", swap=2))  # after a reload
    assert view.take(ConfigChanged(generation=2))
    assert not view.take(gone)
    assert [one.id for one in view.requests()] == ["r1"]
    assert (view.speed("r1"), view.speed("r2"), view.total_speed()) == (10.0, None, 10.0)
    view.take_status(status(*MODELS))
    assert view.requests()  # of the same supervisor


LOAD = SwapRequest(model="qwen", wait=False)


@pytest.mark.parametrize(
    ("keys", "wish"),
    [
        (["q"], Quit()),
        (["?", "q"], Quit()),
        (["enter"], LOAD),
        (["l"], LOAD),
        (["down", "l"], SwapRequest(model="gemma", wait=False)),
        (["end", "k", "u"], UnloadRequest(model="gemma")),
        (["pgdn", "home", "l"], LOAD),
        (["U", "y"], UnloadRequest(model="qwen", mode="now")),
        (["U", "n"], None),
        (["x", "y"], CancelRequest(request_id="r1")),
        (["tab", "down", "x", "y"], CancelRequest(request_id="r2")),
        (["x", "esc"], None),
        (["h", "1"], HoldRequest(device="gpu0", wait=False)),
        (["h", "0"], HoldRequest(device=None, wait=False)),
        (["h", "7"], None),
        (["/", *"GEM", "enter", "l"], SwapRequest(model="gemma", wait=False)),
        (["/", *"gemx", "backspace", "enter", "l"], SwapRequest(model="gemma", wait=False)),
        (["/", *"q"], None),
        (["/", *"nothing", "enter", "l"], None),
        (["/", *"gem", "esc", "l"], LOAD),
        (["f", "f", "u"], UnloadRequest(model="broken")),
        (["s", "l"], SwapRequest(model="broken", wait=False)),
    ],
)  # fmt: skip
def test_keys_ask_for(keys: list[str], wish: ControlRequest | Quit | None) -> None:
    view, controls, asked = known(), Controls(), None
    for key in keys:
        assert asked is None
        controls, asked = press(controls, key, view)

    assert asked == wish


def test_a_held_device_is_released() -> None:
    view = known()
    held = DeviceStatus(device="gpu0", total=9, reserve=0, foreign=0, reserved=0, free=9, held=True)
    view.take_status(status(*MODELS, devices=(held,)))

    for number, device in (("1", "gpu0"), ("0", None)):
        assert press(Controls(asks="device"), number, view)[1] == ReleaseRequest(device=device)


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("file", ["qwen", "gemma", "broken"]),
        ("name", ["broken", "gemma", "qwen"]),
        ("state", ["qwen", "gemma", "broken"]),
        ("requests", ["qwen", "gemma", "broken"]),
        ("memory", ["qwen", "gemma", "broken"]),
    ],
)
def test_models_are_sorted(order: str, names: list[str]) -> None:
    controls = Controls()
    while controls.order != order:
        controls, _ = press(controls, "s", known())

    assert [one.model for one in shown_models(known(), controls)] == names
