"""`RecordKeeper`: keeps records and captures in the database, as far as that is possible.

What cannot be written waits, a bounded number of records; then the oldest are lost, and counted.
"""

import logging
import sqlite3
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias, assert_never

import msgspec

from arriero.protocol.control.messages import AnyReply
from arriero.protocol.control.requests import (
    ActivityRequest,
    CaptureRequest,
    CapturesRequest,
    HistoryRequest,
    RowsRequest,
    SpeedsRequest,
    UsageRequest,
)
from arriero.protocol.records import RawCapture, RequestRecord

from . import answers
from .answers import all_records, refused, within
from .database import ActivityDatabase, Item, database_in
from .frames import Frame, StoreQuestion, StoreReport
from .limits import IDLE_S, MAX_WAITING, MAX_WAITING_BYTES, StoreLimits
from .open_file import (
    StoreInUse,
    UnusableFile,
    is_broken,
    locked,
    open_in_memory,
    put_aside,
)

# Records and captures of one transaction: what is totalled at once takes a millisecond.
_MAX_BATCH: Final = 256

# Seconds for one question. It is over in the middle of a statement, and takes nothing along.
QUESTION_S: Final = 2.0

# Steps of SQLite's machine between two looks at the clock: less than a millisecond.
_STEPS: Final = 50_000

# Seconds until a disk that was full is tried again, and until more is forgotten.
_AGAIN_S: Final = 5.0
_MORE_S: Final = 0.25

# Seconds for which the process of an earlier supervisor is waited for, which writes what it has.
_TURN_S: Final = 3.0
_TURN_LOOK_S: Final = 0.02

_Answer: TypeAlias = Callable[[sqlite3.Connection], AnyReply]


class _Told(msgspec.Struct):
    """What is read of a worker's message `Finished`."""

    records: tuple[RequestRecord, ...]


class _Capture(msgspec.Struct):
    """What is read of a worker's message `Captured`."""

    capture: RawCapture


_read_told: Final = msgspec.json.Decoder(_Told).decode
_read_capture: Final = msgspec.json.Decoder(_Capture).decode


