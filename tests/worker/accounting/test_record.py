from decimal import Decimal
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from arriero.protocol.records import FinishReason, Outcome, Prices, RequestRecord, TraceIds
from arriero.worker import errors
from arriero.worker.accounting.account import Account, open_account, outcome_of
from arriero.worker.accounting.record import make_record
from arriero.worker.accounting.response_reader import read_further_frames
from arriero.worker.apis.base.usage import Usage
from arriero.worker.apis.routes import CHAT

PRICES = Prices(input=Decimal(3), output=Decimal(15), cache_read=Decimal("1.5"))
USAGE = Usage(input_tokens=1000, cached_tokens=800, output_tokens=500, source="final")


class Told(NamedTuple):
    """What a response has said."""

    usage: Usage
    finish_reason: FinishReason | None = None
    served_as: str | None = None
    error: str | None = None


def open_it(now: float = 100.0) -> Account:
    account = open_account(
        request_id="r-12", t=1e9, now=now, path=b"/v1/chat/completions", api=CHAT
    )
    account.asked, account.model, account.stream, account.status = "em", "m", True, 200
    return account


def finished(account: Account, now: float = 110.0, told: Told | None = None) -> RequestRecord:
    if told is not None:
        account.reported = told.usage
        account.finish_reason = told.finish_reason
        account.served_as = told.served_as
        account.told_error = told.error
    return make_record(account, now)


def test_a_request_that_waited_and_was_answered_has_all_its_figures() -> None:
    account = open_it()
    account.prices = PRICES
    account.upstream_kind = "llama-server"
    account.queued(100.1)
    account.loading(102.0)
    account.granted(105.0)
    account.first_token(106.0)
    account.first_token(107.0)  # only the first one is the first
    account.bytes_out += 4000
    account.heartbeats += 2
    account.last_byte_at = 109.0

    assert finished(account, told=Told(USAGE, "stop", "served.gguf")) == RequestRecord(
        request_id="r-12",
        t=1e9,
        path="/v1/chat/completions",
        asked="em",
        model="m",
        served_as="served.gguf",
        upstream_kind="llama-server",
        api="openai",
        stream=True,
        status=200,
        outcome="ok",
        finish_reason="stop",
        input_tokens=1000,
        cached_tokens=800,
        output_tokens=500,
        usage_source="final",
        cost_usd=Decimal("0.0093"),
        duration_ms=10_000.0,
        queue_ms=1900.0,
        load_ms=3000.0,
        ttft_ms=6000.0,
        prompt_ms=1000.0,
        gen_ms=3000.0,
        prompt_per_s=200.0,  # 200 of them were not cached
        output_per_s=166.33,  # 499 came after the first one
        bytes_out=4000,
        heartbeats=2,
    )


def test_the_rarer_figures_stand_under_their_names_too() -> None:
    trace = TraceIds(trace_id="a" * 32, span_id="b" * 16)
    account = open_account(
        request_id="r", t=1e9, now=1.0, path=b"/", api=CHAT, trace=trace, key="anna"
    )
    account.status, account.swap, account.content_type = 500, 7, "text/plain"
    usage = Usage(
        input_tokens=100,
        cached_tokens=10,
        cache_write_tokens=20,
        output_tokens=90,
        reasoning_tokens=30,
        draft_tokens=40,
        draft_accepted=35,
        source="final",
    )

    record = finished(account, 2.0, Told(usage, error="boom"))

    assert (record.key, record.trace, record.swap) == ("anna", trace, 7)
    assert (record.content_type, record.error_code) == ("text/plain", "boom")
    assert (record.cache_write_tokens, record.reasoning_tokens) == (20, 30)
    assert (record.draft_tokens, record.draft_accepted) == (40, 35)
    assert record.load_stages is UNSET


def test_what_the_upstream_measured_goes_before_what_was_seen() -> None:
    account = open_it()
    account.granted(100.0)
    account.first_token(106.0)
    usage = Usage(
        input_tokens=209, output_tokens=50, prompt_ms=2000.0, predicted_ms=500.0, source="timings"
    )

    record = finished(account, told=Told(usage))

    assert (record.prompt_ms, record.gen_ms) == (2000.0, 500.0)
    assert (record.prompt_per_s, record.output_per_s) == (104.5, 100.0)
    assert record.ttft_ms == 6000.0


def test_a_request_that_waits_twice_waited_for_both() -> None:
    account = open_it()
    account.queued(100.0)
    account.granted(101.0)
    account.queued(102.0)
    account.loading(104.0)

    record = finished(account, 109.0)

    assert (record.queue_ms, record.load_ms) == (3000.0, 5000.0)


def test_an_answer_that_is_no_stream_has_no_first_token() -> None:
    record = finished(open_it(), told=Told(USAGE))

    assert record.ttft_ms is record.prompt_ms is record.gen_ms is None
    assert record.prompt_per_s is record.output_per_s is None
    assert (record.queue_ms, record.load_ms) == (0.0, 0.0)


def test_a_speed_over_no_time_at_all_is_not_known() -> None:
    account = open_it()
    account.granted(100.0)
    account.first_token(100.0)

    record = finished(account, 100.0, Told(USAGE))

    assert record.prompt_per_s is record.output_per_s is None


def test_a_client_that_left_is_charged_for_what_was_made() -> None:
    account = open_it()
    account.prices = PRICES
    account.granted(100.0)
    account.first_token(101.0)
    account.client_left()
    account.failed(errors.UpstreamDied("the connection was closed"))  # by us, because of that

    record = finished(account, told=Told(Usage(output_tokens=10, source="estimated")))

    assert (record.outcome, record.error_code) == ("client_gone", None)
    assert (record.output_tokens, record.usage_source) == (10, "estimated")
    assert record.cost_usd == Decimal("0.00015")


