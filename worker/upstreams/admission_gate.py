"""How many requests may wait for one upstream's first word.

Thousands may have waited for a model that is ready now. If all were sent to it at once, most would
only change the queue: its backlog would overflow (then the kernel lets a connection in a
second later, or three), and its descriptors run out. So those that it cannot look at yet wait here,
where they can be told that they are alive, and go on the connections that become free.
"""

from collections import deque

import trio


class AdmissionGate:
    """Lets so many in; the others wait in the order in which they came."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._line: deque[trio.Event] = deque()

    def enter_now(self) -> bool:
        """Enter without waiting, if that is possible. Each that enters has to `leave`."""
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def line_up(self) -> trio.Event:
        """Wait for one's turn: the event is set when one has entered."""
        place = trio.Event()
        self._line.append(place)
        return place

    def give_up(self, place: trio.Event) -> None:
        """Wait no longer; one that has entered meanwhile leaves."""
        if place.is_set():
            self.leave()
        else:
            self._line.remove(place)

    def leave(self) -> None:
        """Let the next one in."""
        if self._line:
            self._line.popleft().set()
        else:
            self._free += 1
