"""When a client is told something while its model is on its way. Wire format, 2 and 3.

What a frame looks like is the business of the `dialect`.

Rule 1: nothing here waits or reads a clock. The caller passes the time and sends what it gets.
Rule 2: one object per request; a client that joins late starts with the current state.
Rule 3: nothing is sent before the commit delay, and nothing at all if the model is there by then.
"""

import math
from typing import Final

from ..apis.base.dialect import Dialect, Mode, ProgressNumbers
from ..limits import LIMITS
from .model_view import ModelView, Stage

# At least one line in that many seconds.
LINE_EVERY_S = 30.0

# Lines of one request, the last ("ready after") included: clients store them, and some count them
# as tokens of the answer.
MAX_LINES = 40

# Bytes of one line with its line end, and how much of it names may take.
MAX_LINE_BYTES = 160
_MODEL_BYTES = 60
_OTHER_BYTES = 40
_WHY_BYTES = 60

# Percent after which a new line, or a new named event, is worth while.
_LINE_STEP = 10
_EVENT_STEP = 1

# Modes in which more is said than that the stream lives.
_TELLING: Final = frozenset({"reasoning", "event"})

# Shortest silence, whatever is configured: what happens to a request is known some milliseconds
# after it was asked for, and a word before that could only be "queued", with nobody ahead.
SETTLE_S = 0.05


def clean(name: str, most: int) -> str:
    """Return `name` as at most that many printable ASCII characters, none of which makes a tag."""
    kept = "".join(char if " " <= char <= "~" and char not in "<>" else "?" for char in name)
    return kept if len(kept) <= most else kept[: most - 2] + ".."


def _has_no_turn(view: ModelView) -> bool:
    """Whether nothing is known to wait for: it has just been asked for, or has just failed."""
    return view.stage == "queued" and not view.ahead and not view.has_reason


