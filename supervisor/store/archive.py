"""`RecordArchive`: keeps records and captures on disk, in a thread of its own.

The supervisor's loop only appends to a deque; the thread writes what is there in batches, forgets
what is too much, and answers questions. It alone has the database, so there is one truth: a
question is answered after all that was added before it was asked.

Nothing here fails a request. What cannot be written waits, a bounded number of records; then the
oldest are lost, and counted.
"""

import logging
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import trio

from arriero.protocol.control import AnyReply
from arriero.protocol.records import RawCapture, RequestRecord
from arriero.protocol.values import StoreStatus

from .answers import all_records, refused, within
from .captures import size_of
from .database import ActivityDatabase, Item, database_in
from .limits import StoreLimits
from .open_file import (
    StoreInUse,
    UnusableFile,
    is_broken,
    locked,
    open_in_memory,
    put_aside,
)

log = logging.getLogger(__name__)

Question: TypeAlias = Callable[[sqlite3.Connection], AnyReply]

# Seconds that records wait for others, to be written together. Who asks does not wait for it.
BATCH_S: Final = 0.25

# Records that may wait for a disk that takes nothing. The longest are 3 kB.
MAX_WAITING: Final = 20_000

# Records and captures of one transaction: what is totalled at once takes a millisecond.
_MAX_BATCH: Final = 256

# Captures that may wait beside them: the longest are some megabytes.
_MAX_WAITING_BYTES: Final = 64 * 1024**2

# Seconds for one question. It is over in the middle of a statement, and takes nothing along.
QUESTION_S: Final = 2.0

# Steps of SQLite's machine between two looks at the clock: less than a millisecond.
_STEPS: Final = 50_000

# Questions that may wait. Each is one page that somebody looks at.
_MAX_QUESTIONS: Final = 32

# Seconds until a disk that was full is tried again; until an idle thread looks what is too old;
# until the last records are written when all is to end; until who asks is told to come again.
_AGAIN_S: Final = 5.0
_IDLE_S: Final = 600.0
_LAST_WORD_S: Final = 5.0
_PATIENCE_S: Final = 10.0


class _Asked(msgspec.Struct, eq=False):
    """A question on its way.

    Attributes:
        question: What is asked.
        up_to: Number of the last record that it is to see.
        answered: Set in the loop.
        reply: The answer, by then.
        is_wanted: Somebody waits for it.
    """

    question: Question
    up_to: int
    answered: trio.Event
    reply: AnyReply | None = None
    is_wanted: bool = True


_Job: TypeAlias = _Asked | Literal["records", "end"]


