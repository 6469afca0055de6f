"""What is surely not meant in names: hidden ones, and those that nobody uses."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ..names import PeerConfig
from ..values import Config
from ..yaml.tree import Node
from .findings import Findings

_MACRO: Final = re.compile(r"\$\{([^${}]*)\}")


def check_peers(config: Config, found: Findings) -> None:
    """Check that each model of a peer is found by its own name, unless its full name is used."""
    used = {name for one in config.selectors.values() for name in one.targets}
    used |= {name for one in config.profiles.values() for name in one.pins.values() if name}
    for peer in config.peers.values():
        for at, model in enumerate(peer.models):
            full = f"{peer.peer}/{model}"
            if full not in used and (who := _who_answers(config, peer, model)) is not None:
                found.warn(("peers", peer.peer, "models", at), f"{who}; ask for {full!r}")


def _who_answers(config: Config, peer: PeerConfig, model: str) -> str | None:
    """Say who else answers to the bare name of a peer's model; None: it does itself."""
    if model in config.selectors:
        return f"{model!r} is a selector, which comes first"
    local = config.resolve(model)
    if local is not None:
        what = "a model here" if local.model == model else f"an alias of {local.model!r}"
        return f"{model!r} is {what}, which comes first"
    if model in config.peer_models.places:
        return None  # any of them
    answers = config.resolve_peer(model)
    if answers is not None and answers[0] is not peer:
        return f"{model!r} is the full name of a model of the peer {answers[0].peer!r}"
    return None


def check_pins(config: Config, found: Findings) -> None:
    """Note which names mean something else while a profile is chosen: it may be on purpose."""
    for profile in config.profiles.values():
        for pin, target in profile.pins.items():
            local = config.resolve(pin)
            if target is None or target == pin:
                continue
            if pin in config.selectors:
                hidden = "a selector"
            elif local is not None and config.resolve(target) is not local:
                hidden = "a model" if local.model == pin else f"an alias of {local.model!r}"
            else:
                continue
            found.note(
                ("profiles", profile.profile, "pins", pin),
                f"{pin!r} is {hidden}, too, and leads to {target!r} while this profile is chosen",
            )


def check_macros(root: Node, found: Findings) -> None:
    """Note macros that nothing uses."""
    used = set(_used_macros(root))
    models = root.member("models") or root
    owners = [((), root), *((("models", name), model) for name, _, model in models.items())]
    for path, owner in owners:
        macros = owner.member("macros")
        for name, _, _ in () if macros is None else macros.items():
            if name not in used:
                found.note((*path, "macros", name), "nothing uses this macro")


def _used_macros(root: Node) -> Iterator[str]:
    """Give the names of all macros in values and keys."""
    waiting: list[Iterable[Node]] = [[root]]
    while waiting:
        for node in waiting.pop():
            if isinstance(node.value, list):
                waiting.append(node.value)
            elif isinstance(node.value, dict):
                waiting += node.value.values()
            elif "${" in node.text:
                yield from _MACRO.findall(node.text)
