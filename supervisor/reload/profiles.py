"""Chooses a profile: what some names mean, for all workers at once, without a reload."""

import logging
from collections.abc import Callable

from arriero.protocol.control.models import ProfilesReply
from arriero.protocol.events import ConfigChanged
from arriero.protocol.values import ErrorInfo, ProfileStatus

from ..scheduling.dispatcher import Dispatcher
from ..text.did_you_mean import did_you_mean
from ..workers.lease_server import LeaseServer
from .reloader import ActiveConfig, tell_workers

log = logging.getLogger(__name__)


class ProfileSwitch:
    """Puts one profile in force, or none.

    It stays so over reloads, for as long as the configuration has it.
    """

    def __init__(
        self,
        in_force: ActiveConfig,
        dispatcher: Dispatcher,
        lease_server: LeaseServer,
        note: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """Build it; `note` is told of each choice."""
        self._in_force = in_force
        self._dispatcher = dispatcher
        self._lease_server = lease_server
        self._note = note

    def status(self) -> ProfilesReply:
        """Return all profiles, by their names, and which one is chosen."""
        return ProfilesReply(
            active=self._in_force.profile,
            profiles=tuple(
                ProfileStatus(id=name, description=profile.description, pins=dict(profile.pins))
                for name, profile in sorted(self._in_force.config.profiles.items())
            ),
        )

    async def choose(self, name: str | None) -> ErrorInfo | None:
        """Put the profile `name` in force, None for none; return once all workers follow.

        Returns:
            Why that is impossible; None if it is done.
        """
        now = self._in_force
        name = name or None
        if name is not None and name not in now.config.profiles:
            known = tuple(now.config.profiles)
            hint = did_you_mean(name, known) or f"; known are: {', '.join(known) or 'none'}"
            return ErrorInfo(
                code="unknown_profile", message=f"there is no profile {name[:80]!r}{hint}"
            )
        if name != now.profile:
            now.profile = name
            self._note(name)
            now.generation += 1
            log.info("config.profile generation=%d profile=%s", now.generation, name)
            summary = f"profile: {name or 'none'}"
            self._dispatcher.publish(ConfigChanged(generation=now.generation, summary=summary))
        await tell_workers(self._lease_server, now.generation)
        return None
