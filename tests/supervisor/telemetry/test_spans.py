"""The spans of a request."""

from decimal import Decimal
from itertools import count

import pytest
from msgspec import structs
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai
from opentelemetry.semconv.attributes import error_attributes, http_attributes, url_attributes

from arriero.protocol.records import LoadStage, RequestRecord, TraceIds
from arriero.supervisor.telemetry.spans import PlannedSpan, spans_of
from tests.records import record

IDS = TraceIds(trace_id="a" * 32, span_id="b" * 16, parent_id="c" * 16)
SECOND = 10**9


def traced(**changes: object) -> RequestRecord:
    found = record(trace=IDS, t=100.0, path="/v1/chat/completions", swap=3)
    return structs.replace(found, **changes)


def spans(found: RequestRecord) -> dict[str, PlannedSpan]:
    numbers = count(1)
    made = spans_of(found, lambda: next(numbers))
    assert len({it.span_id for it in made}) == len(made)
    assert {it.trace_id for it in made} <= {int(IDS.trace_id, 16)}
    return {it.name: it for it in made}


def test_a_warm_request_has_two_spans() -> None:
    made = spans(traced(duration_ms=2000.0))
    whole, answer = made["/v1/chat/completions"], made["chat m"]

    assert len(made) == 2
    assert (whole.kind, whole.parent_id) == ("server", int(IDS.parent_id, 16))
    assert (answer.kind, answer.parent_id) == ("client", whole.span_id)
    assert answer.span_id == int(IDS.span_id, 16)  # as the upstream was told
    assert (whole.start_ns, whole.end_ns) == (100 * SECOND, 102 * SECOND)
    assert (answer.start_ns, answer.end_ns) == (100 * SECOND, 102 * SECOND)


def test_waiting_and_loading_are_parts_with_stages() -> None:
    made = spans(
        traced(
            queue_ms=1000.0,
            load_ms=3000.0,
            duration_ms=5000.0,
            load_stages=(
                LoadStage(phase="draining", from_ms=0.0, took_ms=1000.0),
                LoadStage(phase="starting", from_ms=1000.0, took_ms=1000.0),
                LoadStage(phase="loading", from_ms=2000.0, took_ms=2000.0),
            ),
        )
    )
    whole = made["/v1/chat/completions"]
    times = {
        name: (it.start_ns // SECOND, it.end_ns // SECOND, it.parent_id)
        for name, it in made.items()
    }

    assert times == {
        "/v1/chat/completions": (100, 105, int(IDS.parent_id, 16)),
        "queue": (100, 101, whole.span_id),
        "load": (101, 104, whole.span_id),
        "draining": (100, 101, made["queue"].span_id),
        "starting": (101, 102, made["load"].span_id),
        "loading": (102, 104, made["load"].span_id),
        "chat m": (104, 105, whole.span_id),
    }


def test_attributes_have_the_names_of_the_conventions() -> None:
    made = spans(
        traced(
            upstream_kind="bedrock",
            stream=True,
            served_as="m.gguf",
            finish_reason="stop",
            input_tokens=10,
            cached_tokens=4,
            cache_write_tokens=2,
            output_tokens=7,
            reasoning_tokens=3,
            usage_source="final",
            ttft_ms=1500.0,
            queue_ms=500.0,
            cost_usd=Decimal("0.25"),
        )
    )

    assert made["chat m"].attributes == {
        gen_ai.GEN_AI_OPERATION_NAME: gen_ai.GenAiOperationNameValues.CHAT.value,
        gen_ai.GEN_AI_PROVIDER_NAME: gen_ai.GenAiProviderNameValues.AWS_BEDROCK.value,
        gen_ai.GEN_AI_REQUEST_MODEL: "m",
        gen_ai.GEN_AI_REQUEST_STREAM: True,
        gen_ai.GEN_AI_RESPONSE_MODEL: "m.gguf",
        gen_ai.GEN_AI_RESPONSE_FINISH_REASONS: ("stop",),
        gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 1.0,
        gen_ai.GEN_AI_USAGE_INPUT_TOKENS: 10,
        gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS: 7,
        gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 4,
        gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: 2,
        gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: 3,
        "arriero.usage_source": "final",
        "arriero.cost_usd": 0.25,
        "arriero.outcome": "ok",
        "arriero.swap": 3,
    }
    assert made["/v1/chat/completions"].attributes == {
        http_attributes.HTTP_ROUTE: "/v1/chat/completions",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 200,
        url_attributes.URL_PATH: "/v1/chat/completions",
        "arriero.request_id": "r1",
        "arriero.outcome": "ok",
        "arriero.bytes_out": 0,
        "arriero.asked": "m",
    }


@pytest.mark.parametrize(
    ("path", "operation", "route"),
    [
        ("/v1/chat/completions", "chat", "/v1/chat/completions"),
        ("/api/chat", "chat", "/api/chat"),
        ("/v1/messages", "chat", "/v1/messages"),
        ("/v1/completions", "text_completion", "/v1/completions"),
        ("/v1/embeddings", "embeddings", "/v1/embeddings"),
        (
            "/v1beta/models/org%2Fm:streamGenerateContent",
            "generate_content",
            "/v1beta/models/{model}:streamGenerateContent",
        ),
        ("/model/org/m/converse", "chat", "/model/{model}/converse"),
    ],
)
def test_operation_and_route_come_from_the_path(path: str, operation: str, route: str) -> None:
    made = spans(traced(path=path, asked="org/m", model="m"))

    assert list(made) == [route, f"{operation} m"]


@pytest.mark.parametrize(
    ("outcome", "code", "error"),
    [
        ("ok", None, None),
        ("client_gone", None, None),
        ("cancelled", "cancelled", None),
        ("timeout", "queue_timeout", "queue_timeout"),
        ("upstream_error", None, "upstream_error"),
    ],
)
def test_a_failure_is_an_error_of_the_spans(
    outcome: str, code: str | None, error: str | None
) -> None:
    made = spans(traced(outcome=outcome, error_code=code))

    assert {it.error for it in made.values()} == {error}
    for it in made.values():
        assert it.attributes.get(error_attributes.ERROR_TYPE) == error


def test_who_was_not_asked_has_no_span() -> None:
    made = spans(traced(outcome="rejected", error_code="model_not_found", swap=0, model=""))

    assert list(made) == ["/v1/chat/completions"]


def test_a_trace_that_is_not_exported_has_none() -> None:
    assert spans(record(t=1.0)) == {}
