"""The records of the last requests, and their log lines."""

import re
from collections import deque
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
_lines: Final[dict[tuple[bool, ...], str]] = {}

_read_record: Final = msgspec.json.Decoder(RequestRecord)


class RecordStore:
    """The last records, in memory.

    Args:
        most: Says how many are kept.
        note: Called with all that are added, some at a time.
    """

    def __init__(
        self,
        most: Callable[[], int],
        note: Callable[[Sequence[RequestRecord]], None] = lambda _: None,
    ) -> None:
        self._most = most
        self._note = note
        self._records: deque[RequestRecord] = deque()  # the newest last
        self._by_id: dict[str, RequestRecord] = {}  # the newest with that id
        self._ring: KeptRing | None = None

    def keep_in(self, ring: KeptRing) -> list[bytes]:
        """Go on with the records in `ring`, and put all new ones there.

        Returns:
            Those that were there, encoded.
        """
        found: list[bytes] = []
        for message in ring.messages():
            with suppress(msgspec.DecodeError):
                self._append([_read_record.decode(message)])
                found.append(message)
        self._ring = ring
        return found

    def has(self, record: RequestRecord) -> bool:
        """Return whether `record` itself is here already, not only one with its id.

        Stages are none of it: a worker knows of none.
        """
        found = self.find(record.request_id)
        if found is not None and found.load_stages:
            found = msgspec.structs.replace(found, load_stages=record.load_stages)
        return found == clipped(record)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Iterable[RequestRecord]) -> list[RequestRecord]:
        """Keep `records`, with texts of at most `MAX_CHARS`; return these."""
        kept = list(map(clipped, records))
        self._append(kept)
        if self._ring is not None:
            for record in kept:
                self._ring.append(msgspec.json.encode(record))
        self._note(kept)
        return kept

    def _append(self, kept: Sequence[RequestRecord]) -> None:
        records, by_id, most = self._records, self._by_id, self._most()
        for record in kept:
            records.append(record)
            by_id[record.request_id] = record
            while len(records) > most:
                oldest = records.popleft()
                if by_id.get(oldest.request_id) is oldest:
                    del by_id[oldest.request_id]

    def find(self, request_id: str) -> RequestRecord | None:
        """Return the newest record of `request_id`."""
        return self._by_id.get(request_id[:MAX_CHARS])

    def all(self) -> tuple[RequestRecord, ...]:
        """Return them, the oldest first."""
        return tuple(self._records)


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
    line = _lines.get(shape)
    if line is None:
        if len(_lines) >= _MAX_LINES:
            _lines.clear()
        line = " ".join(f"{name}=%s" for name in compress(_NAMES, shape))
        _lines[shape] = line
    return line % tuple(filter(None, values))
