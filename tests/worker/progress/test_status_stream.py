import html
import io
import itertools
import json
import math
import re
from typing import Any

import pytest
import rich.console
import rich.text
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace

from arriero.protocol.worker_config import DEFAULT_MARKER, FORMER_MARKERS
from arriero.worker.apis.base.api import Api
from arriero.worker.apis.base.dialect import Mode, StreamContext
from arriero.worker.apis.routes import CHAT, COMPLETIONS
from arriero.worker.progress.model_view import ModelView
from arriero.worker.progress.status_stream import MAX_LINE_BYTES, MAX_LINES, StatusStream

QUEUED = ModelView("queued", ahead=2)


def loading(fraction: float | None) -> ModelView:
    return ModelView("loading", fraction=fraction)


def waiting(mode: Mode, api: Api = CHAT, **changes: Any) -> StatusStream:
    options: dict[str, Any] = {
        "mode": mode,
        "model": "qwen",
        "now": 0.0,
        "delay_s": 1.0 if mode in {"reasoning", "event"} else 10.0,
        "heartbeat_s": 10.0,
        "marker": "swap-progress: ",
        "details": False,
    }
    options |= changes
    dialect = api.dialect(
        StreamContext(
            mode=mode,
            model=options["model"],
            ident="0123456789abcdef01234567",
            created=1700000000,
            body=b"{}",
        )
    )
    return StatusStream(dialect=dialect, **options)


def play(stream: StatusStream, views: list[tuple[float, ModelView]], until: float) -> list[Any]:
    """Show `views` at their times; return (time, frame) of all that is sent until then."""
    sent: list[Any] = []
    view = QUEUED
    now = 0.0
    todo = list(views)
    while True:
        upcoming = todo[0][0] if todo else math.inf
        now = max(now, min(upcoming, stream.next_deadline()))
        if now > until:
            return sent
        if todo and upcoming <= now:
            view = todo.pop(0)[1]
        sent += [(now, frame) for frame in stream.on_time(now, view)]


def lines_of(sent: list[Any]) -> list[tuple[float, str]]:
    found = []
    for now, frame in sent:
        data = json.loads(frame.removeprefix(b"data: "))
        delta = data["choices"][0]["delta"]
        found.append((now, delta.get("reasoning_content", "").rstrip("\n")))
    return found


def test_a_progress_chunk_is_byte_for_byte_that_of_the_wire_format() -> None:
    stream = waiting("reasoning", details=True)

    assert stream.on_time(12.34, loading(0.42)) == [
        b'data: {"id":"chatcmpl-swap-0123456789abcdef01234567","object":"chat.completion.chunk",'
        b'"created":1700000000,"model":"qwen","choices":[{"index":0,"delta":{"reasoning_content":'
        b'"swap-progress: qwen: loading 42% (12 s)\\n"},"finish_reason":null}],'
        b'"swap_progress":{"phase":"loading","percent":42,"elapsed_s":12.3,"queue_position":null}}'
        b"\n\n"
    ]


def test_a_heartbeat_has_an_empty_delta() -> None:
    assert waiting("heartbeat").on_time(10.0, loading(0.42)) == [
        b'data: {"id":"chatcmpl-swap-0123456789abcdef01234567","object":"chat.completion.chunk",'
        b'"created":1700000000,"model":"qwen","choices":[{"index":0,"delta":{},'
        b'"finish_reason":null}]}\n\n'
    ]


def test_a_completion_has_an_empty_text() -> None:
    assert waiting("heartbeat", COMPLETIONS, details=True).on_time(10.0, QUEUED) == [
        b'data: {"id":"cmpl-swap-0123456789abcdef01234567","object":"text_completion",'
        b'"created":1700000000,"model":"qwen","choices":[{"text":"","index":0,"logprobs":null,'
        b'"finish_reason":null}],"swap_progress":{"phase":"queued","percent":null,'
        b'"elapsed_s":10.0,"queue_position":2}}\n\n'
    ]


