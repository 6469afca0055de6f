"""What is remembered of requests, and what the log says of them."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import LoadStage, RequestRecord
from arriero.supervisor.host.kept_ring import KeptRing
from arriero.supervisor.store.columns import MAX_CHARS
from arriero.supervisor.workers.request_log import EndedRequests, log_text
from tests.records import record


def filled(count: int, most: int = 1000) -> EndedRequests:
    ended = EndedRequests(lambda: most)
    for number in range(count):
        ended.add([record(f"r{number}")])
    return ended


def known(ended: EndedRequests, count: int) -> list[int]:
    return [number for number in range(count) if ended.knows(f"r{number}")]


# --- what is remembered ---------------------------------------------------------------------------


def test_the_oldest_go_when_there_are_too_many() -> None:
    ended = filled(5, most=3)

    assert len(ended) == 3
    assert known(ended, 5) == [2, 3, 4]


def test_another_configuration_keeps_fewer_from_then_on() -> None:
    most = [3]
    ended = EndedRequests(lambda: most[0])
    for number in range(3):
        ended.add([record(f"r{number}")])

    most[0] = 1
    ended.add([record("r3")])

    assert known(ended, 4) == [3]


def test_of_two_with_one_id_the_newer_one_is_had_for_as_long_as_it_is_kept() -> None:
    ended = EndedRequests(lambda: 2)
    ended.add([record("r", status=500)])
    ended.add([record("s")])
    ended.add([record("r", status=200)])
    ended.add([record("t")])  # s goes, for the newer r came later

    assert ended.has(record("r", status=200))
    assert not ended.has(record("r", status=500))
    assert not ended.knows("s")
    ended.add([record("u")])
    assert not ended.knows("r")


@pytest.mark.parametrize(
    "other", [{"t": 7.5}, {"duration_ms": 1.0}, {"status": 500}, {"path": "/"}, {"bytes_out": 9}]
)
def test_another_request_with_its_id_is_not_the_same(other: dict[str, Any]) -> None:
    ended = EndedRequests(lambda: 2)
    ended.add([record("r")])

    assert ended.has(record("r"))
    assert not ended.has(record("r", **other))


def test_stages_that_were_added_make_no_other_request_of_it() -> None:
    ended = EndedRequests(lambda: 2)
    stages = (LoadStage(phase="loading", from_ms=0.0, took_ms=1.0),)
    ended.add([msgspec.structs.replace(record("r"), load_stages=stages)])

    assert ended.has(record("r"))


def test_what_was_cut_is_known_by_its_whole_id() -> None:
    ended = EndedRequests(lambda: 1)
    long = record("i" * 9999, path="/" + "x" * 9999)

    [kept] = ended.add([long])

    assert (len(kept.request_id), len(kept.path)) == (MAX_CHARS, MAX_CHARS)
    assert ended.knows("i" * 9999)
    assert ended.has(long)


def test_what_is_short_enough_is_not_touched() -> None:
    given_ = record(path="x" * MAX_CHARS)

    [kept] = EndedRequests(lambda: 1).add([given_])

    assert kept is given_


def test_requests_are_known_to_the_next_process() -> None:
    first, second = EndedRequests(lambda: 9), EndedRequests(lambda: 9)
    ring = KeptRing("test", 4096)
    first.keep_in(ring)
    first.add([record("r")])

    [encoded] = second.keep_in(ring)
    ring.close()

    assert msgspec.json.decode(encoded, type=RequestRecord) == record("r")
    assert second.has(record("r"))


# --- the log --------------------------------------------------------------------------------------


def test_a_line_says_what_there_is_and_leaves_out_what_is_nothing() -> None:
    assert log_text(record()) == (
        "request_id=r1 path=/v1/x model=m api=openai status=200 outcome=ok duration_ms=12.5 "
        "usage_source=none"
    )


def test_a_line_has_all_the_numbers() -> None:
    text = log_text(
        record(
            stream=True,
            asked="nick",
            input_tokens=1000,
            cached_tokens=800,
            output_tokens=40,
            cost_usd=Decimal("0.0000007"),
            ttft_ms=210.4,
            usage_source="final",
        )
    )

    wanted = "stream=yes asked=nick input_tokens=1000 cached_tokens=800 output_tokens=40 "
    assert set(wanted.split()) < set(text.split())
    assert {"cost_usd=0.0000007", "ttft_ms=210.4", "usage_source=final"} < set(text.split())


@given(st.text(), st.text(), st.text())
def test_whatever_clients_write_a_line_stays_one_line_of_pairs(
    request_id: str, asked: str, path: str
) -> None:
    text = log_text(record(request_id, asked=asked, path=path, error_code=path))

    assert text.isascii()
    assert text.isprintable()


def test_a_value_cannot_pretend_to_be_another_pair() -> None:
    text = log_text(record("r1 status=500", asked="x\ny"))

    assert text.startswith("request_id='r1 status=500' ")
    assert r"asked='x\ny'" in text


def test_a_line_of_any_length_is_whole() -> None:
    numbers: dict[str, Any] = {
        name: 7 for name in RequestRecord.__struct_fields__ if name.endswith(("tokens", "_per_s"))
    }
    for count in range(len(numbers) + 1):
        more = dict(list(numbers.items())[:count])
        text = log_text(
            record(stream=True, asked="nick", key="laptop", swap=3, bytes_out=9, **more)
        )
        assert text == text.strip()
        assert len(text.split(" ")) == text.count("=") == 13 + count
