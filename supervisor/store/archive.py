"""`RecordArchive`: keeps records and captures on disk, by a process of its own (`store_child`).

What is added waits a moment in a queue, whole messages of workers as they came; then all of it is
handed over in one piece. That process alone has the database, so there is one truth: a question is
answered after all that was added before it was asked. It ends when there was nothing to do for a
while, and is started again for the next record: who rests takes no memory.

Nothing here fails a request. What cannot be handed over waits, a bounded number of records; then
the oldest are lost, and counted. Of what was handed over it is known what became of it: when that
process ends too early the next one gets it again, and keeps what is not there.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final

import msgspec
import trio

from arriero.protocol.codec import encode_finished
from arriero.protocol.control.base import Refusal
from arriero.protocol.control.messages import AnyReply
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.values import ErrorInfo, StoreStatus

from ..host.shortage import what_is_scarce
from ..processes.spawn import NOT_INHERITED
from .frames import (
    Frame,
    FrameReader,
    Kind,
    StoreQuestion,
    StoreReport,
    StoreRequest,
    framed,
    limits_frame,
    question_frame,
    report_of,
)
from .limits import MAX_WAITING, MAX_WAITING_BYTES, StoreLimits

log = logging.getLogger(__name__)

_PROGRAM: Final = "arriero.supervisor.store.store_child"

# Seconds that records wait for others, to be written together. Who asks does not wait for it.
BATCH_S: Final = 0.25

# Bytes that are handed over at once, and read.
_PIECE_BYTES: Final = 256 * 1024

# Questions that may wait. Each is one page that somebody looks at.
_MAX_QUESTIONS: Final = 32

# Seconds until the last records are written when all is to end; until who asks is told to come
# again; until a process that is to end, or was killed, is gone, and
# between two looks at it.
_LAST_WORD_S: Final = 5.0
_PATIENCE_S: Final = 10.0
_KILL_S: Final = 2.0
_LOOK_S: Final = 0.005

# Seconds until another process is started when one has ended; they double while that goes on.
FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 60.0

# Seconds without anything to do until the process ends, and those that one takes to see how things
# stand. What is too old is forgotten by the next one, so it is started now and then.
REST_AFTER_S: Final = 60.0
_LOOK_ROUND_S: Final = 3.0
_REST_AT_MOST_S: Final = 6 * 3600.0

# Processes that may end over the same records: then these are lost.
_MOST_ENDS: Final = 3


class _Entry(msgspec.Struct, eq=False):
    """What waits to be handed over, or to be settled.

    Attributes:
        kind, number, data: See `Frame`.
        ends: Processes that have ended while they had it as the first.
    """

    kind: Kind
    number: int
    data: bytes
    ends: int = 0

    @property
    def records(self) -> int:
        """How many records it has."""
        return self.number if self.kind in {"records", "again"} else 0


class _Queue:
    """Entries, the oldest first.

    Attributes:
        records, bytes: Of all of them.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self.records = self.bytes = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def append(self, entry: _Entry) -> None:
        """Add the newest."""
        self._entries.append(entry)
        self.records += entry.records
        self.bytes += len(entry.data)

    def put_back(self, entry: _Entry) -> None:
        """Add the oldest."""
        self._entries.appendleft(entry)
        self.records += entry.records
        self.bytes += len(entry.data)

    def pop(self, *, newest: bool = False) -> _Entry:
        """Take the oldest, or the newest."""
        entry = self._entries.pop() if newest else self._entries.popleft()
        self.records -= entry.records
        self.bytes -= len(entry.data)
        return entry


class _Asked(msgspec.Struct, eq=False):
    """A question on its way.

    Attributes:
        answered: Set with the reply.
        reply: The answer, by then.
    """

    answered: trio.Event
    reply: AnyReply | bytes | None = None


