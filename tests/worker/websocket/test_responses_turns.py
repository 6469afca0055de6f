"""The turns of a WebSocket of the Responses API, each with an account of its own."""

import json
from typing import Any

import pytest

from arriero.protocol.records import RequestRecord
from arriero.protocol.worker_config import ModelRoute, SelectorRoute, WorkerConfig
from arriero.worker.accounting.account import Account, open_account
from arriero.worker.accounting.record import make_record
from arriero.worker.apis.model_names import ModelNames, Target
from arriero.worker.apis.routes import RESPONSES
from arriero.worker.errors import BadRequest, ClientGone, RelayError, UnknownModel, UpstreamDied
from arriero.worker.websocket.frames import WsMessage
from arriero.worker.websocket.responses_turns import ResponsesTurns, begins_turn, ends_turn

NAMES = ModelNames(
    WorkerConfig(
        generation=1,
        models=(
            ModelRoute(model="m", aliases=("em",), send_as="real"),
            ModelRoute(model="other"),
        ),
        selectors=(SelectorRoute(selector="any", strategy="warm", targets=("other", "em")),),
    )
)
USAGE = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}


class Book:
    """Turns, and what has become of them."""

    def __init__(self) -> None:
        self.opened = 0
        self.records: list[RequestRecord] = []
        self.turns = ResponsesTurns(NAMES, self.open_turn, self.end_turn, self.choose)
        self.chosen: list[str] = []  # selectors that were asked

    async def choose(self, selector: str) -> Target:
        self.chosen.append(selector)
        return NAMES.find_chosen("em")

    def open_turn(self) -> Account:
        self.opened += 1
        account = open_account(
            request_id=str(self.opened), path=b"/v1/responses", api=RESPONSES, now=0.0, t=0.0
        )
        account.status = 101
        return account

    def end_turn(self, account: Account) -> None:
        record = make_record(account, 9.0)
        assert record is not None
        self.records.append(record)


def create(**members: Any) -> WsMessage:
    return WsMessage(json.dumps({"type": "response.create"} | members).encode())


def event(kind: str, **members: Any) -> WsMessage:
    return WsMessage(json.dumps({"type": kind} | members, indent=2).encode())


def completed(**members: Any) -> WsMessage:
    response = {"model": "served", "status": "completed", "usage": USAGE} | members
    return event("response.completed", response=response)


async def test_a_selector_chooses_once_for_all_turns() -> None:
    book = Book()
    first = create(model="any")

    await book.turns.ask_first(first)
    assert json.loads(book.turns.say(first).data)["model"] == "real"
    await book.turns.ask_first(first)
    assert json.loads(book.turns.say(first).data)["model"] == "real"

    assert book.chosen == ["any"]
    with pytest.raises(BadRequest, match="this socket is one for 'm'"):
        book.turns.say(create(model="other"))


def test_each_create_is_a_turn_and_goes_up_with_the_models_name_there() -> None:
    book = Book()
    assert book.turns.say(create(model="em", input="1")) == create(model="real", input="1")
    book.turns.hear(event("response.output_text.delta", delta="a\nb"), 1.0)
    assert [book.turns.is_open] == [True]
    book.turns.hear(completed(), 2.0)
    assert [book.turns.is_open] == [False]
    assert book.turns.say(create(model="m", input="2")) == create(model="real", input="2")
    book.turns.hear(completed(usage=USAGE | {"output_tokens": 5}), 3.0)

    first, second = book.records
    assert (first.asked, first.model, first.served_as) == ("em", "m", "served")
    assert (first.output_tokens, second.output_tokens) == (3, 5)
    assert (first.outcome, first.finish_reason, first.status) == ("ok", "stop", 101)
    assert first.stream
    assert first.ttft_ms == 1000
    assert first.gen_ms == 1000
    assert first.bytes_out == len(event("response.output_text.delta", delta="a\nb").data) + len(
        completed().data
    )


