"""The keys that say who runs beside whom, and what other names mean."""

import re
from dataclasses import replace
from typing import Any, Final

from ..yaml.tree import Node
from .json_schema import TEXT, or_nothing
from .model_keys import (
    NAME,
    PEER_FILTER_KEYS,
    PEER_URL,
    UPSTREAM,
    USAGE,
    is_name,
    read_later,
    timeout_keys,
)
from .price_keys import PRICES_BY_GLOB
from .reader import Key, Kind, Place
from .types import (
    BOOLEAN,
    OBJECT,
    choice,
    integer,
    listed,
    named,
    nested,
    read_key,
    read_text,
    section,
    text,
)


def _word(*words: str) -> Kind[str]:
    return choice({word: word for word in words})


def _optional_name(node: Node, place: Place) -> str:
    """Return a name; empty for one that is switched off."""
    return "" if node.value is None else read_text(node, place, "a name")


_OPTIONAL: Final = Kind("a name, or nothing", or_nothing(TEXT), _optional_name)

GROUP_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "members",
        listed(NAME, "models"),
        (),
        "Its models, by their ids.",
        acts="0.1",
        field="config.routing",
    ),
    Key(
        "swap",
        BOOLEAN,
        True,
        "Only one of them runs at a time.",
        acts="0.1",
        field="config.routing",
    ),
    Key(
        "exclusive",
        BOOLEAN,
        True,
        "Starting one of them stops the models of other groups.",
        acts="0.1",
        field="config.routing",
    ),
    Key(
        "persistent",
        BOOLEAN,
        False,
        "No other group stops them.",
        acts="0.1",
        field="config.routing",
    ),
)
GROUPS: Final = named(section(GROUP_KEYS), "a mapping of names to groups")

# Read by the matrix's own compiler, which knows where in an expression a mistake is.
MATRIX_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "vars",
        named(NAME, "a mapping of short names to models", names="^[A-Za-z0-9.-]{1,32}$"),
        None,
        "Short names of models, for the sets.",
        acts="0.1",
        field="config.routing",
        without="none",
    ),
    Key(
        "evict_costs",
        named(integer(1, 2**31), "a mapping of models to numbers"),
        None,
        "What it costs to stop a model; 1 for the others.",
        acts="0.1",
        field="config.routing",
        without="none",
    ),
    Key(
        "sets",
        named(text("an expression"), "a mapping of names to expressions"),
        None,
        "Models that may run together: & is and, | is or, +name another set, and brackets.",
        acts="0.1",
        field="config.routing",
        required=True,
    ),
)
MATRIX: Final = section(MATRIX_KEYS)

_FIFO_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "priority",
        named(integer(-(2**31), 2**31), "a mapping of models to numbers"),
        None,
        "Models with a higher number get their turn first; 0 for the others.",
        acts="0.1",
        field="routing.priority",
        without="none",
    ),
)
_SCHEDULER_SETTINGS: Final = (nested("fifo", _FIFO_KEYS, "First come, first served."),)
_SCHEDULER_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "use",
        _word("fifo"),
        "fifo",
        "Who gets a turn first; there is one way.",
        acts="0.1",
        field="engine.queue",
    ),
    nested("settings", _SCHEDULER_SETTINGS, "Settings of each of them."),
)
_ROUTER_SETTINGS: Final[tuple[Key[Any], ...]] = (
    Key(
        "groups", GROUPS, None, "Which models run beside which, by groups.", field="config.routing"
    ),
    Key(
        "matrix",
        MATRIX,
        None,
        "Which models run beside which, by sets.",
        acts="0.1",
        field="config.routing",
    ),
)
_ROUTER_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "use",
        _word("group", "matrix"),
        None,
        "What decides which models run beside which.",
        acts="0.1",
        field="config.routing",
        written="group",
    ),
    nested("settings", _ROUTER_SETTINGS, "Settings of each of them."),
)
ROUTING_KEYS: Final[tuple[Key[Any], ...]] = (
    nested("scheduler", _SCHEDULER_KEYS, "Who gets a turn first."),
    nested("router", _ROUTER_KEYS, "Which models run beside which."),
)

