"""Requests that have ended, as rows and lines."""

from decimal import Decimal

import pytest

from arriero.protocol.control.requests import CancelReply
from arriero.protocol.events import RequestEnded
from arriero.protocol.records import RequestRecord
from arriero.supervisor.cli.render.events import event_line
from arriero.supervisor.cli.render.requests import activity_table, cancelled_line, ended_text
from arriero.supervisor.cli.render.text import aligned
from tests.records import record

FULL = record(
    input_tokens=1000,
    cached_tokens=800,
    output_tokens=40,
    queue_ms=100.0,
    load_ms=2000.0,
    ttft_ms=210.4,
    duration_ms=61_000.0,
    output_per_s=25.0,
    cost_usd=Decimal("0.001440"),
)


def test_a_table_has_a_row_for_each_request() -> None:
    table = activity_table((FULL, record()), clock=lambda t: f"T{t:.0f}")

    assert aligned(table) == [
        "CAME  MODEL  END    IN  OUT  WAITED   FIRST       TOOK  OUT/S      COST  ID",
        "T1    m      200  1000   40   2.1 s  210 ms  1 min 1 s   25.0  $0.00144  r1",
        "T1    m      200     0    0       -       -      12 ms      -         -  r1",
    ]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            FULL,
            "200, 1000 tokens in (800 cached), 40 out, 1 min 1 s, 25.0 tokens/s, $0.00144: r1",
        ),
        (
            record(status=503, outcome="rejected", error_code="model_unavailable"),
            "503 model_unavailable, 0 tokens in, 0 out, 12 ms: r1",
        ),
        (
            record(status=0, outcome="client_gone"),
            "- client_gone, 0 tokens in, 0 out, 12 ms: r1",
        ),
        (
            record(cost_usd=Decimal("0.0000007")),
            "200, 0 tokens in, 0 out, 12 ms, $0.0000007: r1",
        ),
        (
            record(outcome="upstream_error", error_code="400"),
            "200 then error 400, 0 tokens in, 0 out, 12 ms: r1",
        ),
        (
            record(status=400, outcome="upstream_error", error_code="http_400"),
            "400 of the model, 0 tokens in, 0 out, 12 ms: r1",
        ),
        (record(cost_usd=Decimal(0)), "200, 0 tokens in, 0 out, 12 ms, $0: r1"),
    ],
)
def test_an_end_is_told_on_one_line(found: RequestRecord, text: str) -> None:
    assert ended_text(found) == text
    assert (
        event_line(RequestEnded(model="m", record=found), "T")
        == f"T  usage      m{' ' * 15}  {text}"
    )


def test_a_request_that_named_no_model_of_ours_is_told_by_what_it_asked_for() -> None:
    table = activity_table(
        (record(model="", asked="nobody"), record(model="", asked="")), clock=str
    )

    assert [row[1] for row in table.rows] == ["nobody", "-"]


def test_what_clients_write_is_harmless_to_a_terminal() -> None:
    nasty = record(
        model="", asked="\x1b[2Jx\ny", outcome="upstream_error", error_code="\x1b[0m\x07"
    )

    shown = "".join(aligned(activity_table((nasty,), clock=str))) + ended_text(nasty)

    assert shown.isprintable()


def test_a_cancelled_request_is_told_from_one_that_had_ended() -> None:
    assert cancelled_line(CancelReply(request_id="r1", result="cancelled")) == "r1 is cancelled"
    assert cancelled_line(CancelReply(request_id="r1", result="finished")) == "r1 had ended before"
