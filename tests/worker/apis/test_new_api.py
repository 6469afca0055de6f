"""Adding an API: one module (here: one class) and one row in the table."""

import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from arriero.protocol.records import FinishReason, UpstreamKind
from arriero.protocol.worker_config import ModelRoute
from arriero.worker.accounting.account import open_account
from arriero.worker.accounting.record import make_record
from arriero.worker.apis.base.api import Api, NamedPath, piece_members
from arriero.worker.apis.base.dialect import (
    Dialect,
    Mode,
    ProgressNumbers,
    StreamContext,
    events_in,
)
from arriero.worker.apis.base.members import count_in, text_in
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.error_response import error_answer
from arriero.worker.apis.routes import APIS, PLAIN, Route, Routes
from arriero.worker.errors import RelayError, Unavailable
from arriero.worker.http.cors import Field
from arriero.worker.http.route_declaration import asks
from arriero.worker.progress.model_view import ModelView
from arriero.worker.progress.modes import choose_mode
from arriero.worker.progress.status_stream import StatusStream
from arriero.worker.relay.frame_pipeline import FramePipeline
from arriero.worker.streams.merge import MergingSplitter
from arriero.worker.streams.sse_frames import FrameSplitter
from arriero.worker.streams.stream_end import EndWatcher, StreamEnd
from arriero.worker.upstreams.extra_options import asks_for_usage

END = re.compile(rb'"over":')


def frame(**members: object) -> bytes:
    return b"data: %b\n\n" % json.dumps(members).encode()


class VersesMerge:
    """Numbers verses: ours come first."""

    def begin(self) -> bytes:
        return frame(verse="-")

    def edit(self, frame: bytes) -> bytes:
        return frame.replace(b'"verse"', b'"next"')


class VersesDialect(Dialect):
    """Verses."""

    def __init__(self, context: StreamContext) -> None:
        self._model = context.model
        self.merge = VersesMerge() if context.mode == "reasoning" else None

    def opening(self) -> bytes:
        return frame(poem=self._model)

    def line(self, text: str, numbers: ProgressNumbers | None) -> bytes:
        return frame(note=text)

    def heartbeat(self, numbers: ProgressNumbers | None) -> bytes:
        return frame(verse="")

    def failure(self, error: RelayError, sent_so_far: bytes = b"") -> bytes:
        return frame(over=error.code)

    def interrupted(self, sent_so_far: bytes, usage: Usage, *, asked_usage: bool = False) -> bytes:
        verses = sum("verse" in value for _, value in events_in(sent_so_far))
        return b"" if END.search(sent_so_far) else frame(over="cut", verses=verses)


class VersesApi(Api):
    """An API like no other."""

    family = "verses"
    routes = (asks("/v9/verses", "Write verses."),)
    named_path = NamedPath(re.compile(rb"(/v9/poets/)(.+)(/(recite|write))"), b"recite")
    error_prefixes = (b"/v9/",)
    target = stream_target = "/v9/verses"
    stream_end = StreamEnd(END.search, marker=b": bye\n\n", has_marker=lambda it: b": bye" in it)
    modes: ClassVar[frozenset[Mode]] = frozenset({"comment", "heartbeat", "reasoning"})
    has_usage_option = True
    hints = (b'"over"',)
    pieces = piece_members(b'"verse"')
    finish_words: ClassVar[Mapping[str, FinishReason]] = {"done": "stop", "paper": "length"}
    model_member = "poet"

    def is_spoken_in(self, body: Mapping[str, Any], kind: UpstreamKind) -> bool:
        return "verses" in body

    def dialect(self, context: StreamContext) -> Dialect:
        return VersesDialect(context)

    def error_body(self, error: RelayError) -> bytes:
        return json.dumps({"alas": error.message}).encode()

    def error_fields(self, error: RelayError) -> tuple[Field, ...]:
        return ((b"X-Alas", error.code.encode()),)

    def read_usage(self, value: dict[str, Any], known: Usage) -> Usage:
        if "read" not in value:
            return known
        return replace(
            known,
            input_tokens=count_in(value, "read"),
            output_tokens=count_in(value, "written"),
            source="final",
        )

    def finish_word(self, value: dict[str, Any]) -> str | None:
        return text_in(value, "over")


VERSES = VersesApi()
ROUTES = Routes((VERSES, *APIS))
RESPONSE = [
    frame(poet="sappho"),
    frame(verse="a"),
    frame(verse="b"),
    frame(over="paper", read=7, written=2),
]


