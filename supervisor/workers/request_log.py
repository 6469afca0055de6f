"""Which requests have ended, and the log lines of their records."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import compress
from typing import Final

import msgspec

from arriero.protocol.records import RequestRecord

from ..host.kept_ring import KeptRing
from ..store.columns import MAX_CHARS, clipped

_NAMES: Final = RequestRecord.__struct_fields__

# Texts that can stand in the log as they are. Everything else is quoted, and cannot pretend to be
# more.
_is_plain: Final = re.compile(r"[\w.:/@+\-]+", re.ASCII).fullmatch


# Places of fields that a line does not show as they are.
_T, _STREAM, _ASKED, _KIND, _COST = map(
    _NAMES.index, ("t", "stream", "asked", "upstream_kind", "cost_usd")
)
_TYPE, _TRACE, _STAGES = map(_NAMES.index, ("content_type", "trace", "load_stages"))

# Of texts that clients or models' servers choose.
_FOREIGN: Final = tuple(
    map(_NAMES.index, ("request_id", "path", "asked", "model", "served_as", "error_code"))
)

# Lines by what there is in a record: those of one model's requests are nearly all alike.
_MAX_LINES: Final = 256
_lines: Final[dict[tuple[bool, ...], tuple[str, tuple[str, ...]]]] = {}

# Python 3.11 keeps 2000 tuples of this length to use them again, and never does: 0.4 MB, for lines
# of streams often have as many values. What fills them up is empty.
_NEVER_USED_AGAIN: Final = 20

_read_record: Final = msgspec.json.Decoder(RequestRecord)


class EndedRequests:
    """The last requests whose records came. The records themselves are the store's.

    Args:
        most: Says how many are remembered.
        note: Called with all records that are added, some at a time.
    """

    def __init__(
        self,
        most: Callable[[], int],
        note: Callable[[Sequence[RequestRecord]], None] = lambda _: None,
    ) -> None:
        self._most = most
        self._note = note
        self._marks: OrderedDict[str, int] = OrderedDict()  # by id, of the newest with that id
        self._ring: KeptRing | None = None

    def keep_in(self, ring: KeptRing) -> list[bytes]:
        """Go on with the records in `ring`, and put all new ones there.

        Returns:
            Those that were there, encoded.
        """
        found: list[bytes] = []
        for message in ring.messages():
            with suppress(msgspec.DecodeError):
                self._remember([_read_record.decode(message)])
                found.append(message)
        self._ring = ring
        return found

    def has(self, record: RequestRecord) -> bool:
        """Return whether `record` itself has come already, not only one with its id."""
        kept = clipped(record)
        return self._marks.get(kept.request_id) == _mark_of(kept)

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, records: Iterable[RequestRecord]) -> list[RequestRecord]:
        """Note `records`; return them with texts of at most `MAX_CHARS`."""
        ended = list(map(clipped, records))
        self._remember(ended)
        if self._ring is not None:
            for record in ended:
                self._ring.append(msgspec.json.encode(record))
        self._note(ended)
        return ended

    def _remember(self, ended: Sequence[RequestRecord]) -> None:
        marks, most = self._marks, self._most()
        for record in ended:
            marks[record.request_id] = _mark_of(record)
            marks.move_to_end(record.request_id)
        while len(marks) > most:
            marks.popitem(last=False)

    def knows(self, request_id: str) -> bool:
        """Return whether a request of that id is among them."""
        return request_id[:MAX_CHARS] in self._marks


def _mark_of(record: RequestRecord) -> int:
    """Return what no other request has, not even one with the same id: when it came, and its end.

    Stages of a load are none of it: a worker knows of none.
    """
    return hash((record.t, record.duration_ms, record.path, record.status, record.bytes_out))


def log_text(record: RequestRecord) -> str:
    """Return `record` as ``key=value`` pairs, without empty ones."""
    values = list(msgspec.structs.astuple(record))
    values[_T] = values[_TYPE] = values[_TRACE] = values[_STAGES] = None
    if record.stream:
        values[_STREAM] = "yes"
    if record.asked == record.model:
        values[_ASKED] = None
    if record.upstream_kind == "unknown":
        values[_KIND] = None
    if record.cost_usd is not None:
        values[_COST] = f"{record.cost_usd:f}" if record.cost_usd else None
    if not _is_plain(
        f"{record.request_id}{record.path}{record.asked}{record.model}"
        f"{record.served_as}{record.error_code}"
    ):
        for index in _FOREIGN:
            if values[index] and not _is_plain(values[index]):
                values[index] = ascii(values[index])
    shape = tuple(map(bool, values))
    line, padding = _lines.get(shape) or _new_line(shape)
    return line % (*filter(None, values), *padding)


def _new_line(shape: tuple[bool, ...]) -> tuple[str, tuple[str, ...]]:
    names = list(compress(_NAMES, shape))
    padding = ("",) if len(names) == _NEVER_USED_AGAIN else ()
    line = " ".join(f"{name}=%s" for name in names) + "%s" * len(padding)
    if len(_lines) >= _MAX_LINES:
        _lines.clear()
    _lines[shape] = line, padding
    return line, padding