def test_an_event_is_a_complete_chunk_with_a_name_and_numbers() -> None:
    (frame,) = waiting("event").on_time(1.0, loading(0.5))

    name, _, data = frame.partition(b"\n")
    assert name == b"event: swap_progress"
    chunk = json.loads(data.removeprefix(b"data: "))
    assert chunk["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
    assert chunk["swap_progress"]["percent"] == 50


def test_a_comment_is_one_line_and_a_blank_one() -> None:
    assert waiting("comment").on_time(10.0, loading(0.42)) == [b": qwen: loading 42% (10 s)\n\n"]


@pytest.mark.parametrize(
    ("mode", "delay"),
    [("comment", 10.0), ("heartbeat", 10.0), ("reasoning", 1.0), ("event", 1.0)],
)
def test_nothing_is_sent_before_the_commit_delay_and_something_at_it(
    mode: Mode, delay: float
) -> None:
    stream = waiting(mode)

    assert stream.next_deadline() == delay
    assert stream.on_time(delay - 0.001, loading(0.1)) == []
    assert not stream.committed
    assert len(stream.on_time(delay, loading(0.1))) == 1
    assert stream.committed


def test_off_says_nothing_ever() -> None:
    stream = waiting("off")

    assert stream.next_deadline() == math.inf
    assert stream.on_time(1e6, QUEUED) == []


@pytest.mark.parametrize("mode", ["heartbeat", "comment"])
def test_without_heartbeats_these_modes_never_commit(mode: Mode) -> None:
    stream = waiting(mode, heartbeat_s=math.inf)

    assert stream.on_time(1e6, loading(0.1)) == []
    assert stream.on_ready(1e6) == []
    stream.on_wait_again()
    assert stream.next_deadline() == math.inf
    assert not stream.committed


@pytest.mark.parametrize("mode", ["reasoning", "event"])
def test_without_heartbeats_changes_are_told_nevertheless(mode: Mode) -> None:
    stream = waiting(mode, heartbeat_s=math.inf)

    sent = play(stream, [(5.0, loading(0.1)), (15.0, loading(0.5))], until=29.0)

    assert [now for now, _ in sent] == [1.0, 5.0, 15.0]
    assert stream.heartbeats == 0


def test_a_model_that_is_ready_before_the_commit_leaves_no_trace() -> None:
    stream = waiting("reasoning")

    assert stream.on_ready(0.5) == []
    assert stream.next_deadline() == math.inf
    assert stream.on_time(100.0, QUEUED) == []


def test_lines_follow_phases_tens_of_percent_and_the_clock() -> None:
    views = [
        (0.0, QUEUED),
        (5.0, ModelView("draining", other="gemma", requests=2)),
        (6.0, ModelView("stopping", other="gemma")),
        (8.0, loading(None)),
        (10.0, loading(0.0)),
        (11.0, loading(0.09)),
        (12.0, loading(0.10)),
        (13.0, loading(0.35)),
        (14.0, loading(0.2)),
        (60.0, ModelView("warming")),
    ]
    stream = waiting("reasoning", heartbeat_s=60.0)

    sent = play(stream, views, until=62.0)
    sent += [(62.5, frame) for frame in stream.on_ready(62.5)]

    assert lines_of(sent) == [
        (1.0, "swap-progress: qwen: queued (2 ahead)"),
        (5.0, "swap-progress: qwen: waiting for gemma to finish (2 requests, 5 s)"),
        (6.0, "swap-progress: qwen: stopping gemma"),
        (8.0, "swap-progress: qwen: loading (8 s)"),
        (10.0, "swap-progress: qwen: loading 0% (10 s)"),
        (12.0, "swap-progress: qwen: loading 10% (12 s)"),
        (13.0, "swap-progress: qwen: loading 35% (13 s)"),
        (43.0, "swap-progress: qwen: loading 35% (43 s)"),
        (60.0, "swap-progress: qwen: warming up"),
        (62.5, "swap-progress: qwen: ready after 62.5 s"),
    ]


def test_changes_within_a_second_are_told_once_and_the_latest_wins() -> None:
    views = [
        (1.2, ModelView("draining", other="gemma")),
        (1.4, ModelView("stopping", other="gemma")),
        (1.6, loading(0.3)),
    ]

    sent = play(waiting("reasoning"), views, until=5.0)

    assert lines_of(sent) == [
        (1.0, "swap-progress: qwen: queued (2 ahead)"),
        (2.0, "swap-progress: qwen: loading 30% (2 s)"),
    ]


def test_a_late_joiner_starts_with_the_current_state() -> None:
    stream = waiting("reasoning", now=100.0)

    assert lines_of([(101.0, stream.on_time(101.0, loading(0.8))[0])]) == [
        (101.0, "swap-progress: qwen: loading 80% (1 s)")
    ]


def test_silence_is_broken_by_heartbeats_between_the_lines() -> None:
    sent = play(waiting("reasoning"), [(0.0, loading(0.5))], until=45.0)

    assert lines_of(sent) == [
        (1.0, "swap-progress: qwen: loading 50% (1 s)"),
        (11.0, ""),
        (21.0, ""),
        (31.0, "swap-progress: qwen: loading 50% (31 s)"),
        (41.0, ""),
    ]


def test_heartbeats_go_on_after_the_grant() -> None:
    stream = waiting("reasoning")
    stream.on_time(1.0, loading(0.5))
    stream.on_ready(3.0)

    assert stream.next_deadline() == 13.0
    assert lines_of([(13.0, stream.on_time(13.0, QUEUED)[0])]) == [(13.0, "")]
    assert stream.next_deadline() == 23.0


def test_forty_lines_at_the_most_and_the_last_one_is_for_ready() -> None:
    stream = waiting("reasoning")
    views = [(1.0 + n, ModelView("queued", ahead=n % 7)) for n in range(200)]

    sent = play(stream, views, until=300.0)
    sent += [(300.0, frame) for frame in stream.on_ready(300.0)]
    lines = [line for _, line in lines_of(sent) if line]

    assert len(lines) == MAX_LINES
    assert lines[-1] == "swap-progress: qwen: ready after 300.0 s"
    gaps = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(sent)]
    assert min(gaps[:30]) >= 1.0
    assert max(gaps) <= 10.0


