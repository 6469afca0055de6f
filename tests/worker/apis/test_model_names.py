import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute, WorkerConfig
from arriero.worker.apis.model_names import (
    BodyFields,
    ModelNames,
    Target,
    asks_for_prefill_itself,
    read_body,
)
from arriero.worker.apis.routes import MESSAGES
from arriero.worker.errors import BadRequest, UnknownModel

QWEN = ModelRoute(model="qwen3", aliases=("gpt-4", "gemma"))
GEMMA = ModelRoute(model="gemma")


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b'{"model":"m"}', BodyFields("m", stream=False)),
        (b'{"model":"m","stream":true}', BodyFields("m", stream=True)),
        (b'{"stream":null,"x":[{"model":3}],"model":"m"}', BodyFields("m", stream=False)),
        (b' {"model" : "\\u006d"}\n', BodyFields("m", stream=False)),
    ],
)
def test_only_model_and_stream_are_read(body: bytes, asked: BodyFields) -> None:
    assert read_body(body) == asked


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"m"',
        b"{}",
        b'{"model":""}',
        b'{"model":null}',
        b'{"model":1}',
        b'{"model":"m","stream":"yes"}',
        b'{"model":"\xff"}',
        b'{"model":"m"}x',
    ],
)
def test_a_body_without_a_model_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"^cannot"):
        read_body(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadRequest):
        read_body(body)


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"thinking":{"type":"enabled","budget_tokens":1024}}', True),
        (b'{"thinking":{"type":"adaptive"}}', True),
        (b'{"thinking":{"type":"disabled"}}', False),
        (b'{"thinking":{}}', False),
        (b'{"thinking":null}', False),
        (b'{"thinking":true}', False),
        (b'{"thinking":{"type":7}}', False),
        (b'{"messages":[{"thinking":{"type":"enabled"}}]}', False),
        (b"{", False),
    ],
)
def test_thinking_is_asked_for_at_the_top_and_not_disabled(body: bytes, asks: bool) -> None:
    assert MESSAGES.wants_thinking(body) is asks


def test_an_id_goes_before_an_alias() -> None:
    names = ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    assert names.find("gemma") == Target(GEMMA)
    assert names.find("gpt-4") == Target(QWEN)
    assert names.find("qwen3") == Target(QWEN)


def test_an_unknown_name_is_told_what_looks_like_it() -> None:
    names = ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA)))

    with pytest.raises(UnknownModel) as caught:
        names.find("qwen")

    assert caught.value.message == "cannot find a model named 'qwen'; did you mean 'qwen3'?"


PEER = PeerRoute(peer="cloud", url="https://x", kind="openai", prices={"gpt-x": Prices()})


def peered(**names: str) -> ModelNames:
    models = {name: PeerModel(peer="cloud", model=model) for name, model in names.items()}
    return ModelNames(
        WorkerConfig(generation=1, models=(QWEN, GEMMA), peers={"cloud": PEER}, peer_models=models)
    )


def test_a_name_of_a_peer_leads_there_under_its_own_name() -> None:
    route, peer, detour = peered(big="gpt-x").find("big")

    assert (peer, detour) == (PEER, None)
    assert (route.model, route.send_as, route.prices) == ("cloud/gpt-x", "gpt-x", Prices())


def test_models_here_go_before_those_of_peers() -> None:
    assert peered(qwen3="gpt-x").find("qwen3") == Target(QWEN)


def test_whoever_names_no_model_gets_the_first_one() -> None:
    assert ModelNames(WorkerConfig(generation=1, models=(QWEN, GEMMA))).first() == QWEN.model
    with pytest.raises(UnknownModel):
        ModelNames(WorkerConfig(generation=1, models=())).first()


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b'{"return_progress":true}', True),
        (b'{"return_progress":false}', False),
        (b'{"return_progress":"yes"}', False),
        (b'{"text":"return_progress"}', False),
        (b"{}", False),
    ],
)
def test_some_clients_ask_for_the_progress_of_the_prompt_themselves(
    body: bytes, asks: bool
) -> None:
    assert asks_for_prefill_itself(body) is asks
