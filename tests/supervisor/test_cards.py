"""What is written on cards is data of another process, of another version perhaps."""

import msgspec
import pytest

from arriero.protocol.values import LEASE_VERSION
from arriero.supervisor.models.start.adoption import ModelCard, read_model_card
from arriero.supervisor.workers.pool import WorkerCard, read_worker_card

MODEL = ModelCard(
    serves=True,
    model="a",
    swap=1,
    launch="",
    endpoint="http://127.0.0.1:1",
    health_url=None,
    port=1,
    socket=None,
    chosen_port=1,
    fresh_key="",
    key="",
    kind=None,
    is_itself=False,
    reports=False,
)
WORKER = WorkerCard(worker=1, token="secret", speaks=LEASE_VERSION)


@pytest.mark.parametrize(
    "card",
    [b"", b"\xff", b"[]", b"null", b'{"type": "model"}', b'{"type": "other", "v": 1}', b"[" * 9000],
)
def test_what_is_no_card(card: bytes) -> None:
    assert (read_model_card(card), read_worker_card(card)) == (None, None)


def test_cards_are_read_as_they_were_written() -> None:
    model, worker = msgspec.json.encode(MODEL), msgspec.json.encode(WORKER)
    assert (read_model_card(model), read_worker_card(model)) == (MODEL, None)
    assert (read_model_card(worker), read_worker_card(worker)) == (None, WORKER)
    assert WORKER.proof == b"secret"


def test_what_another_version_adds_is_not_looked_at() -> None:
    more = msgspec.json.decode(msgspec.json.encode(MODEL)) | {"colour": "blue"}
    assert read_model_card(msgspec.json.encode(more)) == MODEL
    other = more | {"v": 99}
    assert read_model_card(msgspec.json.encode(other)) is None


@pytest.mark.parametrize(
    "card", [b'{"type":"worker"}', b'{"type":"worker","worker":"x","token":5}']
)
def test_a_worker_of_another_version_is_one(card: bytes) -> None:
    found = read_worker_card(card)
    assert found is not None
    assert found.proof == b""


def test_a_worker_that_speaks_otherwise_proves_nothing() -> None:
    assert msgspec.structs.replace(WORKER, speaks=LEASE_VERSION + 1).proof == b""
