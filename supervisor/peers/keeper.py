"""Watches all peers with lists of their own, and keeps these lists on disk."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import trio

from arriero.protocol.flood_log import FloodLog

from ..config.names import PeerConfig
from .circuit import Failure
from .kept_lists import load_lists, save_lists
from .state import PeerStates
from .watch import WATCH_LIMITS, PeerWatch, WatchLimits

log = logging.getLogger(__name__)

# Seconds between two times that workers are told of other models: they follow a list that changes
# all the time no faster.
_TELL_S: Final = 2.0

# Seconds between two times that lists are written which are no others, but newer.
_SAVE_S: Final = 600.0


class PeerKeeper:
    """All that is known of peers, kept up to date.

    Attributes:
        states: What is known.
    """

    def __init__(
        self,
        file: Path,
        changed: Callable[[], None],
        own_epoch: str,
        limits: WatchLimits = WATCH_LIMITS,
        tell_s: float = _TELL_S,
        unix_now: Callable[[], float] = time.time,
        lost: Callable[[str], None] = lambda peer: None,
    ) -> None:
        """Build it: there are no peers yet.

        Args:
            file: Of the last lists.
            changed: Called when peers have other models than before.
            own_epoch: Of this supervisor.
            limits: Times of all that are watched.
            tell_s: Seconds between two calls of `changed`.
            unix_now: Gives the Unix time.
            lost: Called with the id of a peer that has not answered a question.
        """
        self.states = PeerStates()
        self._file = file
        self._tell = changed
        self._lost = lost
        self._own_epoch = own_epoch
        self._limits = limits
        self._tell_s = tell_s
        self._unix_now = unix_now
        self._peers: dict[str, PeerConfig] = {}
        self._watches: dict[str, PeerWatch] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._flood = FloodLog(log)
        self._is_other = trio.Event()
        self._has_followed = trio.Event()

    async def load(self) -> None:
        """Take over the lists on disk."""
        lists = await trio.to_thread.run_sync(load_lists, self._file, self._urls())
        for peer, kept in lists.items():
            self.states.restore(peer, kept)

    def follow(self, peers: Iterable[PeerConfig]) -> None:
        """Know the peers of a configuration."""
        self._peers = {peer.peer: peer for peer in peers}
        self.states.follow(self._peers.values())
        self._has_followed.set()

    def failed(self, peer: str, model: str, failure: Failure, why: str) -> None:
        """Note that a request could not be answered by a peer; see `PeerStates.failed`."""
        is_news = self.states.failed(peer, model, failure, why, trio.current_time())
        if is_news and (watch := self._watches.get(peer)) is not None:
            watch.wake()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_and_save)
            while True:
                self._has_followed = trio.Event()
                self._watch(nursery)
                await self._has_followed.wait()

    def _watch(self, nursery: trio.Nursery) -> None:
        """Watch those that are to be watched, and no others."""
        wanted = {name: peer for name, peer in self._peers.items() if peer.is_watched}
        for name in self._watches.keys() - wanted.keys():
            self._end(name)
        for name, peer in wanted.items():
            if (watch := self._watches.get(name)) is not None and watch.peer == peer:
                continue
            self._end(name)
            self._watches[name] = watch = PeerWatch(
                peer,
                self.states,
                lambda: self._is_other.set(),
                self._unix_now,
                self._own_epoch,
                self._limits,
                partial(self._lost, name),
            )
            scope = self._scopes[name] = trio.CancelScope()
            nursery.start_soon(_within, scope, watch)

    def _end(self, name: str) -> None:
        if name in self._watches:
            del self._watches[name]
            self._scopes.pop(name).cancel()

    async def _tell_and_save(self) -> None:
        try:
            while True:
                with trio.move_on_after(_SAVE_S) as waiting:
                    await self._is_other.wait()
                if not waiting.cancelled_caught:
                    self._is_other = trio.Event()
                    try:
                        self._tell()
                    except Exception as exc:  # noqa: BLE001  names of strangers end nothing
                        self._flood.exception("peers.bug", exc=exc)
                if self._urls():
                    await trio.to_thread.run_sync(
                        save_lists, self._file, self.states.kept(), self._urls()
                    )
                await trio.sleep(self._tell_s)
        finally:
            if kept := self.states.kept():
                save_lists(self._file, kept, self._urls())

    def _urls(self) -> dict[str, str]:
        return {name: peer.url for name, peer in self._peers.items() if peer.is_watched}


async def _within(scope: trio.CancelScope, watch: PeerWatch) -> None:
    with scope:
        await watch.run()
