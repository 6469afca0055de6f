import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.worker.errors import Unauthorized
from arriero.worker.http.auth import caller_of, check_key, shown_key

KEYS = (b"sk-one", b"sk-two")


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
    one = caller_of([(b"x-api-key", b"sk-one")])

    assert one == caller_of([(b"authorization", b"Bearer sk-one")]) == "456f1612bd25c6c8"
    assert one != caller_of([(b"x-api-key", b"sk-two")])
    assert caller_of([]) == caller_of([(b"x-api-key", b"")]) == ""


@pytest.mark.parametrize("key", KEYS)
def test_each_of_the_keys_will_do(key: bytes) -> None:
    check_key(KEYS, [(b"x-api-key", key)])


@pytest.mark.parametrize(
    "shown", [b"", b"sk-on", b"sk-onee", b"SK-ONE", b"sk-one, sk-two", b"\xff"]
)
def test_another_key_will_not_and_is_not_repeated(shown: bytes) -> None:
    with pytest.raises(Unauthorized) as caught:
        check_key(KEYS, [(b"x-api-key", shown)])
    assert "sk-" not in caught.value.message


_FIELD = st.tuples(
    st.sampled_from([b"authorization", b"x-api-key", b"api-key"]),
    st.binary(max_size=12) | st.sampled_from([b"Basic ", b"Bearer ", b"Basic " + b"QQ=="]),
)


@given(st.lists(_FIELD, max_size=4))
def test_whatever_is_shown_only_a_key_lets_in(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthorized):
        check_key(KEYS, fields)
