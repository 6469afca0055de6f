"""Progress updates for one client, until the upstream's response begins.

`status_stream` and `prefill` decide what is sent, and when; here it becomes part of the response.
"""

import math
from dataclasses import dataclass
from typing import Final

import trio

from ..progress.hop_progress import HopProgress
from ..progress.model_view import ModelView
from ..progress.modes import DELAY_S
from ..progress.prefill import Phase, PrefillProgress
from ..progress.status_stream import StatusStream
from .response_writer import ResponseWriter

# Seconds of silence before a client is told of its prompt, as it has asked for.
_PREFILL_DELAY_S: Final = 1.0

_QUEUED: Final = frozenset({"queued", "draining", "stopping", "restarting", "machine"})

# After the grant nothing is said about the model any more; a stream that was begun has its
# heartbeats until the upstream's first byte.
READY_VIEW: Final = ModelView("ready")


def is_queued(view: ModelView) -> bool:
    """Whether the model is not being started yet."""
    return view.stage in _QUEUED


@dataclass(slots=True, eq=False)
class ProgressUpdates:
    """Progress updates for one client.

    Attributes:
        writer: Sends them.
        prefill: Reports progress of the prompt; None if the client did not ask for it.
        status: Reports the state of the model; None if the request never waited, or its API has no
            frames for that.
        hop: Reports it to the program that has passed the request on, which tells its client; then
            there is neither of the others. None if the request comes from none.
        has_waited: The request has waited for its model, perhaps with thousands of others.
    """

    writer: ResponseWriter
    prefill: PrefillProgress | None = None
    status: StatusStream | None = None
    hop: HopProgress | None = None
    has_waited: bool = False
    _prefill_from: float = math.inf
    _blank_at: float = math.inf

    def __post_init__(self) -> None:
        if self.prefill is not None:
            delay_s = self.writer.request.config.progress_delay_s
            self._prefill_from = trio.current_time() + (
                _PREFILL_DELAY_S if delay_s is None else delay_s
            )

    @property
    def model(self) -> str:
        """Id of the model."""
        return self.writer.request.route.model

    @property
    def may_speak(self) -> bool:
        """Whether updates may be due after the model is ready."""
        return self.writer.committed or self.prefill is not None or self.hop is not None

    @property
    def is_continued(self) -> bool:
        """Whether the upstream's stream continues one of ours."""
        return self.status is not None and self.status.committed and self.writer.mode != "comment"

    @property
    def is_told_in_lines(self) -> bool:
        """Whether lines of text were sent."""
        return self.status is not None and self.status.committed and self.writer.mode == "reasoning"

    @property
    def step(self) -> int:
        """Percent after which an update may be due; 0 for never."""
        if self.hop is not None:
            return self.hop.step
        return self.status.step if self.status is not None else 0

    @property
    def heartbeats(self) -> int:
        """Heartbeats that were sent."""
        return self.status.heartbeats if self.status is not None else 0

    def start_waiting(self) -> None:
        """Begin to wait for the model; perhaps once more."""
        self.has_waited = True
        if self.hop is not None:
            return
        writer, request = self.writer, self.writer.request
        now, config = trio.current_time(), request.config
        if not request.can_be_told:
            if request.gets_blanks:
                self._blank_at = min(self._blank_at, now + writer.conn.monitor.limits.blank_s)
            return
        if self.status is not None:
            self.status.on_wait_again()
            return
        writer.choose_mode()
        writer.shows_mode = True
        delay_s = config.progress_delay_s
        self.status = StatusStream(
            mode=writer.mode,
            dialect=writer.dialect,
            model=request.asked,
            now=now,
            delay_s=DELAY_S[writer.mode] if delay_s is None else delay_s,
            heartbeat_s=config.heartbeat_s or math.inf,
            marker=config.marker,
            details=config.details or request.turns is not None,
            line_pause_s=writer.conn.monitor.limits.line_pause_s,
        )

    def next_deadline(self) -> float:
        """Return when the next update is due, if nothing changes before."""
        due = self._blank_at
        if self.hop is not None:
            return self.hop.next_deadline()
        if self.status is not None:
            due = min(due, self.status.next_deadline())
        if self.prefill is not None:
            due = min(due, max(self.prefill.next_deadline(), self._prefill_from))
        return due

    async def tell(self, view: ModelView) -> None:
        """Send what is due.

        Raises:
            ClientGone: The client has left.
        """
        if words := self._words(view):
            await self.writer.conn.send(words)

    def tell_soon(self, view: ModelView) -> bool:
        """Send what is due, without waiting; nobody else may send meanwhile.

        The account notes the stage of the wait.

        Returns:
            Whether the client had taken all earlier updates. Otherwise nothing more is sent.
        """
        conn, account = self.writer.conn, self.writer.account
        if is_queued(view):
            account.queued(trio.current_time())
        else:
            account.loading(trio.current_time())
        if not conn.catch_up():
            return False
        if words := self._words(view):
            conn.send_or_keep(words)
        return True

    async def tell_ready(self) -> None:
        """Send the last update on the model, to a stream that waited.

        Raises:
            ClientGone: The client has left.
        """
        if self.hop is not None:
            await self.tell(READY_VIEW)
        if self.status is not None:
            words = b"".join(self.status.on_ready(trio.current_time()))
            if words:
                await self.writer.conn.send(self.writer.early(words))

    def _words(self, view: ModelView) -> bytes:
        """Return what is due, as it is sent."""
        now = trio.current_time()
        words = b""
        if self.hop is not None:  # once a response has begun nothing may come before it
            return b"" if self.writer.begun else self.hop.on_time(now, view)
        if self.status is not None:
            words = b"".join(self.status.on_time(now, view))
        if self.prefill is not None and now >= self._prefill_from:
            queued = is_queued(view)
            phase: Phase = "prefill" if view.stage == "ready" else "loading"
            if queued:
                phase = "queued"
            words += self.prefill.on_phase(now, phase, view.ahead if queued else None)
            words += self.prefill.on_time(now)
        if now >= self._blank_at:
            self._blank_at = now + self.writer.conn.monitor.limits.blank_s
            words = b" "
        return self.writer.early(words) if words else b""
