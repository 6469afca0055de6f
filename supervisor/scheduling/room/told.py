"""What memory decides, in words and in values for those who ask."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from arriero.protocol.events import ModelEvicted
from arriero.protocol.values import DeviceStatus, ModelFit, ModelStatus

from ...memory.ledger import Ledger
from ...memory.sizes import NOTHING, SizeSource, amounts_text, bytes_text, in_order
from ..states.model_state import ModelState
from .room import Room
from .turns import Turn


def told(room: Room, entry: ModelState, status: ModelStatus) -> ModelStatus:
    """Return `status` with what is known of memory."""
    return msgspec.structs.replace(
        status,
        memory=dict(room.needs.amounts(status.model)),
        memory_source=_source(room, entry),
        pin=entry.pin,
    )


def devices(ledger: Ledger, now: float) -> tuple[DeviceStatus, ...]:
    """Return the public state of the devices."""
    found = []
    for name in in_order(ledger.devices):
        room, hold = ledger.devices[name], ledger.holds.get(name)
        reserved = ledger.used.get(name, 0)
        until = None if hold is None or math.isinf(hold.until) else hold.until
        found.append(
            DeviceStatus(
                device=name,
                total=room.total,
                reserve=room.reserve,
                foreign=room.foreign,
                reserved=reserved,
                free=max(0, ledger.limit(name) - reserved),
                held=hold is not None,
                held_s=None if until is None else max(0.0, until - now),
                name=room.name,
            )
        )
    return tuple(found)


class Fits:
    """What becomes of all that have memory, if one more model is started now."""

    def __init__(self, room: Room, now: float) -> None:
        self._room, self._table, self._now = room, room.table, now

    def of(self, target: str, turn: Turn) -> tuple[ModelFit, ...]:
        """Return what becomes of each model if `target` is started now."""
        why = self._why_size(target)
        entry = self._table.all[target]
        if (went := entry.went_for) is not None:
            how = "put to sleep" if entry.state == "asleep" else "evicted"
            why += f"; it was {how} {self._now - went[1]:.0f} s ago for {went[0]}"
        found = [self._fit(target, "stays" if target in turn.before else "starts", why)]
        falls_asleep = self._room.falls_asleep(target, turn.goes)
        for name, entry in sorted((*self._table.live.items(), *self._table.asleep.items())):
            if name == target:
                continue
            why = _why(entry, self._now)
            if name in falls_asleep:
                found.append(self._fit(name, "sleeps", f"{why}; {self._why_keeps(entry)}"))
            elif entry.is_leaving:
                doing = "it falls asleep" if entry.goes_to_sleep else "it is on its way out"
                found.append(self._fit(name, "ends", doing))
            elif name in turn.goes:
                found.append(self._fit(name, "goes", why + self._why_no_sleep(entry, target)))
            else:
                found.append(self._fit(name, "stays", why))
        return tuple(found)

    def _fit(
        self, model: str, verdict: Literal["starts", "goes", "sleeps", "stays", "ends"], why: str
    ) -> ModelFit:
        entry = self._table.all[model]
        return ModelFit(
            model=model,
            state=entry.state,
            memory=dict(self._room.needs.amounts(model)),
            source=_source(self._room, entry),
            verdict=verdict,
            why=why,
            start_s=entry.start_s,
        )

    def _why_size(self, model: str) -> str:
        match self._room.needs.size(model).source:
            case "unknown":
                return "it is not known how much it needs, so it runs alone until it was seen"
            case "estimated":
                return "it never ran: this is estimated from its files and options"
            case "learned":
                return "it was seen to use this"
            case _:
                return "the configuration says so"

    def _why_keeps(self, entry: ModelState) -> str:
        if entry.sleep_size is None:
            return "what it keeps while it sleeps is seen then"
        return f"it keeps {amounts_text(self._room.needs.keeps(entry) or NOTHING)} while it sleeps"

    def _why_no_sleep(self, entry: ModelState, target: str) -> str:
        if not entry.can_be_put_to_sleep:
            return ""
        keeps = self._room.needs.keeps(entry)
        if keeps is None:
            return "; it does not sleep, for what it would keep is not known"
        return f"; asleep it would keep {amounts_text(keeps)}, too much for {target}"


def _why(entry: ModelState, now: float) -> str:
    if entry.pin:
        return f"pinned: {entry.pin}"
    if entry.state == "starting":
        return "it is being started"
    if entry.state == "asleep":
        return f"asleep for {now - entry.since:.0f} s"
    if entry.is_busy:
        count = sum(entry.in_flight.values())
        return f"busy: {count} request{'s' * (count != 1)}"
    why = f"idle {now - entry.used_at:.0f} s"
    if entry.start_s is not None:
        why += f", comes back in {entry.start_s:.1f} s"
    return why


def _source(room: Room, entry: ModelState) -> SizeSource:
    if entry.state != "asleep":
        return room.needs.size(entry.spec.model).source
    return "unknown" if entry.sleep_size is None else entry.sleep_size.source


def why_others_go(room: Room, target: str, running: Iterable[str]) -> str:
    """Return why others go for `target`."""
    there = frozenset(running)
    reasons = []
    if lack := room.lack(target, there):
        needed = room.needs.need(target)
        reasons += [
            f"it needs {bytes_text(needed[device])} of {device}, where "
            f"{bytes_text(max(0, needed[device] - lack[device]))} are free"
            for device in in_order(lack)
        ]
    if room.keeps_apart(target, there):
        reasons.append("groups or the matrix keep them apart")
    return ", and ".join(reasons)


def needed_of_free(room: Room, target: str) -> str:
    """Return how much `target` needs of what is free: ``7.0 GiB of 3.2 GiB free``."""
    needed = room.needs.need(target)
    lacking = room.lack(target, [name for name in room.table.live if name != target])
    parts = []
    for device in in_order(lacking or needed):
        free = max(0, room.ledger.limit(device) - room.ledger.used.get(device, 0))
        where = f" on {device}" if len(needed) > 1 else ""
        parts.append(f"{bytes_text(needed[device])} of {bytes_text(free)} free{where}")
    return ", ".join(parts)


def eviction(
    room: Room, entry: ModelState, target: str, now: float, *, sleeps: bool = False
) -> ModelEvicted:
    """Return the record of an eviction, before the model ends or is put to sleep."""
    model = entry.spec.model
    idle_s = max(0.0, now - entry.used_at)
    amounts = room.needs.amounts(model)
    kept = {
        name: f"pinned: {other.pin}"
        for name, other in room.table.live.items()
        if name not in (model, target) and other.is_protected
    }
    keeps = None
    if sleeps:
        keeps = {} if entry.sleep_size is None else room.needs.keeps(entry) or {}
        doing, what = "put to sleep", f", of which it keeps {amounts_text(keeps) or 'nothing'}"
        if entry.sleep_size is None:
            what = ", and what it keeps will be seen"
    else:
        doing, what = "evicted", ", which it kept asleep" * (entry.state == "asleep")
    text = f"{doing} {model}: idle {idle_s:.0f} s, {amounts_text(amounts)}{what}"
    if room.needs.need(target):
        text += f"; {target} needed {needed_of_free(room, target)}"
    text += "".join(f"; {name} kept: {why}" for name, why in kept.items())
    return ModelEvicted(
        model=model,
        swap=entry.swap,
        made_room_for=target,
        idle_s=idle_s,
        memory=dict(amounts),
        needed=dict(room.needs.need(target)),
        kept=kept,
        text=text,
        keeps=keeps,
    )
