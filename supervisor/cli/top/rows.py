"""Parts of the picture: models, memory, queue, requests, log. Pure.

A row is one line of the terminal: texts beside each other, each with the name of a style.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from arriero.protocol.control.models import LogsLine
from arriero.protocol.control.running import StatusReply
from arriero.protocol.records import InflightRequest, RequestPhase
from arriero.protocol.values import DeviceStatus, ModelStatus, Progress, QueueEntry

from ..render.glyphs import Glyphs, bar, cut, padded, plain, width_of
from ..render.text import duration, keep_line, machine_line, memory_size, percent, phase, remarks
from .train_view import TrainView

Style: TypeAlias = Literal["", "dim", "head", "good", "busy", "bad", "asleep", "bar"]

# From this width on, a table has all its columns; below the other one, only the most needed.
_WIDE: Final = 100
_NARROW: Final = 60

_NAME: Final = 32
_LEAST_NAME: Final = 8

_STYLES: Final[dict[str, Style]] = {
    "ready": "good",
    "starting": "busy",
    "draining": "busy",
    "stopping": "busy",
    "asleep": "asleep",
    "stopped": "dim",
}
_PHASES: Final[dict[RequestPhase, str]] = {
    "queue": "waits",
    "load": "loading",
    "prompt": "prompt",
    "answer": "answer",
}


class TextSpan(msgspec.Struct, frozen=True):
    """A text in one style; clean."""

    text: str
    style: Style = ""


class ScreenRow(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        spans: Beside each other.
        is_chosen: It is what keys are for.
    """

    spans: tuple[TextSpan, ...] = ()
    is_chosen: bool = False

    @property
    def text(self) -> str:
        """All of it, without styles."""
        return "".join(span.text for span in self.spans)


def row(text: str, style: Style = "") -> ScreenRow:
    """Return a row in one style."""
    return ScreenRow((TextSpan(text, style),))


def fitted_row(one: ScreenRow, width: int, glyphs: Glyphs) -> ScreenRow:
    """Return a row in exactly that many columns; a chosen one reaches to the end."""
    spans: list[TextSpan] = []
    left = width
    for span in one.spans:
        if left <= 0:
            break
        text = cut(span.text, left, glyphs)
        spans.append(TextSpan(text, span.style))
        left -= width_of(text)
    if one.is_chosen and left > 0:
        spans.append(TextSpan(" " * left))
    return ScreenRow(tuple(spans), one.is_chosen)


# --- head ----------------------------------------------------------------------------------------


def head_row(view: TrainView, now: float, width: int, glyphs: Glyphs) -> ScreenRow:
    """Return what concerns all of it: whole parts, those that matter least go first."""
    status = view.status
    if status is None:
        return row("arriero: connecting", "busy")
    runs = len(view.requests())
    waits = sum(entry.waiting for entry in view.queue)
    serving = sum(worker.state == "serving" for worker in status.workers)
    facts = [f"{runs} running", f"{waits} waiting"]
    if speed := view.total_speed():
        facts.append(f"{speed:.0f} tokens/s")
    workers = _part(_count(serving, "worker"), glyphs)
    uptime = _part(f"up {duration(max(0.0, status.uptime_s + now - status.t))}", glyphs)
    address = _part(plain(status.url or status.listen, glyphs), glyphs, "dim")
    spans = [TextSpan(f"arriero {plain(status.version, glyphs)}", "head")]
    if not view.is_connected:
        spans.append(_part("connecting", glyphs, "bad"))
    spans += [_part(fact, glyphs) for fact in facts]
    spans += [workers, uptime]
    if status.config.profile is not None:
        spans.append(_part(f"profile {plain(status.config.profile, glyphs)}", glyphs))
    if status.config.failed is not None:
        spans.append(_part("the last reload failed", glyphs, "bad"))
    spans.append(address)
    for least in (workers, uptime, address):
        if sum(width_of(span.text) for span in spans) <= width:
            break
        spans.remove(least)
    return ScreenRow(tuple(spans))


def _part(text: str, glyphs: Glyphs, style: Style = "") -> TextSpan:
    return TextSpan(f" {glyphs.dot} {text}", style)


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


# --- memory --------------------------------------------------------------------------------------