def test_of_a_hundred_tokens_ten_were_made_when_the_client_left() -> None:
    account = open_it()
    for _ in range(10):
        read_further_frames(account, b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
    account.client_left()

    record = finished(account)

    assert (record.outcome, record.output_tokens) == ("client_gone", 10)
    assert record.usage_source == "estimated"


@pytest.mark.parametrize(
    ("told", "prices"),
    [(None, PRICES), (Told(Usage()), PRICES), (Told(USAGE), None)],
)
def test_what_is_not_known_is_not_free(told: Told | None, prices: Prices | None) -> None:
    account = open_it()
    account.prices = prices
    assert finished(account, told=told).cost_usd is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.BadRequest("x"), "rejected"),
        (errors.UnknownModel("x"), "rejected"),
        (errors.TooLarge("x"), "rejected"),
        (errors.Unavailable("x"), "rejected"),
        (errors.Unavailable("x", code="model_evicted"), "rejected"),
        (errors.Unavailable("x", code="supervisor_lost"), "rejected"),
        (errors.Unavailable("x", code="queue_timeout"), "timeout"),
        (errors.StillLoading("x"), "timeout"),
        (errors.TooSlow("x"), "timeout"),
        (errors.UpstreamSilent("x"), "timeout"),
        (errors.LoadFailed("x"), "upstream_error"),
        (errors.LoadFailed("x", code="model_load_timeout"), "timeout"),
        (errors.UpstreamDied("x"), "upstream_error"),
        (errors.UpstreamTruncated("x"), "upstream_error"),
        (errors.UpstreamAnsweredError("x", code="http_400", upstream_status=400), "upstream_error"),
        (
            errors.UpstreamAnsweredError("x", code="request_timeout", upstream_status=408),
            "upstream_error",
        ),
        (errors.RelayError("x"), "upstream_error"),
        (errors.RelayError("x", code="cancelled"), "cancelled"),
    ],
)
def test_an_error_has_an_outcome(error: errors.RelayError, outcome: str) -> None:
    account = open_it()
    account.status = 0
    account.failed(error)

    record = finished(account)

    assert outcome_of(error) == outcome
    assert (record.outcome, record.error_code, record.status) == (
        outcome,
        error.code,
        error.status,
    )


@pytest.mark.parametrize(
    ("status", "told", "outcome", "code"),
    [
        (200, None, "ok", None),
        (204, None, "ok", None),
        (400, None, "upstream_error", "http_400"),
        (
            503,
            Told(Usage(), error="unavailable_error"),
            "upstream_error",
            "unavailable_error",
        ),
        (
            200,
            Told(USAGE, error="500"),
            "upstream_error",
            "500",
        ),  # in the middle of a stream
        (0, None, "upstream_error", "internal"),
    ],
)
def test_what_the_upstream_said_has_an_outcome(
    status: int, told: Told | None, outcome: str, code: str | None
) -> None:
    account = open_it()
    account.status = status
    record = finished(account, told=told)
    assert (record.outcome, record.error_code) == (outcome, code)


def test_somebody_asked_for_the_end() -> None:
    account = open_it()
    account.was_cancelled()
    assert finished(account).outcome == "cancelled"


def test_a_failure_after_the_answer_began_leaves_its_status() -> None:
    account = open_it()
    account.failed(errors.UpstreamDied("x"))
    assert finished(account).status == 200


def test_a_record_travels_exactly() -> None:
    account = open_it()
    account.prices = PRICES
    record = finished(account, told=Told(USAGE))
    sent = msgspec.json.encode(record)

    assert b'"cost_usd":"0.0093"' in sent
    assert msgspec.json.decode(sent, type=RequestRecord) == record


_MOMENTS: Any = ["queued", "loading", "granted", "first_token", "last_byte_at"]
_ENDS: Any = ["client_left", "was_cancelled"]


@given(st.lists(st.tuples(st.floats(0, 9), st.sampled_from(_MOMENTS + _ENDS)), max_size=12))
def test_in_whatever_order_things_happen_the_figures_make_sense(
    steps: list[tuple[float, str]],
) -> None:
    account = open_it()
    now = 100.0
    for pause, step in steps:
        now += pause
        if step == "last_byte_at":
            account.last_byte_at = now
        else:
            getattr(account, step)() if step in _ENDS else getattr(account, step)(now)
    record = finished(account, now, Told(USAGE))

    assert record.outcome in get_args(Outcome)
    assert 0 <= record.queue_ms + record.load_ms <= record.duration_ms + 0.2
    assert record.ttft_ms is None or 0 <= record.ttft_ms <= record.duration_ms


def test_of_an_endless_code_the_beginning_is_remembered() -> None:
    account = open_it()

    account.failed(errors.UpstreamAnsweredError("x", code="c" * 1_000_000, upstream_status=400))

    assert finished(account).error_code == "c" * 100


@pytest.mark.parametrize("ms", [5e-324, 1e-9])
def test_a_time_that_cannot_be_gives_no_speed(ms: float) -> None:
    usage = Usage(input_tokens=2**40, output_tokens=2**40, prompt_ms=ms, predicted_ms=ms)

    record = finished(open_it(), told=Told(usage))

    assert (record.prompt_per_s, record.output_per_s) == (None, None)
