"""Sizes of models: asks for them, takes them in, raises them after a crash."""

import math
from collections.abc import Iterable
from typing import Final

from ...memory.sizes import NOTHING, RAM, UNKNOWN, Amounts, ModelSize, largest
from ..messages.events import EstimateSize, ProcessEnded, RaiseSize, Sized
from ..messages.pending_commands import PendingCommands
from ..states.model_state import ModelState
from ..states.model_table import ModelTable
from .placement import Placement
from .room import Room

# Seconds that the estimate of a size is waited for; reading the headers takes a fraction of one. A
# disk that hangs must not keep others waiting: after that the size is unknown.
SIZING_LIMIT_S: Final = 5.0

# By how much the size of a model is raised that ran out of memory: a quarter, and in any case above
# what it could have had.
_RAISED: Final = 1.25
_RAISED_LEAST: Final = 64 * 1024**2


class Sizing:
    """Keeps the sizes of models, where memory decides."""

    def __init__(self, table: ModelTable, placement: Placement, out: PendingCommands) -> None:
        self._all = table.all
        self._placement = placement
        self._out = out

    def look(self, models: Iterable[str], now: float) -> None:
        """Ask for the sizes of `models`, which are to start; what takes too long is unknown."""
        if (room := self._placement.room) is None:
            return
        for model in models:
            entry = self._all[model]
            if entry.size is not None:
                continue
            if entry.sizing_until is None:
                self.ask(entry, now)
            elif now >= entry.sizing_until:
                entry.size, entry.sizing_until = UNKNOWN, None
                room.needs.resized()

    def ask(self, entry: ModelState, now: float) -> None:
        """Ask for the size of a model."""
        entry.sizing_until = now + SIZING_LIMIT_S
        self._out.add(EstimateSize(entry.spec.model))

    def next_deadline(self, models: Iterable[str]) -> float:
        """Return until when the first size of `models` is waited for; infinity for none."""
        if self._placement.room is None:
            return math.inf
        unsized = [entry for model in models if (entry := self._all[model]).size is None]
        return min((entry.sizing_until or math.inf for entry in unsized), default=math.inf)

    def take(self, event: Sized) -> None:
        """Take what was estimated, or seen of a process."""
        entry, room = self._all.get(event.model), self._placement.room
        if entry is None or room is None:
            return
        if event.swap == 0:
            if entry.size is None:
                entry.size, entry.sizing_until = event.size, None
        elif event.sleeps:
            if event.swap == entry.swap and entry.state == "asleep":
                _note_asleep(room, entry, event.size.amounts)
        elif event.swap == entry.swap and entry.state in {"starting", "ready", "draining"}:
            _note_running(room, entry, event)
        room.changed(event.model)
        room.needs.resized()

    def grow(self, entry: ModelState, end: ProcessEnded) -> bool:
        """Raise the size of a model that ran out of memory; return whether it is tried again."""
        room = self._placement.room
        if room is None or entry.grew:
            return False
        out_of = end.out_of
        if end.crashed and not out_of:
            out_of = room.ledger.short_of(entry.spec.model)
        raised = _raised_size(room, entry, out_of) if out_of else None
        if raised is None:
            return False
        entry.grew = True
        entry.size = ModelSize(raised, "learned")
        self._out.add(RaiseSize(entry.spec.model, raised))
        room.needs.resized()
        return True


def _note_running(room: Room, entry: ModelState, seen: Sized) -> None:
    """Note what a model was seen to have, which is not less than what it declares.

    While it starts it may yet need what it was thought to need; and who declares too little has it
    all the same.
    """
    declared = entry.spec.size
    is_declared = declared is not None and declared.source == "declared"
    least = room.ledger.held_by(seen.model) if not seen.serves else NOTHING
    if is_declared and declared is not None:
        least = declared.amounts
    room.ledger.reserve(seen.model, seen.swap, largest(seen.size.amounts, least))
    if seen.serves and not is_declared:
        entry.size = seen.size


def _note_asleep(room: Room, entry: ModelState, seen: Amounts) -> None:
    """Note what a model that sleeps was seen to keep."""
    declared = entry.spec.sleep_size
    if declared is not None and declared.source == "declared":
        seen = largest(seen, declared.amounts)
    else:
        entry.sleep_size = ModelSize(seen, "learned")
    room.ledger.reserve(entry.spec.model, entry.swap, seen)


def _raised_size(room: Room, entry: ModelState, out_of: Iterable[str]) -> dict[str, int] | None:
    """Return a larger size for a model that ran out of memory on those devices.

    None if it would be no larger than what it could have had: then nobody's going helps.
    """
    model = entry.spec.model
    held = room.ledger.held_by(model)
    names = set(out_of)
    if "gpu" in names:
        names = {name for name in held if name != RAM} or set(room.ledger.devices) - {RAM}
    raised = dict(held)
    for device in names & room.ledger.devices.keys():
        others = room.ledger.used.get(device, 0) - held.get(device, 0)
        if not others:
            continue
        could_have = room.ledger.limit(device) - others
        wanted = max(int(held.get(device, 0) * _RAISED), could_have + _RAISED_LEAST)
        raised[device] = min(wanted, room.ledger.budget(device))
    return raised if raised != held else None
