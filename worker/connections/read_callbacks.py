"""Calls a function whenever a socket has something to read.

For sockets that are read again and again. A task that waits for each read costs two changes of
trio's registration and a switch of tasks each time, more than the work on a small piece. Here a
socket stays registered, in an epoll of its own, and one task makes the calls of all that are ready.
A stream is passed on in its calls; the call of any other connection wakes its task (`stream`).
"""

import select
from collections.abc import Callable
from time import perf_counter
from typing import Final, TypeAlias

import trio

OnReadable: TypeAlias = Callable[[float], bool]
"""Reads without waiting; gets `trio.current_time()`. It must not raise.

Returns whether it would rather have read more and later.
"""

# When most of those who read would rather have read more, the next look comes so much later: as
# with the interrupts of a network card, few large reads cost a fraction of many small ones. (The
# pause itself costs as much as ten reads, so those who are few and slow do not get one.)
_PAUSE_S: Final = 0.002

# More than so many open connections, those of upstreams included: several can be read in each turn
# when they are busy. The one more task that runs costs a single one 20 % of its time.
_CROWD: Final = 16

# Sockets of one look, and how long their calls may take until others have their turn.
_AT_ONCE: Final = 64
_TURN_S: Final = 0.005

# Calls between two looks at the clock: each takes 5 to 100 us.
_CALLS_A_LOOK: Final = 8


class ReadCallbacks:
    """Sockets, and who reads them.

    Attributes:
        is_running: Calls are made.
        watched: Connections that are read this way when there are many.
    """

    def __init__(self) -> None:
        self.is_running = False
        self.watched = 0
        self._epoll = select.epoll()
        self._calls: dict[int, OnReadable] = {}

    @property
    def is_crowded(self) -> bool:
        """Whether there are so many that a call costs less than a wait of trio."""
        return self.watched > _CROWD

    def add(self, fd: int, call: OnReadable) -> None:
        """Call `call` whenever `fd` can be read, or has ended, until it is removed.

        Nobody else may wait for it meanwhile.
        """
        self._epoll.register(fd, select.EPOLLIN)
        self._calls[fd] = call

    def remove(self, fd: int) -> None:
        """Call nobody for `fd` any more; to be done before it is closed."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Make the calls until cancelled."""
        fd = self._epoll.fileno()
        self.is_running = True
        try:
            while True:
                await trio.lowlevel.wait_readable(fd)
                while ready := self._epoll.poll(0, _AT_ONCE):
                    hurried = await self._call(ready, trio.current_time())
                    if len(ready) == _AT_ONCE:
                        await trio.lowlevel.checkpoint()
                    elif 2 * hurried >= len(ready):
                        await trio.sleep(_PAUSE_S)
                    else:
                        break
        finally:
            self._calls.clear()  # who is cancelled with us still removes its own
            trio.lowlevel.notify_closing(fd)
            self.is_running = False
            self._calls.clear()
            self._epoll.close()

    async def _call(self, ready: list[tuple[int, int]], now: float) -> int:
        """Make the calls; return how many would rather have read more."""
        until = perf_counter() + _TURN_S
        hurried = 0
        for number, (fd, _) in enumerate(ready, 1):
            call = self._calls.get(fd)  # one call may end what another one was for
            if call is not None:
                hurried += call(now)
            if not number % _CALLS_A_LOOK and perf_counter() > until:
                await trio.lowlevel.checkpoint()
                until = perf_counter() + _TURN_S
        return hurried