def device_rows(status: StatusReply, width: int, glyphs: Glyphs) -> list[ScreenRow]:
    """Return one row for each device whose memory decides, and one for what is kept in RAM."""
    names = [plain(one.device, glyphs) for one in status.devices]
    room = max([len("kept"), *map(width_of, names)])
    rows = [_device(one, min(room, 12), width, glyphs) for one in status.devices]
    if status.kept is not None and status.kept.limit:
        rows.append(row(plain(keep_line(status.kept), glyphs), "dim"))
    return rows


def _device(device: DeviceStatus, room: int, width: int, glyphs: Glyphs) -> ScreenRow:
    total = max(device.total, 1)
    bar_width = max(8, min(40, width // 3))
    # What others use may be outside of what was declared for models.
    others = max(0, total - device.reserved - device.reserve - device.free)
    parts = (device.reserved, others, device.reserve)
    drawn, done, amount = "", 0, 0
    for kind, size in zip(glyphs.kinds, parts, strict=True):
        amount += max(0, size)
        upto = min(bar_width, round(amount / total * bar_width))
        drawn += kind * max(0, upto - done)
        done = max(done, upto)
    drawn += glyphs.rest * (bar_width - done)
    said = f" {memory_size(device.free)} free of {memory_size(device.total)}"
    if width >= _NARROW:
        said += f"; models {memory_size(device.reserved)}, others {memory_size(device.foreign)}"
    spans = [
        TextSpan(f"{padded(plain(device.device, glyphs), room, glyphs)} "),
        TextSpan(drawn, "bar"),
        TextSpan(said),
    ]
    if device.held:
        until = "" if device.held_s is None else f" for {duration(device.held_s)}"
        spans.insert(2, TextSpan(f" held{until}", "busy"))
    return ScreenRow(tuple(spans))


# --- queue ---------------------------------------------------------------------------------------


def queue_rows(view: TrainView, glyphs: Glyphs) -> list[ScreenRow]:
    """Return who waits for what, and why, in the order of turns."""
    return [
        ScreenRow(
            (
                TextSpan(f"{place}. {plain(entry.model, glyphs)}", "busy"),
                TextSpan(
                    f": {_count(entry.waiting, 'request') if entry.waiting else 'ordered'}, "
                    f"{plain(_why(entry, view), glyphs)}"
                ),
            )
        )
        for place, entry in enumerate(view.queue, 1)
    ]


def machine_rows(status: StatusReply, glyphs: Glyphs) -> list[ScreenRow]:
    """Return how other machines stand."""
    found = []
    for it in status.peers:
        is_well = it.circuit == "closed" and it.link != "away"
        found.append(row(plain(machine_line(it, status.t), glyphs), "" if is_well else "bad"))
    return found


def _why(entry: QueueEntry, view: TrainView) -> str:
    if entry.is_full:
        return "until one of those that it serves has ended"
    model = view.models.get(entry.model)
    progress = None if model is None else model.progress
    if progress is None:
        return "until it is its turn"
    match progress.phase:
        case "draining":
            runs = "" if progress.requests is None else f" ({progress.requests} left)"
            return f"until {progress.other or 'another'} has finished its requests{runs}"
        case "stopping":
            return f"until {progress.other or 'another'} has stopped"
        case "waiting":
            return "for the pause after a failure"
        case _:
            return f"while it is {progress_text(progress)}"


def progress_text(progress: Progress) -> str:
    """Return how far a start is, in a few words."""
    text = phase(progress)
    if progress.fraction is not None:
        text += f" {percent(progress.fraction)}"
    if progress.eta_s is not None:
        text += f", {duration(progress.eta_s)} left"
    return text


# --- models --------------------------------------------------------------------------------------


def model_head(models: Sequence[ModelStatus], width: int, glyphs: Glyphs) -> ScreenRow:
    """Return the heads of the columns."""
    name = _name_width(models, width, glyphs)
    text = f"{'MODEL':<{name}} {'STATE':<8}"
    if width >= _WIDE:
        text += f" {'FOR':>12}"
    if width >= _NARROW:
        text += f" {'RUN':>4} {'WAIT':>4} {'MEMORY':>9}"
    return row(text, "head")


def model_row(
    model: ModelStatus,
    view: TrainView,
    now: float,
    width: int,
    name_width: int,
    glyphs: Glyphs,
    *,
    is_chosen: bool,
) -> ScreenRow:
    """Return one model.

    Args:
        model: The model.
        view: What is known.
        now: Unix time.
        width: Of the terminal.
        name_width: Of the first column; see `name_width`.
        glyphs: What the terminal knows.
        is_chosen: Keys are for this one.
    """
    spans = [
        TextSpan(f"{padded(plain(model.model, glyphs), name_width, glyphs)} "),
        TextSpan(f"{model.state:<8}", _STYLES.get(model.state, "")),
    ]
    runs, waits = view.in_flight(model), view.waiting(model.model)
    if width >= _WIDE:
        spans.append(TextSpan(f" {duration(max(0.0, now - model.since)):>12}"))
    if width >= _NARROW:
        taken = sum((model.memory or {}).values()) if model.state != "stopped" else 0
        size = memory_size(taken) if taken else "-"
        spans.append(TextSpan(f" {runs or '-':>4} {waits or '-':>4} {size:>9}"))
    spans += _remarks(model, width - sum(width_of(span.text) for span in spans) - 2, glyphs)
    return ScreenRow(tuple(spans), is_chosen)


def _remarks(model: ModelStatus, room: int, glyphs: Glyphs) -> list[TextSpan]:
    if (progress := model.progress) is None:
        text = plain(remarks(model), glyphs)
        return [TextSpan(f"  {text}", "bad" if model.error is not None else "dim")] if text else []
    spans = [TextSpan("  ")]
    if progress.fraction is not None and room >= 14:
        bar_width = 16 if room >= 44 else 8 if room >= 28 else 6
        spans += [TextSpan(bar(progress.fraction, bar_width, glyphs), "bar"), TextSpan(" ")]
    if progress.fraction is not None and room < 28:
        return [*spans, TextSpan(percent(progress.fraction), "busy")]
    return [*spans, TextSpan(plain(progress_text(progress), glyphs), "busy")]


def _name_width(models: Sequence[ModelStatus], width: int, glyphs: Glyphs) -> int:
    longest = max((width_of(plain(one.model, glyphs)) for one in models), default=0)
    return max(_LEAST_NAME, min(longest, _NAME, width * 2 // 5))


def name_width(models: Sequence[ModelStatus], width: int, glyphs: Glyphs) -> int:
    """Return the width of the first column."""
    return _name_width(models, width, glyphs)


# --- requests ------------------------------------------------------------------------------------


def request_head(width: int) -> ScreenRow:
    """Return the heads of the columns."""
    text = f"{'REQUEST OF':<{_request_name(width)}} {'PHASE':<7} {'FOR':>10}"
    if width >= _NARROW:
        text += f" {'TOKENS':>7}"
    text += f" {'/S':>6}"
    if width >= _NARROW:
        text += "  CLIENT, ID"
    return row(text, "head")


def _request_name(width: int) -> int:
    return 10 if width < _NARROW else 16


def request_row(
    one: InflightRequest,
    view: TrainView,
    now: float,
    width: int,
    glyphs: Glyphs,
    *,
    is_chosen: bool,
) -> ScreenRow:
    """Return one running request."""
    speed = view.speed(one.id)
    text = (
        f"{padded(plain(one.model, glyphs), _request_name(width), glyphs)} {_PHASES[one.phase]:<7} "
        f"{duration(max(0.0, now - one.t)):>10}"
    )
    if width >= _NARROW:
        text += f" {one.output_tokens or '-':>7}"
    text += f" {'-' if speed is None else f'{speed:.1f}':>6}"
    if width >= _NARROW:
        text += f"  {plain(one.peer, glyphs)} {plain(one.id, glyphs)}"
    return ScreenRow((TextSpan(text, "busy" if one.phase in {"queue", "load"} else ""),), is_chosen)


# --- log -----------------------------------------------------------------------------------------


def log_row(line: LogsLine, glyphs: Glyphs) -> ScreenRow:
    """Return one line of a log."""
    text = TextSpan(plain(line.line, glyphs))
    return ScreenRow(
        (TextSpan(f"{plain(line.model, glyphs)}  ", "dim"), text) if line.model else (text,)
    )


def title_row(text: str, width: int, glyphs: Glyphs) -> ScreenRow:
    """Return a line with a title in it."""
    shown = cut(f"{glyphs.rule * 2} {text} ", width, glyphs)
    return row(shown + glyphs.rule * (width - width_of(shown)), "dim")
