"""What became of requests, and how one is ended, as the owner of the machine sees it."""

import httpx
import pytest
from trains import Stream, Train, eventually

pytestmark = pytest.mark.e2e


def request_id(answer: httpx.Response) -> str:
    return answer.headers["x-request-id"]


def test_each_request_is_remembered_and_told_to_whoever_listens(train: Train) -> None:
    with train.events("usage/") as next_event:
        answers = [train.chat(name) for name in ("a", "first", "a")]
        told = [next_event()["record"]["request_id"] for _ in answers]

    records = train.ask("activity", limit=2)["records"]
    assert told == [request_id(answer) for answer in answers]
    assert [found["request_id"] for found in records] == told[1:]
    assert [found["asked"] for found in records] == ["first", "a"]
    assert {(found["model"], found["upstream_kind"]) for found in records} == {
        ("a", "llama-server")
    }
    assert train.log.read_text().count(" request.ended request_id=") == 3


def test_a_running_request_ends_when_its_owner_says_so(train: Train) -> None:
    train.chat("a")
    with train.events("usage/") as next_event:
        stream = Stream(train, "a", chunks=400, delay_s=0.05)
        eventually(lambda: stream.frames)

        answer = train.ask("cancel", request_id=stream.headers["x-request-id"])

        assert (answer["ok"], answer["result"]) == (True, "cancelled")
        assert next_event()["record"]["outcome"] == "cancelled"
    again = train.ask("cancel", request_id=stream.headers["x-request-id"])
    assert again["result"] == "finished"
    stream.finish()


def test_a_request_that_nobody_knows_is_refused(train: Train) -> None:
    answer = train.ask("cancel", request_id="never-was")

    assert (answer["ok"], answer["error"]["code"]) == (False, "unknown_request")
    assert train.ask("activity", request_id="never-was")["records"] == []
    assert train.ask("activity", limit=0)["error"]["code"] == "bad_request"