def test_percent_never_falls_and_never_reaches_a_hundred() -> None:
    stream = waiting("event")
    views = [(1.0 + n, loading(f)) for n, f in enumerate([0.5, 0.2, 0.7, 0.6, 1.0, 0.9])]

    percents = [
        json.loads(frame.partition(b"data: ")[2])["swap_progress"]["percent"]
        for _, frame in play(stream, views, until=8.0)
    ]

    assert percents == sorted(percents)
    assert percents[-1] == 99


@pytest.mark.parametrize("name", ["q" * 500, "né\n\r\x00w", "🦙" * 80])
def test_a_line_is_short_ascii_and_one_line_whatever_the_names_are(name: str) -> None:
    stream = waiting("reasoning", model=name, marker="[" + "x" * 29 + "] ")

    for now, view in [
        (1.0, ModelView("draining", other=name)),
        (2.0, ModelView("stopping", other=name)),
    ]:
        (frame,) = stream.on_time(now, view)
        line = json.loads(frame[6:])["choices"][0]["delta"]["reasoning_content"]
        assert line.isascii()
        assert line.endswith("\n")
        assert line[:-1].isprintable()
        assert len(line) <= MAX_LINE_BYTES


def test_a_ready_model_is_never_an_early_commit_however_long_its_grant_takes() -> None:
    stream = waiting("reasoning", delay_s=0.0)
    assert play(stream, [(0.0, ModelView("ready"))], until=30.0) == []
    assert not stream.committed


def test_nothing_is_said_before_it_can_be_known_what_happens() -> None:
    sent = play(waiting("reasoning", delay_s=0.0), [(0.02, loading(0.3))], until=0.5)
    assert lines_of(sent) == [(0.05, "swap-progress: qwen: loading 30% (0 s)")]


