"""What peers tell of their models, whatever they send."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.peers.told import (
    MAX_LIST_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_MODELS,
    BadList,
    FeedSplitter,
    FollowedModels,
    ThereModel,
    clean_words,
    read_list,
)


def listing(*entries: object) -> bytes:
    return json.dumps({"object": "list", "data": entries}).encode()


def ours(name: str, kind: str = "model", state: str = "unloaded") -> dict[str, object]:
    return {
        "id": name,
        "owned_by": "arriero",
        "meta": {"llamaswap": {"type": kind}},
        "status": {"value": state},
    }


@pytest.mark.parametrize(
    ("data", "states"),
    [
        # of one that loads nothing by itself, what is listed is there
        (listing({"id": "a", "owned_by": "vllm"}, {"id": "b"}), {"a": "ready", "b": "ready"}),
        (json.dumps([{"id": "a"}]).encode(), {"a": "ready"}),  # without an object around it
        # llama-server's router
        (
            listing(
                {"id": "a", "status": {"value": "loaded", "args": []}},
                {"id": "b", "status": {"value": "loading"}},
                {"id": "c", "status": {"value": "unloaded", "failed": True}},
                {"id": "d", "status": {"value": "sleeping"}},
                {"id": "e", "status": {"value": "dreaming"}},
            ),
            {"a": "ready", "b": "starting", "c": "stopped", "d": "asleep", "e": None},
        ),
        # llama-swap, which does not tell
        (listing({"id": "a", "owned_by": "llama-swap"}), {"a": None}),
        (listing({"id": "a", "meta": {"llamaswap": {"type": "model"}}}), {"a": None}),
        # an arriero: nothing that is a name for something else, or elsewhere
        (
            listing(
                ours("a", state="loaded"),
                *(ours(kind, kind) for kind in ("alias", "selector", "profile", "peer")),
            ),
            {"a": "ready"},
        ),
        # other shapes of what is not needed
        (listing({"id": "a", "status": "loaded", "meta": 3, "owned_by": None}), {"a": "ready"}),
        (listing({"id": "a"}, {"id": "a"}), {"a": "ready"}),
        (listing(), {}),
    ],
)
def test_lists_of_many_kinds(data: bytes, states: dict[str, str]) -> None:
    told = read_list(data)

    assert {name: there.state for name, there in told.models.items()} == states
    assert told.left_out == 0
    assert told.is_arriero == (b"arriero" in data)


@pytest.mark.parametrize(
    "name",
    ["", " a", "a\n", "a\x00b", "a\x1b[31m", "a\u202eb", "x" * 201, "a\x7f"],
)
def test_what_is_no_name_is_left_out(name: str) -> None:
    told = read_list(json.dumps({"data": [{"id": name}, {"id": "good"}]}).encode("utf-8"))

    assert list(told.models) == ["good"]
    assert told.left_out == 1


def test_a_list_without_end_has_an_end() -> None:
    told = read_list(listing(*({"id": f"m{n}"} for n in range(3 * MAX_MODELS))))

    assert len(told.models) == MAX_MODELS
    assert told.left_out == 2 * MAX_MODELS


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"<html>", b'{"data": 3}', b'{"data": [3]}', b'{"data": [{"id": 3}]}',
     b"[" * 100_000, b'{"data": [{"id": "\xff"}]}', b'{"data": [{"id": "\\ud800"}]}'],
)  # fmt: skip
def test_no_list(data: bytes) -> None:
    with pytest.raises(BadList):
        read_list(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    splitter, followed = FeedSplitter(), FollowedModels()
    for message in splitter.split(data + b"\n\n"):
        followed.take(message)
    with suppress(BadList):
        read_list(data)


def test_words_from_outside_stay_on_one_line() -> None:
    assert clean_words("a\r\nb\x1b[0m \u2028 c") == "a b [0m c"
    assert len(clean_words("x" * 10_000)) == 200


# --- the feed ------------------------------------------------------------------------------------


def model(name: str, state: str = "ready", **facts: object) -> dict[str, object]:
    return {"model": name, "state": state, "since": 1.0, **facts}


def followed(*messages: Mapping[str, object]) -> dict[str, ThereModel]:
    models = FollowedModels()
    for message in messages:
        assert models.take(json.dumps(message).encode())
    return models.models


def test_models_are_as_the_feed_tells() -> None:
    loading = {"phase": "loading", "fraction": 0.42, "eta_s": 7.5, "swap": 3}
    catalog = [{"id": "b", "limit": 2}, {"id": "x"}]

    assert followed(
        {"t": 1, "all": True, "models": [model("a", in_flight=3), model("b", "stopped")],
         "queue": [], "catalog": catalog},
        {"t": 2, "models": [model("b", "starting", progress=loading, start_s=12.5)],
         "queue": [{"model": "b", "waiting": 4}]},
    ) == {
        "a": ThereModel(state="ready", running=3),
        "b": ThereModel(state="starting", waiting=4, slots=2, phase="loading", fraction=0.42,
                        eta_s=7.5, start_s=12.5),
    }  # fmt: skip
    assert followed({"all": True, "models": [model("a")]}, {"gone": ["a", "z"]}) == {}
    assert followed({"all": True, "models": [model("a")]}, {"all": True}) == {}
    waited = {"queue": [{"model": "a", "waiting": 1}]}
    assert followed({"models": [model("a")]}, waited, {"queue": []})["a"].waiting == 0


def test_numbers_of_strangers_have_limits() -> None:
    strange = {"phase": "?", "fraction": 7.0, "eta_s": -1.0}
    found = followed({"models": [model("a", "?", in_flight=-5, progress=strange, start_s=1e300)]})

    assert found["a"] == ThereModel(fraction=1.0, eta_s=0.0, start_s=86400.0)


def test_a_feed_of_many_names_is_remembered_in_part() -> None:
    names = [model(f"m{n}") for n in range(2 * MAX_MODELS)]
    queue = [{"model": f"q{n}", "waiting": 1} for n in range(2 * MAX_MODELS)]

    assert len(followed({"models": names, "queue": queue})) == MAX_MODELS
    assert followed({"models": [model("a\nb"), model("good")]}).keys() == {"good"}


def test_messages_are_found_wherever_they_are_cut() -> None:
    stream = b':\n\nid:e.1.2\ndata:{"a":\ndata: 1}\n\nevent: x\ndata:2\n\ndata:3'
    for size in (1, 2, 3, 7, len(stream)):
        splitter = FeedSplitter()
        parts = [stream[at : at + size] for at in range(0, len(stream), size)]
        found = [message for part in parts for message in splitter.split(part)]

        assert found == [b'{"a":\n1}', b"2"]
        assert splitter.last_id == "e.1.2"


def test_a_message_without_end_is_refused() -> None:
    splitter = FeedSplitter()
    for _ in range(MAX_MESSAGE_BYTES // 8192):
        assert splitter.split(b"x" * 8192) == []
    with pytest.raises(BadList):
        splitter.split(b"x")


@pytest.mark.parametrize(
    "data",
    [
        b'{"data":[' + b"{}," * (MAX_LIST_BYTES // 3) + b"{}]}",
        b'{"models":[' + b'{"model":"a"},' * (MAX_MESSAGE_BYTES // 14) + b'{"model":"b"}]}',
        b'{"gone":[' + b'"a",' * (MAX_MESSAGE_BYTES // 4) + b'"b"]}',
    ],
    ids=["list", "models", "gone"],
)
def test_what_takes_long_to_read_is_refused(data: bytes) -> None:
    assert not FollowedModels().take(data)
    with pytest.raises(BadList, match="parts"):
        read_list(data)
