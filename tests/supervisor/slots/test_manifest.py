"""What is remembered of saved slots."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arriero.supervisor.slots.manifest import (
    MAX_SLOTS,
    FileState,
    Manifest,
    SavedModel,
    SavedSlot,
    ServerIdentity,
    file_name,
)

IDENTITY = ServerIdentity(arguments="a", build="b1", files=(FileState("/m.gguf", 5, 6),))


def saved(*sizes: int, names: str = "t") -> SavedModel:
    slots = [SavedSlot(at, file_name(names, at), size, 9) for at, size in enumerate(sizes)]
    return SavedModel(folder="/f", identity=IDENTITY, saved_at=1.5, slots=tuple(slots))


def test_manifest_survives_being_written() -> None:
    manifest = Manifest()
    manifest.put("a", saved(3, 4))
    manifest.put("b", saved())

    again = Manifest.decode(manifest.encode())

    assert again.models() == ("a", "b")
    assert again.get("a") == saved(3, 4)


@pytest.mark.parametrize(
    "slot",
    [
        SavedSlot(0, "../arriero-x.slot"),
        SavedSlot(0, "arriero-/../../x.slot"),
        SavedSlot(0, "model.gguf"),
        SavedSlot(-1, file_name("t", 0)),
        SavedSlot(0, file_name("t", 0), -5),
    ],
)
def test_entry_that_cannot_be_true_is_dropped(slot: SavedSlot) -> None:
    manifest = Manifest()
    manifest.put("good", saved(1))
    manifest.put("bad", msgspec.structs.replace(saved(), slots=(slot,)))
    manifest.put("many", saved(*range(MAX_SLOTS + 1)))

    assert Manifest.decode(manifest.encode()).models() == ("good",)


@given(st.binary() | st.builds(lambda text: b'{"v":1,"models":{"m":%b}}' % text, st.binary()))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(ValueError):
        Manifest.decode(data)


def test_oldest_go_when_there_is_too_much() -> None:
    manifest = Manifest()
    for model in "abc":
        manifest.put(model, saved(4, 6))
    manifest.put("a", saved(10))

    assert list(manifest.beyond(30)) == []
    assert list(manifest.beyond(29)) == ["b"]
    assert list(manifest.beyond(10)) == ["b", "c"]
    assert list(manifest.beyond(9)) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"arguments": "x"}, "it is started with other arguments"),
        ({"build": "b2"}, "llama-server is another build"),
        ({"files": (FileState("/m.gguf", 5, 7),)}, "its files have changed"),
        ({"files": ()}, "its files have changed"),
    ],
)
def test_other_server_is_told(change: dict[str, object], why: str) -> None:
    assert IDENTITY.misfit(msgspec.structs.replace(IDENTITY, **change)) == why
