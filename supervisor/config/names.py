"""Names besides those of models: peers and their models, selectors, profiles."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from arriero.protocol.records import UpstreamKind
from arriero.protocol.worker_config import Strategy, Timeouts, UsageSetting

from ..pricing.by_pattern import PricesByGlob
from .model_config import FILTERS, MODEL, TIMEOUTS, Filters
from .schema.immutable import immutable
from .schema.json_schema import TEXT, or_macro, or_nothing
from .schema.macros import escaped
from .schema.model_types import NAME, PEER_URL, UPSTREAM, USAGE
from .schema.price_types import PRICES_BY_GLOB
from .schema.reader import Place, ValueType
from .schema.sections import key, nested, section
from .schema.types import (
    BOOLEAN,
    NOTHING,
    OBJECT,
    SECONDS,
    Data,
    integer,
    key_for_server,
    listed,
    named,
    read_text,
    text,
    words,
)
from .yaml.tree import Node

_REGION: Final = re.compile("[A-Za-z0-9-]{0,40}")

_FILTERS: Final = section(Filters, strip_params=replace(FILTERS.leaf("strip_params"), other=None))
_TIMEOUTS: Final = section(
    Timeouts,
    connect_s=TIMEOUTS.leaf("connect_s"),
    keepalive_s=TIMEOUTS.leaf("keepalive_s"),
    response_header_s=replace(TIMEOUTS.leaf("response_header_s"), default=60.0),
    tls_handshake_s=TIMEOUTS.leaf("tls_handshake_s"),
    expect_continue_s=TIMEOUTS.leaf("expect_continue_s"),
    idle_connection_s=TIMEOUTS.leaf("idle_connection_s"),
)


NamesOrAuto: TypeAlias = tuple[str, ...] | Literal["auto"]
"""Names of models; or they are whatever the server itself says that it has."""

_NAMES: Final = listed(text("a name", lambda name: bool(name.strip())), "names, or auto")


def _read_names(node: Node, place: Place) -> NamesOrAuto:
    if isinstance(node.value, str) and place.scalar(node, "auto").text.strip().lower() == "auto":
        return "auto"
    return _NAMES.read(node, place)


_NAMES_OR_AUTO: Final[ValueType[NamesOrAuto]] = ValueType(
    _NAMES.takes,
    or_macro(_NAMES.schema, {"const": "auto"}),
    _read_names,
    lambda found: found if isinstance(found, str) else _NAMES.write(found),
)

# Kinds whose servers tell their models at /v1/models, and all of them at once.
_WITH_LIST: Final[frozenset[UpstreamKind]] = frozenset({"openai", "vllm", "llama-server"})

_MAC: Final = re.compile(r"(?:[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5})?")
_BROADCAST: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?")


@immutable
class WakeOnLan:
    """How the machine of a peer is woken that sleeps."""

    mac: str = key(
        text(
            "a hardware address, such as 00:11:22:33:44:55",
            lambda found: _MAC.fullmatch(found) is not None,
            pattern=f"^{_MAC.pattern}$",
        ),
        "",
        "Hardware address of its network card.",
        without="it is not woken",
    )
    broadcast: str = key(
        text(
            "an IPv4 address, such as 192.168.1.255",
            lambda found: _BROADCAST.fullmatch(found) is not None,
            pattern=f"^{_BROADCAST.pattern}$",
        ),
        "255.255.255.255",
        "Where the packet is sent, with a port or without (9): of a machine in another network "
        "the broadcast address of that.",
    )
    limit_s: float = key(SECONDS, 120.0, "So long it is waited for, after it was woken.")


_WAKE: Final = section(WakeOnLan)


@immutable
class PeerConfig:
    """Another server, to which requests for its models are passed on.

    Attributes:
        peer: Its id; ``<peer>/<model>`` always names one of its models.
    """

    peer: str
    url: str = key(
        PEER_URL,
        "",
        "Where it answers, with or without /v1.",
        name="proxy",
        lacking="there is no proxy; write the URL at which it answers",
    )
    written_models: NamesOrAuto = key(
        _NAMES_OR_AUTO,
        (),
        "Models that it serves; auto: those of its own list, which is kept up to date.",
        name="models",
        lacking="there are no models; write at least one that it serves, or auto",
    )
    api_key: str = key(
        key_for_server(),
        "",
        "Sent to it; the client's never is, unless forwardAuth says so. For Bedrock: "
        "access:secret, access:secret:session, or a bearer token.",
        without="none",
        is_secret=True,
    )
    kind: UpstreamKind = key(UPSTREAM, "openai", "What it speaks.")
    usage: UsageSetting = key(USAGE, "auto", MODEL.leaf("usage").meaning)
    prices: PricesByGlob = key(
        PRICES_BY_GLOB,
        (),
        "What its models cost, in US dollars for a million tokens: by patterns of their names "
        "there; these go before the global prices.",
        without="as the global prices say, or the list",
    )
    forward_auth: bool = key(
        BOOLEAN,
        False,
        "Without an apiKey, the client's own key is sent to it; those of apiKeys never are.",
    )
    region: str = key(
        text(
            "the name of a region, such as us-east-1",
            lambda found: _REGION.fullmatch(found) is not None,
            pattern=f"^{_REGION.pattern}$",
        ),
        "",
        "Of Bedrock, for signatures.",
        without="as in the name of its host",
    )
    filters: Filters = nested(_FILTERS, "What is changed in the body of requests.")
    timeouts: Timeouts = nested(_TIMEOUTS, "Of connections to it, in seconds; 0 is none.")
    wake: WakeOnLan = nested(
        _WAKE, "Wake-on-LAN: its machine is woken if it does not answer while a request waits."
    )

    @property
    def is_watched(self) -> bool:
        """Whether its models are those of its own list, and how it stands is followed."""
        return self.written_models == "auto"

    @property
    def models(self) -> tuple[str, ...]:
        """Its models, as far as they are written."""
        return () if isinstance(self.written_models, str) else self.written_models

    @property
    def tells_models(self) -> bool:
        """Whether servers of its kind have a list of their models."""
        return self.kind in _WITH_LIST


PEERS: Final = named(section(PeerConfig, named_by="peer").type, "a mapping of names to peers")


class PeerModels:
    """The names by which models of peers are found.

    ``<peer>/<model>`` always is; the bare name means all peers that have it. What is here goes
    before it, but a model of that id shares it with peers that tell their models themselves:
    whoever writes a list of names may mean another model with one of them.

    Attributes:
        table: The peer and its own name for the model, by each of the names; by one that several
            have the first of them: peers whose models are written go before others.
        places: Models that several machines have; see `WorkerConfig.places`.
        watched: Peers that tell their models themselves.
    """

    def __init__(
        self,
        peers: Iterable[PeerConfig],
        local: Container[str],
        told: Mapping[str, Iterable[str]] = MappingProxyType({}),
        named: Iterable[str] = (),
        own: Container[str] = (),
    ) -> None:
        """Collect them.

        Args:
            peers: All of them.
            local: Names of models here.
            told: What watched peers say that they have, by peer.
            named: Full names that stand in the configuration: those of watched peers mean
                something whatever their lists say.
            own: Ids of models that are started here.
        """
        peers = tuple(peers)
        qualified = {
            f"{peer.peer}/{model}": (peer, model)
            for peer in peers
            for model in (peer.models, told.get(peer.peer, ()))[peer.is_watched]
        }
        self._watched = tuple(peer for peer in peers if peer.is_watched)
        self.watched = tuple(peer.peer for peer in self._watched)
        for name in named if self._watched else ():
            if name not in local and (meant := self._in_list_of(name)) is not None:
                qualified.setdefault(name, meant)
        bare: dict[str, list[str]] = {}
        for full, (_, model) in sorted(qualified.items(), key=lambda it: it[1][0].is_watched):
            bare.setdefault(model, []).append(full)
        found = {model: qualified[full[0]] for model, full in bare.items() if model not in local}
        places: dict[str, tuple[str, ...]] = {}
        for model, having in bare.items():
            if model in own:
                places[model] = (model, *(it for it in having if qualified[it][0].is_watched))
            elif model not in local and model not in qualified:
                places[model] = tuple(having)
        self.places = MappingProxyType({it: found for it, found in places.items() if found[1:]})
        self._qualified = qualified
        self._models: dict[str, list[str]] = {}
        for peer, model in qualified.values():
            self._models.setdefault(peer.peer, []).append(model)
        self.table = MappingProxyType(found | qualified)  # a qualified name is stronger

    def resolve(self, name: str) -> tuple[PeerConfig, str] | None:
        """Return the peer, and its own name for the model."""
        return self.table.get(name)

    def may_be(self, name: str) -> bool:
        """Whether `name` is ``<peer>/<model>`` of a peer whose list is its own."""
        return self._in_list_of(name) is not None

    def _in_list_of(self, name: str) -> tuple[PeerConfig, str] | None:
        for peer in self._watched:
            model = name.removeprefix(f"{peer.peer}/")
            if model.strip() and model != name:
                return peer, model
        return None

    def models_of(self, peer: str) -> Sequence[str]:
        """Return the models of a peer, by their names there."""
        return self._models.get(peer, ())

    def is_qualified(self, name: str) -> bool:
        """Whether `name` is ``<peer>/<model>``."""
        return name in self._qualified

    def qualified(self, name: str) -> str | None:
        """Return ``<peer>/<model>`` for `name`."""
        found = self.table.get(name)
        return None if found is None else f"{found[0].peer}/{found[1]}"


def _optional_name(node: Node, place: Place) -> str | None:
    """Return a name; None for one that is switched off."""
    return None if node.value is None else read_text(node, place, "a name") or None


_OPTIONAL_NAME: Final[ValueType[str | None]] = ValueType(
    "a name, or nothing", or_nothing(TEXT), _optional_name, lambda name: name and escaped(name)
)


@immutable
class Profile:
    """What names mean while this profile is chosen."""

    profile: str
    description: str = key(text(strip=True), "", "A few words on it.")
    pins: Mapping[str, str | None] = key(
        named(_OPTIONAL_NAME, "a mapping of names to models"),
        NOTHING,
        "Name -> what answers to it while the profile is chosen; nothing: nobody does.",
        lacking="there are no pins; write at least one name and its model",
    )


PROFILES: Final = named(section(Profile, named_by="profile").type, "a mapping of names to profiles")


@immutable
class Selector:
    """A name that stands for one of several models."""

    selector: str
    strategy: Strategy = key(
        words(*get_args(Strategy)),
        "pin",
        "pin: the first target; warm: one that runs; spillover: the next one when one is busy.",
        lacking="there is none; write pin, warm or spillover",
    )
    targets: tuple[str, ...] = key(
        listed(NAME, "models"),
        (),
        "Models, their aliases, or those of peers, in order.",
        lacking="there are no targets; write at least one model",
    )
    spillover: int = key(
        integer(1, 2**31),
        1,
        "Requests of one target before the next one is started.",
        name="settings.spillover",
    )
    name: str = key(text(strip=True), "", "What people call it; for listings.")
    description: str = key(text(strip=True), "", "A few words on it; for listings.")
    unlisted: bool = key(BOOLEAN, False, "Left out of listings.")
    metadata: Mapping[str, Data] = key(OBJECT, NOTHING, "Shown in listings as it is.")


SELECTORS: Final = named(
    section(
        Selector,
        named_by="selector",
        within={"settings": "Settings of each strategy."},
    ).type,
    "a mapping of names to selectors",
)