@pytest.mark.parametrize(
    "message",
    [
        WsMessage(b'{"type":"response.cancel", "model":"em"}'),
        WsMessage(b"no JSON"),
        WsMessage(create(model="em").data, is_text=False),
        WsMessage(b'{"type":5,"model":"em"}'),
        WsMessage(b"[" * 100_000),
    ],
)
def test_all_other_messages_pass_byte_for_byte(message: WsMessage) -> None:
    book = Book()
    book.turns.say(create(model="m"))
    assert book.turns.say(message) is message
    assert book.opened == 1


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (WsMessage(b"no JSON"), BadRequest, "response.create"),
        (WsMessage(b'{"type":"response.cancel"}'), BadRequest, "response.create"),
        (WsMessage(create(model="m").data, is_text=False), BadRequest, "response.create"),
        (create(), BadRequest, "no 'model'"),
        (create(model=5), BadRequest, "which model"),
        (WsMessage(b'{"type":"response.create","model":"m","model":"n"}'), BadRequest, "more than"),
        (create(model="ohter"), UnknownModel, "did you mean 'other'"),
    ],
)
def test_a_first_message_that_names_no_model_is_refused_and_put_down(
    message: WsMessage, kind: type[RelayError], words: str
) -> None:
    book = Book()
    with pytest.raises(kind, match=words) as caught:
        book.turns.say(message)
    book.turns.end(caught.value)
    (record,) = book.records
    assert (record.outcome, record.error_code) == ("rejected", caught.value.code)


def test_later_turns_are_for_the_same_model_whether_they_say_so_or_not() -> None:
    book = Book()
    book.turns.say(create(model="m"))
    assert book.turns.say(create(input="2")) == create(input="2")
    with pytest.raises(BadRequest, match=r"socket is one for 'm'.*'other'"):
        book.turns.say(create(model="other"))
    book.turns.end(ClientGone())
    assert [record.model for record in book.records] == ["m", "m", ""]


def test_turns_that_are_begun_together_end_in_their_order() -> None:
    book = Book()
    for number in range(3):
        book.turns.say(create(model="m", input=str(number)))
    book.turns.hear(completed(), 1.0)
    book.turns.hear(event("response.failed", response={"error": {"code": "server_error"}}), 2.0)
    assert [record.request_id for record in book.records] == ["1", "2"]
    assert [record.outcome for record in book.records] == ["ok", "upstream_error"]
    assert book.turns.is_open


def test_nobody_begins_turns_without_end() -> None:
    book = Book()
    for _ in range(16):
        book.turns.say(create(model="m"))
    with pytest.raises(BadRequest, match="16 turns"):
        book.turns.say(create(model="m"))
    assert book.opened == 16


@pytest.mark.parametrize(
    ("message", "ends"),
    [
        (event("response.completed"), True),
        (event("response.incomplete"), True),
        (event("response.failed"), True),
        (event("error", error={"code": "previous_response_not_found"}), True),
        (event("response.created"), False),
        (event("response.output_text.delta", delta='"response.completed"'), False),
        (event("response.in_progress", error=None, response={"type": "response.failed"}), False),
        (WsMessage(b'"response.completed"'), False),
        (WsMessage(event("response.completed").data, is_text=False), False),
    ],
)
def test_a_turn_ends_with_the_events_that_say_so(message: WsMessage, ends: bool) -> None:
    assert ends_turn(message) == ends


def test_an_error_ends_a_turn_and_is_in_its_record() -> None:
    book = Book()
    book.turns.say(create(model="m"))
    book.turns.hear(event("error", error={"code": "previous_response_not_found"}), 1.0)
    (record,) = book.records
    assert (record.outcome, record.error_code) == ("upstream_error", "previous_response_not_found")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ClientGone(), "client_gone"), (UpstreamDied("it died"), "upstream_error")],
)
def test_a_turn_that_is_cut_short_says_why(error: RelayError | ClientGone, outcome: str) -> None:
    book = Book()
    book.turns.say(create(model="m"))
    book.turns.end(error)
    book.turns.end(UpstreamDied("later"))
    assert [record.outcome for record in book.records] == [outcome]


def test_our_own_words_do_not_come_back_to_the_model() -> None:
    book = Book()
    ours = {"type": "reasoning", "id": "rs_swapprogress_1", "summary": []}
    said = book.turns.say(create(model="m", input=[ours, {"role": "user", "content": "x"}]))
    assert b"rs_swapprogress" not in said.data


def test_what_begins_a_turn_is_found_however_it_is_written() -> None:
    assert begins_turn(WsMessage(b' {"input":[], "t\\u0079pe" : "response.create"}'))