class RecordArchive:
    """The store, from the supervisor's side.

    Args:
        limits: What may be kept, and where; asked whenever something is handed over.
        first_pause_s: Seconds until another process is started when one has ended.
        rest_after_s: Seconds without anything to do until the process ends.

    Attributes:
        pid: Of the process; 0 without one.
    """

    def __init__(
        self,
        limits: Callable[[], StoreLimits],
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        rest_after_s: float = REST_AFTER_S,
    ) -> None:
        self.pid = 0
        self._limits = limits
        self._first_pause_s = first_pause_s
        self._rest_after_s = rest_after_s
        self._rests = False  # the process was told to end, as there is nothing to do
        self._waiting = _Queue()
        self._sent = _Queue()  # but not settled
        self._lost = 0  # here, and by processes that have ended
        self._report = StoreReport()
        self._problem = ""
        self._numbers = count(1)
        self._asked: dict[int, _Asked] = {}
        self._under_way = 0  # number of the question that the process has
        self._answered = trio.Event()
        self._some = trio.Event()
        self._urgent = trio.Event()
        self._ending = trio.Event()
        self._ended = trio.Event()
        self._time_left = trio.CancelScope(shield=True)
        self._flood = FloodLog(log)

    # --- what is kept --------------------------------------------------------------------------

    def add(self, message: bytes, records: int) -> None:
        """Keep the records of a message `Finished`, which has so many."""
        self._put(_Entry("records", records, message))

    def add_again(self, records: Iterable[bytes]) -> None:
        """Keep those records, encoded, that follow the last one of them that is kept already."""
        if found := list(records):
            self._put(_Entry("again", len(found), encode_finished(found)))

    def add_capture(self, message: bytes) -> None:
        """Keep the capture of a message `Captured`, whose record was added before."""
        self._put(_Entry("capture", 0, message))

    def _put(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        if self._is_too_much:
            self._make_room()
        self._some.set()

    @property
    def _is_too_much(self) -> bool:
        return self._waiting.records > MAX_WAITING or self._waiting.bytes > MAX_WAITING_BYTES

    def _make_room(self) -> None:
        """Lose the oldest of what is not handed over yet."""
        questions: list[_Entry] = []
        while self._is_too_much:
            entry = self._waiting.pop()
            if entry.kind == "question":
                questions.append(entry)
            else:
                self._lost += entry.records
        for question in reversed(questions):
            self._waiting.put_back(question)

    # --- what is asked -------------------------------------------------------------------------

    async def ask(self, request: StoreRequest, seq: int = 0) -> AnyReply | bytes:
        """Return the answer to `request`: encoded, unless it is a refusal of our own.

        It is answered within `keeper.QUESTION_S`, or refused; so are all those before it. A disk
        that hangs is waited for `_PATIENCE_S`.

        Args:
            request: What is asked.
            seq: Number of the last event whose record was told before.
        """
        if len(self._asked) >= _MAX_QUESTIONS:
            return _refusal("busy", "too many questions about records are under way")
        number = next(self._numbers)
        asked = self._asked[number] = _Asked(trio.Event())
        try:
            data = question_frame(number, StoreQuestion(request=request, seq=seq))
            self._put(_Entry("question", number, data))
            self._urgent.set()
            with trio.move_on_after(_PATIENCE_S):
                await asked.answered.wait()
        finally:
            del self._asked[number]
        return asked.reply or _refusal("busy", "the store does not answer in time")

    def status(self) -> StoreStatus:
        """Return how it stands."""
        report = self._report
        return StoreStatus(
            path=report.path,
            rows=report.rows,
            captures=report.captures,
            size_bytes=report.size_bytes,
            waiting=self._waiting.records + self._sent.records,
            lost=self._lost + report.lost,
            problem=self._problem or report.problem,
            pid=self.pid,
        )

    @property
    def has_handed_over(self) -> bool:
        """Whether nothing waits but in the process, which has something."""
        return bool(self._sent) and not self._waiting

    # --- its process ---------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Keep what is added while the block runs; what waits at its end is written then.

        The process is started when it is needed, or by `start`. A disk that hangs is not waited
        for at the end.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run)
            nursery.start_soon(self._flood.flush_regularly)
            try:
                yield
            finally:
                self._time_left.deadline = trio.current_time() + _LAST_WORD_S
                for event in (self._ending, self._some, self._urgent):
                    event.set()
                with trio.CancelScope(shield=True):  # bounded by the limit
                    await self._ended.wait()
                nursery.cancel_scope.cancel()

    def start(self) -> None:
        """Start the process now."""
        self._some.set()

    async def _run(self) -> None:
        try:
            with self._time_left:
                await self._keep_running()
        finally:
            self._ended.set()
        if self._waiting or self._sent:
            waiting = self._waiting.records + self._sent.records
            log.warning("store.hangs waiting=%d", waiting)

    async def _keep_running(self) -> None:
        """Run the process, and another one when it has ended."""
        pause_s = self._first_pause_s
        await self._some.wait()
        while self._waiting or not self._ending.is_set():
            began_at = trio.current_time()
            why = await self._run_one()
            if self._ending.is_set():
                return
            if self._rests:
                self._rests = False
                with trio.move_on_after(_REST_AT_MOST_S):
                    await self._some.wait()
                continue
            if trio.current_time() - began_at > _LAST_PAUSE_S:
                pause_s = self._first_pause_s
            self._problem = f"the process of the store {why}; requests wait for another one"
            self._flood.warning("store.ended reason=%r again_in_s=%.1f", why, pause_s)
            with trio.move_on_after(pause_s):
                await self._ending.wait()
            pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _run_one(self) -> str:
        """Run one process until it ends, or is to end; return how it ended."""
        try:
            child, ours = _started()
        except OSError as exc:
            return f"cannot be started: {what_is_scarce(exc) or exc.strerror}"
        self.pid = child.pid
        try:
            async with (
                trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as link,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._hand_over, link)
                await self._listen(link)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # bounded by `_KILL_S`
                await _end(child)
            self._take_back()
        return _ending_of(child)

    async def _hand_over(self, link: trio.SocketStream) -> None:
        """Hand over what waits, piece by piece, and one question at a time."""
        said: StoreLimits | None = None
        rest_s = min(_LOOK_ROUND_S, self._rest_after_s)
        with suppress(trio.BrokenResourceError):  # its end is noticed by who listens
            while True:
                if said is not None and not self._waiting:
                    with trio.move_on_after(rest_s) as nothing:
                        await self._some.wait()
                    if nothing.cancelled_caught and self._may_rest:
                        self._rests = True
                        await link.send_eof()
                        return
                with trio.move_on_after(BATCH_S if self._waiting else 0.0):
                    await self._urgent.wait()
                if not self._ending.is_set():
                    self._some, self._urgent = trio.Event(), trio.Event()
                while True:
                    if (limits := self._limits()) != said:
                        said = limits
                        await link.send_all(limits_frame(limits))
                    if not self._waiting:
                        break
                    rest_s = self._rest_after_s
                    await link.send_all(self._piece())
                    if self._under_way:
                        await self._answered.wait()
                        self._under_way = 0
                if self._ending.is_set():
                    await link.send_eof()
                    return

    @property
    def _may_rest(self) -> bool:
        """Whether its process holds nothing that is nowhere else."""
        return not (self._waiting or self._sent or self._asked) and self._report.path != ""

    def _piece(self) -> bytes:
        """Return what is to be handed over next, up to a question."""
        frames: list[bytes] = []
        size = 0
        while self._waiting and size < _PIECE_BYTES and not self._under_way:
            entry = self._waiting.pop()
            if entry.kind != "question":
                self._sent.append(entry)
                frames.append(framed(entry.kind, entry.number, entry.data))
            elif entry.number in self._asked:  # somebody waits for it
                self._under_way, self._answered = entry.number, trio.Event()
                frames.append(entry.data)
            size += len(entry.data)
        return b"".join(frames)

    async def _listen(self, link: trio.SocketStream) -> None:
        """Take what it says, until its end."""
        frames = FrameReader()
        with suppress(trio.BrokenResourceError):
            while data := await link.receive_some(_PIECE_BYTES):
                for frame in frames.read(data):
                    self._take(frame)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case "answer":
                self._answer(frame.number, frame.data)
            case "report":
                before, self._report = self._report, report_of(frame.data)
                for _ in range(self._report.settled - before.settled):
                    self._sent.pop()
                self._problem = ""
            case "said":
                log.log(frame.number, "%s", frame.data.decode())
            case _:
                log.error("store.bug kind=%s", frame.kind)

    def _answer(self, number: int, reply: AnyReply | bytes) -> None:
        if (asked := self._asked.get(number)) is not None:
            asked.reply = reply
            asked.answered.set()
        self._answered.set()

    def _take_back(self) -> None:
        """Let all wait again that was handed over, and of which it is not known what became."""
        report = self._report
        self._lost += report.lost + (0 if report.path else report.rows)
        still = msgspec.structs.replace(report, settled=0, lost=0)  # in the file
        self._report = still if self._rests else StoreReport()
        self.pid = 0
        if self._under_way:
            text = "the process of the store has ended: ask again"
            self._answer(self._under_way, _refusal("store_failed", text))
            self._under_way = 0
        while self._sent:
            entry = self._sent.pop(newest=True)
            if entry.kind == "records":
                entry.kind = "again"
            entry.ends += not self._sent
            if entry.ends < _MOST_ENDS:
                self._waiting.put_back(entry)
            else:
                self._lost += entry.records
        self._make_room()


def _started() -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """Start the process; return it, and our end of the socket to it.

    The reaper is not told of it: when this process is killed, it writes what it has, and ends by
    itself.

    Raises:
        OSError: It cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-m", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={n: value for n, value in os.environ.items() if n not in NOT_INHERITED},
                pass_fds=[theirs.fileno()],
                process_group=0,  # what is typed at a terminal must not reach it
            )
    except OSError:
        ours.close()
        raise
    return child, ours


async def _end(child: "subprocess.Popen[bytes]") -> None:
    """Wait for the end of a process that has nothing to do any more; kill it if it stays."""
    for hit in (child.kill, lambda: None):
        with trio.move_on_after(_KILL_S):
            while child.poll() is None:  # noqa: ASYNC110  a descriptor for it may not be left
                await trio.sleep(_LOOK_S)
            return
        hit()


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(error=ErrorInfo(code=code, message=message))


def _ending_of(child: "subprocess.Popen[bytes]") -> str:
    if child.returncode is None:
        return "does not end"
    if child.returncode < 0:
        return f"was ended by signal {-child.returncode} ({signal.strsignal(-child.returncode)})"
    return f"has exited with code {child.returncode}"
