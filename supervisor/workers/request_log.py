"""The records of the last requests, and their log lines."""

import re
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from itertools import islice
from typing import Final

import msgspec

from arriero.protocol.records import RequestRecord

# Longest text of a record that is kept, in characters, and most records of one answer. Together
# they keep every answer below `codec.MAX_MESSAGE_BYTES`, whatever clients ask for.
MAX_CHARS: Final = 400
MAX_RECORDS: Final = 1000

# Texts that clients or models' servers choose.
_FOREIGN_TEXTS: Final = ("request_id", "path", "asked", "served_as", "error_code")

_FOREIGN: Final = frozenset({*_FOREIGN_TEXTS, "model"})

_NAMES: Final = RequestRecord.__struct_fields__

# A line of the log has a time of its own.
_NOT_LOGGED: Final = frozenset({"t"})

# Texts that can stand in the log as they are. Everything else is quoted, and cannot pretend to be
# more.
_is_plain: Final = re.compile(r"[\w.:/@+\-]+", re.ASCII).fullmatch


class RecordStore:
    """The last records, in memory.

    Args:
        most: Says how many are kept.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._records: deque[RequestRecord] = deque()  # the newest last
        self._by_id: dict[str, RequestRecord] = {}  # the newest with that id

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: RequestRecord) -> RequestRecord:
        """Keep `record`, with texts of at most `MAX_CHARS`; return that."""
        kept = _clipped(record)
        self._records.append(kept)
        self._by_id[kept.request_id] = kept
        while len(self._records) > self._most():
            oldest = self._records.popleft()
            if self._by_id.get(oldest.request_id) is oldest:
                del self._by_id[oldest.request_id]
        return kept

    def find(self, request_id: str) -> RequestRecord | None:
        """Return the newest record of `request_id`."""
        return self._by_id.get(request_id[:MAX_CHARS])

    def last(self, count: int, request_id: str = "") -> tuple[RequestRecord, ...]:
        """Return the last records, the newest first.

        Args:
            count: How many; never more than `MAX_RECORDS`.
            request_id: Only the one of this request; empty for all.
        """
        if request_id:
            found = self.find(request_id)
            return () if found is None else (found,)
        return tuple(islice(reversed(self._records), max(0, min(count, MAX_RECORDS))))


def log_text(record: RequestRecord) -> str:
    """Return `record` as ``key=value`` pairs, without empty ones."""
    pairs = []
    for name, value in zip(_NAMES, msgspec.structs.astuple(record), strict=True):
        if not value or name in _NOT_LOGGED:
            continue
        kind = type(value)
        if kind is str:
            if (name == "asked" and value == record.model) or value == "unknown":
                continue
            if name in _FOREIGN and not _is_plain(value):
                value = ascii(value)
        elif value is True:
            value = "yes"
        elif kind is Decimal:
            value = f"{value:f}"
        pairs.append(f"{name}={value}")
    return " ".join(pairs)


def _clipped(record: RequestRecord) -> RequestRecord:
    too_long = {
        name: text[:MAX_CHARS]
        for name in _FOREIGN_TEXTS
        if (text := getattr(record, name)) is not None and len(text) > MAX_CHARS
    }
    return msgspec.structs.replace(record, **too_long) if too_long else record
