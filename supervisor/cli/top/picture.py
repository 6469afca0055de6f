"""All of a train for a terminal of some size. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, TypeVar

import msgspec

from arriero.protocol.control.requests import CancelRequest
from arriero.protocol.records import InflightRequest
from arriero.protocol.values import ModelStatus

from ..render.glyphs import Glyphs, plain
from .controls import HELP, Controls, chosen, devices, shown_models
from .rows import (
    ScreenRow,
    TextSpan,
    device_rows,
    fitted_row,
    head_row,
    log_row,
    machine_rows,
    model_head,
    model_row,
    name_width,
    queue_rows,
    request_head,
    request_row,
    row,
    title_row,
)
from .train_view import TrainView, newest

_T = TypeVar("_T")

# Smallest terminal on which more than a word can be shown.
LEAST_WIDTH: Final = 20
LEAST_HEIGHT: Final = 4

_MOST_QUEUE: Final = 3
_MOST_DEVICES: Final = 8
_MOST_MACHINES: Final = 10

# Lines of the log that are ever shown.
MOST_LOG: Final = 60

_KEYS: Final = (
    "q quit", "? keys", "Enter load", "u unload", "x cancel", "h hold", "/ search", "s sort",
    "f filter", "g log", "Tab requests",
)  # fmt: skip


class Picture(msgspec.Struct, frozen=True):
    """What is drawn.

    Attributes:
        rows: From the top, no more than fit.
        page: How many models stand in it.
    """

    rows: tuple[ScreenRow, ...]
    page: int


def picture(
    view: TrainView, controls: Controls, now: float, width: int, height: int, glyphs: Glyphs
) -> Picture:
    """Return the picture.

    Args:
        view: What is known.
        controls: What is shown of it.
        now: Unix time.
        width: Columns of the terminal.
        height: Its lines.
        glyphs: What it knows.
    """
    if width < LEAST_WIDTH or height < LEAST_HEIGHT:
        rows = [row("too small"), row("q quit")][: max(1, height)]
        return Picture(tuple(fitted_row(one, width, glyphs) for one in rows), 1)
    if controls.asks == "help":
        rows = _help(height)
        return Picture(tuple(fitted_row(one, width, glyphs) for one in rows), 1)
    models = shown_models(view, controls)
    requests = view.requests()
    status = view.status
    memory = [] if status is None else device_rows(status, width, glyphs)
    queue = queue_rows(view, glyphs)
    machines = [] if status is None or height < 10 else machine_rows(status, glyphs)
    if height < 10:
        memory, queue = memory[:1], queue[:1]
    memory = _few(memory, min(_MOST_DEVICES, max(1, height // 8)))
    memory += _few(machines, min(_MOST_MACHINES, max(1, height // 8)))
    queue = _few(queue, _MOST_QUEUE)
    left = height - 2 - len(memory) - len(queue)
    for_requests = _for_requests(len(requests), left, has_focus=controls.focus == "requests")
    for_log = 0 if left < 9 else 1 + min(8, left // 4)
    for_models = left - for_requests - for_log
    if for_log and (spare := for_models - 1 - max(1, len(models))) > 0:
        more = min(spare, MOST_LOG + 1 - for_log)
        for_log, for_models = for_log + more, for_models - more
    rows = [head_row(view, now, width, glyphs), *memory, *queue]
    rows += _models(models, view, controls, now, width, for_models, glyphs)
    rows += _requests(requests, view, controls, now, width, for_requests, glyphs)
    rows += _log(view, controls, width, for_log, glyphs)
    rows = [
        *rows[: height - 1],
        *[ScreenRow()] * (height - 1 - len(rows)),
        _last(view, controls, width, glyphs),
    ]
    fitted = tuple(fitted_row(one, width, glyphs) for one in rows)
    return Picture(fitted, max(1, for_models - 1))


def snapshot_rows(view: TrainView, now: float, width: int, glyphs: Glyphs) -> list[ScreenRow]:
    """Return all that is known, without a limit on lines."""
    controls = Controls()
    models, requests = list(view.models.values()), view.requests()
    names = name_width(models, width, glyphs)
    rows = [head_row(view, now, width, glyphs)]
    rows += [] if view.status is None else device_rows(view.status, width, glyphs)
    rows += [] if view.status is None else machine_rows(view.status, glyphs)
    rows += queue_rows(view, glyphs)
    rows.append(model_head(models, width, glyphs))
    rows += [model_row(one, view, now, width, names, glyphs, is_chosen=False) for one in models]
    rows += _requests(requests, view, controls, now, width, len(requests) + 1, glyphs)
    rows += _log(view, controls, width, len(view.log) + 1, glyphs) if view.log else []
    return rows


def _help(height: int) -> list[ScreenRow]:
    widest = max(len(keys) for keys, _ in HELP)
    rows = [
        ScreenRow((TextSpan(f"{keys.ljust(widest)}  ", "head"), TextSpan(what)))
        for keys, what in HELP[: height - 1]
    ]
    return [*rows, *[ScreenRow()] * (height - 1 - len(rows)), row("any key goes back", "dim")]


def _few(rows: list[ScreenRow], most: int) -> list[ScreenRow]:
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], row(f"and {len(rows) - most + 1} more", "dim")]


def _for_requests(count: int, left: int, *, has_focus: bool) -> int:
    if (not count and not has_focus) or left < 6:
        return 0
    return 1 + min(max(1, count), max(1, left // (2 if has_focus else 4)))


def _window(all_of: Sequence[_T], here: int, height: int) -> tuple[int, Sequence[_T]]:
    """Return the part of a list in the middle of which one stands, and where that begins."""
    begin = max(0, min(here - height // 2, len(all_of) - height))
    return begin, all_of[begin : begin + height]


def _models(
    models: Sequence[ModelStatus],
    view: TrainView,
    controls: Controls,
    now: float,
    width: int,
    height: int,
    glyphs: Glyphs,
) -> list[ScreenRow]:
    if height < 1:
        return []
    here = chosen([one.model for one in models], controls.model)
    names = name_width(models, width, glyphs)
    begin, shown = _window(models, here, height - 1)
    head = model_head(models, width, glyphs)
    what: list[str] = [] if controls.choice == "all" else [controls.choice]
    what += [f"/{plain(controls.search, glyphs)}"] if controls.search else []
    if len(shown) < len(models):
        what.append(f"{begin + 1}-{begin + len(shown)} of {len(models)}")
    elif what:
        what.append(f"{len(models)} of {len(view.models)}")
    if what:
        head = ScreenRow((*head.spans, TextSpan(f"  {' '.join(what)}", "dim")))
    rows = [
        model_row(
            one,
            view,
            now,
            width,
            names,
            glyphs,
            is_chosen=controls.focus == "models" and begin + place == here,
        )
        for place, one in enumerate(shown)
    ]
    if not models:
        rows = [row(_no_model(view, controls), "dim")]
    return [head, *rows, *[ScreenRow()] * (height - 1 - len(rows))][:height]


def _no_model(view: TrainView, controls: Controls) -> str:
    if view.status is None:
        return "waiting for the supervisor"
    if not view.models:
        return "the configuration has no models"
    return "no model fits; Esc shows all" if controls.search else "none; Esc shows all"


def _requests(
    requests: Sequence[InflightRequest],
    view: TrainView,
    controls: Controls,
    now: float,
    width: int,
    height: int,
    glyphs: Glyphs,
) -> list[ScreenRow]:
    if height < 2:
        return []
    here = chosen([one.id for one in requests], controls.request)
    begin, shown = _window(requests, here, height - 1)
    rows = [
        request_row(
            one,
            view,
            now,
            width,
            glyphs,
            is_chosen=controls.focus == "requests" and begin + place == here,
        )
        for place, one in enumerate(shown)
    ]
    head = request_head(width)
    if len(shown) < len(requests):
        where = f"  {begin + 1}-{begin + len(shown)} of {len(requests)}"
        head = ScreenRow((*head.spans, TextSpan(where, "dim")))
    return [head, *(rows or [row("no request runs", "dim")])]


def _log(
    view: TrainView, controls: Controls, width: int, height: int, glyphs: Glyphs
) -> list[ScreenRow]:
    if height < 2:
        return []
    lines = newest(view.log, height - 1)
    what = {"models": "of all models", "arriero": "of arriero"}.get(controls.log_of)
    if what is None:
        what = f"of {plain(log_model(view, controls) or '', glyphs)}"
    return [title_row(f"log {what}", width, glyphs), *(log_row(line, glyphs) for line in lines)]


def log_model(view: TrainView, controls: Controls) -> str | None:
    """Return the model whose log is shown, if it is that of one."""
    if controls.log_of != "this model":
        return None
    models = [one.model for one in shown_models(view, controls)]
    return models[chosen(models, controls.model)] if models else None


def _last(view: TrainView, controls: Controls, width: int, glyphs: Glyphs) -> ScreenRow:
    match controls.asks:
        case "search":
            return row(f"/{plain(controls.search, glyphs)}_", "head")
        case "sure":
            return row(f"{_question(controls, glyphs)} (y/n)", "bad")
        case "device":
            names = (f"{i} {name or 'all'}" for i, name in enumerate(devices(view)))
            return row(f"hold, or release: {'  '.join(names)}", "head")
        case _ if controls.message:
            return row(plain(controls.message, glyphs), "head")
        case _:
            ends = [end - 2 for end in accumulate(len(key) + 2 for key in _KEYS)]
            return row("  ".join(_KEYS[: bisect_right(ends, width)]), "dim")


def _question(controls: Controls, glyphs: Glyphs) -> str:
    match controls.pending:
        case CancelRequest(request_id=ident):
            return f"cancel {plain(ident, glyphs)}?"
        case None:
            return ""
        case unload:
            return f"unload {plain(unload.model or 'all', glyphs)} and cut what runs on it?"
