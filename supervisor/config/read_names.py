"""Checks names against each other: peers, selectors and profiles, and whom they stand for."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from ..placement.policy import PlacementPolicy
from .model_config import ModelConfig
from .names import PeerConfig, PeerModels, Profile, Selector
from .schema.reader import Place
from .yaml.tree import Node


@dataclass(frozen=True, slots=True)
class KnownNames:
    """All that a request may name, but selectors and pins.

    Attributes:
        models: Id or alias -> id of the model.
        peers: Models of peers.
        remote: The ids of models that nothing is started for.
    """

    models: Mapping[str, str]
    peers: PeerModels
    remote: tuple[str, ...] = ()

    @classmethod
    def of(cls, models: Mapping[str, ModelConfig], peers: Mapping[str, PeerConfig]) -> "KnownNames":
        """Collect them."""
        aliases = {alias: model.model for model in models.values() for alias in model.aliases}
        local = aliases | {model: model for model in models}
        remote = tuple(model.model for model in models.values() if model.is_remote)
        return cls(local, PeerModels(peers.values(), local), remote)

    def known(self, name: str) -> bool:
        """Whether `name` is a model, an alias, or a model of a peer."""
        peers = self.peers
        return name in self.models or peers.resolve(name) is not None or peers.may_be(name)

    def unknown(self, name: str, place: Place, also: Iterable[str] = ()) -> str:
        """Say that nothing has that name, and what it may have been meant to be."""
        hint = place.hint(name, chain(self.models, self.peers.table, also))
        if not hint and self.peers.watched:  # it may be there one day
            hint = (
                f"; of a peer whose models are not written, write {self.peers.watched[0]}/<model>"
            )
        return f"there is no model {name[:80]!r}{hint}"


def check_peers(
    names: KnownNames, peers: Mapping[str, PeerConfig], node: Node, place: Place
) -> None:
    """Note peers without a name, and qualified names that mean two things."""
    owners: dict[str, str] = {}
    for name, peer in peers.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a peer's name cannot be empty")
        if peer.is_watched and not peer.tells_models:
            what = f"servers of the kind {peer.kind} do not tell their models; write their names"
            at.under("models").note(here.member("models") or here, what)
        for model in peer.models:
            full = f"{name}/{model}"
            if full in names.models:
                at.note(here, f"{full!r} is the name of a model here; rename the peer")
            elif owners.get(full, name) != name:
                at.note(here, f"{full!r} is a model of the peer {owners[full]!r} as well")
            owners[full] = name


def check_selectors(
    selectors: Mapping[str, Selector],
    node: Node,
    place: Place,
    names: KnownNames,
    policy: PlacementPolicy | None,
) -> None:
    """Note what selectors cannot stand for.

    Args:
        selectors: Those that were read.
        node: The mapping of them.
        place: Where it stands.
        names: What they may stand for.
        policy: Says which models can run together; None if that is not known, for its mistakes.
    """
    for name, selector in selectors.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a selector's name cannot be empty")
        elif name in names.models:
            at.note(here, f"{name!r} is the name of a model; a name has one meaning")
        elif names.peers.is_qualified(name):
            at.note(here, f"{name!r} is a model of a peer; a name has one meaning")
        spot = at.under("targets")
        for target, item in spot.items(selector.targets):
            if names.known(target):
                continue
            if target in selectors:
                spot.note(item, f"{target!r} is a selector; write models")
            else:
                spot.note(item, names.unknown(target, spot))
        _check_strategy(selector, spot, names, policy)


def _check_strategy(
    selector: Selector, place: Place, names: KnownNames, policy: PlacementPolicy | None
) -> None:
    targets = list(place.items(selector.targets))
    local = {name: names.models[name] for name, _ in targets if name in names.models}
    if selector.strategy == "warm":
        for name, item in targets:
            if name not in local and names.known(name):
                place.note(item, f"{name!r} is a model of a peer; warm knows only those here")
    if selector.strategy != "spillover":
        return
    seen: dict[str, str] = {}
    for name, item in targets:
        meant = local.get(name) or names.peers.qualified(name)
        if meant is None:
            continue
        if meant in seen:
            place.note(item, f"{name!r} and {seen[meant]!r} are the same model; remove one")
        seen[meant] = name
    together = frozenset(local.values()).difference(names.remote)
    if policy is not None and not policy.can_run_together(together):
        place.note(
            targets[0][1],
            f"{', '.join(sorted(together))} cannot run together, so nothing can spill over: "
            "put them into one group with swap: false, or into one set of the matrix",
        )


def check_profiles(
    profiles: Mapping[str, Profile],
    node: Node,
    place: Place,
    names: KnownNames,
    selectors: Collection[str],
) -> None:
    """Note what profiles cannot pin.

    Args:
        profiles: Those that were read.
        node: The mapping of them.
        place: Where it stands.
        names: What they may pin.
        selectors: This, too, by name; also those that have mistakes of their own.
    """
    for name, profile in profiles.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a profile's name cannot be empty")
        written = here.member("pins") or here
        for pin, target in profile.pins.items():
            spot, item = at.under("pins").under(pin), _member(written, pin)
            if not pin.strip():
                spot.note(item, "the name that is pinned cannot be empty")
            elif names.peers.is_qualified(pin):
                spot.note(item, f"{pin!r} is a model of a peer; a name has one meaning")
            elif target and not names.known(target) and target not in selectors:
                spot.note(item, names.unknown(target, spot, selectors))


def _member(node: Node, name: str) -> Node:
    """Return the value under `name`, or where it would stand."""
    if isinstance(node.value, dict) and (found := node.value.get(name)) is not None:
        key, value = found
        return key if value.value is None else value
    return node
