"""What operators have ordered at run time, for the supervisor that comes after this one.

Kept in memory that outlives this process. What runs is not here: it is seen.
"""

import math
import time
from collections.abc import Callable

import msgspec

from ..host.kept_ring import KeptRing
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import HoldRequested, PinRequested
from ..scheduling.orders import StandingOrders


class OrderNote(msgspec.Struct, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        unloading: Numbers of the starts of models that end after their running requests.
        pins: Models that stay while they are loaded.
        holds: Devices that are held (an empty name: all), until when, in seconds since the boot;
            None: until they are released.
        profile: The profile that was chosen.
        workers: How many were ordered, and how many the configuration said then.
    """

    unloading: tuple[int, ...] = ()
    holds: dict[str, float | None] = {}
    pins: tuple[str, ...] = ()
    profile: str | None = None
    workers: tuple[int, int] | None = None

    def wanted_workers(self, configured: int) -> int:
        """Return how many workers are wanted, if the configuration says `configured`."""
        count, before = self.workers or (configured, configured)
        return count if before == configured else configured

    def carry_out_holds(self, dispatcher: Dispatcher) -> None:
        """Hold the devices that are still to be held."""
        for device, until in self.holds.items():
            left_s = None if until is None else until - _since_boot()
            if (left_s is None or left_s > 0) and bool(device) == dispatcher.engine.counts_memory:
                dispatcher.handle(HoldRequested(device or None, left_s))

    def carry_out_pins(self, dispatcher: Dispatcher) -> None:
        """Have the models stay that were to stay, as far as they are in the configuration."""
        for model in self.pins:
            if dispatcher.engine.knows(model):
                dispatcher.handle(PinRequested(model, True))


def read_orders(ring: KeptRing | None) -> OrderNote:
    """Return the last note in `ring`; an empty one if there is none."""
    for message in reversed(ring.messages() if ring is not None else []):
        try:
            return msgspec.json.decode(message, type=OrderNote)
        except msgspec.DecodeError:  # of another version
            break
    return OrderNote()


class OrderKeeper:
    """Writes the note anew whenever something of it changes."""

    def __init__(self, ring: KeptRing | None, note: OrderNote, now: Callable[[], float]) -> None:
        """Begin with `note`; `now` gives the time of the engine. Without `ring` do nothing."""
        self._ring = ring
        self._note = note
        self._now = now

    def note(self, orders: StandingOrders) -> None:
        """Note orders of the engine."""
        offset = _since_boot() - self._now()
        holds = {
            device: None if math.isinf(until) else until + offset for device, until in orders.holds
        }
        self._write(
            msgspec.structs.replace(
                self._note, unloading=orders.unloading, holds=holds, pins=orders.pins
            )
        )

    def choose(self, profile: str | None) -> None:
        """Note that a profile was chosen."""
        self._write(msgspec.structs.replace(self._note, profile=profile))

    def scale(self, count: int, configured: int) -> None:
        """Note how many workers were ordered."""
        self._write(msgspec.structs.replace(self._note, workers=(count, configured)))

    def _write(self, note: OrderNote) -> None:
        self._note = note
        if self._ring is not None:
            self._ring.append(msgspec.json.encode(note))


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
