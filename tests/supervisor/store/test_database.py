"""Records in a database, and what is asked of them."""

import sqlite3
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from arriero.protocol.codec import MAX_MESSAGE_BYTES, encode
from arriero.protocol.control.base import Refusal
from arriero.protocol.control.requests import (
    ActivityReply,
    ActivityRequest,
    CaptureReply,
    CaptureRequest,
    CapturesReply,
    CapturesRequest,
    RowsReply,
    RowsRequest,
    SpeedsReply,
    SpeedsRequest,
    UsageReply,
    UsageRequest,
)
from arriero.protocol.records import (
    LoadStage,
    RawCapture,
    RecordFilter,
    RequestRecord,
    UsageRow,
    csv_line,
    csv_record,
)
from arriero.supervisor.store import answers
from arriero.supervisor.store.captures import kept_of
from arriero.supervisor.store.columns import COLUMNS, MAX_CHARS
from arriero.supervisor.store.database import ActivityDatabase, Item
from arriero.supervisor.store.limits import StoreLimits
from arriero.supervisor.store.open_file import (
    APPLICATION_ID,
    UnusableFile,
    open_database,
    open_in_memory,
    put_aside,
)
from tests.records import record

DAY_S = 86400
NOW = 1_790_000_000.0  # 2026-09-21

LIMITS = StoreLimits(path=Path("/none"), rows=10**6, age_s=1e10, size_bytes=10**9)


@pytest.fixture
def store() -> Generator[ActivityDatabase]:
    with closing(open_in_memory()) as connection:
        yield ActivityDatabase(connection, None)


def filled(store: ActivityDatabase, records: Iterable[Item]) -> sqlite3.Connection:
    store.write(records)
    return store.connection


def listed(database: sqlite3.Connection, limit: int = 100, **where: object) -> list[str]:
    asked = ActivityRequest(limit=limit, where=msgspec.convert(where, RecordFilter))
    reply = answers.activity(database, asked, 0)
    assert isinstance(reply, ActivityReply)
    return [found.request_id for found in reply.records]


def used(database: sqlite3.Connection, **asked: object) -> UsageReply:
    reply = answers.usage(database, msgspec.convert(asked, UsageRequest))
    assert isinstance(reply, UsageReply)
    return reply


# --- records -------------------------------------------------------------------------------------

WHOLE = record(
    "whole/1",
    served_as="x",
    upstream_kind="vllm",
    stream=True,
    finish_reason="stop",
    usage_source="final",
    cost_usd=Decimal("0.000000000000000001"),
    ttft_ms=1.5,
    prompt_per_s=1e9,
    error_code="é\x00\n",
    content_type="text/event-stream",
    swap=7,
    load_ms=100.5,
    load_stages=(LoadStage(phase="loading", from_ms=0.5, took_ms=100.0),),
)


def test_all_but_the_trace_of_a_record_is_kept() -> None:
    assert set(RequestRecord.__struct_fields__) - set(COLUMNS) == {"trace"}


def test_what_was_written_is_read(store: ActivityDatabase) -> None:
    many = [WHOLE, *(record(f"r{number}") for number in range(200)), record("", model="")]
    database = filled(store, many)

    reply = answers.activity(database, ActivityRequest(limit=1000), 5)

    assert reply == ActivityReply(records=tuple(many), seq=5)
    assert store.rows == len(many)


def test_impossible_numbers_and_texts_are_tamed(store: ActivityDatabase) -> None:
    odd = record("\ud800", input_tokens=10**30, output_tokens=-(10**30), duration_ms=1e308)
    database = filled(store, [record("r1"), odd, record("r2")])

    assert listed(database) == ["r1", "?", "r2"]
    assert used(database).total.input_tokens == 1 << 40


def test_nonsense_of_others_is_left_out(store: ActivityDatabase) -> None:
    database = filled(store, [record("r1"), record("r2"), record("r3")])
    database.execute("UPDATE requests SET outcome = 'fine', t = x'00ff' WHERE request_id = 'r2'")

    assert listed(database) == ["r1", "r3"]


