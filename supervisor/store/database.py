"""`ActivityDatabase`: what is done with an open database, one after the other.

Many rows are written by one statement: a tenth of what a row takes is less so.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

from arriero.protocol.records import RawCapture, RequestRecord

from .captures import packed
from .columns import COLUMNS, DAY_S, SUMS, Cell, cells_of, clipped, tame, totals_of
from .limits import MAX_WAITING, StoreLimits
from .open_file import UnusableFile, is_broken, open_database, transaction

Item: TypeAlias = RequestRecord | RawCapture
"""What is written. A capture comes after its record."""

# Rows of one statement, a third of a millisecond: then others have their turn on this processor.
# With 64, each row takes a tenth less, and a worker's slowest requests wait longer.
_TOGETHER: Final = 16

# Rows that are forgotten at once: some milliseconds.
_STEP: Final = 1000

# Records among which one that may have been kept already is: those that can be on the way.
_LAST: Final = 2 * MAX_WAITING

# Days that totals are kept, and most rows of them: they are what is left of records.
_TOTALS_DAYS: Final = 1100
_MAX_TOTALS: Final = 200_000

# Pages that are given back to the file system at once.
_PAGES: Final = 512

_INSERT: Final = f"INSERT INTO requests({','.join(COLUMNS)}) VALUES "  # noqa: S608  our own names
_ROW: Final = f"({','.join('?' * len(COLUMNS))})"
_INSERT_ONE: Final = _INSERT + _ROW
_INSERT_MANY: Final = _INSERT + ",".join([_ROW] * _TOGETHER)

# Columns of totals that say whose they are: day, model, key.
_GROUP: Final = 3
_ADD_TOTALS: Final = (
    f"INSERT INTO usage VALUES ({','.join('?' * (_GROUP + len(SUMS)))}) "  # noqa: S608  likewise
    "ON CONFLICT(day, model, key) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
)
_ADD_CAPTURE: Final = (
    "INSERT OR REPLACE INTO captures(id, caller, size, data) "
    "SELECT id, ?, ?, ? FROM requests WHERE request_id = ? ORDER BY id DESC LIMIT 1"
)


class ActivityDatabase:
    """An open database.

    Args:
        connection: To it.
        path: Its file; None if it is in memory.

    Attributes:
        connection: For questions.
        rows, captures: How many records and captures there are.
        size_bytes: What they take.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path
        self._inode = _inode(path)
        self._capture_bytes = 0
        self.rows = self.captures = self.size_bytes = 0
        self.count()

    @property
    def is_gone(self) -> bool:
        """Whether its file was taken away, so that what is written is nowhere."""
        return self.path is not None and _inode(self.path) != self._inode

    def write(self, items: Iterable[Item]) -> None:
        """Keep records and captures: all of them or none.

        Raises:
            sqlite3.Error: None is kept.
        """
        records: list[RequestRecord] = []
        captures: list[RawCapture] = []
        for item in items:
            if isinstance(item, RawCapture):
                captures.append(item)
            else:
                records.append(clipped(item))
        rows = list(map(cells_of, records))
        totals = totals_of(records)
        try:
            self._write(rows, totals, captures)
        except (OverflowError, UnicodeEncodeError):  # something in it is not to be stored
            totals = [(*tame(total[:_GROUP]), *total[_GROUP:]) for total in totals]
            self._write([tame(row) for row in rows], totals, captures)
        self.rows += len(rows)

    def unknown(self, records: Sequence[RequestRecord]) -> Sequence[RequestRecord]:
        """Return those `records` that are not here: what follows the last one that is.

        Raises:
            sqlite3.Error: It cannot be looked up.
        """
        found = self.connection.execute(
            "SELECT request_id, t, duration_ms FROM requests ORDER BY id DESC LIMIT ?", (_LAST,)
        )
        there = set(found.fetchall())
        for number in range(len(records), 0, -1):
            record = clipped(records[number - 1])
            if (record.request_id, record.t, record.duration_ms) in there:
                return records[number:]
        return records

    def _write(
        self,
        rows: Sequence[tuple[Cell, ...]],
        totals: Iterable[tuple[Cell, ...]],
        captures: Iterable[RawCapture],
    ) -> None:
        run = self.connection.execute
        with transaction(self.connection):
            whole = len(rows) - len(rows) % _TOGETHER
            for start in range(0, whole, _TOGETHER):
                run(_INSERT_MANY, tuple(chain.from_iterable(rows[start : start + _TOGETHER])))
                os.sched_yield()
            for row in rows[whole:]:
                run(_INSERT_ONE, row)
            for total in totals:
                run(_ADD_TOTALS, total)
            for capture in captures:
                data = packed(capture)
                run(_ADD_CAPTURE, (capture.caller, len(data), data, capture.request_id))
                self._capture_bytes += len(data)
                self.captures += 1

    def forget(self, limits: StoreLimits) -> bool:
        """Forget some of what is more than `limits` allow; return whether there is still more.

        Raises:
            sqlite3.Error: It stays.
        """
        most_rows = limits.rows if self.path is not None else limits.memory_rows
        with transaction(self.connection):
            gone = self._forget_old(time.time() - limits.age_s)
            excess = self.rows - gone - most_rows
            used = self._used_bytes() - self._capture_bytes
            if not gone and used > limits.size_bytes:
                excess = max(excess, (self.rows + 49) // 50)
            if excess > 0:
                gone += self._forget_first(min(excess, _STEP))
            captures = self._forget_captures(limits.capture_bytes, rows_are_gone=gone > 0)
            if gone:
                self._forget_totals()
        if gone or captures:
            self.count()
        self.size_bytes = self._file_bytes()
        is_shrinking = self._shrink(limits)
        return (gone or captures) > 0 or is_shrinking

    def _forget_old(self, before: float) -> int:
        return self.connection.execute(
            # Rows come in the order in which requests ended, and those are looked at that go first.
            "DELETE FROM requests WHERE t < ? "
            "AND id IN (SELECT id FROM requests ORDER BY id LIMIT ?)",
            (before, _STEP),
        ).rowcount

    def _forget_first(self, count: int) -> int:
        return self.connection.execute(
            "DELETE FROM requests WHERE id IN (SELECT id FROM requests ORDER BY id LIMIT ?)",
            (count,),
        ).rowcount

    def _forget_captures(self, most_bytes: int, *, rows_are_gone: bool) -> int:
        run = self.connection.execute
        gone = 0
        if rows_are_gone and self.captures:
            gone = run("DELETE FROM captures WHERE id NOT IN (SELECT id FROM requests)").rowcount
        if self._capture_bytes > most_bytes:
            # the oldest, as long as those after them are too many
            gone += run(
                "DELETE FROM captures WHERE id IN (SELECT id FROM (SELECT id, "
                "SUM(size) OVER (ORDER BY id DESC) AS with_newer FROM captures) "
                "WHERE with_newer > ?)",
                (most_bytes,),
            ).rowcount
        return gone

    def _forget_totals(self) -> None:
        run = self.connection.execute
        run("DELETE FROM usage WHERE day < ?", (int(time.time() // DAY_S) - _TOTALS_DAYS,))
        (count,) = run("SELECT COUNT(*) FROM usage").fetchone()
        if count > _MAX_TOTALS:
            run("DELETE FROM usage WHERE day = (SELECT MIN(day) FROM usage)")

    def _shrink(self, limits: StoreLimits) -> bool:
        """Give pages back that nothing needs; return whether there are more of them."""
        most = limits.size_bytes + limits.capture_bytes
        if self._file_bytes() <= most or not self._free_pages():
            return False
        self.connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        self.size_bytes = self._file_bytes()
        return self.size_bytes > most and self._free_pages() > 0

    def count(self) -> None:
        """Count what there is.

        Raises:
            sqlite3.Error: It cannot be read.
        """
        run = self.connection.execute
        (self.rows,) = run("SELECT COUNT(*) FROM requests").fetchone()
        self.captures, self._capture_bytes = run(
            "SELECT COUNT(*), IFNULL(SUM(size), 0) FROM captures"
        ).fetchone()
        self.size_bytes = self._file_bytes()

    def _pragma(self, name: str) -> int:
        (found,) = self.connection.execute(f"PRAGMA {name}").fetchone()
        return int(found)

    def _file_bytes(self) -> int:
        return self._pragma("page_count") * self._pragma("page_size")

    def _free_pages(self) -> int:
        return self._pragma("freelist_count")

    def _used_bytes(self) -> int:
        return self._file_bytes() - self._free_pages() * self._pragma("page_size")


def database_in(path: Path) -> ActivityDatabase:
    """Return the database in `path`; see `open_database`.

    Raises:
        UnusableFile, OSError, sqlite3.Error: As there.
    """
    connection = open_database(path)
    try:
        return ActivityDatabase(connection, path)
    except sqlite3.Error as exc:
        connection.close()
        if is_broken(exc):
            raise UnusableFile(f"it is broken ({exc})") from exc
        raise


def _inode(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
