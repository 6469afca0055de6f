"""What is remembered of requests, and what the log says of them."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import RequestRecord
from arriero.supervisor.store.columns import MAX_CHARS
from arriero.supervisor.workers.request_log import RecordStore, log_text
from tests.records import record


def filled(count: int, most: int = 1000) -> RecordStore:
    store = RecordStore(lambda: most)
    for number in range(count):
        store.add([record(f"r{number}")])
    return store


def ids(records: tuple[RequestRecord, ...]) -> list[str]:
    return [found.request_id for found in records]


# --- the store ------------------------------------------------------------------------------------


def test_the_oldest_go_when_there_are_too_many() -> None:
    store = filled(5, most=3)

    assert len(store) == 3
    assert ids(store.all()) == ["r2", "r3", "r4"]
    assert store.find("r1") is None
    assert store.find("r2") is not None


def test_another_configuration_keeps_fewer_from_then_on() -> None:
    most = [3]
    store = RecordStore(lambda: most[0])
    for number in range(3):
        store.add([record(f"r{number}")])

    most[0] = 1
    store.add([record("r3")])

    assert ids(store.all()) == ["r3"]


def test_of_two_with_one_id_the_newer_one_is_found_for_as_long_as_it_is_kept() -> None:
    store = RecordStore(lambda: 2)
    store.add([record("r", status=500)])
    store.add([record("r", status=200)])
    store.add([record("s")])  # the older r goes

    assert store.find("r") == record("r", status=200)
    store.add([record("t")])
    assert store.find("r") is None


def test_one_that_is_not_there_is_none_at_all() -> None:
    assert filled(3).find("x") is None


def test_what_was_cut_is_returned_as_it_is_kept_and_found_again() -> None:
    store = RecordStore(lambda: 1)

    [kept] = store.add([record("i" * 9999, path="/" + "x" * 9999)])

    assert (len(kept.request_id), len(kept.path)) == (MAX_CHARS, MAX_CHARS)
    assert store.find("i" * 9999) is kept


def test_what_is_short_enough_is_not_touched() -> None:
    given_ = record(path="x" * MAX_CHARS)

    [kept] = RecordStore(lambda: 1).add([given_])

    assert kept is given_


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