def test_records_are_found_by_all_that_is_said_of_them(store: ActivityDatabase) -> None:
    database = filled(
        store,
        [
            record("a1", t=10.0, model="a", status=200, key="k1"),
            record("b1", t=20.0, model="b", status=404, outcome="rejected", key="k1"),
            record("b2", t=30.0, model="b", status=499, outcome="client_gone", key="k2"),
            record("c1", t=40.0, model="c'); DROP TABLE requests; --", status=500),
        ],
    )

    assert listed(database) == ["a1", "b1", "b2", "c1"]
    assert listed(database, models=["b"]) == ["b1", "b2"]
    assert listed(database, models=["a", "c'); DROP TABLE requests; --"]) == ["a1", "c1"]
    assert listed(database, keys=["k1"], models=["b"]) == ["b1"]
    assert listed(database, outcomes=["rejected", "client_gone"]) == ["b1", "b2"]
    assert listed(database, least_status=400, most_status=499) == ["b1", "b2"]
    assert listed(database, since=20.0, until=30.0) == ["b1", "b2"]
    assert listed(database, least_id=2, most_id=3) == ["b1", "b2"]
    assert listed(database, models=["nobody"]) == []
    assert listed(database, viewer={"key": "k2", "models": ["a"]}) == ["a1", "b2"]
    assert listed(database, viewer={"key": "", "models": []}) == []
    assert used(database, viewer={"key": "k1", "models": []}, by=[]).total.requests == 2


def test_what_was_refused_before_it_had_a_model_is_found_by_the_name_it_asked_for(
    store: ActivityDatabase,
) -> None:
    database = filled(
        store,
        [
            record("misspelt", model="", asked="gwen", status=404, outcome="rejected", key="k1"),
            record("served", model="qwen", asked="gwen"),
            record("other", model="", asked="qwen", status=404, outcome="rejected"),
        ],
    )

    assert listed(database, models=["gwen"]) == ["misspelt"]
    assert listed(database, models=["qwen"]) == ["served", "other"]
    assert listed(database, models=["gwen"], viewer={"key": "k2", "models": ["qwen"]}) == []
    assert used(database, models=["gwen"], by=[]).total.requests == 0


def test_pages_have_each_record_once_whatever_comes_meanwhile(store: ActivityDatabase) -> None:
    database = filled(store, [record(f"r{number}") for number in range(10)])
    found: list[str] = []
    most: int | None = None
    for turn in range(4):
        asked = ActivityRequest(limit=3, where=RecordFilter(most_id=most))
        reply = answers.activity(database, asked, 0)
        assert isinstance(reply, ActivityReply)
        found += [one.request_id for one in reversed(reply.records)]
        most = reply.next
        store.write([record(f"later{turn}")])

    assert found == [f"r{number}" for number in range(9, -1, -1)]
    assert most is None


def test_of_two_with_one_id_the_newest_is_given(store: ActivityDatabase) -> None:
    database = filled(store, [record("r", status=500), record("s"), record("r", status=200)])

    reply = answers.activity(database, ActivityRequest(request_id="r"), 0)

    assert reply == ActivityReply(records=(record("r", status=200),))


@pytest.mark.parametrize(
    ("limit", "where"),
    [
        (0, RecordFilter()),
        (1001, RecordFilter()),
        (-(10**30), RecordFilter()),
        (1, RecordFilter(models=("m",) * 101)),
        (1, RecordFilter(most_id=10**30)),
        (1, RecordFilter(least_status=-(10**30))),
    ],
)
def test_senseless_questions_are_refused(
    store: ActivityDatabase, limit: int, where: RecordFilter
) -> None:
    for asked in (
        answers.activity(store.connection, ActivityRequest(limit=limit, where=where), 0),
        answers.rows(store.connection, RowsRequest(limit=limit, where=where)),
    ):
        assert isinstance(asked, Refusal)
        assert asked.error.code == "bad_request"


def test_no_answer_is_longer_than_a_message_may_be(store: ActivityDatabase) -> None:
    nasty = "\x01" * MAX_CHARS  # six bytes each in JSON
    one = record(
        nasty, path=nasty, asked=nasty, served_as=nasty, error_code=nasty, content_type="\x01" * 100
    )
    database = filled(store, [one] * 1000)

    for reply in (
        answers.activity(database, ActivityRequest(limit=1000), 0),
        answers.rows(database, RowsRequest(limit=1000)),
    ):
        assert len(encode(reply)) < MAX_MESSAGE_BYTES


