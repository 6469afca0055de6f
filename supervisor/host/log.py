"""The supervisor's own log and that of its workers: written, kept, and told to whoever follows.

Written on standard error; kept are the last lines of it, whatever is written. A log that nobody
reads any more is no reason to stop serving.
"""

import logging
import os
import select
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec
import trio

from arriero.protocol.control.models import LogsLine
from arriero.protocol.log_format import LineFormatter, LogLines, for_journal, writes_to_journal

from ..llamacpp.api_key import LEAST_SECRET
from ..text.line_ring import LineRing, last_of
from ..text.log_times import time_writer
from ..text.redact import HIDDEN
from .kept_ring import KeptRing

log = logging.getLogger(__name__)

LogForm: TypeAlias = Literal["text", "json"]

_DEFAULT: Final = "info"
_STDERR: Final = 2

# Of our own log: what is kept.
_MAX_LINES: Final = 10_000
_MAX_BYTES: Final = 1536 * 1024

# Lines that wait to be told. A burst beyond that is told as a gap.
_MAX_UNTOLD: Final = 10_000

# Of a line that is kept; a longer one is cut.
_MAX_CHARS: Final = 8 * 1024

# Bytes that a pipe takes at once when it takes anything (pipe(7), PIPE_BUF); characters of a line
# that is longer, so that it is shorter.
_AT_ONCE: Final = 4096
_CUT_CHARS: Final = 600


class JsonLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the log for programs.

    Attributes:
        time: As in RFC 3339, local time with its offset.
        level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.
        logger: The part of this program; of a model's output, ``upstream``.
        message: The line.
        traceback: Where it failed; may have many lines.
        model: Whose output it is.
        stream: ``stdout`` or ``stderr``, the model's.
    """

    time: str
    level: str
    logger: str
    message: str
    traceback: str = ""
    model: str = ""
    stream: str = ""


class ProgramLog(logging.Handler):
    """Takes what this program logs, and what models write as far as that is to be written here.

    Args:
        form: Of the lines that are written: for people, or one JSON object each.

    Attributes:
        lines: The last lines, as they are for people.
    """

    def __init__(self, form: LogForm = "text") -> None:
        super().__init__()
        self.lines = LineRing(_MAX_LINES, _MAX_BYTES)
        self._form = form
        self._formatter = LineFormatter(time_writer(""))
        self._json_time = time_writer("rfc3339nano")
        self._writes_own = True
        self._writes_output = False
        self._secrets: tuple[str, ...] = ()
        self._ring: KeptRing | None = None
        self._tell: Callable[[Sequence[LogsLine]], None] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._untold: list[LogsLine] = []
        self._unwritten = 0

    def follow(
        self,
        level: str | None,
        time_format: str = "",
        *,
        own: bool = True,
        output: bool = False,
        secrets: Collection[str] = (),
    ) -> None:
        """Log as the configuration has it.

        Args:
            level: The least important lines; None for the usual ones.
            time_format: See `time_writer`.
            own: Own lines are written.
            output: Those of models are.
            secrets: Texts that stand in no line.
        """
        logging.getLogger().setLevel((level or _DEFAULT).upper())
        self._formatter = LineFormatter(time_writer(time_format))
        self._writes_own = own
        self._writes_output = output
        self._secrets = tuple({it for it in secrets if len(it) >= LEAST_SECRET})

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, keep it, and have it told."""
        try:
            text = self.hidden(self._formatter.format(record))
            self._keep(record.created, text)
            if self._writes_own:
                self._write(self._as_written(record, text))
        except Exception:  # noqa: BLE001  a log line is not worth a failure
            self.handleError(record)

    def take_raw(self, name: str, line: str) -> None:
        """Take a line that a worker wrote without logging it."""
        record = logging.LogRecord(name, logging.ERROR, "", 0, line, None, None)
        text = self.hidden(line)
        with self.lock or nullcontext():  # as `emit` is called
            self._keep(record.created, text)
        if self._writes_own:
            if self._form == "json":
                text = self._as_json(record)
            elif is_for_journal():
                text = for_journal(text, logging.ERROR)
            self._write(text)

    def take_output(self, line: LogsLine) -> None:
        """Write a line of a model, if that is wanted and somebody reads.

        Its model stands before it: it cannot pass for one of ours.
        """
        if not self._writes_output:
            return
        text = self._output_text(line, line.line)
        if len(text) * 4 > _AT_ONCE and len(text.encode(errors="replace")) >= _AT_ONCE:
            text = self._output_text(line, f"{line.line[:_CUT_CHARS]}...")
        if _takes_more():
            self._write(text)
        else:
            self._unwritten += 1

    def _output_text(self, line: LogsLine, shown: str) -> str:
        if self._form == "json":
            return self._json(
                line.t, logging.INFO, "upstream", shown, model=line.model, stream=line.stream
            )
        text = f"{line.model}: {shown}"
        return for_journal(text, logging.INFO) if is_for_journal() else text

    # --- kept and told --------------------------------------------------------------------------

    def last(self, count: int, most_bytes: int) -> tuple[LogsLine, ...]:
        """Return the newest `count` lines, the oldest first; fewer, if they are longer."""
        return last_of(islice(reversed(self.lines), count), most_bytes)

    def pack(self) -> bool:
        """Pack a piece of what is kept; return whether there was one that was not packed."""
        return self.lines.pack()

    def keep_in(self, ring: KeptRing) -> None:
        """Go on with the lines in `ring`, and put all new ones there."""
        newer = [*reversed(self.lines)][::-1]
        self.lines = LineRing(_MAX_LINES, _MAX_BYTES)
        for message in ring.messages():
            with suppress(msgspec.DecodeError):
                self.lines.append(_read_line.decode(message))
        self._ring = ring
        for line in newer:
            self.lines.append(line)
            ring.append(msgspec.json.encode(line))

    def leave_ring(self) -> None:
        """Keep lines here alone: the ring is closed."""
        self._ring = None

    @contextmanager
    def told(self, tell: Callable[[Sequence[LogsLine]], None]) -> Generator[None, None, None]:
        """Give new lines to `tell` while the block runs, a little later and in order."""
        self._tell, self._token = tell, trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._tell = self._token = None
            self._untold = []

    def tell_now(self) -> None:
        """Tell what waits to be told."""
        lines, self._untold = self._untold, []
        if self._tell is not None and lines:
            self._tell(lines)

    def _keep(self, t: float, text: str) -> None:
        for line in text.split("\n"):
            kept = LogsLine(t=t, model="", stream="stderr", line=line[:_MAX_CHARS])
            self.lines.append(kept)
            if self._ring is not None:
                self._ring.append(msgspec.json.encode(kept))
            if self._tell is not None and len(self._untold) < _MAX_UNTOLD:
                self._untold.append(kept)
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.tell_now, idempotent=True)

    # --- written --------------------------------------------------------------------------------

    def hidden(self, text: str) -> str:
        """Return `text` without what the configuration keeps secret."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text

    def _as_written(self, record: logging.LogRecord, text: str) -> str:
        if self._form == "json":
            return self._as_json(record)
        if is_for_journal():
            return for_journal(self.hidden(_JOURNAL.format(record)), record.levelno)
        return text

    def _as_json(self, record: logging.LogRecord) -> str:
        traceback = record.exc_text or ""
        messages = (
            record.msg.messages if isinstance(record.msg, LogLines) else (record.getMessage(),)
        )
        return "\n".join(
            self._json(
                record.created,
                record.levelno,
                record.name,
                self.hidden(message),
                traceback=self.hidden(traceback),
            )
            for message in messages
        )

    def _json(self, t: float, level: int, logger: str, message: str, **more: str) -> str:
        line = JsonLine(
            self._json_time(t), logging.getLevelName(level).lower(), logger, message, **more
        )
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # half a character, which JSON does not have
            return self._json(t, level, logger, ascii(message), **dict.fromkeys(more, ""))

    def _write(self, text: str) -> None:
        if self._unwritten:
            text = f"{self._note_of_loss()}\n{text}"
        with suppress(OSError, ValueError):  # whoever read it may have gone
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def _note_of_loss(self) -> str:
        count, self._unwritten = self._unwritten, 0
        record = logging.LogRecord(
            __name__, logging.WARNING, "", 0, "log.lost lines=%d", (count,), None
        )
        return self._as_written(record, self._formatter.format(record))


_read_line: Final = msgspec.json.Decoder(LogsLine)
_JOURNAL: Final = LineFormatter(None)


def _takes_more() -> bool:
    """Return whether standard error takes a few thousand bytes without a wait."""
    ready = select.poll()
    ready.register(_STDERR, select.POLLOUT)
    return bool(ready.poll(0))


def begin_log(level: str | None, form: LogForm = "text") -> ProgramLog:
    """Log from `level` up, until a configuration says more."""
    program_log = ProgramLog(form)
    program_log.follow(level)
    logging.basicConfig(handlers=[program_log])
    if form == "json":
        _log_failures()
    return program_log


def _log_failures() -> None:
    """Have what ends a program or a thread logged: else it is written as it comes."""
    sys.excepthook = lambda kind, exc, _: log.critical(
        "program.failed error=%s", kind.__name__, exc_info=exc
    )
    threading.excepthook = lambda failed: log.critical(
        "thread.failed error=%s", failed.exc_type.__name__, exc_info=failed.exc_value
    )
    sys.unraisablehook = lambda failed: log.error(
        "cleanup.failed error=%s", failed.exc_type.__name__, exc_info=failed.exc_value
    )
    logging.captureWarnings(capture=True)


@cache
def is_for_journal() -> bool:
    """Return whether our standard error goes to the systemd journal."""
    return writes_to_journal(_STDERR, os.environ)


def tell_warnings(problems: Iterable[object]) -> None:
    """Log the warnings of a configuration."""
    for problem in problems:
        log.warning("config.warning %s", problem)