def test_a_stream_that_was_begun_says_nothing_of_a_model_that_is_ready_until_its_grant() -> None:
    sent = play(
        waiting("reasoning", delay_s=0.0), [(0.0, loading(0.3)), (2.0, ModelView("ready"))], 9.0
    )
    assert len(sent) == 1


def test_a_line_without_a_percentage_is_not_repeated_because_that_grew() -> None:
    views = [(0.0, ModelView("warming", fraction=0.85)), (3.0, ModelView("warming", fraction=0.97))]
    sent = play(waiting("reasoning", delay_s=0.0), views, until=9.0)
    assert [text for _, text in lines_of(sent)] == ["swap-progress: qwen: warming up"]


def test_a_model_without_a_turn_is_no_news_after_it_was_loading() -> None:
    """So it looks between the failure of a load and the error."""
    views = [(0.0, loading(0.3)), (3.0, ModelView("queued")), (9.0, loading(0.5))]
    sent = play(waiting("reasoning"), views, until=9.5)
    assert lines_of(sent) == [
        (1.0, "swap-progress: qwen: loading 30% (1 s)"),
        (9.0, "swap-progress: qwen: loading 50% (9 s)"),
    ]


def test_waking_and_restoring_are_told() -> None:
    placing, waking = ModelView("placing"), ModelView("waking")
    views = [(0.0, placing), (2.0, waking), (3.0, ModelView("restoring", fraction=0.97))]
    sent = play(waiting("reasoning", delay_s=0.0), views, until=9.0)
    assert [text for _, text in lines_of(sent)] == [
        "swap-progress: qwen: waiting for a machine (0 s)",
        "swap-progress: qwen: waking (2 s)",
        "swap-progress: qwen: restoring the prompt cache",
    ]


_STAGES = (
    *("queued", "draining", "stopping", "placing", "waking"),
    *("loading", "warming", "restoring", "ready"),
)
_VIEWS = st.lists(
    st.tuples(
        st.floats(0.0, 90.0),
        st.builds(
            ModelView,
            st.sampled_from(_STAGES),
            ahead=st.integers(0, 2),
            other=st.just("gemma"),
            fraction=st.none() | st.floats(0.0, 1.0),
        ),
    ),
    max_size=12,
)


@given(_VIEWS, st.sampled_from(["comment", "reasoning", "event"]), st.sampled_from([0.0, 1.0]))
def test_nobody_is_told_that_none_are_ahead(
    views: list[tuple[float, ModelView]], mode: Mode, delay_s: float
) -> None:
    """And no deadline lies in the past: whoever waits for it would turn in circles."""
    stream = waiting(mode, delay_s=delay_s)
    view, now, rounds = QUEUED, 0.0, 0
    todo = sorted(views, key=lambda it: it[0])
    while now < 100.0:
        upcoming = todo[0][0] if todo else math.inf
        now = max(now, min(upcoming, stream.next_deadline()))
        if todo and upcoming <= now:
            view = todo.pop(0)[1]
        for frame in stream.on_time(now, view):
            assert b"(0 ahead)" not in frame
        rounds += 1
        if not (view.stage == "ready" and not stream.committed):  # it is looked at again then
            assert rounds < 2500
            assert not stream.committed or stream.next_deadline() > now


_PHASES = [
    ModelView("queued", ahead=2),
    ModelView("draining", other="gemma"),
    ModelView("stopping", other="gemma"),
    loading(None),
    loading(0.42),
    ModelView("warming"),
]


