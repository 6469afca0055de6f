"""What is shown of a train, and what keys do. Pure."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from arriero.protocol.control.base import ControlRequest
from arriero.protocol.control.models import HoldRequest, ReleaseRequest, SwapRequest, UnloadRequest
from arriero.protocol.control.requests import CancelRequest
from arriero.protocol.values import ModelStatus

from .train_view import TrainView

Order: TypeAlias = Literal["file", "name", "state", "requests", "memory"]
Choice: TypeAlias = Literal["all", "active", "failed"]
LogOf: TypeAlias = Literal["models", "this model", "arriero"]
Asks: TypeAlias = Literal["nothing", "search", "sure", "device", "help"]
Focus: TypeAlias = Literal["models", "requests"]

ORDERS: Final[tuple[Order, ...]] = ("file", "name", "state", "requests", "memory")
CHOICES: Final[tuple[Choice, ...]] = ("all", "active", "failed")
LOGS: Final[tuple[LogOf, ...]] = ("models", "this model", "arriero")

_T = TypeVar("_T")

# Longest text that is searched for.
_MAX_SEARCH: Final = 60

# Busy ones first.
_STATES: Final = ("starting", "draining", "stopping", "ready", "asleep", "stopped")

HELP: Final = (
    ("arrows, PgUp, PgDn", "choose a model, or a request"),
    ("Tab", "models or requests"),
    ("Enter, l", "load the model"),
    ("u", "unload it, after its running requests"),
    ("U", "unload it now; running requests are cut"),
    ("x", "cancel the chosen request"),
    ("h", "keep a device free of models, or release it"),
    ("/", "search; Esc shows all again"),
    ("s", "sort: file, name, state, requests, memory"),
    ("f", "filter: all, active, failed"),
    ("g", "log of: all models, the chosen one, arriero"),
    ("q, Ctrl-C", "end"),
)


class Quit(msgspec.Struct, frozen=True):
    """End it."""


Wish: TypeAlias = ControlRequest | Quit | None
"""What a key asks for beside another picture: a request for the supervisor, the end, or nothing."""


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown, and what is asked.

    Attributes:
        focus: In which table something is chosen.
        model: Id of the chosen model; None: the first.
        request: Id of the chosen request; None: the first.
        order: Of the models.
        choice: Which models.
        search: Part of the names of models that are shown; empty: all.
        log_of: Whose log.
        asks: What the next key answers.
        pending: WishDone if the answer is yes.
        message: Said in the last line until the next key.
        page: Rows of a page, as last drawn.
    """

    focus: Focus = "models"
    model: str | None = None
    request: str | None = None
    order: Order = "file"
    choice: Choice = "all"
    search: str = ""
    log_of: LogOf = "models"
    asks: Asks = "nothing"
    pending: CancelRequest | UnloadRequest | None = None
    message: str = ""
    page: int = 10


def shown_models(view: TrainView, controls: Controls) -> list[ModelStatus]:
    """Return the models that are shown, in their order."""
    wanted = controls.search.casefold()
    found = [
        one
        for one in view.models.values()
        if wanted in one.model.casefold() and _is_chosen(one, view, controls.choice)
    ]
    if (key := _sort_key(view, controls.order)) is not None:
        found.sort(key=key)
    return found


def _is_chosen(model: ModelStatus, view: TrainView, choice: Choice) -> bool:
    match choice:
        case "all":
            return True
        case "active":
            return (
                model.state != "stopped"
                or model.progress is not None
                or view.waiting(model.model) > 0
            )
        case "failed":
            return model.error is not None


def _sort_key(
    view: TrainView, order: Order
) -> Callable[[ModelStatus], tuple[float | str, ...]] | None:
    match order:
        case "file":
            return None
        case "name":
            return lambda one: (one.model.casefold(),)
        case "state":
            return lambda one: (one.progress is None, _STATES.index(one.state))
        case "requests":
            return lambda one: (-(view.in_flight(one) + view.waiting(one.model)),)
        case "memory":
            return lambda one: (-memory_of(one),)


def memory_of(model: ModelStatus) -> int:
    """Return what a running model has of all devices together, in bytes."""
    return 0 if model.state == "stopped" else sum((model.memory or {}).values())


def chosen(ids: Sequence[str], wanted: str | None) -> int:
    """Return the place of what is chosen: of that name, or the first."""
    return ids.index(wanted) if wanted in ids else 0