def context(mode: Mode) -> StreamContext:
    return StreamContext(mode=mode, model="m", ident="0" * 24, created=0, body=b"{}")


def watcher() -> EndWatcher:
    assert VERSES.stream_end is not None
    return EndWatcher(VERSES.stream_end)


def test_its_paths_are_routes() -> None:
    assert ROUTES.find(b"/v9/verses") == Route(VERSES, access="infer")
    assert ROUTES.find(b"/v9/poets/a%2Fb/recite") == Route(VERSES, "a/b", streams=True)
    assert ROUTES.find(b"/v9/poets/a/write") == Route(VERSES, "a", streams=False)
    assert ROUTES.with_model(b"/v9/poets/a/write", "c") == b"/v9/poets/c/write"
    assert b"/v9/verses" in ROUTES.paths
    for path in (it for api in APIS for it in api.paths):
        route = ROUTES.find(path)
        assert route is not None
        assert route.api is not VERSES


def test_a_body_without_a_path_is_recognised() -> None:
    assert ROUTES.of_body({"verses": []}) is VERSES
    assert VERSES.target_for("m", stream=True) == b"/v9/verses"


def test_errors_have_its_shape() -> None:
    response = error_answer(Unavailable("no paper"), close=False, api=VERSES)

    assert b"\r\nX-Alas: model_unavailable\r\n" in response
    assert response.endswith(b'\r\n\r\n{"src":"arriero","alas": "no paper"}')
    assert ROUTES.api_of_errors(b"/v9/nothing") is VERSES
    assert ROUTES.api_of_errors(b"/v8/nothing") is PLAIN


@pytest.mark.parametrize(
    ("header", "mode"), [(b"reasoning", "reasoning"), (b"event", "heartbeat"), (b"off", "off")]
)
def test_a_mode_that_it_lacks_is_a_heartbeat(header: bytes, mode: Mode) -> None:
    assert choose_mode(header, ModelRoute(model="m"), VERSES, stream=True) == mode


def test_a_waiting_client_gets_its_frames() -> None:
    status = StatusStream(
        mode="reasoning",
        dialect=VERSES.dialect(context("reasoning")),
        model="m",
        now=0.0,
        delay_s=1.0,
        heartbeat_s=15.0,
        marker="> ",
        details=False,
    )

    assert status.on_time(1.0, ModelView("queued", ahead=2)) == [
        frame(poem="m"),
        frame(note="> m: queued (2 ahead)\n"),
    ]
    assert status.on_ready(5.0) == [frame(note="> m: ready after 5.0 s\n")]


def test_its_stream_is_merged_with_ours() -> None:
    merge = VERSES.dialect(context("reasoning")).merge
    assert merge is not None
    splitter = MergingSplitter(merge)

    assert splitter.push(b"".join(RESPONSE[1:3])) == (
        frame(verse="-") + frame(next="a") + frame(next="b")
    )


def test_a_stream_is_read_to_its_end() -> None:
    account = open_account(request_id="r", path=b"/v9/verses", api=VERSES, now=0.0, t=0.0)
    pipeline = FramePipeline(account, 0.0)
    splitter = FrameSplitter()
    end = watcher()
    for number, data in enumerate(RESPONSE):
        assert not end.seen
        assert account.has_token is (number > 1)
        end.look(pipeline.take(splitter.push(data), float(number)))
    account.status = 200
    record = make_record(account, 9.0)

    assert end.seen
    assert end.missing_marker == b": bye\n\n"
    assert (record.api, record.outcome, record.served_as) == ("verses", "ok", "sappho")
    assert (record.input_tokens, record.output_tokens, record.usage_source) == (7, 2, "final")
    assert record.finish_reason == "length"
    assert record.ttft_ms == 1000.0


def test_a_stream_that_is_cut_ends_in_its_own_way() -> None:
    dialect = VERSES.dialect(context("off"))
    end = watcher()
    for data in RESPONSE[:3]:
        end.look(data)

    assert dialect.interrupted(end.sent_so_far, Usage()) == frame(over="cut", verses=2)
    assert dialect.failure(Unavailable("no paper")) == frame(over="model_unavailable")
    assert dialect.interrupted(b"".join(RESPONSE), Usage()) == b""


def test_an_error_in_a_stream_has_a_code() -> None:
    assert VERSES.error_code({"error": {"code": 503}}) == "503"


def test_usage_is_asked_for() -> None:
    assert asks_for_usage("inject", "vllm", VERSES, stream=True)