PROFILE_KEYS: Final[tuple[Key[Any], ...]] = (
    Key("description", text(strip=True), "", "A few words on it.", field="profiles"),
    Key(
        "pins",
        named(_OPTIONAL, "a mapping of names to models"),
        None,
        "Name -> what answers to it while the profile is chosen; nothing: nobody does.",
        field="pins",
        required=True,
    ),
)
PROFILES: Final = named(section(PROFILE_KEYS), "a mapping of names to profiles")

_SELECTOR_SETTINGS: Final[tuple[Key[Any], ...]] = (
    Key(
        "spillover",
        integer(1, 2**31),
        1,
        "Requests of one target before the next one is started.",
        field="spillover",
    ),
)
SELECTOR_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "strategy",
        _word("pin", "warm", "spillover"),
        None,
        "pin: the first target; warm: one that runs; spillover: the next one when one is busy.",
        field="strategy",
        required=True,
    ),
    Key(
        "targets",
        listed(NAME, "models"),
        (),
        "Models, their aliases, or those of peers, in order.",
        field="targets",
        required=True,
    ),
    nested("settings", _SELECTOR_SETTINGS, "Settings of each strategy."),
    Key("name", text(strip=True), "", "What people call it; for listings.", field="selectors"),
    Key("description", text(strip=True), "", "A few words on it; for listings.", field="selectors"),
    Key("unlisted", BOOLEAN, False, "Left out of listings.", field="selectors"),
    Key("metadata", OBJECT, None, "Shown in listings as it is.", field="selectors"),
)
SELECTORS: Final = named(section(SELECTOR_KEYS), "a mapping of names to selectors")


_REGION: Final = "[A-Za-z0-9-]{0,40}"


def _is_region(found: str) -> bool:
    return re.fullmatch(_REGION, found) is not None


PEER_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "proxy",
        PEER_URL,
        None,
        "Where it answers, with or without /v1.",
        acts="0.1",
        field="peer.url",
        required=True,
    ),
    Key(
        "models",
        listed(text("a name", lambda name: bool(name.strip())), "names"),
        (),
        "Models that it serves.",
        acts="0.1",
        field="config.peer_models",
        required=True,
    ),
    Key(
        "apiKey",
        Kind("a key", TEXT, read_key),
        "",
        "Sent to it; the client's never is, unless forwardAuth says so. For Bedrock: "
        "access:secret, access:secret:session, or a bearer token.",
        acts="0.1",
        field="peer.api_key",
        without="none",
    ),
    Key("kind", UPSTREAM, "openai", "What it speaks.", acts="0.1", field="peer.kind"),
    replace(USAGE, field="peer.usage"),
    Key(
        "prices",
        PRICES_BY_GLOB,
        (),
        "What its models cost, in US dollars for a million tokens: by patterns of their names "
        "there; these go before the global prices.",
        without="as the global prices say, or the list",
    ),
    Key(
        "forwardAuth",
        BOOLEAN,
        False,
        "Without an apiKey, the client's own key is sent to it; those of apiKeys never are.",
        acts="0.1",
        field="peer.forward_auth",
    ),
    Key(
        "region",
        text("the name of a region, such as us-east-1", _is_region, pattern=f"^{_REGION}$"),
        "",
        "Of Bedrock, for signatures.",
        acts="0.1",
        field="peer.region",
        without="as in the name of its host",
    ),
    nested("filters", PEER_FILTER_KEYS, "What is changed in the body of requests."),
    nested("timeouts", timeout_keys(60, "0.1"), "Of connections to it, in seconds; 0 is none."),
)
PEERS: Final = named(section(PEER_KEYS), "a mapping of names to peers")

__all__ = [
    "GROUPS",
    "MATRIX",
    "PEERS",
    "PROFILES",
    "ROUTING_KEYS",
    "SELECTORS",
    "is_name",
    "read_later",
]