class RecordArchive:
    """The store, from the loop's side.

    Args:
        limits: What may be kept, and where; asked for each batch.
    """

    def __init__(self, limits: Callable[[], StoreLimits]) -> None:
        self._limits = limits
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._waiting: deque[Item] = deque()
        self._is_woken = False
        self._asked = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=self._run, name="arriero-store", daemon=True)
        # Each number is changed by one side only.
        self._added = self._dropped = 0
        self._capture_bytes_added = self._capture_bytes_dropped = 0
        self._taken = self._spoilt = self._capture_bytes_taken = 0
        # Of the thread, but for a look at them.
        self._stack = ExitStack()
        self._database: ActivityDatabase | None = None
        self._opened: Path | None = None  # which it is, or stands for
        self._problem = ""
        self._write_again_at = self._open_again_at = 0.0

    # --- the loop ------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keep what is added while the block runs; what waits at its end is written then.

        A disk that hangs is not waited for.
        """
        self._token = trio.lowlevel.current_trio_token()
        self._thread.start()
        try:
            yield
        finally:
            self._jobs.put("end")
            with trio.CancelScope(shield=True):  # bounded by the limit
                await trio.to_thread.run_sync(self._thread.join, _LAST_WORD_S)
            if self._thread.is_alive():
                log.warning("store.hangs waiting=%d", len(self._waiting))

    def add(self, record: RequestRecord) -> None:
        """Keep a record."""
        while len(self._waiting) >= MAX_WAITING:
            with suppress(IndexError):  # the thread may have taken all
                self._drop(self._waiting.popleft())
        self._append(record)

    def add_capture(self, capture: RawCapture) -> None:
        """Keep the capture of a request whose record was added before, if there is room."""
        size = size_of(capture)
        waiting = (
            self._capture_bytes_added - self._capture_bytes_dropped - self._capture_bytes_taken
        )
        if waiting + size <= _MAX_WAITING_BYTES:
            self._capture_bytes_added += size
            self._append(capture)

    def _append(self, item: Item) -> None:
        self._waiting.append(item)
        self._added += 1
        if not self._is_woken:
            self._is_woken = True
            self._jobs.put("records")

    def _drop(self, item: Item) -> None:
        self._dropped += 1
        if isinstance(item, RawCapture):
            self._capture_bytes_dropped += size_of(item)

    async def ask(self, question: Question) -> AnyReply:
        """Return the answer to `question`, which is asked in the thread.

        It is answered within `QUESTION_S`, or refused; so are all those before it. A disk that
        hangs is waited for `_PATIENCE_S`.
        """
        if self._asked >= _MAX_QUESTIONS:
            return refused("busy", "too many questions about records are under way")
        asked = _Asked(question, self._added, trio.Event())
        self._asked += 1
        try:
            self._jobs.put(asked)
            with trio.move_on_after(_PATIENCE_S):
                await asked.answered.wait()
        finally:
            asked.is_wanted = False
            self._asked -= 1
        return asked.reply or refused("busy", "the store does not answer in time")

    def status(self) -> StoreStatus:
        """Return how it stands."""
        database = self._database
        return StoreStatus(
            path="" if database is None or database.path is None else str(database.path),
            rows=0 if database is None else database.rows,
            captures=0 if database is None else database.captures,
            size_bytes=0 if database is None else database.size_bytes,
            waiting=len(self._waiting),
            lost=self._dropped + self._spoilt,
            problem=self._problem,
        )

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        tend_at: float | None = 0.0  # opens the file
        try:
            while True:
                now = time.monotonic()
                if tend_at is not None and now >= tend_at:
                    tend_at = self._tend()
                try:
                    left_s = _IDLE_S if tend_at is None else max(0.0, tend_at - time.monotonic())
                    job = self._jobs.get(timeout=left_s)
                except queue.Empty:
                    tend_at = 0.0
                    continue
                if isinstance(job, _Asked):
                    self._answer(job)
                elif job == "records":
                    self._is_woken = False
                    tend_at = min(now + BATCH_S, math.inf if tend_at is None else tend_at)
                else:
                    self._tend()
                    return
        finally:
            self._stack.close()

    def _tend(self) -> float | None:
        """Write what waits, and forget what is too much; return when to come again."""
        more = False
        try:
            self._write(self._added)
            more = self._ready().forget(self._limits())
        except sqlite3.Error as exc:
            self._failed(exc)
        except Exception:
            log.exception("store.bug")
        if self._waiting:
            return max(time.monotonic() + BATCH_S, self._write_again_at)
        return time.monotonic() + BATCH_S if more else None

    def _write(self, up_to: int) -> None:
        """Write what was added up to that number, as far as that is possible."""
        while time.monotonic() >= self._write_again_at:
            batch: list[Item] = []
            most = min(up_to - self._taken - self._dropped, _MAX_BATCH)
            with suppress(IndexError):  # the loop may have dropped some
                while len(batch) < most:
                    batch.append(self._waiting.popleft())
            if not batch:
                return
            try:
                self._write_batch(batch)
            except sqlite3.Error as exc:
                self._waiting.extendleft(reversed(batch))
                self._failed(exc)
                return
            except BaseException:
                self._spoilt += len(batch)
                raise
            self._taken += len(batch)
            self._capture_bytes_taken += sum(
                size_of(item) for item in batch if isinstance(item, RawCapture)
            )
            if self._problem and self._ready().path is not None:
                log.info("store.works_again lost=%d", self._dropped + self._spoilt)
                self._problem = ""

    def _write_batch(self, batch: list[Item]) -> None:
        try:
            self._ready().write(batch)
        except sqlite3.Error as exc:
            if not is_broken(exc):
                raise
            self._renew(exc)
            self._ready().write(batch)

    def _answer(self, asked: _Asked) -> None:
        if not asked.is_wanted:
            return
        try:
            self._write(asked.up_to)
            asked.reply = self._reply(asked.question)
        except Exception as exc:  # noqa: BLE001  it ends this question, and nothing else
            log.warning("store.cannot_answer error=%r", exc)
            asked.reply = refused("store_failed", f"the store cannot be read now: {exc}")
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(asked.answered.set)

    def _reply(self, question: Question) -> AnyReply:
        connection = self._ready().connection
        until = time.monotonic() + QUESTION_S
        connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            return within(question, connection)
        except sqlite3.Error as exc:
            if not is_broken(exc):
                raise
            self._renew(exc)
        finally:
            with suppress(sqlite3.Error):  # it may be closed by now
                connection.set_progress_handler(None, 0)
        return within(question, self._ready().connection)

    # --- its file ------------------------------------------------------------------------------

    def _ready(self) -> ActivityDatabase:
        """Return the database of the file that is configured now; in memory if it cannot be had."""
        path = self._limits().path
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
            stack.enter_context(locked(path))
            try:
                database = database_in(path)
            except UnusableFile as exc:
                self._told_aside(path, put_aside(path), str(exc))
                database = database_in(path)
            stack.callback(database.connection.close)
            if former is not None:
                database.write(all_records(former.connection))
        except (OSError, sqlite3.Error, UnusableFile, StoreInUse) as exc:
            stack.close()
            return self._make_do(path, f"cannot use {path}: {exc}; requests are kept in memory")
        if self._problem:
            log.info("store.opened path=%s", path)
            self._problem = ""
        return self._take(stack, database, path)

    def _make_do(self, path: Path, problem: str) -> ActivityDatabase:
        """Go on in memory for a while: nothing that was there is touched."""
        self._open_again_at = time.monotonic() + _AGAIN_S
        if self._problem != problem:
            log.warning("store.failed reason=%r", problem)
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
                self._told_aside(database.path, put_aside(database.path), str(failure))

    def _told_aside(self, path: Path, aside: Path, reason: str) -> None:
        log.warning("store.put_aside path=%s as=%s reason=%r", path, aside.name, reason)

    def _failed(self, failure: sqlite3.Error) -> None:
        """Tell once that nothing can be written, and try again later."""
        self._write_again_at = time.monotonic() + _AGAIN_S
        if not self._problem:
            self._problem = f"nothing can be written: {failure}"
            log.warning("store.failed reason=%r", self._problem)
