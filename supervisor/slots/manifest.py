"""Which files hold the slots of which model, and for which server they are.

A *slot* of llama-server holds the tokens of one conversation, and what the model has computed for
them: its prompt cache. Saved, it is of use only to the same model, the same build and the same
arguments; llama-server checks the shape of what it reads, not whose it was.

Pure: nothing here touches a file.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from arriero.protocol.read_json import JsonReader

from ..text.entries import NamedEntries

# Models whose slots are remembered; a limit for what is read, rather than for anybody's folder.
MAX_MODELS: Final = 500

# More slots than any llama-server has; each is a request to it.
MAX_SLOTS: Final = 64

VERSION: Final = 1


class FileState(msgspec.Struct, frozen=True):
    """A file of a model, as it was: another size or time means that it may be another model."""

    path: str
    size_bytes: int
    modified_ns: int


class ServerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be the same for a saved slot to fit.

    Attributes:
        arguments: Hash of the command.
        build: Of llama-server, as it says.
        files: Those of the model.
    """

    arguments: str
    build: str
    files: tuple[FileState, ...]

    def misfit(self, other: "ServerIdentity") -> str:
        """Return in which way `other` is another server; empty if it is none."""
        if self.arguments != other.arguments:
            return "it is started with other arguments"
        if self.build != other.build:
            return "llama-server is another build"
        return "its files have changed" if self.files != other.files else ""


class SavedSlot(msgspec.Struct, frozen=True):
    """One slot.

    Attributes:
        slot: Its number.
        name: Of its file.
        size_bytes: Of its file; 0 as long as that is being written.
        tokens: How many it holds.
    """

    slot: int
    name: str
    size_bytes: int = 0
    tokens: int = 0


class SavedModel(msgspec.Struct, frozen=True, kw_only=True):
    """The saved slots of one model.

    Attributes:
        folder: Where their files are.
        identity: The server that they are for.
        saved_at: Unix time.
        slots: None of them twice.
    """

    folder: str
    identity: ServerIdentity
    saved_at: float
    slots: tuple[SavedSlot, ...]

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(slot.size_bytes for slot in self.slots)

    @property
    def is_whole(self) -> bool:
        """Whether no file was still being written."""
        return all(slot.size_bytes and slot.tokens for slot in self.slots)


_saved_model: Final = JsonReader(SavedModel)


class Manifest(NamedEntries[SavedModel]):
    """The saved slots of all models, the one saved last at the end."""

    FIELD = "models"
    VERSION = VERSION
    MOST = MAX_MODELS
    SUBJECT = "the manifest of saved slots"

    @staticmethod
    def read(raw: msgspec.Raw) -> SavedModel | None:
        """Return what is saved of one model; None if it is not to be believed."""
        saved = _saved_model.read(raw)
        return saved if _makes_sense(saved.slots) else None

    def put(self, model: str, saved: SavedModel) -> None:
        """Note what is saved of `model`, in the place of what was.

        None of the others goes: their files are still there.
        """
        self.remove(model)
        self._entries[model] = saved

    def remove(self, model: str) -> None:
        """Forget what is saved of `model`."""
        self._entries.pop(model, None)

    def models(self) -> tuple[str, ...]:
        """Return the models of which something is saved, the oldest first."""
        return tuple(self._entries)

    def beyond(self, most_bytes: int) -> Iterator[str]:
        """Give the models that have to go for the rest to take `most_bytes`, the oldest first."""
        total = sum(saved.size_bytes for saved in self._entries.values())
        for model, saved in self._entries.items():
            if total <= most_bytes:
                return
            total -= saved.size_bytes
            yield model


def _makes_sense(slots: Iterable[SavedSlot]) -> bool:
    """Return whether names stay in their folder, and numbers are such."""
    found = list(slots)
    numbers = {slot.slot for slot in found}
    return len(numbers) == len(found) <= MAX_SLOTS and all(
        is_file_name(slot.name) and min(slot.slot, slot.size_bytes, slot.tokens) >= 0
        for slot in found
    )


_PREFIX: Final = "arriero-"


def file_name(token: str, slot: int) -> str:
    """Return the name of the file of a slot; `token` is random, made for each time of saving."""
    return f"{_PREFIX}{token}-{slot}.slot"


def is_file_name(name: str) -> bool:
    """Return whether `name` is one of ours."""
    return name.startswith(_PREFIX) and name.endswith(".slot") and not {"/", "\0"} & set(name)
