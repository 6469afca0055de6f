"""Reservations by model and device; memory that has not come back yet; held devices.

A start takes what the model needs, and gives it back when its process is gone and the device shows
it, or after `RETURN_LIMIT_S`. Main memory is back when a process is reaped; GPU drivers give it
back later. A model that sleeps keeps some of it.
"""

import math
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Final

import msgspec

from arriero.protocol.values import LOCAL

from .devices import DeviceRoom
from .sizes import NOTHING, RAM, Amounts

# Seconds until memory that a device still shows as used counts as somebody else's. Ollama waits
# five; a driver takes well below one for 24 GiB.
RETURN_LIMIT_S: Final = 5.0

# What may be missing when a device shows that memory is back: others take and give some meanwhile.
_SLACK: Final = 64 * 1024**2
_SLACK_SHARE: Final = 0.1


class Reservation(msgspec.Struct, frozen=True):
    """What one process has, or is about to take.

    Attributes:
        swap: Number of its start.
        amounts: Device -> bytes.
        host: Where it runs.
    """

    swap: int
    amounts: Amounts
    host: str = LOCAL


class Departed(msgspec.Struct, frozen=True):
    """A process that is gone or asleep, and what it gave back.

    Attributes:
        model: Whose it was.
        swap: Number of its start.
        amounts: Devices that have not shown it yet -> bytes.
        before: What others used of them, when it was last there.
        at: When it ended or fell asleep.
        host: Where it ran.
    """

    model: str
    swap: int
    amounts: Amounts
    before: Amounts
    at: float
    host: str = LOCAL

    @property
    def until(self) -> float:
        """When it is not waited for any more."""
        return self.at + RETURN_LIMIT_S


class Hold(msgspec.Struct, frozen=True):
    """A device that is kept free, until that time; infinity: until it is released."""

    until: float