def test_question_that_takes_too_long_is_refused(store: ActivityDatabase) -> None:
    database = filled(store, [record(f"r{number}") for number in range(500)])
    database.set_progress_handler(lambda: True, 100)

    reply = answers.within(lambda it: answers.speeds(it, SpeedsRequest()), database)
    database.set_progress_handler(None, 0)

    assert isinstance(reply, Refusal)
    assert reply.error.code == "query_too_long"
    assert isinstance(answers.speeds(database, SpeedsRequest()), SpeedsReply)  # nothing is left


# --- the table, and speeds -----------------------------------------------------------------------


def test_the_table_is_sorted_and_counted(store: ActivityDatabase) -> None:
    database = filled(
        store,
        [record(f"r{n}", duration_ms=float(n % 3), model="a" if n % 2 else "b") for n in range(6)],
    )

    def page(**asked: object) -> tuple[list[str], int]:
        reply = answers.rows(database, msgspec.convert(asked, RowsRequest))
        assert isinstance(reply, RowsReply)
        return [row.record.request_id for row in reply.rows], reply.total

    assert page() == (["r5", "r4", "r3", "r2", "r1", "r0"], 6)
    assert page(sort="duration", limit=2) == (["r5", "r2"], 6)
    assert page(sort="duration", limit=2, page=3, descending=False) == (["r2", "r5"], 6)
    assert page(where={"models": ["a"]}, sort="time", limit=1, page=2) == (["r3"], 3)
    assert page(page=99) == ([], 6)


def test_speeds_are_distributed(store: ActivityDatabase) -> None:
    speeds = [float(n) for n in range(1, 101)]
    database = filled(
        store,
        [
            *(record(f"r{n}", prompt_per_s=n, output_per_s=7.0, input_tokens=2) for n in speeds),
            record("none", model="other", cached_tokens=5, output_tokens=3),
        ],
    )

    reply = answers.speeds(database, SpeedsRequest())
    assert isinstance(reply, SpeedsReply)

    assert (reply.requests, reply.input_tokens, reply.output_tokens, reply.cached_tokens) == (
        101, 200, 3, 5,
    )  # fmt: skip
    prompt, output = reply.prompt, reply.output
    assert prompt is not None
    assert output is not None
    assert (len(prompt.bins), sum(prompt.bins), prompt.least, prompt.most) == (8, 100, 1.0, 100.0)
    assert [prompt.p50, prompt.p95, prompt.p99] == pytest.approx([50.5, 95.05, 99.01])
    assert (output.bins, output.bin_size, output.p99) == ((100,), 0.0, 7.0)
    alone = answers.speeds(database, SpeedsRequest(where=RecordFilter(models=("other",))))
    assert alone == SpeedsReply(requests=1, input_tokens=0, output_tokens=3, cached_tokens=5)


# --- totals --------------------------------------------------------------------------------------


def test_usage_is_told_by_day_model_and_key(store: ActivityDatabase) -> None:
    price = Decimal("0.0000012345")
    database = filled(
        store,
        [
            record("1", t=NOW, key="k", input_tokens=10, cached_tokens=4, cost_usd=price),
            record("2", t=NOW + 1, key="k", output_tokens=5, reasoning_tokens=2),
            record("3", t=NOW - DAY_S, model="n", outcome="timeout", cost_usd=Decimal(2)),
        ],
    )

    assert used(database).rows == (
        UsageRow(
            day="2026-09-21", model="m", key="k", requests=2, input_tokens=10, cached_tokens=4,
            output_tokens=5, reasoning_tokens=2, cost_usd=Decimal("0.000001235"), unpriced=1,
        ),
        UsageRow(
            day="2026-09-20", model="n", key="", requests=1, failed=1, cost_usd=Decimal(2)
        ),
    )  # fmt: skip
    assert used(database).total.cost_usd == Decimal("2.000001235")
    assert [row.model for row in used(database, by=["model"]).rows] == ["m", "n"]
    assert used(database, by=[]).rows == (used(database).total,)
    assert used(database, since="2026-09-21", models=["n"]).rows == ()
    assert used(database, until="2026-09-20", keys=[""]).total.requests == 1
    for day in ("today", "2026-02-30", "20260921", "٢٠٢٦-٠٩-٢١", ""):
        assert isinstance(answers.usage(database, UsageRequest(since=day)), Refusal)