def devices(view: TrainView) -> list[str | None]:
    """Return what can be held: all devices together (None), then each."""
    known = view.status.devices if view.status is not None else ()
    return [None, *(one.device for one in known)]


def press(controls: Controls, key: str, view: TrainView) -> tuple[Controls, Wish]:
    """Return what a key makes of it, and what it asks for.

    Args:
        controls: As they were.
        key: A character, or ``up``, ``down``, ``pgup``, ``pgdn``, ``home``, ``end``, ``tab``,
            ``enter``, ``esc``, ``backspace``.
        view: What is known.
    """
    controls = replace(controls, message="")
    match controls.asks:
        case "search":
            return _search(controls, key), None
        case "sure":
            wish = controls.pending if key in {"y", "Y"} else None
            return replace(controls, asks="nothing", pending=None), wish
        case "device":
            return replace(controls, asks="nothing"), _hold(key, view)
        case "help":
            return replace(controls, asks="nothing"), Quit() if key == "q" else None
        case "nothing":
            return _do(controls, key, view)


def _search(controls: Controls, key: str) -> Controls:
    match key:
        case "enter" | "up" | "down" | "tab":
            return replace(controls, asks="nothing")
        case "esc":
            return replace(controls, asks="nothing", search="")
        case "backspace":
            return replace(controls, search=controls.search[:-1])
        case _ if len(key) == 1 and key.isprintable():
            return replace(controls, search=(controls.search + key)[:_MAX_SEARCH])
        case _:
            return controls


def _hold(key: str, view: TrainView) -> Wish:
    known = devices(view)
    if not key.isdecimal() or int(key) >= len(known):
        return None
    device = known[int(key)]
    held = [one.device for one in view.status.devices if one.held] if view.status else []
    if device in held or (device is None and held):
        return ReleaseRequest(device=device)
    return HoldRequest(device=device, wait=False)


def _do(controls: Controls, key: str, view: TrainView) -> tuple[Controls, Wish]:
    models = [one.model for one in shown_models(view, controls)]
    requests = [one.id for one in view.requests()]
    model = models[chosen(models, controls.model)] if models else None
    match key:
        case "q":
            return controls, Quit()
        case "?":
            return replace(controls, asks="help"), None
        case "/":
            return replace(controls, asks="search", focus="models"), None
        case "esc":
            return replace(controls, search="", choice="all"), None
        case "tab":
            focus: Focus = "requests" if controls.focus == "models" else "models"
            return replace(controls, focus=focus), None
        case "s":
            order = _next(ORDERS, controls.order)
            return replace(controls, order=order, message=f"sorted by {order}"), None
        case "f":
            choice = _next(CHOICES, controls.choice)
            return replace(controls, choice=choice, message=f"shown: {choice}"), None
        case "g":
            return replace(controls, log_of=_next(LOGS, controls.log_of)), None
        case "h":
            return replace(controls, asks="device"), None
        case "enter" | "l" if model is not None:
            return controls, SwapRequest(model=model, wait=False)
        case "u" if model is not None:
            return controls, UnloadRequest(model=model)
        case "U" if model is not None:
            wish = UnloadRequest(model=model, mode="now")
            return replace(controls, asks="sure", pending=wish), None
        case "x" if requests:
            ended = requests[chosen(requests, controls.request)]
            controls = replace(controls, focus="requests", request=ended)
            return replace(controls, asks="sure", pending=CancelRequest(request_id=ended)), None
        case "x":
            return replace(controls, message="no request runs"), None
        case _ if controls.focus == "models" and models:
            return replace(controls, model=_moved(models, controls.model, key, controls.page)), None
        case _ if controls.focus == "requests" and requests:
            moved = _moved(requests, controls.request, key, controls.page)
            return replace(controls, request=moved), None
        case _:
            return controls, None


def _moved(ids: Sequence[str], wanted: str | None, key: str, page: int) -> str | None:
    here = chosen(ids, wanted)
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pgup": -page, "pgdn": page}
    ends = {"home": 0, "end": len(ids) - 1}
    if key not in steps and key not in ends:
        return wanted
    there = ends.get(key, here + steps.get(key, 0))
    return ids[max(0, min(len(ids) - 1, there))]


def _next(all_of: Sequence[_T], one: _T) -> _T:
    return all_of[(all_of.index(one) + 1) % len(all_of)]
