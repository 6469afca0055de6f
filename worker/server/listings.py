"""What listings say of models: the configuration's words, and how they stand. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from arriero.protocol.values import State
from arriero.protocol.worker_config import NO_ABILITIES, ModelAbilities, SelectorRoute

from ..apis.management.answers import (
    EntryAbilities,
    EntryArchitecture,
    EntryKind,
    EntryMeta,
    LoadValue,
    ModelEntry,
    ModelList,
    ModelValue,
    RunningEntry,
    RunningList,
)
from ..apis.model_names import ModelNames, Target
from ..progress.model_view import ModelStanding, ProgressView

# Of which of its targets a selector has its state, the first that there is.
_MOST_LOADED: Final[Sequence[State]] = ("ready", "draining", "starting", "asleep")

# What the listing says of each state: `draining` still answers.
_LOADED: Final[Mapping[State, ModelValue]] = {
    "stopped": "unloaded",
    "starting": "loading",
    "ready": "loaded",
    "draining": "loaded",
    "stopping": "unloaded",
    "asleep": "sleeping",
}

# Members of a model's metadata that its capabilities say better.
_OF_CAPABILITIES: Final = frozenset(
    {"architecture", "capabilities", "supported_parameters", "context_length"}
)

_OURS: Final = "arriero"


class Listings:
    """The listings of one moment.

    Args:
        names: The models of the configuration in force.
        view: How they stand.
        created: Unix time that all entries give, in whole seconds.
        there: How models of peers stand, by ``<peer>/<model>``: those that are not stopped, as far
            as that is known.
    """

    def __init__(
        self,
        names: ModelNames,
        view: ProgressView,
        created: int,
        there: Mapping[str, State] = MappingProxyType({}),
    ) -> None:
        self._names = names
        self._there = there
        self._view = view
        self._created = created

    def models(self) -> ModelList:
        """Return all names that are listed, sorted."""
        entries = {one.id: one for one in self._entries()}
        return ModelList(data=tuple(entries[name] for name in sorted(entries)))

    def model(self, name: str) -> ModelEntry:
        """Return what is said of one name.

        Raises:
            UnknownModel: It leads nowhere.
        """
        target = self._names.find(name)
        for selector in self._names.config.selectors:
            if selector.selector == name:
                return self._selector(selector)
        return self._entry(target, target.route.model)

    def running(self) -> RunningList:
        """Return the models that have a process, sorted."""
        found = []
        for route in sorted(self._names.config.models, key=lambda route: route.model):
            standing = self._view.standing(route.model)
            if standing.state != "stopped":
                found.append(
                    RunningEntry(
                        model=route.model,
                        state=standing.state,
                        cmd=_with_port(route.command, standing),
                        proxy=standing.endpoint or "",
                        ttl=route.ttl_s,
                        name=route.name,
                        description=route.description,
                        memory=UNSET if standing.memory is None else standing.memory,
                        pin=UNSET if standing.memory is None else route.pin,
                    )
                )
        return RunningList(running=tuple(found))

    def _entries(self) -> Iterator[ModelEntry]:
        config = self._names.config
        for name in config.peer_models:
            found = self._names.find(name)
            if (
                found.peer and not found.route.remote and found.route.model == name
            ):  # the other name is a short one
                yield self._entry(found, name)
        for name in config.places:
            found = self._names.find(name)
            if found.peer is not None and not found.route.remote:  # several have it, but not here
                yield self._entry(found, name)
        for route in config.models:
            if not route.unlisted:
                names = list(filter(self._names.has, (route.model, *route.aliases)))
                for name in names if config.aliases_in_list else names[:1]:
                    yield self._entry(Target(route), name)
        for selector in config.selectors:
            if not selector.unlisted:
                yield self._selector(selector)
        for name, target in self._names.pins().items():
            yield self._entry(target, name, kind="profile")

    def _entry(self, target: Target, name: str, *, kind: EntryKind | None = None) -> ModelEntry:
        route = target.route
        peer = None if route.remote is not None else target.peer
        facts: dict[str, object]
        if peer is not None:
            facts = {"type": "peer", "peerID": peer.peer}
        elif name == route.model:
            facts = {"type": "model", "aliases": route.aliases}
        else:
            facts = {"type": kind or "alias", "modelID": route.model}
        shown = route.name if peer is None else f"{peer.peer}: {route.send_as or name}"
        metadata = msgspec.json.decode(route.metadata, type=dict[str, Raw])
        if route.capabilities != NO_ABILITIES:
            metadata = {key: it for key, it in metadata.items() if key not in _OF_CAPABILITIES}
        capabilities = route.abilities
        return ModelEntry(
            id=name,
            created=self._created,
            owned_by=_OURS if peer is None else peer.peer,
            name=shown or UNSET,
            description=route.description or UNSET,
            architecture=_architecture(capabilities),
            capabilities=_abilities(capabilities),
            supported_parameters=("tools", "tool_choice") if capabilities.tools else UNSET,
            context_length=capabilities.context or UNSET,
            meta=EntryMeta(
                llamaswap=_joined(metadata, facts),
                n_ctx=capabilities.context or UNSET,
                last_seen=route.last_seen or UNSET,
            ),
            status=LoadValue(value=_LOADED[self._state_of(target, name)]),
        )

    def _selector(self, selector: SelectorRoute) -> ModelEntry:
        facts: dict[str, object] = {
            "type": "selector",
            "strategy": selector.strategy,
            "targets": selector.targets,
        }
        if selector.strategy == "spillover":
            facts["spillover"] = selector.spillover
        counted = selector.targets[:1] if selector.strategy == "pin" else selector.targets
        shown = _most_loaded(self._state(self._names.find_chosen(target)) for target in counted)
        metadata = msgspec.json.decode(selector.metadata, type=dict[str, Raw])
        return ModelEntry(
            id=selector.selector,
            created=self._created,
            owned_by=_OURS,
            name=selector.name or UNSET,
            description=selector.description or UNSET,
            meta=EntryMeta(llamaswap=_joined(metadata, facts)),
            status=LoadValue(value=_LOADED[shown]),
        )

    def _state_of(self, target: Target, name: str) -> State:
        """Return the state of what `name` stands for: of a model here, whoever else has it.

        Other machines read that as what is in memory here.
        """
        places = self._names.config.places.get(name, ())
        if target.peer is None or target.route.remote is not None or not places:
            return self._state(target)
        return _most_loaded(self._there.get(place, "stopped") for place in places)

    def _state(self, target: Target) -> State:
        if target.route.remote is not None:  # it is simply there
            return "ready"
        if target.peer is not None:
            return self._there.get(target.route.model, "stopped")
        return self._view.standing(target.route.model).state


def _most_loaded(states: Iterable[State]) -> State:
    found = set(states)
    return next((state for state in _MOST_LOADED if state in found), "stopped")


def _joined(metadata: Mapping[str, Raw], facts: Mapping[str, object]) -> dict[str, Raw]:
    """Return metadata with our own facts, which go before members of the same names."""
    return {**metadata, **{key: Raw(msgspec.json.encode(it)) for key, it in facts.items()}}


def _architecture(capabilities: ModelAbilities) -> EntryArchitecture | UnsetType:
    if not (capabilities.takes or capabilities.gives):
        return UNSET
    both = f"{'+'.join(capabilities.takes)}->{'+'.join(capabilities.gives)}"
    return EntryArchitecture(
        input_modalities=capabilities.takes,
        output_modalities=capabilities.gives,
        modality=both if capabilities.takes and capabilities.gives else UNSET,
    )


def _abilities(capabilities: ModelAbilities) -> EntryAbilities | UnsetType:
    def turns(taken: str, given: str) -> bool | UnsetType:
        return (taken in capabilities.takes and given in capabilities.gives) or UNSET

    found = EntryAbilities(
        vision="image" in capabilities.takes or UNSET,
        audio_transcriptions=turns("audio", "text"),
        audio_speech=turns("text", "audio"),
        image_generation=turns("text", "image"),
        image_to_image=turns("image", "image"),
        function_calling=capabilities.tools or UNSET,
        reranker=capabilities.reranker or UNSET,
    )
    return UNSET if found == EntryAbilities() else found


def _with_port(command: str, standing: ModelStanding) -> str:
    """Return a command with the port at which its process answers."""
    port = (standing.endpoint or "").rpartition(":")[2]
    return command.replace("${PORT}", port) if port.isdecimal() else command
