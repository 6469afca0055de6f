"""Which requests want the events of a turn, and queries as chats."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.apis.turns.request import Query, TurnFormat, read_query, turn_format
from arriero.worker.errors import BadRequest


def query(**members: Any) -> Query:
    return read_query(json.dumps({"query": "How far?"} | members).encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"turn-events", TurnFormat.EVENTS),
        (b" Turn-Events\t", TurnFormat.EVENTS),
        (b"turn-events; media_type=application/json", TurnFormat.EVENTS),
        (b"turn-events;media_type=text/plain", TurnFormat.TEXT),
        (b'TURN-EVENTS ; v=1; Media_Type = "Text/Plain"', TurnFormat.TEXT),
        (b"", None),
        (b"turn_events", None),
        (b"chunks; media_type=text/plain", None),
        (b"text/plain", None),
    ],
)
def test_the_field_says_how_the_turn_is_told(value: bytes, expected: TurnFormat | None) -> None:
    assert turn_format([(b"accept", b"*/*"), (b"x-stream-format", value)]) is expected


def test_without_the_field_a_stream_stays_what_it_is() -> None:
    assert turn_format([(b"accept", b"text/plain"), (b"x-format", b"turn-events")]) is None


def test_of_two_fields_the_first_one_counts() -> None:
    fields = [(b"x-stream-format", b"chunks"), (b"x-stream-format", b"turn-events")]

    assert turn_format(fields) is None
    assert turn_format(reversed(fields)) is TurnFormat.EVENTS


def test_a_media_type_that_nobody_speaks_is_refused_in_the_field_as_in_a_query() -> None:
    with pytest.raises(BadRequest, match=r"'image/png'.*'text/plain'"):
        turn_format([(b"x-stream-format", b"turn-events; media_type=image/png")])
    with pytest.raises(BadRequest, match=r"'image/png'.*'text/plain'"):
        query(media_type="image/png")


def test_the_content_type_goes_by_the_format() -> None:
    assert TurnFormat.EVENTS.content_type == b"text/event-stream; charset=utf-8"
    assert TurnFormat.TEXT.content_type == b"text/plain; charset=utf-8"


def test_a_query_becomes_a_chat_that_streams_and_counts() -> None:
    found = query(model="qwen", system_prompt="Be brief.", conversation_id="c-7")

    assert (found.model, found.conversation_id, found.format) == ("qwen", "c-7", TurnFormat.EVENTS)
    assert json.loads(found.chat_body("other")) == {
        "model": "other",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How far?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("nothing", [{}, dict.fromkeys(["model", "system_prompt"], "")])
def test_what_a_query_leaves_out_is_not_made_up(nothing: dict[str, Any]) -> None:
    found = query(provider="x", no_tools=True, attachments=[], **nothing)

    assert found.model is None
    assert found.conversation_id is None
    assert json.loads(found.chat_body("m"))["messages"] == [
        {"role": "user", "content": "How far?"},
    ]


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (None, TurnFormat.EVENTS),
        ("", TurnFormat.EVENTS),
        ("application/json", TurnFormat.EVENTS),
        ("text/event-stream", TurnFormat.EVENTS),
        ("Text/Plain", TurnFormat.TEXT),
    ],
)
def test_a_query_says_how_it_is_answered(media_type: str | None, expected: TurnFormat) -> None:
    assert query(media_type=media_type).format is expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "as a query"),
        (b"[]", "as a query.*object"),
        (b"{}", "missing required field `query`"),
        (b'{"query":7}', r"Expected `str`.*\$\.query"),
        (b'{"query":""}', "'query' is empty"),
        (b'{"query":"a","model":["m"]}', r"\$\.model"),
        (b'{"query":"a","attachments":[{"content":"b"}]}', "'attachments'.*'query'"),
        (b'{"query":"\xff"}', "as a query"),
        (b'{"query":"a","attachments":' + b"[" * 100_000, "as a query"),
    ],
)
def test_a_body_that_is_no_query_is_refused_in_words(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_query(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
MEMBERS = ["query", "model", "system_prompt", "conversation_id", "media_type", "attachments"]


@given(st.binary() | st.dictionaries(st.sampled_from(MEMBERS), JSON).map(json.dumps))
def test_any_body_is_a_chat_or_a_bad_request(body: bytes | str) -> None:
    try:
        found = read_query(body if isinstance(body, bytes) else body.encode())
    except BadRequest:
        return
    assert json.loads(found.chat_body("m"))["messages"][-1]["content"] == found.query


@given(st.lists(st.tuples(st.just(b"x-stream-format"), st.binary())))
def test_any_field_is_a_format_or_none_or_a_bad_request(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        assert turn_format(fields) in (None, *TurnFormat)
    except BadRequest as error:
        assert "media_type" in error.message  # noqa: PT017  either of the two is right
