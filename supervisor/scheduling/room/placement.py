"""Which models can be there side by side, whether memory decides that or not.

Where it decides there is a `Room`, and each step of a model changes its reservation; where it does
not, what concerns memory changes nothing here, so that nobody else has to ask.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from arriero.protocol.events import ModelEvicted
from arriero.protocol.values import DeviceStatus, ModelStatus

from ...memory.devices import DeviceReading, rooms
from ...memory.ledger import RETURN_LIMIT_S
from ...memory.policy import ByMemory
from ...memory.sizes import NOTHING, Amounts, largest
from ...placement.policy import OneAtATime, PlacementPolicy
from ..states.model_state import ModelState
from ..states.model_table import ModelTable
from . import told
from .needs import Blockage
from .room import MAX_TURNS, Room
from .turns import Turn, plan


class Placement:
    """Follows the policy of the configuration, and keeps the account of memory for it.

    Attributes:
        policy: Decides which models can run together.
        room: The same where memory decides; None where it does not.
    """

    def __init__(self, table: ModelTable) -> None:
        self.policy: PlacementPolicy = OneAtATime()
        self.room: Room | None = None
        self._table = table
        self._written: PlacementPolicy = self.policy
        self._found: Mapping[str, DeviceReading] = {}
        self._foreign: Amounts = NOTHING
        self._held_until: float | None = None  # where memory does not decide: all is held

    def at(self, now: float) -> None:
        """Go on at `now`."""
        if self.room is not None:
            self.room.needs.now = now

    # --- the configuration, and what is seen ----------------------------------------------------

    def follow(self, policy: PlacementPolicy | None) -> None:
        """Follow another policy, or settings of models that are new."""
        self._written = policy = policy or self._written
        if not isinstance(policy, ByMemory):
            self.room, self.policy = None, policy
            return
        is_new = self.room is None
        self.policy = self.room = self.room or Room(self._table)
        self.room.follow(policy.inner)
        self._read(-math.inf)
        if is_new:
            self._held_until = None
            self._reserve_all(self.room)

    def _reserve_all(self, room: Room) -> None:
        needs = room.needs
        for model, live in self._table.live.items():
            room.ledger.reserve(model, live.swap, needs.need(model))
        for model, asleep in self._table.asleep.items():
            keeps = None if asleep.sleep_size is None else needs.keeps(asleep)
            room.ledger.reserve(model, asleep.swap, needs.need(model) if keeps is None else keeps)

    def see(self, found: Mapping[str, DeviceReading], foreign: Amounts, began_at: float) -> None:
        """Take a look at the devices that began at `began_at`."""
        self._found, self._foreign = found, foreign
        self._read(began_at)

    def _read(self, began_at: float) -> None:
        policy = self._written
        if self.room is not None and isinstance(policy, ByMemory):
            found = rooms(policy.budgets, self._found, self._foreign, finds=policy.finds)
            self.room.ledger.read(found, began_at)

    def changed(self, entry: ModelState) -> None:
        """Note that a model is used or counted otherwise than before."""
        if self.room is not None:
            self.room.changed(entry.spec.model)

    # --- reservations ---------------------------------------------------------------------------

    def starts(self, entry: ModelState) -> None:
        """Reserve what a model needs."""
        if self.room is not None:
            model = entry.spec.model
            self.room.ledger.reserve(model, entry.swap, self.room.needs.need(model))

    def wakes(self, entry: ModelState) -> None:
        """Reserve what a model needs that is woken, beside what it keeps until it is awake."""
        if self.room is not None:
            model, ledger = entry.spec.model, self.room.ledger
            both = largest(ledger.held_by(model), self.room.needs.need(model))
            ledger.reserve(model, entry.swap, both)

    def falls_asleep(self, entry: ModelState) -> None:
        """Reserve what a model keeps that is put to sleep, beside what it has until it sleeps."""
        if self.room is not None:
            model, ledger = entry.spec.model, self.room.ledger
            both = largest(ledger.held_by(model), self.room.needs.keeps(entry) or NOTHING)
            ledger.reserve(model, entry.swap, both)

    def sleeps(self, entry: ModelState, now: float) -> None:
        """Reserve what a model keeps that has fallen asleep; what is not known has to be seen."""
        if self.room is None:
            return
        if entry.goes_for is not None:
            entry.sleep_seen_by = now + RETURN_LIMIT_S
        keeps = None if entry.sleep_size is None else self.room.needs.keeps(entry)
        if keeps is not None:
            self.room.ledger.keep(entry.spec.model, keeps, now)

    def ends(self, entry: ModelState, now: float) -> None:
        """Note that the process of a model is gone."""
        if self.room is not None:
            self.room.ledger.end(entry.spec.model, now)

    def reserved(self, entry: ModelState) -> dict[str, int] | None:
        """Return what is reserved for a model; None if memory does not decide, or it is stopped."""
        if self.room is None or entry.state == "stopped":
            return None
        return dict(self.room.ledger.held_by(entry.spec.model))

    # --- decisions ------------------------------------------------------------------------------

    def blockage(self, model: str) -> Blockage | None:
        """Return why `model` cannot have room, whoever else went."""
        if self._held_until is not None:
            return Blockage("this machine is held; `arriero release` gives it free")
        return None if self.room is None else self.room.needs.blockage(model)

    def has_room(self, model: str) -> bool:
        """Return whether `model` can be started at this moment, as far as memory is concerned."""
        return self.room is None or self.room.has_room(model)

    def coming_back(self, model: str) -> tuple[str, ...]:
        """Return the models that are gone and whose memory `model` waits for."""
        return () if self.room is None else self.room.needs.coming_back(model)

    def can_block(self) -> bool:
        """Return whether there is anything for which a model may have no turn."""
        return self.room is not None or self._held_until is not None

    @property
    def plans_by(self) -> object:
        """Another value when plans may be others, though the same models stay and are wanted."""
        return None if self.room is None else self.room.needs.version

    def plan(self, staying: Iterable[str], wanted: Sequence[str]) -> tuple[Turn, ...]:
        """Return the turns of `wanted`; see `turns.plan`."""
        if self.room is not None:
            return self.room.plan(staying, wanted)
        return plan(self.policy, staying, wanted)

    def looks_ahead(self, turns: int) -> bool:
        """Return whether so many turns are all planned."""
        return self.room is None or turns <= MAX_TURNS

    def may_sleep(self, entry: ModelState) -> bool:
        """Return whether it may be asleep at all: a pinned one keeps its memory."""
        return entry.spec.sleeps and not (self.room is not None and entry.pin)

    def is_put_to_sleep(self, entry: ModelState) -> bool:
        """Return whether a drained model sleeps in the place of an end.

        Where memory decides: if the one that it goes for has room beside what it keeps.
        """
        if not (self.may_sleep(entry) and entry.can_be_put_to_sleep):
            return False
        if self.room is None:
            return True
        if (target := entry.goes_for) is None:
            return False
        goes = {
            name
            for name, one in self._table.live.items()
            if one.goes_for == target and one.state == "draining"
        }
        return entry.spec.model in self.room.falls_asleep(target, goes)

    # --- holds ----------------------------------------------------------------------------------

    def hold(self, device: str | None, until: float) -> list[ModelState]:
        """Keep a device free, or all; return the models that have some of it."""
        if self.room is None:
            self._held_until = until
            return self._table.with_process()
        devices = set(self.room.ledger.devices) if device is None else {device}
        needs = self.room.needs
        users = [
            entry
            for entry in self._table.with_process()
            if any(needs.amounts(entry.spec.model).get(name) for name in devices)
        ]
        for name in devices:
            self.room.ledger.hold(name, until)
        return users

    def release(self, device: str | None) -> None:
        """Give a device free, or all."""
        self._held_until = None
        if self.room is not None:
            for name in list(self.room.ledger.holds) if device is None else [device]:
                self.room.ledger.release(name)

    def expire(self, now: float) -> None:
        """End holds whose time has come, and waits for memory that has not come back."""
        if self._held_until is not None and now >= self._held_until:
            self._held_until = None
        if self.room is not None:
            self.room.ledger.expire(now)

    def next_deadline(self) -> float:
        """Return when `expire` changes something; infinity for never."""
        if self.room is not None:
            return self.room.ledger.next_deadline()
        return math.inf if self._held_until is None else self._held_until

    # --- what is told ---------------------------------------------------------------------------

    def holds(self) -> tuple[tuple[str, float], ...]:
        """Return the devices that are held, and until when; "" is all there is."""
        if self.room is not None:
            return tuple((name, hold.until) for name, hold in self.room.ledger.holds.items())
        return () if self._held_until is None else (("", self._held_until),)

    def awaits_memory(self) -> bool:
        """Return whether memory of a process that is gone or asleep has not come back yet."""
        return self.room is not None and (
            any(self.room.ledger.departed())
            or any(entry.sleep_seen_by is not None for entry in self._table.asleep.values())
        )

    def on_device(self, device: str | None) -> set[str]:
        """Return the models that have a process and memory of `device`; of any, for None."""
        if self.room is None or device is None:
            return set(self._table.live)
        needs = self.room.needs
        there = [*self._table.live, *self._table.asleep]
        return {model for model in there if needs.amounts(model).get(device)}

    def told(self, entry: ModelState, status: ModelStatus) -> ModelStatus:
        """Return `status` with what is known of memory."""
        return status if self.room is None else told.told(self.room, entry, status)

    def devices(self, now: float) -> tuple[DeviceStatus, ...]:
        """Return the public state of the devices that limit models."""
        return () if self.room is None else told.devices(self.room.ledger, now)

    def eviction(
        self, entry: ModelState, target: str, now: float, *, sleeps: bool
    ) -> ModelEvicted | None:
        """Return the record of an eviction; None if memory does not decide."""
        if self.room is None:
            return None
        return told.eviction(self.room, entry, target, now, sleeps=sleeps)
