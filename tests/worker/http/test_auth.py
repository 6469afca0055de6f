import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.protocol.worker_config import SCOPES, ClientKey, WorkerConfig
from arriero.worker.errors import Unauthorized
from arriero.worker.http.auth import NO_KEYS, KeyRing, keys_in_query, shown_key, without_key

KEYS = (b"sk-one", b"sk-two")
MADE = b"arr-0123456789abcdefghijklmnopqrstuvwxyz"
KEY = ClientKey(
    name="laptop",
    sha256=hashlib.sha256(MADE).hexdigest(),
    scopes=("read",),
    models=("qwen*",),
    is_limited=True,
)
RING = KeyRing(
    WorkerConfig(
        generation=1, models=(), api_keys=tuple(key.decode() for key in KEYS), client_keys=(KEY,)
    )
)


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ([], None),
        ([(b"authorization", b"Bearer sk-one")], b"sk-one"),
        ([(b"authorization", b"bEARER  sk-one ")], b"sk-one"),
        ([(b"authorization", basic("me", "sk-one"))], b"sk-one"),
        ([(b"authorization", basic("", "a:b"))], b"a:b"),
        ([(b"x-api-key", b" sk-one")], b"sk-one"),
        ([(b"api-key", b"sk-one")], b"sk-one"),
        ([(b"x-goog-api-key", b"sk-one")], b"sk-one"),
        ([(b"authorization", b"Digest sk-one")], None),
        ([(b"authorization", b"Basic ???"), (b"x-api-key", b"sk-one")], b"sk-one"),
        ([(b"authorization", b"Basic bm8gY29sb24="), (b"x-api-key", b"k")], b"k"),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer b")], b"b"),
        ([(b"authorization", b"Bearer b"), (b"authorization", basic("u", "p"))], b"p"),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", basic("u", "")), (b"x-api-key", b"k")], b"k"),
    ],
)
def test_a_key_is_found_where_clients_put_it(
    fields: list[tuple[bytes, bytes]], key: bytes | None
) -> None:
    assert shown_key(fields) == key


def test_who_asks_is_told_apart_but_not_by_the_key() -> None:
    one = RING.caller([(b"x-api-key", b"sk-one")])

    assert one.ident == "456f1612bd25c6c8"
    assert one == RING.caller([(b"authorization", b"Bearer sk-one")])
    assert one.ident != RING.caller([(b"x-api-key", b"sk-two")]).ident


def test_plain_keys_are_good_for_everything() -> None:
    caller = RING.caller([(b"x-api-key", b"sk-two")])

    assert (caller.scopes, caller.models, caller.name) == (frozenset(SCOPES), None, "apiKeys:2")
    assert not caller.is_limited
    assert not NO_KEYS


def test_hashed_keys_have_their_rights() -> None:
    caller = RING.caller([(b"authorization", b"Bearer " + MADE)])

    assert (caller.name, caller.scopes) == ("laptop", frozenset({"read"}))
    assert (caller.models, caller.is_limited) == (("qwen*",), True)


def test_the_hash_of_a_key_is_no_key() -> None:
    for shown in (KEY.sha256.encode(), b"sha256:" + KEY.sha256.encode(), bytes.fromhex(KEY.sha256)):
        with pytest.raises(Unauthorized):
            RING.caller([(b"x-api-key", shown)])


def test_own_keys_are_known_wherever_they_are() -> None:
    assert all(map(RING.has, (*KEYS, MADE)))
    assert not any(map(RING.has, (b"", b"sk-thr", b"x" * 32, KEY.sha256.encode())))


@pytest.mark.parametrize(
    "shown", [b"", b"sk-on", b"sk-onee", b"SK-ONE", b"sk-one, sk-two", b"\xff"]
)
def test_another_key_will_not_and_is_not_repeated(shown: bytes) -> None:
    with pytest.raises(Unauthorized) as caught:
        RING.caller([(b"x-api-key", shown)])
    assert "sk-" not in caught.value.message


@pytest.mark.parametrize(
    ("target", "key", "left"),
    [
        (b"/a?key=k", b"k", b"/a"),
        (b"/a?alt=sse&key=k", b"k", b"/a?alt=sse"),
        (b"/a?key=k%2f&alt=sse", b"k/", b"/a?alt=sse"),
        (b"/a?key=other&key=k", b"k", b"/a?key=other"),
        (b"/a?keys=k", b"k", b"/a?keys=k"),
        (b"/a", b"k", b"/a"),
    ],
)
def test_a_key_in_the_query_is_taken_out(target: bytes, key: bytes, left: bytes) -> None:
    shown = [value for _, value in keys_in_query(target)]

    assert (key in shown) == (left != target)
    assert without_key(target, key) == left


_FIELD = st.tuples(
    st.sampled_from([b"authorization", b"x-api-key", b"api-key"]),
    st.binary(max_size=12) | st.sampled_from([b"Basic ", b"Bearer ", b"Basic " + b"QQ=="]),
)


@given(st.lists(_FIELD, max_size=4))
def test_whatever_is_shown_only_a_key_lets_in(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized):
        RING.caller(fields)
