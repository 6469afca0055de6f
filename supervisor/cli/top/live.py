"""Events, answers, keys -> pictures, until it is ended."""

import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, NoReturn

import zmq
from msgspec.structs import replace

from arriero.protocol.control.models import LogsReply, LogsRequest
from arriero.protocol.control.running import StatusReply, StatusRequest

from ..connection import Subscription
from ..event_feed import DEFAULT_TYPES, Feed, Next
from ..place import SupervisorPlace
from ..render.glyphs import Glyphs
from .asker import Asker, Heard, Unreached, WishDone
from .controls import Controls, Quit, press
from .painter import Painter
from .picture import MOST_LOG, log_model, picture
from .train_view import TrainView, newest

FOLLOWED: Final = (*DEFAULT_TYPES, "inflight")

# Seconds between two pictures, at least and at most.
_LEAST_S: Final = 0.1
_MOST_S: Final = 1.0

# Seconds between two questions: for the whole state while nothing happens, and soon after something
# has; for the log; for a supervisor that is away.
_REST_S: Final = 5.0
_SOON_S: Final = 0.5
_LOG_S: Final = 1.0
_AWAY_S: Final = 1.0

# Seconds for which the last line says what came of a wish.
_SAID_S: Final = 6.0


class LiveTrain:
    """What is known, kept up to date, and drawn.

    Args:
        painter: The terminal.
        subscription: Events of the types in `FOLLOWED`.
        feed: Judges them.
        place: Of the supervisor's sockets.
        glyphs: What the terminal knows.
        signals: Readable when a signal has come.
    """

    def __init__(
        self,
        painter: Painter,
        subscription: Subscription,
        feed: Feed,
        place: SupervisorPlace,
        glyphs: Glyphs,
        signals: int,
    ) -> None:
        self._painter = painter
        self._subscription = subscription
        self._feed = feed
        self._glyphs = glyphs
        self._signals = signals
        self._view = TrainView()
        self._controls = Controls()
        self._heard: SimpleQueue[Heard] = SimpleQueue()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._asker = Asker(place, self._tell)
        self._asks_status = False
        self._asks_log = False
        self._status_at = 0.0
        self._log_at = 0.0
        self._drawn_at = 0.0
        self._said_until = 0.0
        self._is_new = True

    def _tell(self, heard: Heard) -> None:
        self._heard.put(heard)
        with suppress(BlockingIOError):  # it is full: that wakes as well
            os.write(self._wake_out, b".")

    def run(self) -> None:
        """Go on until it is ended by a key.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        while True:
            self._ask_what_is_due()
            self._draw_if_due()
            self._wait()
            self._note_connection()
            self._take_answers()
            if not self._asks_status:  # what comes meanwhile may be older than the answer
                self._take_events()
            for key in self._painter.pressed():
                self._controls, wish = press(self._controls, key, self._view)
                self._said_until = time.monotonic() + _SAID_S
                self._is_new = True
                if isinstance(wish, Quit):
                    return
                if wish is not None:
                    self._asker.ask(wish)
                self._log_at = min(self._log_at, time.monotonic())

    def _wait(self) -> None:
        now = time.monotonic()
        draw_at = self._drawn_at + (_LEAST_S if self._is_new else _MOST_S)
        until = min(draw_at, max(self._log_at, now), max(self._status_at, now))
        if self._asks_log or self._asks_status:
            until = draw_at
        poller = zmq.Poller()
        poller.register(sys.stdin.fileno(), zmq.POLLIN)
        poller.register(self._wake_in, zmq.POLLIN)
        poller.register(self._signals, zmq.POLLIN)
        if not self._asks_status:
            self._subscription.add_to(poller)
        poller.poll(max(0, int((until - now) * 1000) + 1))
        for pipe in (self._wake_in, self._signals):
            with suppress(BlockingIOError):
                os.read(pipe, 4096)

    def _ask_what_is_due(self) -> None:
        now = time.monotonic()
        if now >= self._status_at and not self._asks_status:
            self._asks_status = True
            self._asker.ask(StatusRequest())
        if now >= self._log_at and not self._asks_log and self._view.is_connected:
            self._asks_log = True
            own = self._controls.log_of == "arriero"
            model = log_model(self._view, self._controls)
            self._asker.ask(LogsRequest(model=model, lines=MOST_LOG, own=own))

    def _note_connection(self) -> None:
        match self._subscription.connection():
            case False:
                self._view.is_connected, self._is_new = False, True
            case True:
                self._status_at = 0.0
            case None:
                pass

    def _take_answers(self) -> None:
        while True:
            try:
                heard = self._heard.get_nowait()
            except Empty:
                return
            self._is_new = True
            now = time.monotonic()
            match heard:
                case StatusReply():
                    self._asks_status = False
                    self._status_at = now + _REST_S
                    self._feed.present(heard)
                    self._view.take_status(heard)
                case LogsReply(lines=lines):
                    self._asks_log = False
                    self._log_at = now + _LOG_S
                    self._view.log = newest(lines, MOST_LOG)
                case WishDone(text=text):
                    self._say(text)
                    self._look_soon()
                case Unreached():
                    # Which of the two questions it was does not matter: both have that answer.
                    self._asks_status = self._asks_log = False
                    self._status_at = self._log_at = now + _AWAY_S
                    self._view.is_connected = False

    def _say(self, text: str) -> None:
        self._controls = replace(self._controls, message=text)
        self._said_until = time.monotonic() + _SAID_S

    def _take_events(self) -> None:
        for event in self._subscription.take():
            match self._feed.judge(event):
                case Next.SHOW:
                    self._is_new = True
                    if self._view.take(event):
                        self._look_soon()
                case Next.RESTART:
                    self._status_at = 0.0
                    return
                case Next.SKIP:
                    pass

    def _look_soon(self) -> None:
        self._status_at = min(self._status_at, time.monotonic() + _SOON_S)

    def _draw_if_due(self) -> None:
        now = time.monotonic()
        if now < self._drawn_at + (_LEAST_S if self._is_new else _MOST_S):
            return
        if now >= self._said_until and self._controls.message:
            self._controls = replace(self._controls, message="")
        width, height = self._painter.size()
        found = picture(self._view, self._controls, time.time(), width, height, self._glyphs)
        self._controls = replace(self._controls, page=found.page)
        self._painter.draw(found.rows)
        self._drawn_at, self._is_new = now, False


@contextmanager
def woken_by_signals() -> Generator[int, None, None]:
    """Give what is readable after a signal; those that end programs end this one in good order."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    before = {one: signal.signal(one, _end) for one in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield read
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
