"""What each model needs of each device, what it has, and why one cannot have room.

What a model needs depends on where its size comes from. A declared size is taken as it is. A
learned one is never more than models may have of a device. An estimate is meant to be too large,
so less will do if there cannot be more. Of an unknown size is all that can be had: such a
model runs alone, but for those that are pinned.
"""

from typing import Final

import msgspec

from ...memory.ledger import Ledger
from ...memory.sizes import NOTHING, RAM, UNKNOWN, Amounts, ModelSize, added, bytes_text
from ..states.model_state import ModelState
from ..states.model_table import ModelTable

# An estimate may be this much too large: if there is no more than that, it is tried.
_ESTIMATE_FITS: Final = 0.7


class Blockage(msgspec.Struct, frozen=True):
    """Why a model cannot have room, whoever else went.

    Attributes:
        why: In words.
        for_good: It is larger than its device: only another configuration helps.
    """

    why: str
    for_good: bool = False


class Needs:
    """What models need and have. Who changes a model says so: answers are remembered.

    Attributes:
        ledger: Who has how much.
        now: Time of the event at hand.
        seen: Version of all that decides, when it was last looked at.
        seen_at: When that was.
        protected: The models that never go for another one, likewise.
    """

    def __init__(self, table: ModelTable, ledger: Ledger | None = None) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self.now = self.seen_at = 0.0
        self.seen: tuple[int, int] = (0, 0)
        self.protected: dict[str, ModelState] = {}
        self._all, self._live, self._asleep = table.all, table.live, table.asleep
        self._changes = self._resizes = 0
        self._needed_with: object = None  # what needs and blockages depend on
        self._needs: dict[str, Amounts] = {}
        self._blockages: dict[str, Blockage | None] = {}
        self._kept: Amounts = NOTHING  # what the protected ones have

    @property
    def version(self) -> tuple[int, int]:
        """Another value when decisions may be others."""
        return self.ledger.version, self._changes

    def changed(self) -> None:
        """Note that a model is used or counted otherwise than before."""
        self._changes += 1

    def resized(self) -> None:
        """Note that a size is another one."""
        self._changes += 1
        self._resizes += 1

    def refresh(self) -> None:
        """Look at what has changed; forget what was remembered and depends on it."""
        seen = self.seen
        if seen[1] == self._changes and seen[0] == self.ledger.version:
            return
        self.seen, self.seen_at = self.version, self.now
        self.protected = {name: entry for name, entry in self._live.items() if entry.is_protected}
        self._kept = added(*map(self.ledger.held_by, self.protected))
        needed_with = (self.ledger.limits_version, self._resizes, [*self.protected], self._kept)
        if needed_with != self._needed_with:
            self._needed_with = needed_with
            self._needs.clear()
            self._blockages.clear()

    def size(self, model: str) -> ModelSize:
        """Return the size of `model`, as far as it is known."""
        entry = self._all.get(model)
        return UNKNOWN if entry is None or entry.size is None else entry.size

    def need(self, model: str) -> Amounts:
        """Return what a start of `model` would reserve."""
        self.refresh()
        found = self._needs.get(model)
        if found is None:
            found = self._needs[model] = self._need(model)
        return found

    def _need(self, model: str) -> Amounts:
        size = self.size(model)
        devices = self.ledger.devices
        if size.source == "declared" and size.amounts.keys() <= devices.keys():
            return size.amounts
        if size.source == "unknown":
            names = [name for name in size.amounts or devices if name in devices]
            return {name: max(1, self._had_alone(name)) for name in names}
        needed = {}
        for name, count in size.amounts.items():
            if name not in devices:
                continue  # it limits nobody
            if size.source == "learned":
                count = min(count, self.ledger.budget(name))
            elif size.source == "estimated":
                most = self._had_alone(name)
                if most >= count * _ESTIMATE_FITS:
                    count = min(count, most)
            needed[name] = count
        return needed

    def _had_alone(self, device: str) -> int:
        """Return what one model can have of `device` if all go that may."""
        return max(0, self.ledger.limit(device) - self._kept.get(device, 0))

    def amounts(self, model: str) -> Amounts:
        """Return what `model` has, or would have."""
        has_some = model in self._live or model in self._asleep
        return self.ledger.held_by(model) if has_some else self.need(model)

    def held_asleep(self, model: str) -> Amounts:
        """Return what `model` has as long as it sleeps; nothing, if it does not."""
        return self.ledger.held_by(model) if model in self._asleep else NOTHING

    def keeps(self, entry: ModelState) -> dict[str, int] | None:
        """Return what a model keeps when it sleeps; None if nobody can tell."""
        if (size := entry.sleep_size) is None:
            held = self.ledger.held_by(entry.spec.model)
            size = ModelSize({RAM: sum(held.values())}, "estimated")
        if size.source == "unknown":
            return None
        return {name: size.amounts[name] for name in size.amounts if name in self.ledger.devices}

    def will_keep(self, entry: ModelState) -> Amounts:
        """Return what a model that falls asleep is thought to keep; both are reserved by now."""
        if entry.sleep_size is None:
            return {RAM: self.ledger.held_by(entry.spec.model).get(RAM, 0)}
        return self.keeps(entry) or NOTHING

    def coming_back(self, model: str) -> tuple[str, ...]:
        """Return the models whose memory `model` waits for, which are gone already."""
        needed = self.need(model)
        late = list(self.ledger.departed(needed))
        if not late:
            return ()
        has = self.held_asleep(model)
        for device, count in needed.items():
            taken = self.ledger.used.get(device, 0) + sum(
                one.amounts.get(device, 0) for one in late
            )
            if count - has.get(device, 0) + taken > self.ledger.limit(device):
                return tuple(one.model for one in late)
        return ()

    def blockage(self, model: str) -> Blockage | None:
        """Return why `model` cannot have room even if all went that may; None if it can."""
        self.refresh()
        if model not in self._blockages:
            self._blockages[model] = self._blockage(model)
        return self._blockages[model]

    def _blockage(self, model: str) -> Blockage | None:
        for device, count in self.need(model).items():
            if device in self.ledger.holds:
                return Blockage(f"{device} is held; `arriero release {device}` gives it free")
            limit = self.ledger.limit(device)
            if count + self._kept.get(device, 0) <= limit:
                continue
            room = self.ledger.devices[device]
            needs = f"it needs {bytes_text(count)} of {device}"
            if count > room.budget:
                return Blockage(
                    f"{needs}, which has {bytes_text(room.budget)} for models", for_good=True
                )
            return Blockage(self._why_others_keep(device, needs, room.foreign))
        return None

    def _why_others_keep(self, device: str, needs: str, foreign: int) -> str:
        pinned = [
            f"{name} (pinned: {entry.pin})"
            for name, entry in self.protected.items()
            if self.ledger.held_by(name).get(device)
        ]
        why = f"{needs}, and {bytes_text(self._had_alone(device))} can be had"
        if pinned:
            why += f" beside {', '.join(pinned)}"
        if foreign:
            why += f"; other programs use {bytes_text(foreign)}"
        return why