class Ledger:
    """Who has how much of which device.

    Attributes:
        devices: Those that limit models.
        version: Rises with every change.
        limits_version: Rises with every change of what there is to have.
        used: Device -> bytes that are reserved there.
        on: Device -> models that have some of it.
    """

    def __init__(self, devices: Mapping[str, DeviceRoom] | None = None) -> None:
        self.devices: Mapping[str, DeviceRoom] = devices or {}
        self.version = self.limits_version = 0
        self.used: dict[str, int] = {}
        self.on: dict[str, set[str]] = {}
        self._held_by: dict[str, Reservation] = {}
        self._seen: Mapping[str, DeviceRoom] = self.devices  # as they were read
        self._departed: list[Departed] = []
        self._holds: dict[str, Hold] = {}

    def __repr__(self) -> str:
        return f"<Ledger {self._held_by}; {len(self._departed)} departed>"

    @property
    def holders(self) -> KeysView[str]:
        """The models that have a reservation."""
        return self._held_by.keys()

    def held_by(self, model: str) -> Amounts:
        """Return what is reserved for `model`."""
        found = self._held_by.get(model)
        return NOTHING if found is None else found.amounts

    def limit(self, device: str) -> int:
        """Return what all models may have of `device` together; 0 while it is held."""
        room = self.devices.get(device)
        if room is None or device in self._holds:
            return 0
        return room.limit

    def short_of(self, model: str) -> tuple[str, ...]:
        """Return the devices of `model` of which all models have more than they may, by now.

        What was seen of a process counts as reserved, what others use as not to be had.
        """
        return tuple(
            device for device in self.held_by(model) if self.used[device] > self.limit(device)
        )

    def budget(self, device: str) -> int:
        """Return what models could have of `device` if nobody else used it."""
        room = self.devices.get(device)
        return 0 if room is None else room.budget

    def reserve(self, model: str, swap: int, amounts: Amounts) -> None:
        """Reserve `amounts` for the start `swap` of `model`, in the place of what it had."""
        reservation = Reservation(swap, amounts)
        if reservation == self._held_by.get(model):
            return
        for device, count in self.held_by(model).items():
            self.used[device] -= count
            self.on[device].discard(model)
        for device, count in amounts.items():
            self.used[device] = self.used.get(device, 0) + count
            self.on.setdefault(device, set()).add(model)
        self._held_by[model] = reservation
        self.version += 1

    def end(self, model: str, now: float) -> None:
        """Note that the process of `model` is gone."""
        if model in self._held_by:
            self.keep(model, NOTHING, now)
            del self._held_by[model]

    def keep(self, model: str, amounts: Amounts, now: float) -> None:
        """Note that `model`, which has a reservation, needs no more than `amounts` from now on."""
        swap, had = self._held_by[model].swap, self._held_by[model].amounts
        self.reserve(model, swap, amounts)
        late = {
            device: given
            for device, count in had.items()
            if (given := count - amounts.get(device, 0)) > 0
            and device != RAM
            and self._is_measured(device)
        }
        if late:
            before = {device: self.devices[device].foreign for device in late}
            # What somebody before it left there is not what others use.
            for earlier in self._departed:
                before |= {name: earlier.before[name] for name in late if name in earlier.before}
            self._departed.append(Departed(model, swap, late, before, now))

    def read(self, devices: Mapping[str, DeviceRoom], began_at: float) -> None:
        """Take a look at the devices that began at `began_at`."""
        left = [_still_late(one, devices, began_at) for one in self._departed]
        self._seen = devices
        self._follow([one for one in left if one is not None])

    def _follow(self, departed: list[Departed]) -> None:
        # While something has not come back, what others use is known from before.
        rooms = dict(self._seen)
        for one in departed:
            for device in one.amounts:
                if (room := rooms.get(device)) is not None:
                    rooms[device] = _as_before(room, one.before[device])
        if departed != self._departed or rooms != self.devices:
            self._departed, self.devices = departed, rooms
            self._limit_otherwise()

    def _is_measured(self, device: str) -> bool:
        room = self.devices.get(device)
        return room is not None and room.is_measured

    def expire(self, now: float) -> None:
        """Forget what is not waited for any more, and holds whose time has come."""
        if now < self.next_deadline():
            return
        self._follow([one for one in self._departed if now < one.until])
        holds = {device: hold for device, hold in self._holds.items() if now < hold.until}
        if holds != self._holds:
            self._holds = holds
            self._limit_otherwise()

    def next_deadline(self) -> float:
        """Return when `expire` changes something; infinity for never."""
        return min(
            (
                *(one.until for one in self._departed),
                *(hold.until for hold in self._holds.values()),
            ),
            default=math.inf,
        )

    def departed(self, devices: Iterable[str] | None = None) -> Iterator[Departed]:
        """Give what has not come back yet, on `devices` or on any."""
        wanted = None if devices is None else frozenset(devices)
        for one in self._departed:
            if wanted is None or not wanted.isdisjoint(one.amounts):
                yield one

    def hold(self, device: str, until: float) -> None:
        """Keep `device` free until then."""
        self._holds[device] = Hold(until)
        self._limit_otherwise()

    def release(self, device: str) -> bool:
        """Give `device` free; return whether it was held."""
        self._limit_otherwise()
        return self._holds.pop(device, None) is not None

    def _limit_otherwise(self) -> None:
        self.version += 1
        self.limits_version += 1

    @property
    def holds(self) -> Mapping[str, Hold]:
        """The devices that are held."""
        return self._holds


def _still_late(
    one: Departed, devices: Mapping[str, DeviceRoom], began_at: float
) -> Departed | None:
    if began_at < one.at:
        return one  # it looked before
    late = {}
    for device, count in one.amounts.items():
        room = devices.get(device)
        slack = max(_SLACK, int(count * _SLACK_SHARE))
        if room is not None and room.foreign > one.before[device] + slack:
            late[device] = count
    return msgspec.structs.replace(one, amounts=late) if late else None


def _as_before(room: DeviceRoom, foreign: int) -> DeviceRoom:
    """Return `room` as if others used no more than `foreign`."""
    more = room.foreign - foreign
    if more <= 0:
        return room
    limit = min(room.budget, room.limit + more)
    return msgspec.structs.replace(room, foreign=foreign, limit=limit)
