"""What other machines tell of their models -> values. Total, and bounded, whatever they send. Pure.

Sources of lists: OpenAI's API reference (`data`, `id`, `owned_by`); llama-server's README
("status of models" of its router: `status.value`); llama-swap and this program (`meta.llamaswap`:
what an entry is). This program tells of its models what `worker/feeds/live_state.py` says.
"""

import math
from collections.abc import Iterable
from typing import Final, get_args

import msgspec

from arriero.protocol.read_json import JsonReader
from arriero.protocol.values import Phase, State

# Of one machine; names of models are as long as that here, too.
MAX_MODELS: Final = 1000
MAX_NAME: Final = 200

# Bytes of a list, and of one message of a feed: a thousand models are a third of it.
MAX_LIST_BYTES: Final = 1024 * 1024
MAX_MESSAGE_BYTES: Final = 1024 * 1024

# In one text: of a thousand models there are fewer.
_MAX_OBJECTS: Final = 20_000
_MAX_COMMAS: Final = 60_000

# Of a message of a feed, with its name.
_MAX_ID_BYTES: Final = 100

_MOST_REQUESTS: Final = 1_000_000
_LONGEST_S: Final = 86400.0
_STATES: Final[dict[str, State]] = {word: word for word in get_args(State)}
_PHASES: Final[dict[str, Phase]] = {word: word for word in get_args(Phase)}

# Words of lists for the state of a model: llama-server's router, and this program.
_LISTED_STATES: Final[dict[str, State]] = {
    "loaded": "ready",
    "loading": "starting",
    "unloaded": "stopped",
    "sleeping": "asleep",
}

# What is a name for something else there, or is elsewhere.
_NO_MODELS: Final = frozenset({"alias", "selector", "profile", "peer"})

_NOTHING: Final = msgspec.Raw(b"null")


class BadList(ValueError):
    """What came is no list of models; the message says why."""


class ThereModel(msgspec.Struct, frozen=True, kw_only=True):
    """How a model at another machine stands, as far as it is told.

    Attributes:
        state: Of its process; None: it is not known.
        running: Requests that run on it.
        waiting: Requests that wait for it.
        slots: Requests that run side by side; 0: it is not known.
        phase: Of its way to `ready`; None if it is not on it.
        fraction: Share of that way that is done.
        eta_s: Seconds until it is ready.
        start_s: How long its start takes, as that machine has learned.
    """

    state: State | None = None
    running: int = 0
    waiting: int = 0
    slots: int = 0
    phase: Phase | None = None
    fraction: float | None = None
    eta_s: float | None = None
    start_s: float | None = None


NOTHING_TOLD: Final = ThereModel()


class ToldList(msgspec.Struct, frozen=True, kw_only=True):
    """A list of models.

    Attributes:
        models: How each stands, by its name, in the order of the list.
        left_out: Names that are not taken: there are too many, or they are none.
        is_arriero: It is of this program.
    """

    models: dict[str, ThereModel]
    left_out: int = 0
    is_arriero: bool = False


class _ListedModel(msgspec.Struct):
    id: str = ""
    owned_by: str | None = None
    status: msgspec.Raw = _NOTHING
    meta: msgspec.Raw = _NOTHING


class _ListOfModels(msgspec.Struct):
    data: list[_ListedModel]


class _ListedStatus(msgspec.Struct):
    value: str = ""


class _ListedFacts(msgspec.Struct):
    type: str = ""


class _ListedMeta(msgspec.Struct):
    llamaswap: _ListedFacts | None = None


_lists = JsonReader(_ListOfModels)
_bare_lists = JsonReader(list[_ListedModel])
_statuses = JsonReader(_ListedStatus)
_metas = JsonReader(_ListedMeta)


def read_list(data: bytes) -> ToldList:
    """Return the models of a list; `data` has `MAX_LIST_BYTES` at the most.

    Raises:
        BadList: It is none.
    """
    if not _is_quickly_read(data):
        raise BadList("its list of models has too many parts")
    whole = _lists.find(data)
    entries = whole.data if whole is not None else _bare_lists.find(data)
    if entries is None:
        raise BadList("its list of models cannot be read")
    models: dict[str, ThereModel] = {}
    left_out = 0
    is_arriero = False
    for entry in entries:
        is_arriero = is_arriero or entry.owned_by == "arriero"
        meta = None if entry.meta is _NOTHING else _metas.find(entry.meta)
        facts = None if meta is None else meta.llamaswap
        if (facts is not None and facts.type in _NO_MODELS) or entry.id in models:
            continue
        if not is_name(entry.id) or len(models) >= MAX_MODELS:
            left_out += 1
            continue
        status = None if entry.status is _NOTHING else _statuses.find(entry.status)
        state: State | None = "ready"  # who does not tell more has it there
        if status is not None:
            state = _LISTED_STATES.get(status.value)
        elif facts is not None or entry.owned_by == "llama-swap":
            state = None
        models[entry.id] = ThereModel(state=state)
    return ToldList(models=models, left_out=left_out, is_arriero=is_arriero)