def test_totals_outlive_records(store: ActivityDatabase) -> None:
    database = filled(store, [record(f"r{n}", t=NOW, input_tokens=1) for n in range(5000)])

    while store.forget(msgspec.structs.replace(LIMITS, memory_rows=10)):
        pass

    assert listed(database) == [f"r{n}" for n in range(4990, 5000)]
    assert (store.rows, used(database).total.input_tokens) == (10, 5000)


def test_totals_stand_what_a_server_may_say(store: ActivityDatabase) -> None:
    absurd = record("r", t=NOW, input_tokens=10**30, output_tokens=-(10**30), model="\ud800")
    database = filled(store, [absurd, record("s", t=NOW, cost_usd=Decimal("Infinity"))])

    total = used(database).total
    assert (total.requests, total.input_tokens, total.cost_usd) == (2, 1 << 40, Decimal(0))


# --- what is forgotten ---------------------------------------------------------------------------


def test_a_file_stays_within_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(open_database(path)) as connection:
        store = ActivityDatabase(connection, path)
        for turn in range(10):
            store.write(
                [record(f"{turn}-{n}" + "x" * 300, t=NOW, error_code="y" * 300) for n in range(100)]
            )
            while store.forget(msgspec.structs.replace(LIMITS, size_bytes=400_000)):
                pass
        assert 200 < store.rows < 900
        assert store.size_bytes < 600_000
        assert listed(connection, 1)[0].startswith("9-99")
        fresh = record("fresh", t=4e9)
        store.write([fresh])
        while store.forget(msgspec.structs.replace(LIMITS, age_s=1.0)):
            pass
        assert listed(connection) == ["fresh"]


# --- files ---------------------------------------------------------------------------------------


def _newer(path: Path) -> None:
    with closing(open_database(path)) as database:
        database.execute("PRAGMA user_version = 99")


def _of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE activity(id)")


def _lacks_a_table(path: Path) -> None:
    with closing(open_database(path)) as database:
        database.execute("DROP TABLE usage")


def _has_a_view(path: Path) -> None:
    with closing(open_database(path)) as database:
        database.execute("DROP TABLE captures")
        database.execute("CREATE VIEW captures AS SELECT id, path AS caller FROM requests")


def _text(path: Path) -> None:
    path.write_text("models: {}\n" * 100)


def _torn(path: Path) -> None:
    with closing(open_database(path)) as database:
        filled(ActivityDatabase(database, path), [record(f"r{n}") for n in range(500)])
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_newer, "another version"),
        (_of_another_program, "another program"),
        (_lacks_a_table, "lacks the table 'usage'"),
        (_has_a_view, "lacks the table 'captures'"),
        (_text, "no database"),
        (_torn, "broken one"),
    ],
)
def test_unusable_file_is_put_aside_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], why: str
) -> None:
    path = tmp_path / "s"
    spoil(path)
    before = path.read_bytes()

    with pytest.raises(UnusableFile, match=why):
        open_database(path)
    aside = put_aside(path)
    with closing(open_database(path)) as database:
        assert listed(database) == []

    assert (aside.name, aside.read_bytes()) == ("s.aside-1", before)


def test_file_that_all_may_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(open_database(path)):
        pass
    path.chmod(0o666)

    with closing(open_database(path)) as database:
        filled(ActivityDatabase(database, path), [record("r")])

        assert {it.name: it.stat().st_mode & 0o777 for it in tmp_path.iterdir()} == dict.fromkeys(
            ("s", "s-wal", "s-shm"), 0o600
        )


def test_no_more_than_nine_files_are_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(9):
        path.touch()
        put_aside(path)
    path.write_text("the tenth")

    with pytest.raises(OSError, match="put aside already"):
        put_aside(path)
    assert path.read_text() == "the tenth"


def test_file_is_ours_alone_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "new" / "s"
    with closing(open_database(path)) as database:
        filled(ActivityDatabase(database, path), [WHOLE])
        (mode,) = database.execute("PRAGMA journal_mode").fetchone()
        (ours,) = database.execute("PRAGMA application_id").fetchone()
        assert (mode, ours) == ("wal", APPLICATION_ID)
        assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
    with closing(open_database(path)) as database:
        assert listed(database) == ["whole/1"]


