"""What readers of ``/api/events`` are told of models, in llama-swap's words. Pure."""

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from arriero.protocol.values import State
from arriero.protocol.worker_config import ModelAbilities, WorkerConfig

from .feeds.inflight import InflightTable
from .relay.context import RelayContext

# States that llama-swap has, and ours: one that drains takes no more requests. It has none for
# models that sleep, which only a key of our own brings about.
TheirState: TypeAlias = Literal["stopped", "starting", "ready", "stopping", "asleep", ""]
_STATES: Final[dict[State, TheirState]] = {
    "stopped": "stopped",
    "starting": "starting",
    "ready": "ready",
    "draining": "stopping",
    "stopping": "stopping",
    "asleep": "asleep",
}


class ToldAbilities(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model can do, by the words of the configuration."""

    takes: tuple[str, ...] = msgspec.field(default=(), name="in")
    gives: tuple[str, ...] = msgspec.field(default=(), name="out")
    tools: bool = False
    reranker: bool = False
    context: int = 0


class ToldStatus(msgspec.Struct, frozen=True):
    """How one model stands; of a peer's model there is no state."""

    id: str
    name: str
    description: str
    state: TheirState
    unlisted: bool
    peerID: str
    aliases: tuple[str, ...] | UnsetType = UNSET
    capabilities: ToldAbilities | UnsetType = UNSET
    context_length: int | UnsetType = UNSET


class CatalogEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the configuration says of one name, for those who watch.

    Attributes:
        kind: What it is.
        remote: Nothing is started for it here.
        targets: Of a selector.
    """

    id: str
    kind: Literal["model", "peer", "selector"] = "model"
    name: str = ""
    description: str = ""
    aliases: tuple[str, ...] = ()
    unlisted: bool = False
    remote: bool = False
    ttl_s: float = 0.0
    limit: int = 0
    targets: tuple[str, ...] = ()
    abilities: ToldAbilities = ToldAbilities()


class _Profile(msgspec.Struct):
    active: str | None


class WorkerFacts:
    """What readers are told; made once for all of them.

    Args:
        service: What is known of models.
    """

    def __init__(self, service: RelayContext) -> None:
        self._service = service
        self._made_from: tuple[object, int] | None = None
        self._status = ""
        self._catalog: tuple[object, tuple[CatalogEntry, ...]] | None = None

    @property
    def inflight(self) -> InflightTable:
        """The requests that run, of all workers."""
        return self._service.feeds.inflight

    def model_status(self) -> str:
        """Return how all models stand, as JSON: those here, then those of peers."""
        made_from = self._service.names, self._service.view.changes
        if made_from != self._made_from:
            self._made_from = made_from
            self._status = msgspec.json.encode(self._models()).decode()
        return self._status

    def catalog(self) -> tuple[CatalogEntry, ...]:
        """Return what the configuration says of all names that requests may have."""
        names = self._service.names
        if self._catalog is None or self._catalog[0] is not names:
            self._catalog = names, tuple(_catalog(names.config))
        return self._catalog[1]

    def profile(self) -> str:
        """Return the chosen profile, as JSON."""
        return msgspec.json.encode(_Profile(self._service.names.config.profile)).decode()

    def page_settings(self) -> str:
        """Return settings for pages, as JSON."""
        names = self._service.names.config.session_headers
        return msgspec.json.encode({"activity": {"session_id": names}}).decode()

    def _models(self) -> list[ToldStatus]:
        service = self._service
        here = [
            ToldStatus(
                id=route.model,
                name=route.name,
                description=route.description,
                state="ready"
                if route.remote is not None  # it is simply there
                else _STATES[service.view.standing(route.model).state],
                unlisted=route.unlisted,
                peerID="",
                aliases=route.aliases or UNSET,
                capabilities=_told(route.abilities),
                context_length=route.abilities.context or UNSET,
            )
            for route in sorted(service.names.config.models, key=lambda route: route.model)
        ]
        elsewhere = [
            ToldStatus(
                id=name,
                name=f"{one.peer}: {one.model}",
                description="",
                state="",
                unlisted=False,
                peerID=one.peer,
            )
            for name, one in sorted(service.names.config.peer_models.items())
            if name == f"{one.peer}/{one.model}"  # the other name is a short one
        ]
        return here + elsewhere


def _catalog(config: WorkerConfig) -> Iterator[CatalogEntry]:
    for route in config.models:
        told = _told(route.abilities)
        yield CatalogEntry(
            id=route.model,
            name=route.name,
            description=route.description,
            aliases=route.aliases,
            unlisted=route.unlisted,
            remote=route.remote is not None,
            ttl_s=route.ttl_s,
            limit=route.concurrency_limit,
            abilities=ToldAbilities() if told is UNSET else told,
        )
    for name, one in sorted(config.peer_models.items()):
        if name == f"{one.peer}/{one.model}":
            yield CatalogEntry(id=name, kind="peer", name=one.model, remote=True)
    for it in config.selectors:
        yield CatalogEntry(
            id=it.selector,
            kind="selector",
            name=it.name,
            description=it.description,
            unlisted=it.unlisted,
            targets=it.targets,
        )


def _told(abilities: ModelAbilities) -> ToldAbilities | UnsetType:
    found = ToldAbilities(
        abilities.takes, abilities.gives, abilities.tools, abilities.reranker, abilities.context
    )
    return UNSET if found == ToldAbilities() else found