def _is_quickly_read(data: bytes) -> bool:
    """Whether a text has so few parts that it is read in some 10 ms: what is long is few texts."""
    return data.count(b"{") <= _MAX_OBJECTS and data.count(b",") <= _MAX_COMMAS


def is_name(text: str) -> bool:
    """Whether a text from outside may be a model's name: short, printable, no blanks around it."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and text == text.strip()


def clean_words(text: str, most: int = 200) -> str:
    """Return words from outside on one line, as they may be shown."""
    printable = "".join(char if char.isprintable() else " " for char in text[: most * 4])
    return " ".join(printable.split())[:most]


# --- the feed of an arriero ----------------------------------------------------------------------


class _FeedProgress(msgspec.Struct):
    phase: str = ""
    fraction: float | None = None
    eta_s: float | None = None


class _FeedModel(msgspec.Struct):
    model: str
    state: str = ""
    in_flight: int = 0
    progress: _FeedProgress | None = None
    start_s: float | None = None


class _FeedQueueEntry(msgspec.Struct):
    model: str
    waiting: int = 0


class _FeedName(msgspec.Struct):
    id: str
    limit: int = 0


class _FeedHost(msgspec.Struct):
    instance: str = ""


class _FeedMessage(msgspec.Struct):
    all: bool = False
    models: list[_FeedModel] = []
    gone: list[str] = []
    queue: list[_FeedQueueEntry] | None = None
    catalog: list[_FeedName] | None = None
    host: _FeedHost | None = None


_messages = JsonReader(_FeedMessage)


class FollowedModels:
    """How the models of an arriero stand, by its feed.

    Attributes:
        models: By their names; not more than `MAX_MODELS`.
        names: What it says that requests may name; None if it has not said so yet.
        instance: Its own number; empty if it tells none.
    """

    def __init__(self) -> None:
        self.models: dict[str, ThereModel] = {}
        self.names: frozenset[str] | None = None
        self.instance = ""
        self._told: dict[str, _FeedModel] = {}
        self._waiting: dict[str, int] = {}
        self._limits: dict[str, int] = {}

    def take(self, data: bytes) -> bool:
        """Take one message in; return whether it could be read.

        Args:
            data: JSON, of `MAX_MESSAGE_BYTES` at the most.
        """
        message = _messages.find(data) if _is_quickly_read(data) else None
        if message is None:
            return False
        if message.all:
            self._told.clear()
            self._waiting.clear()
            self.models.clear()
        changed = {one.model for one in message.models}
        for one in message.models:
            if one.model in self._told or (len(self._told) < MAX_MODELS and is_name(one.model)):
                self._told[one.model] = one
        for name in message.gone:
            self._told.pop(name, None)
            self.models.pop(name, None)
        if message.queue is not None:
            changed |= self._waiting.keys()
            self._waiting = {it.model: it.waiting for it in message.queue[:MAX_MODELS]}
            changed |= self._waiting.keys()
        if message.catalog is not None:
            self._limits = {it.id: it.limit for it in message.catalog if it.limit}
            changed |= self._told.keys()
            self.names = frozenset(it.id for it in message.catalog)
        if message.host is not None and is_name(message.host.instance):
            self.instance = message.host.instance
        self._put(changed)
        return True

    def _put(self, names: Iterable[str]) -> None:
        for name in names:
            told = self._told.get(name)
            if told is None:
                continue
            progress = told.progress or _FeedProgress()
            self.models[name] = ThereModel(
                state=_STATES.get(told.state),
                running=_count(told.in_flight),
                waiting=_count(self._waiting.get(name, 0)),
                slots=_count(self._limits.get(name, 0)),
                phase=_PHASES.get(progress.phase),
                fraction=_within(progress.fraction, 1.0),
                eta_s=_within(progress.eta_s, _LONGEST_S),
                start_s=_within(told.start_s, _LONGEST_S),
            )


def _count(number: int) -> int:
    return min(max(number, 0), _MOST_REQUESTS)


def _within(number: float | None, most: float) -> float | None:
    return None if number is None or math.isnan(number) else min(max(number, 0.0), most)


class FeedSplitter:
    """Splits a stream of Server-Sent Events into the data of its messages.

    Attributes:
        last_id: Of the last message that had one; empty if none had.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self._rest = bytearray()

    def split(self, data: bytes) -> list[bytes]:
        """Return the data of the messages that `data` completes.

        Raises:
            BadList: One is longer than `MAX_MESSAGE_BYTES`.
        """
        self._rest += data
        found: list[bytes] = []
        if self._rest.find(b"\n\n", max(0, len(self._rest) - len(data) - 1)) >= 0:
            *whole, rest = bytes(self._rest).split(b"\n\n")
            self._rest = bytearray(rest)
            for text in filter(None, whole):
                lines = text.split(b"\n")
                parts = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
                for line in lines:
                    if line.startswith(b"id:") and len(line) <= _MAX_ID_BYTES:
                        self.last_id = line[3:].strip().decode("latin-1")
                if parts:
                    found.append(b"\n".join(parts))
        if len(self._rest) > MAX_MESSAGE_BYTES:
            raise BadList("a message of its feed is too long")
        return found
