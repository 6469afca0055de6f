"""What is surely not meant in keys of clients: rights to nothing, budgets that nothing uses up."""

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase, translate
from typing import Final, NamedTuple

from arriero.protocol.worker_config import UsageSetting

from ...pricing.by_pattern import Pricing
from ..schema.key_types import KeyConfig
from ..values import Config
from .findings import Findings

# How many models are told by name.
_MAX_NAMED: Final = 3


class _Usable(NamedTuple):
    """A model, as a key sees it.

    Attributes:
        names: By which it is asked for, its id among them.
        usage: Whether streams are asked for it.
        has_prices: What it costs is known.
    """

    names: tuple[str, ...]
    usage: UsageSetting
    has_prices: bool


def check_keys(config: Config, found: Findings) -> None:
    """Check that each key is good for something, and that its budget can be used up."""
    if not config.client_keys:
        return
    models = tuple(_models(config))
    led = {name: one.targets for name, one in config.selectors.items()}
    pinned = {pin for one in config.profiles.values() for pin in one.pins}
    known = {name for model in models for name in model.names} | led.keys() | pinned
    is_all = not any(peer.is_watched for peer in config.peers.values())  # else there are more
    for key in config.client_keys.values():
        at = ("clientKeys", key.name)
        if not key.scopes:
            found.warn((*at, "scopes"), "without any scope the key is good for nothing")
        if key.models is not None and not key.models:
            found.warn((*at, "models"), "no model may be used with it; leave this out for all")
        for place, pattern in enumerate(key.models or ()):
            if is_all and not any(fnmatchcase(name, pattern) for name in known):
                found.warn(
                    (*at, "models", place), f"no model, and no selector, is called like {pattern!r}"
                )
        if key.daily_tokens or key.daily_cost:
            allowed = set(_allowed(key, known))
            allowed |= {to for name in allowed & led.keys() for to in led[name]}
            usable = [it for it in models if not allowed.isdisjoint(it.names)]
            _check_budget(key, usable, found)
            if config.price_list is None or config.price_list.url is None:  # else it may come yet
                _check_prices(key, usable, found)


def _check_budget(key: KeyConfig, usable: Sequence[_Usable], found: Findings) -> None:
    at = ("clientKeys", key.name)
    budget = "dailyTokens" if key.daily_tokens else "dailyCost"
    if key.scopes and not {"infer", "admin"} & set(key.scopes):
        found.warn((*at, budget), "nothing uses it up: without the scope 'infer' no model is asked")
    silent = [it.names[0] for it in usable if it.usage == "observe"]
    if silent:
        found.warn(
            (*at, budget),
            f"streams of {_listed(silent)} are not asked for what they use (usage: observe), so it "
            "is counted in part only; write usage: inject there",
        )


def _check_prices(key: KeyConfig, usable: Sequence[_Usable], found: Findings) -> None:
    free = [it.names[0] for it in usable if not it.has_prices]
    if key.daily_cost and free:
        found.warn(
            ("clientKeys", key.name, "dailyCost"),
            f"no price is known of {_listed(free)}, so what is used of that costs this budget "
            "nothing; write prices (of 0, if that is meant), or dailyTokens",
        )


def _models(config: Config) -> Iterator[_Usable]:
    pricing = Pricing(config.prices, config.price_list, config.listed)
    for model in (*config.models.values(), *config.remotes.values()):
        prices = pricing.of_model(model.model, model.aliases, model.prices)
        yield _Usable((model.model, *model.aliases), model.usage, prices is not None)
    bare = config.peer_models
    for peer in config.peers.values():
        priced = pricing.of_peer(peer.peer, peer.models, peer.prices)
        for model_there in peer.models:
            full = f"{peer.peer}/{model_there}"
            names = (full, model_there) if bare.resolve(model_there) is not None else (full,)
            yield _Usable(names, peer.usage, model_there in priced)


def _allowed(key: KeyConfig, known: Iterable[str]) -> Iterator[str]:
    patterns = ("*",) if key.models is None else key.models
    fits = re.compile("|".join(map(translate, patterns)) or "(?!)").match
    return (name for name in known if fits(name))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MAX_NAMED]))
    more = len(names) - _MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