def test_new_fields_of_records_become_columns(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(open_database(path)) as database:
        filled(ActivityDatabase(database, path), [record("old", key="k", swap=3)])
        database.execute("ALTER TABLE requests DROP COLUMN key")
        database.execute("ALTER TABLE requests ADD COLUMN of_the_future")

    with closing(open_database(path)) as database:
        filled(ActivityDatabase(database, path), [record("new", key="k")])
        reply = answers.activity(database, ActivityRequest(), 0)

    assert reply == ActivityReply(records=(record("old", swap=3), record("new", key="k")))


# --- captures ------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: secret\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def raw(request_id: str, response: bytes = HEAD + b"\r\n{}", **changes: object) -> RawCapture:
    kept = RawCapture(
        request_id=request_id,
        path="/v1/x",
        caller="k",
        request_fields=(("a", "b"),),
        request_body=b'{"model":"m"}',
        response=response,
        most_bytes=20,
        is_cut=False,
    )
    return msgspec.structs.replace(kept, **changes)


def test_captures_belong_to_their_records_and_keys(store: ActivityDatabase) -> None:
    database = filled(store, [record("r1"), record("r2", key="k"), raw("r2"), raw("never-was")])

    def of(caller: str | None) -> list[int]:
        reply = answers.captures(database, CapturesRequest(caller=caller))
        assert isinstance(reply, CapturesReply)
        return [one.id for one in reply.captures]

    assert (of("k"), of("other"), of(""), of(None)) == ([2], [], [], [2])
    whole = answers.capture(database, CaptureRequest(id=2, caller="k"))
    assert isinstance(whole, CaptureReply)
    assert whole.capture.request_body == b'{"model":"m"}'
    for number, caller in ((1, None), (2, "other"), (3, None), (-1, None), (10**30, None)):
        refused = answers.capture(database, CaptureRequest(id=number, caller=caller))
        assert isinstance(refused, Refusal)
        assert refused.error.code == "unknown_capture"


def test_the_oldest_captures_go_first(store: ActivityDatabase) -> None:
    items: list[Item] = []
    for number in range(40):
        items += [record(f"r{number}"), raw(f"r{number}")]
    database = filled(store, items)
    (size,) = database.execute("SELECT MAX(size) FROM captures").fetchone()

    store.forget(msgspec.structs.replace(LIMITS, capture_bytes=3 * size))
    assert (store.captures, store.rows) == (3, 40)
    reply = answers.captures(database, CapturesRequest(limit=2))
    assert isinstance(reply, CapturesReply)
    assert ([one.id for one in reply.captures], reply.next) == ([40, 39], 38)
    store.forget(LIMITS)  # captures were switched off
    assert store.captures == 0


@pytest.mark.parametrize(
    ("response", "body", "is_cut"),
    [
        (HEAD + b'\r\n{"a":1}', b'{"a":1}', False),
        (HEAD + b"\r\n" + b"x" * 30, b"x" * 20, True),
        (CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", False),
        (CHUNKED + b"3\r\nab", b"ab", False),
        (CHUNKED + b"zz\r\nab", b"", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\nabc", b"abc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n\x89PNG", b"", False),
        (b"", b"", False),
        (b"nonsense", b"", False),
    ],
)  # fmt: skip
def test_responses_are_read_as_far_as_they_came(response: bytes, body: bytes, is_cut: bool) -> None:
    kept = kept_of(raw("r", response))

    assert (kept.response_body, kept.is_cut) == (body, is_cut)
    assert dict(kept.response_fields).get("set-cookie", "[REDACTED]") == "[REDACTED]"


# --- CSV -----------------------------------------------------------------------------------------


def test_a_line_of_csv_has_all_fields_and_no_formula() -> None:
    odd: RequestRecord = record('=cmd|"x"', asked="-1", path="a,b", cost_usd=Decimal("1E-7"))
    line = csv_record(odd)

    assert line.startswith('"\'=cmd|""x""",1.0,"a,b",\'-1,m,openai,false,200,ok,12.5,,')
    assert ",0.0000001," in line
    assert line.endswith("\r\n")
    assert csv_line(COLUMNS).count(",") == len(COLUMNS) - 1
