"""Peers, once the configuration has any: before that nothing about them is imported or done."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from arriero.protocol.lease import PeerFailed
from arriero.protocol.records import RequestRecord
from arriero.protocol.values import PeerStatus

from ..config.names import PeerModels
from ..config.values import Config

if TYPE_CHECKING:
    from .keeper import PeerKeeper

FILE_NAME: Final = "peers.json"

# From that status on it is the server's fault.
_SERVER_ERROR: Final = 500


class LatePeers:
    """What is known of peers; nothing as long as there are none.

    Attributes:
        keeper: Knows and watches them; None before there were any.
    """

    def __init__(
        self,
        config: Callable[[], Config],
        file: Path,
        changed: Callable[[], None],
        own_epoch: Callable[[], str],
    ) -> None:
        """Build it.

        Args:
            config: Gives the configuration in force.
            file: Of the last lists of peers.
            changed: Called when peers have other models than before.
            own_epoch: Gives that of this supervisor.
        """
        self.keeper: PeerKeeper | None = None
        self._config = config
        self._file = file
        self._changed = changed
        self._own_epoch = own_epoch
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

            self.keeper = PeerKeeper(self._file, self._changed, self._own_epoch())
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

    def failed(self, told: PeerFailed) -> None:
        """Note what a worker tells."""
        if self.keeper is not None:
            self.keeper.failed(told.peer, told.model, told.failure, told.why)

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
