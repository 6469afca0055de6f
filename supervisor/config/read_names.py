"""What names mean: peers, selectors and profiles, and whom they stand for."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..placement.policy import PlacementPolicy
from .read_models import filters_of, timeouts_of
from .schema.reader import Place
from .values import ModelConfig, Peer, PeerModels, Profile, Selector, frozen
from .yaml.tree import Node


@dataclass(frozen=True, slots=True)
class Names:
    """All that a request may name, but selectors and pins.

    Attributes:
        models: Id or alias -> id of the model.
        peers: Models of peers.
    """

    models: Mapping[str, str]
    peers: PeerModels

    @classmethod
    def of(cls, models: Mapping[str, ModelConfig], peers: Mapping[str, Peer]) -> "Names":
        """Collect them."""
        aliases = {alias: model.model for model in models.values() for alias in model.aliases}
        local = aliases | {model: model for model in models}
        return cls(local, PeerModels(peers.values(), local))

    def known(self, name: str) -> bool:
        """Whether `name` is a model, an alias, or a model of a peer."""
        return name in self.models or self.peers.resolve(name) is not None

    def unknown(self, name: str, place: Place, also: Iterable[str] = ()) -> str:
        """Say that nothing has that name, and what it may have been meant to be."""
        if several := self.peers.having(name):
            return f"{name[:80]!r} is a model of several peers; write {' or '.join(several[:3])}"
        hint = place.hint(name, chain(self.models, self.peers.table, also))
        return f"there is no model {name[:80]!r}{hint}"


def read_peers(found: Mapping[str, dict[str, Any]], node: Node, place: Place) -> dict[str, Peer]:
    """Return the peers; what they lack is noted."""
    peers = {}
    for name, keys in found.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a peer's name cannot be empty")
        if keys["proxy"] is None and _lacks(here, "proxy"):
            at.under("proxy").note(here, "there is no proxy; write the URL at which it answers")
        if not keys["models"] and _lacks(here, "models"):
            at.under("models").note(here, "there are no models; write at least one that it serves")
        peers[name] = Peer(
            peer=name,
            proxy=keys["proxy"] or "",
            models=tuple(model for model, _ in keys["models"]),
            api_key=keys["apiKey"],
            filters=filters_of(keys["filters"]),
            timeouts=timeouts_of(keys["timeouts"]),
            kind=keys["kind"],
            usage=keys["usage"],
            prices=keys["prices"],
            forward_auth=keys["forwardAuth"],
            region=keys["region"],
        )
    return peers


def check_peers(names: Names, peers: Mapping[str, Peer], node: Node, place: Place) -> None:
    """Note qualified names that mean two things."""
    owners: dict[str, str] = {}
    for peer in peers.values():
        here, at = _member(node, peer.peer), place.under(peer.peer)
        for model in peer.models:
            full = f"{peer.peer}/{model}"
            if full in names.models:
                at.note(here, f"{full!r} is the name of a model here; rename the peer")
            elif owners.get(full, peer.peer) != peer.peer:
                at.note(here, f"{full!r} is a model of the peer {owners[full]!r} as well")
            owners[full] = peer.peer


def read_selectors(
    found: Mapping[str, dict[str, Any]],
    node: Node,
    place: Place,
    names: Names,
    room: PlacementPolicy | None,
) -> dict[str, Selector]:
    """Return the selectors; what they cannot stand for is noted.

    Args:
        found: Their keys.
        node: The mapping of them.
        place: Where it stands.
        names: What they may stand for.
        room: Says which models can run together; None if that is not known, for its mistakes.
    """
    selectors = {}
    for name, keys in found.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a selector's name cannot be empty")
        elif name in names.models:
            at.note(here, f"{name!r} is the name of a model; a name has one meaning")
        elif names.peers.is_qualified(name):
            at.note(here, f"{name!r} is a model of a peer; a name has one meaning")
        targets = []
        for target, item in keys["targets"]:
            spot = at.under("targets")
            if names.known(target):
                targets.append(target)
            elif target in found:
                spot.note(item, f"{target!r} is a selector; write models")
            else:
                spot.note(item, names.unknown(target, spot))
        if not keys["targets"] and _lacks(here, "targets"):
            at.under("targets").note(here, "there are no targets; write at least one model")
        if keys["strategy"] is None:
            if _lacks(here, "strategy"):
                at.under("strategy").note(here, "there is none; write pin, warm or spillover")
            continue
        _check_strategy(keys["strategy"], keys["targets"], at.under("targets"), names, room)
        selectors[name] = Selector(
            selector=name,
            strategy=keys["strategy"],
            targets=tuple(targets),
            spillover=keys["settings"]["spillover"],
            name=keys["name"],
            description=keys["description"],
            unlisted=keys["unlisted"],
            metadata=frozen(keys["metadata"]),
        )
    return selectors


def _check_strategy(
    strategy: str,
    targets: tuple[tuple[str, Node], ...],
    place: Place,
    names: Names,
    room: PlacementPolicy | None,
) -> None:
    local = {name: names.models[name] for name, _ in targets if name in names.models}
    if strategy == "warm":
        for name, item in targets:
            if name not in local and names.known(name):
                place.note(item, f"{name!r} is a model of a peer; warm knows only those here")
    if strategy != "spillover":
        return
    seen: dict[str, str] = {}
    for name, item in targets:
        meant = local.get(name) or names.peers.qualified(name)
        if meant is None:
            continue
        if meant in seen:
            place.note(item, f"{name!r} and {seen[meant]!r} are the same model; remove one")
        seen[meant] = name
    together = frozenset(local.values())
    if room is not None and not room.can_run_together(together):
        place.note(
            targets[0][1],
            f"{', '.join(sorted(together))} cannot run together, so nothing can spill over: "
            "put them into one group with swap: false, or into one set of the matrix",
        )


def read_profiles(
    found: Mapping[str, dict[str, Any]],
    node: Node,
    place: Place,
    names: Names,
    selectors: Collection[str],
) -> dict[str, Profile]:
    """Return the profiles; what they cannot pin is noted.

    Args:
        found: Their keys.
        node: The mapping of them.
        place: Where it stands.
        names: What they may pin.
        selectors: This, too, by name.
    """
    profiles = {}
    for name, keys in found.items():
        here, at = _member(node, name), place.under(name)
        if not name.strip():
            at.note(here, "a profile's name cannot be empty")
        pins: dict[str, str | None] = keys["pins"] or {}
        if not pins and _lacks(here, "pins"):
            at.under("pins").note(here, "there are no pins; write at least one name and its model")
        written = here.member("pins") or here
        for pin, target in pins.items():
            spot, item = at.under("pins").under(pin), _member(written, pin)
            if not pin.strip():
                spot.note(item, "the name that is pinned cannot be empty")
            elif names.peers.is_qualified(pin):
                spot.note(item, f"{pin!r} is a model of a peer; a name has one meaning")
            elif target and not names.known(target) and target not in selectors:
                spot.note(item, names.unknown(target, spot, selectors))
        profiles[name] = Profile(
            profile=name,
            description=keys["description"],
            pins=frozen({pin: target or None for pin, target in pins.items()}),
        )
    return profiles


def _member(node: Node, name: str) -> Node:
    """Return the value under `name`, or where it would stand."""
    if isinstance(node.value, dict) and (found := node.value.get(name)) is not None:
        key, value = found
        return key if value.value is None else value
    return node


def _lacks(node: Node, name: str) -> bool:
    """Whether `name` is not there at all: something wrong there was told already."""
    member = node.member(name)
    return member is None or member.value in (None, [], {})
