import contextlib
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol import lease
from arriero.protocol.codec import (
    MAX_MESSAGE_BYTES,
    decode_event,
    decode_reply,
    encode,
    encode_event,
    encode_finished,
    read_from_supervisor,
    read_from_worker,
    read_request,
)
from arriero.protocol.control.base import Refusal
from arriero.protocol.control.messages import AnyRequest
from arriero.protocol.control.models import (
    ExplainRequest,
    LogsRequest,
    SwapReply,
    SwapRequest,
    UnloadRequest,
)
from arriero.protocol.control.requests import ActivityRequest, CancelRequest, PreviewRequest
from arriero.protocol.control.running import (
    PingRequest,
    RestartRequest,
    ScaleRequest,
    ShutdownRequest,
    StatusRequest,
    WorkersRequest,
)
from arriero.protocol.control.settings import ReloadRequest
from arriero.protocol.errors import LocalProtocolError, RemoteProtocolError
from arriero.protocol.events import LogLine, ProgressMade, RequestEnded, StateChanged
from arriero.protocol.values import ErrorInfo, Progress
from tests.records import record

READERS = (read_request, read_from_worker, read_from_supervisor)


@pytest.mark.parametrize(
    "request_",
    [
        PingRequest(),
        StatusRequest(),
        SwapRequest(model="qwen", wait=False),
        UnloadRequest(mode="now"),
        LogsRequest(lines=3),
        ExplainRequest(model="qwen"),
        PreviewRequest(body="{}", headers=(("a", "b"),)),
        ReloadRequest(dry_run=True, drain=True),
        CancelRequest(request_id="r1"),
        ActivityRequest(limit=3, request_id="r1"),
        WorkersRequest(),
        ScaleRequest(workers=2),
        ShutdownRequest(),
        RestartRequest(),
    ],
)
def test_a_request_is_read_as_it_was_written(request_: AnyRequest) -> None:
    assert read_request(encode(request_)) == request_


def test_a_shell_can_ask_with_the_least_of_words() -> None:
    assert read_request(b'{"cmd":"swap","model":"qwen"}') == SwapRequest(model="qwen")


def test_fields_of_a_newer_version_are_ignored() -> None:
    assert read_request(b'{"v":1,"cmd":"ping","colour":"blue"}') == PingRequest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"cmd":"fly"}',
        b'{"cmd":"swap"}',
        b'{"cmd":"swap","model":7}',
        b'{"v":2,"cmd":"ping"}',
        b'{"cmd":"ping"',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"^cannot read"):
        read_request(data)


def test_a_message_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(RemoteProtocolError, match="limit"):
        read_request(b" " * (MAX_MESSAGE_BYTES + 1))


@given(st.binary(max_size=300), st.sampled_from(READERS))
def test_any_bytes_give_a_message_or_one_error(data: bytes, reader: object) -> None:
    assert callable(reader)
    with contextlib.suppress(RemoteProtocolError):
        reader(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ),
    st.sampled_from(
        ["ping", "swap", "logs", "activity", "want", "report", "finished", "grant", "welcome"]
    ),
)
def test_any_json_with_a_known_kind_gives_a_message_or_one_error(value: object, kind: str) -> None:
    data = msgspec.json.encode({"cmd": kind, "type": kind, "model": value, "lines": value})
    for reader in READERS:
        with contextlib.suppress(RemoteProtocolError):
            reader(data)


def test_money_travels_without_losing_a_digit() -> None:
    told = record(cost_usd=Decimal("0.10000000000000000000000000001"))
    event = RequestEnded(model="qwen", record=told, seq=7, epoch="e", t=2.5)

    frames = encode_event(event)

    assert frames[0] == b"usage/qwen\n"
    assert b'"cost_usd":"0.10000000000000000000000000001"' in frames[1]
    assert decode_event(frames) == event
    finished = lease.Finished(records=(told, told))
    assert read_from_worker(encode(finished)) == finished


@pytest.mark.parametrize("count", [0, 1, 3])
def test_records_encoded_one_by_one_are_one_message(count: int) -> None:
    told = tuple(record(f"r{number}") for number in range(count))

    assert encode_finished(map(encode, told)) == encode(lease.Finished(records=told))


def test_an_event_travels_under_a_topic_of_kind_and_model() -> None:
    event = StateChanged(model="org/qwen", state="ready", swap=3, seq=7, epoch="e", t=1.5)
    frames = encode_event(event)
    assert frames[0] == b"state/org/qwen\n"
    assert decode_event(frames) == event


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_any_frames_give_an_event_or_one_error(frames: list[bytes]) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode_event(frames)


def test_a_reply_is_what_was_hoped_for_or_a_refusal() -> None:
    good = SwapReply(model="qwen", state="ready", took_s=3.1)
    bad = Refusal(error=ErrorInfo(code="unknown_model", message="there is no model 'x'"))
    assert decode_reply(encode(good), SwapReply) == good
    assert decode_reply(encode(bad), SwapReply) == bad


@pytest.mark.parametrize("data", [b"", b"{}", b'{"ok":true}', b'{"ok":7}', b"[]"])
def test_a_reply_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_reply(data, SwapReply)


@pytest.mark.parametrize("fraction", [-0.01, 1.01])
def test_progress_outside_of_nothing_to_all_is_a_bug_here(fraction: float) -> None:
    with pytest.raises(LocalProtocolError):
        Progress(model="a", swap=1, phase="loading", elapsed_s=0, fraction=fraction)


def test_lease_messages_are_told_apart_by_type() -> None:
    assert read_from_worker(b'{"type":"want","request":4,"model":"a"}') == lease.Want(
        request=4, model="a"
    )
    revoke = lease.Revoke(model="a", lease=2, when_idle=True)
    assert read_from_supervisor(encode(revoke)) == revoke


def test_log_lines_are_numbered_apart() -> None:
    assert LogLine(model="a", line="x", stream="stderr").numbered_as == "log"
    progress = Progress(model="a", swap=1, phase="loading", elapsed_s=0)
    assert ProgressMade(model="a", progress=progress).numbered_as == "events"