def test_no_markup_takes_a_line_for_its_own() -> None:
    """What reads `[x]` as a style is rich; Markdown and HTML have their own signs."""
    stream = waiting("reasoning", marker=DEFAULT_MARKER)
    lines = []
    for number, view in enumerate(_PHASES):
        lines += [
            text for _, text in lines_of([(0, it) for it in stream.on_time(1.0 + number, view)])
        ]
    lines += [text for _, text in lines_of([(0, it) for it in stream.on_ready(9.0)])]
    lines += [text for _, text in lines_of([(0, it) for it in stream.on_prompt(11.0, 0.42)])]
    assert [line.split(": ", 2)[2].split()[0] for line in lines] == [
        *("queued", "waiting", "stopping", "loading", "loading", "warming", "ready", "prefill")
    ]

    for line in lines:
        assert rich.text.Text.from_markup(line).plain == line
        shown = io.StringIO()
        rich.console.Console(file=shown, width=200).print(line)
        assert shown.getvalue() == f"{line}\n"
        assert MarkdownIt().render(line) == f"<p>{line}</p>\n"
        assert html.escape(line) == html.unescape(line) == line
        assert not re.search(r"[\[\]\\{}$&#^_~<>*`]", line.replace("%", ""))  # BBCode, LaTeX


def test_the_former_marker_was_taken_for_a_style() -> None:
    (former,) = FORMER_MARKERS
    assert rich.text.Text.from_markup(f"{former}x").plain == " x"


def test_nobody_is_told_of_a_queue_with_nobody_in_it() -> None:
    stream = waiting("reasoning", heartbeat_s=10.0)
    sent = play(stream, [(0.0, ModelView("queued")), (3.0, ModelView("queued", ahead=1))], until=8)
    assert [line for _, line in lines_of(sent) if line] == ["swap-progress: qwen: queued (1 ahead)"]


def test_a_reason_to_wait_is_told_without_anybody_ahead() -> None:
    stream = waiting("reasoning", heartbeat_s=10.0)
    sent = play(stream, [(0.0, ModelView("queued", has_reason=True))], until=8)
    assert [line for _, line in lines_of(sent) if line] == ["swap-progress: qwen: queued"]


@pytest.mark.parametrize(
    ("requests", "words"), [(0, "(4 s)"), (1, "(1 request, 4 s)"), (12, "(12 requests, 4 s)")]
)
def test_whose_end_is_waited_for_is_told(requests: int, words: str) -> None:
    stream = waiting("comment", heartbeat_s=10.0, delay_s=4.0)
    sent = play(stream, [(0.0, ModelView("draining", other="b", requests=requests))], until=5)
    assert sent[0][1] == f": qwen: waiting for b to finish {words}\n\n".encode()


def test_how_long_a_load_takes_is_told_if_it_is_known() -> None:
    view = ModelView("loading", fraction=0.42, eta_s=15.2)
    assert waiting("comment").on_time(10.0, view) == [b": qwen: loading 42% (10 s, 16 s left)\n\n"]


def test_a_count_that_becomes_known_is_told_once() -> None:
    views = [
        (float(at), ModelView("draining", other="b", requests=requests))
        for at, requests in ((0, 0), (4, 2), (8, 1))
    ]
    sent = play(waiting("reasoning", heartbeat_s=60.0), views, until=12)
    assert [line for _, line in lines_of(sent)] == [
        "swap-progress: qwen: waiting for b to finish (1 s)",
        "swap-progress: qwen: waiting for b to finish (2 requests, 4 s)",
    ]


def test_another_machine_is_named_and_begins_anew() -> None:
    box2 = replace(loading(0.42), host="box2", eta_s=3.0)
    views = [
        (1.0, replace(QUEUED, host="box2")),
        (5.0, box2),
        (8.0, ModelView("machine", host="box 3<>")),
        (10.0, replace(loading(0.07), host="box3")),
        (12.0, ModelView("draining", other="n", requests=2, host="box3")),
        (14.0, ModelView("waking", host="box3")),
    ]
    sent = play(waiting("reasoning"), views, 16.0)
    assert [text.removeprefix("swap-progress: qwen: ") for _, text in lines_of(sent)] == [
        "queued on box2 (2 ahead)",
        "loading on box2 42% (5 s, 3 s left)",
        "waking box 3?? (8 s)",
        "loading on box3 7% (10 s)",
        "waiting for n to finish on box3 (2 requests, 12 s)",
        "waking on box3 (14 s)",
    ]