class RecordKeeper:
    """The database, and what waits for it.

    Args:
        limits: What may be kept, and where.
        tell: Takes lines for the log: their level, and the text.

    Attributes:
        limits: What may be kept from now on.
    """

    def __init__(self, limits: StoreLimits, tell: Callable[[int, str], None]) -> None:
        self.limits = limits
        self._tell = tell
        self._waiting: deque[Frame] = deque()
        self._records = self._bytes = 0  # of those that wait
        self._settled = self._lost = 0
        self._stack = ExitStack()
        self._database: ActivityDatabase | None = None
        self._opened: Path | None = None  # which it is, or stands for
        self._problem = ""
        self._write_again_at = self._open_again_at = 0.0
        self._is_first = True

    def close(self) -> None:
        """Close the database."""
        self._close()

    def take(self, frame: Frame) -> None:
        """Let records or a capture wait to be written."""
        self._waiting.append(frame)
        self._records += _count(frame)
        self._bytes += len(frame.data)
        while self._records > MAX_WAITING or self._bytes > MAX_WAITING_BYTES:
            self._settle(self._waiting.popleft(), is_lost=True)

    def _settle(self, frame: Frame, *, is_lost: bool = False) -> None:
        """Note what became of a frame that was the first of those that wait."""
        self._records -= _count(frame)
        self._bytes -= len(frame.data)
        self._settled += 1
        if is_lost:
            self._lost += _count(frame)

    def report(self) -> StoreReport:
        """Return how it stands."""
        database = self._database
        return StoreReport(
            settled=self._settled,
            lost=self._lost,
            path="" if database is None or database.path is None else str(database.path),
            rows=0 if database is None else database.rows,
            captures=0 if database is None else database.captures,
            size_bytes=0 if database is None else database.size_bytes,
            problem=self._problem,
        )

    def tend(self) -> float:
        """Write what waits, and forget what is too much; return in how many seconds to come again.

        What is amiss is told, and no error.
        """
        more = False
        try:
            self._write()
            more = self._ready().forget(self.limits)
        except sqlite3.Error as exc:
            self._failed(exc)
        except Exception:  # noqa: BLE001  what is left goes on
            self._tell(logging.ERROR, f"store.bug\n{traceback.format_exc()}")
        if self._waiting:
            return max(_MORE_S, self._write_again_at - time.monotonic())
        return _MORE_S if more else IDLE_S

    def answer(self, question: StoreQuestion) -> AnyReply:
        """Return the answer, after all that was taken before was written, if that is possible."""
        try:
            self._write()
            return self._reply(_answer_to(question))
        except Exception as exc:  # noqa: BLE001  it ends this question, and nothing else
            self._tell(logging.WARNING, f"store.cannot_answer error={exc!r}")
            return refused("store_failed", f"the store cannot be read now: {exc}")

    def _write(self) -> None:
        """Write what waits, as far as that is possible."""
        while self._waiting and time.monotonic() >= self._write_again_at:
            frames = self._next()
            try:
                self._write_frames(frames)
            except sqlite3.Error as exc:
                self._failed(exc)
                return
            except BaseException:
                for _ in frames:
                    self._settle(self._waiting.popleft(), is_lost=True)
                raise
            for _ in frames:
                self._settle(self._waiting.popleft())
            if self._problem and self._ready().path is not None:
                self._tell(logging.INFO, f"store.works_again lost={self._lost}")
                self._problem = ""

    def _next(self) -> list[Frame]:
        """Return what is written in the next transaction.

        What may have been kept already is compared with what is there: so it comes alone.
        """
        frames = [self._waiting[0]]
        count = _count(frames[0])
        for frame in islice(self._waiting, 1, None):
            count += max(1, _count(frame))
            if count > _MAX_BATCH or "again" in (frame.kind, frames[0].kind):
                break
            frames.append(frame)
        return frames

    def _write_frames(self, frames: list[Frame]) -> None:
        try:
            self._write_to(self._ready(), frames)
        except sqlite3.Error as exc:
            if not is_broken(exc):
                raise
            self._renew(exc)
            self._write_to(self._ready(), frames)

    def _write_to(self, database: ActivityDatabase, frames: list[Frame]) -> None:
        items: list[Item] = []
        for frame in frames:
            match frame.kind:
                case "capture":
                    items.append(_read_capture(frame.data).capture)
                case "again":
                    items += database.unknown(_read_told(frame.data).records)
                case _:
                    items += _read_told(frame.data).records
        database.write(items)

    def _reply(self, answer: _Answer) -> AnyReply:
        connection = self._ready().connection
        until = time.monotonic() + QUESTION_S
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            return within(answer, connection)
        except sqlite3.Error as exc:
            if not is_broken(exc):
                raise
            self._renew(exc)
        finally:
            with suppress(sqlite3.Error):  # it may be closed by now
                connection.set_progress_handler(None, 0)
        return within(answer, self._ready().connection)

    # --- its file ------------------------------------------------------------------------------

    def _ready(self) -> ActivityDatabase:
        """Return the database of the file that is configured now; in memory if it cannot be had."""
        path = self.limits.path
        database = self._database
        if database is None or path != self._opened or database.is_gone:
            return self._open(path)
        if database.path is None and time.monotonic() >= self._open_again_at:
            return self._open(path)
        return database

    def _open(self, path: Path) -> ActivityDatabase:
        former = self._database
        if former is not None and former.path is not None:
            self._close()  # and its lock
            former = None
        stack = ExitStack()
        try:
            self._lock(stack, path)
            try:
                database = database_in(path)
            except UnusableFile as exc:
                self._tell_aside(path, put_aside(path), str(exc))
                database = database_in(path)
            stack.callback(database.connection.close)
            if former is not None:
                database.write(database.unknown(all_records(former.connection)))
        except (OSError, sqlite3.Error, UnusableFile, StoreInUse) as exc:
            stack.close()
            return self._make_do(path, f"cannot use {path}: {exc}; requests are kept in memory")
        if self._problem:
            self._tell(logging.INFO, f"store.opened path={path}")
            self._problem = ""
        return self._take(stack, database, path)

    def _lock(self, stack: ExitStack, path: Path) -> None:
        """Lock the file.

        The first time, wait for the process of a supervisor before this one: it has just ended,
        and that one writes what it has.

        Raises:
            StoreInUse, OSError: See `locked`.
        """
        until = time.monotonic() + (_TURN_S if self._is_first else 0.0)
        self._is_first = False
        while True:
            try:
                stack.enter_context(locked(path))
                return
            except StoreInUse:
                if time.monotonic() >= until:
                    raise
                time.sleep(_TURN_LOOK_S)

    def _make_do(self, path: Path, problem: str) -> ActivityDatabase:
        """Go on in memory for a while: nothing that was there is touched."""
        self._open_again_at = time.monotonic() + _AGAIN_S
        if self._problem != problem:
            self._tell(logging.WARNING, f"store.failed reason={problem!r}")
            self._problem = problem
        if self._database is not None:
            self._opened = path
            return self._database
        stack = ExitStack()
        connection = open_in_memory()
        stack.callback(connection.close)
        return self._take(stack, ActivityDatabase(connection, None), path)

    def _take(self, stack: ExitStack, database: ActivityDatabase, path: Path) -> ActivityDatabase:
        self._close()
        self._stack, self._database, self._opened = stack, database, path
        self._write_again_at = 0.0
        return database

    def _close(self) -> None:
        self._stack.close()
        self._stack, self._database = ExitStack(), None

    def _renew(self, failure: sqlite3.Error) -> None:
        """Put a file aside that turns out to be broken."""
        database = self._database
        self._close()
        if database is not None and database.path is not None:
            with suppress(OSError):  # opening it says why it stays
                self._tell_aside(database.path, put_aside(database.path), str(failure))

    def _tell_aside(self, path: Path, aside: Path, reason: str) -> None:
        text = f"store.put_aside path={path} as={aside.name} reason={reason!r}"
        self._tell(logging.WARNING, text)

    def _failed(self, failure: sqlite3.Error) -> None:
        """Tell once that nothing can be written, and try again later."""
        self._write_again_at = time.monotonic() + _AGAIN_S
        if not self._problem:
            self._problem = f"nothing can be written: {failure}"
            self._tell(logging.WARNING, f"store.failed reason={self._problem!r}")


def _count(frame: Frame) -> int:
    """Return how many records are in it."""
    return 0 if frame.kind == "capture" else frame.number


def _answer_to(question: StoreQuestion) -> _Answer:
    asked = question.request
    match asked:
        case ActivityRequest():
            return partial(answers.activity, asked=asked, seq=question.seq)
        case RowsRequest():
            return partial(answers.rows, asked=asked)
        case SpeedsRequest():
            return partial(answers.speeds, asked=asked)
        case HistoryRequest():
            return partial(answers.history, asked=asked)
        case UsageRequest():
            return partial(answers.usage, asked=asked)
        case CapturesRequest():
            return partial(answers.captures, asked=asked)
        case CaptureRequest():
            return partial(answers.capture, asked=asked)
        case _:
            assert_never(asked)
