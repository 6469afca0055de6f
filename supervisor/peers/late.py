"""Peers, once the configuration has any: before that nothing about them is imported or done."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from arriero.protocol.control.models import PlaceStanding
from arriero.protocol.lease import PeerFailed
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import PeerStatus, State

from ..config.names import PeerModels
from ..config.values import Config
from ..scheduling.view import ModelDemand

if TYPE_CHECKING:
    from .keeper import PeerKeeper
    from .places import Places
    from .wake import Waker

FILE_NAME: Final = "peers.json"

# From that status on it is the server's fault.
_SERVER_ERROR: Final = 500


class LatePeers:
    """What is known of peers; nothing as long as there are none.

    Attributes:
        keeper: Knows and watches them; None before there were any.
        places: Chooses between machines, likewise.
        waker: Wakes their machines, likewise.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        file: Path,
        changed: Callable[[], None],
        own_epoch: Callable[[], str],
        instance: str,
        names: Callable[[], PeerModels],
        local: Callable[[str], ModelDemand | None],
        lost: Callable[[str], None] = lambda peer: None,
    ) -> None:
        """Build it.

        Args:
            config: Gives the configuration in force.
            file: Of the last lists of peers.
            changed: Called when peers have other models than before.
            own_epoch: Gives that of this supervisor.
            instance: A number of this arriero, which stays the same.
            names: Gives the names of models of peers.
            local: Tells how a model here stands.
            lost: Called with the id of a peer that has not answered a question.
        """
        self.keeper: PeerKeeper | None = None
        self.places: Places | None = None
        self.waker: Waker | None = None
        self._names = names
        self._local = local
        self._config = config
        self._file = file
        self._changed = changed
        self._lost = lost
        self._own_epoch = own_epoch
        self._instance = instance
        self._came = trio.Event()

    async def load(self) -> None:
        """Know the peers of the configuration, and their last lists."""
        self.follow()
        if self.keeper is not None:
            await self.keeper.load()

    def follow(self) -> None:
        """Know the peers of the configuration in force."""
        peers = self._config().peers
        if self.keeper is None:
            if not peers:
                return
            from .keeper import PeerKeeper
            from .places import Places
            from .wake import Waker

            self.keeper = PeerKeeper(self._file, self._changed, self._own_epoch(), lost=self._lost)
            self.places = Places(
                self._names, self._local, self.keeper.states, trio.current_time, self._instance
            )
            self.waker = Waker(lambda: self._config().peers, trio.current_time)
            self._came.set()
        self.keeper.follow(peers.values())

    async def run(self) -> None:
        """Watch them until cancelled."""
        await self._came.wait()
        assert self.keeper is not None
        await self.keeper.run()

    def told(self) -> Mapping[str, tuple[str, ...]]:
        """Return the models that watched peers have by their own words, by peer."""
        return {} if self.keeper is None else self.keeper.states.told()

    def there(self) -> dict[str, State]:
        """Return the states of models of watched peers; see `PeerStates.there`."""
        return {} if self.keeper is None else self.keeper.states.there()

    def failed(self, told: PeerFailed) -> None:
        """Note what a worker tells."""
        if self.keeper is not None:
            self.keeper.failed(told.peer, told.model, told.failure, told.why)

    def select(self, owner: str, ask: int, name: str, prefix: str, tried: Collection[str]) -> str:
        """Return the place for a request; see `Places.select`."""
        if self.places is None:
            return ""
        return self.places.select(owner, ask, name, prefix=prefix, tried=tried)

    def hold(self, owner: str, ask: int, target: str) -> None:
        """Count a request that an earlier supervisor has sent somewhere."""
        if self.places is not None:
            self.places.hold(owner, ask, target)

    def end(self, owner: str, ask: int) -> None:
        """Count a request no more."""
        if self.places is not None:
            self.places.end(owner, ask)

    def lost(self, owner: str) -> None:
        """Count none of those of a worker that is gone."""
        if self.places is not None:
            self.places.lost(owner)

    def explain(self, name: str) -> tuple[tuple[PlaceStanding, ...], str]:
        """Return how a model stands in its places; see `Places.explain`."""
        return ((), "") if self.places is None else self.places.explain(name)

    def wake(self, peer: str) -> None:
        """Wake the machine of a peer."""
        if self.waker is not None:
            self.waker.wake(peer)

    def note(self, record: RequestRecord, names: PeerModels) -> None:
        """Note that a request has ended; if a peer has answered it, that is up.

        Args:
            record: What became of it.
            names: Of the models of peers.
        """
        if self.keeper is None or (found := names.resolve(record.model)) is None:
            return
        if record.outcome == "ok" or (record.content_type and record.status < _SERVER_ERROR):
            peer, model = found
            self.keeper.states.succeeded(peer.peer, model, trio.current_time())

    def status(self) -> tuple[PeerStatus, ...]:
        """Return how they stand, in the order of the configuration."""
        if self.keeper is None:
            return ()
        return self.keeper.states.statuses(trio.current_time(), time.time())