class StatusStream:
    """The waiting of one streaming request.

    Args:
        mode: How it is told.
        dialect: Makes the frames.
        model: Name as the client wrote it.
        now: When the request came, on the caller's clock.
        delay_s: Silence before the commit.
        heartbeat_s: Longest silence after it; infinite for no heartbeat ever. A mode that has
            nothing else to say does not commit then.
        marker: What every line begins with.
        details: Whether frames carry numbers where their API has room for them.
        line_pause_s: Between two lines, at least.

    Attributes:
        committed: An answer has been begun; failures are frames from then on.
        heartbeats: How often it was only told that it lives.
    """

    def __init__(
        self,
        *,
        mode: Mode,
        dialect: Dialect,
        model: str,
        now: float,
        delay_s: float,
        heartbeat_s: float,
        marker: str,
        details: bool,
        line_pause_s: float = LIMITS.line_pause_s,
    ) -> None:
        self._line_pause_s = line_pause_s
        self.mode = mode
        self.committed = False
        self.heartbeats = 0
        self._dialect = dialect
        self._model = clean(model, _MODEL_BYTES)
        self._marker = marker
        self._details = details
        self._began = now
        speaks = mode in _TELLING or (mode != "off" and heartbeat_s < math.inf)
        self._earliest = now + max(delay_s, SETTLE_S) if speaks else math.inf
        self._commit_at = self._earliest
        self._heartbeat_s = heartbeat_s
        self._ready = False
        self._percent: int | None = None  # never falls, whatever is reported
        self._host = ""  # whose that is
        self._lines = 0
        self._wrote_at = now  # anything
        self._told_at = -math.inf  # a line, or a named event
        self._told: tuple[Stage, int, str, str] | None = None
        self._told_requests = False  # how many requests are waited for
        self._told_step = -1
        self._prompt_percent = 0
        self._due_at = math.inf  # when a line that had to wait may go

    def __repr__(self) -> str:
        return f"<StatusStream {self.mode} committed={self.committed} lines={self._lines}>"

    @property
    def step(self) -> int:
        """After how many percent there may be something to tell; 0 for never."""
        if not self._tells():
            return 0
        return _LINE_STEP if self.mode == "reasoning" else _EVENT_STEP

    def next_deadline(self) -> float:
        """Return when `on_time` has something to do, if nothing changes before."""
        if not self.committed:
            return self._commit_at
        heartbeat = self._wrote_at + self._heartbeat_s
        if self._ready or self.mode not in _TELLING:
            return heartbeat
        return min(heartbeat, self._due_at, self._next_line_at())

    def on_time(self, now: float, view: ModelView) -> list[bytes]:
        """Return the frames that are to be sent now; to be called on changes and deadlines.

        The first frames that it returns go out together with the head of the answer.
        """
        if not self.committed:
            if now < self._commit_at:
                return []
            if view.stage == "ready":  # no early commit then, ever; but look again
                self._commit_at = now + SETTLE_S
                return []
            self.committed = True
            # comments stand outside of everything: no API has to be opened for them
            opening = b"" if self.mode == "comment" else self._dialect.opening()
            if self._tells() and not _has_no_turn(view):
                first = self._tell(now, view)
            else:
                first, self._told_at = self._heartbeat(now, view), now
            return [opening, first] if opening else [first]
        frames: list[bytes] = []
        if self._tells() and self._is_due(now, view):
            frames.append(self._tell(now, view))
        elif now >= self._wrote_at + self._heartbeat_s:
            frames.append(self._heartbeat(now, view))
        return frames

    def on_ready(self, now: float) -> list[bytes]:
        """The model is ready: return the last word, if anything was said before.

        Without a commit there will be none from here on: the real answer is near.
        """
        self._ready = True
        if not self.committed:
            self._commit_at = math.inf
            return []
        if self.mode == "reasoning" and self._lines < MAX_LINES:
            self._lines += 1
            self._wrote_at = self._told_at = now
            text = f"ready after {now - self._began:.1f} s"
            return [self._dialect.line(self._line(text), self._details_of(now, "ready", None))]
        if self.mode == "event":
            self._wrote_at = now
            return [self._dialect.event(self._numbers(now, "ready", None))]
        return []

    def on_prompt(self, now: float, fraction: float) -> list[bytes]:
        """So much of the prompt is read, 0.0 to 1.0: return a line if that is worth one.

        A short prompt is read before a second has passed since the last line, and gets none.
        """
        percent = min(99, int(fraction * 100 + 1e-9))
        if (
            not self.committed
            or self.mode != "reasoning"
            or self._lines >= MAX_LINES
            or now < self._told_at + self._line_pause_s
            or percent < self._prompt_percent + _LINE_STEP
        ):
            return []
        self._prompt_percent = percent
        self._lines += 1
        self._wrote_at = self._told_at = now
        line = self._line(f"prefill {percent}%")
        return [self._dialect.line(line, self._details_of(now, "prefill", None))]

    def on_wait_again(self) -> None:
        """The model has gone before the request reached it: it is waited for once more."""
        self._ready = False
        self._commit_at = self._earliest

    # --- when ----------------------------------------------------------------------------------

    def _tells(self) -> bool:
        """Whether changes are told at all."""
        if self._ready:
            return False
        if self.mode == "reasoning":
            return self._lines < MAX_LINES - 1  # the last one is for "ready after"
        return self.mode == "event"

    def _next_line_at(self) -> float:
        if self.mode != "reasoning" or not self._tells():
            return math.inf
        return self._told_at + LINE_EVERY_S

    def _is_due(self, now: float, view: ModelView) -> bool:
        self._see(view)
        if view.stage == "ready":
            if now >= min(self._due_at, self._next_line_at()):
                self._due_at, self._told_at = math.inf, now  # not to be asked again at once
            return False
        shows_percent = view.stage == "loading" or self.mode == "event"
        changed = not _has_no_turn(view) and (
            self._told != (view.stage, view.ahead, view.other, view.host)
            or (view.requests > 0 and not self._told_requests)
            or (shows_percent and self._step() > self._told_step)
        )
        if changed and now < self._told_at + self._line_pause_s:
            self._due_at = self._told_at + self._line_pause_s  # a moment later, and the latest then
            return False
        self._due_at = math.inf
        return changed or now >= self._next_line_at()

    def _see(self, view: ModelView) -> None:
        if view.host != self._host:  # another machine begins anew
            self._host, self._percent, self._told_step = view.host, None, -1
        if view.fraction is not None:
            percent = min(99, int(view.fraction * 100 + 1e-9))  # 100 is what "ready" means
            self._percent = max(percent, self._percent or 0)

    def _step(self) -> int:
        if self._percent is None:
            return -1
        return self._percent // self.step

    # --- what ----------------------------------------------------------------------------------

    def _tell(self, now: float, view: ModelView) -> bytes:
        self._see(view)
        self._told = (view.stage, view.ahead, view.other, view.host)
        self._told_requests = view.requests > 0
        self._told_step = self._step()
        self._told_at = self._wrote_at = now
        self._due_at = math.inf
        if self.mode == "event":
            return self._dialect.event(self._numbers(now, view.stage, view))
        self._lines += 1
        line = self._line(self._text(now, view))
        return self._dialect.line(line, self._details_of(now, view.stage, view))

    def _heartbeat(self, now: float, view: ModelView) -> bytes:
        self._wrote_at = now
        frame = self._sign_of_life(now, view)
        self.heartbeats += bool(frame)  # a turn that is told as text has none
        return frame

    def _sign_of_life(self, now: float, view: ModelView) -> bytes:
        if self.mode == "comment":
            text = "ready" if self._ready else self._text(now, view)
            return f": {self._model}: {text}\n\n".encode("ascii")
        self._see(view)
        phase = "ready" if self._ready else view.stage
        if self.mode == "event":
            return self._dialect.event(self._numbers(now, phase, view))
        return self._dialect.heartbeat(self._details_of(now, phase, view))

    def _text(self, now: float, view: ModelView) -> str:
        other = clean(view.other, _OTHER_BYTES)
        host = clean(view.host, _OTHER_BYTES)
        where = f" on {host}" if host else ""
        match view.stage:
            case "queued":
                return f"queued{where} ({view.ahead} ahead)" if view.ahead else f"queued{where}"
            case "draining":
                running = f"{view.requests} request{'s' * (view.requests != 1)}, "
                running = running if view.requests else ""
                waited = f"{running}{int(now - self._began)} s"
                return f"waiting for {other} to finish{where} ({waited})"
            case "stopping":
                return f"stopping {other}{where}"
            case "placing":
                why = f": {clean(view.why, _WHY_BYTES)}" if view.why else ""
                return f"waiting for a machine{where}{why} ({int(now - self._began)} s)"
            case "waking":
                return f"waking{where} ({int(now - self._began)} s)"
            case "machine":
                return f"waking {host} ({int(now - self._began)} s)"
            case "restarting":
                return f"waiting for arriero{where}, which is being restarted"
            case "warming" | "ready":
                return f"warming up{where}"
            case "restoring":
                return f"restoring the prompt cache{where}"
            case "loading":
                self._see(view)
                percent = "" if self._percent is None else f" {self._percent}%"
                left = "" if view.eta_s is None else f", {math.ceil(view.eta_s)} s left"
                return f"loading{where}{percent} ({int(now - self._began)} s{left})"

    def _line(self, text: str) -> str:
        return f"{self._marker}{self._model}: {text}"[: MAX_LINE_BYTES - 1] + "\n"

    def _details_of(self, now: float, phase: str, view: ModelView | None) -> ProgressNumbers | None:
        return self._numbers(now, phase, view) if self._details else None

    def _numbers(self, now: float, phase: str, view: ModelView | None) -> ProgressNumbers:
        queued = view is not None and phase == "queued"
        return ProgressNumbers(
            phase=phase,
            percent=100 if phase == "ready" else self._percent,
            elapsed_s=round(now - self._began, 1),
            queue_position=view.ahead if queued and view is not None else None,
        )
