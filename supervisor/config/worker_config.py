"""A configuration -> what workers have to know of it."""

from typing import Final, TypeVar

import msgspec

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute, WorkerConfig

from ..pricing.by_pattern import Pricing
from ..pricing.price_list import PriceList
from ..text.addresses import Address, is_address
from .model_config import ModelConfig
from .names import PeerConfig
from .values import Config

T = TypeVar("T", bound=msgspec.Struct)

# What 0, for no limit, is to who needs one: nothing is waited for any longer.
_DAY_S: Final = 24 * 3600.0


def route_table(
    config: Config, generation: int = 1, fetched: PriceList | None = None
) -> WorkerConfig:
    """Return what workers have to know of `config`.

    Args:
        config: The configuration.
        generation: See `ConfigStatus`.
        fetched: The list of prices that came from the URL of `price_list`.
    """
    pricing = Pricing(config.prices, config.price_list, config.listed or fetched)
    return taken_from(
        config,
        WorkerConfig,
        generation=generation,
        models=tuple(
            _model(model, pricing.of_model(model.model, model.aliases, model.prices))
            for model in config.models.values()
        ),
        allowed_hosts=(*config.allowed_hosts, *_listened_on(config.listen)),
        peers={
            name: _peer(peer, pricing.of_peer(name, peer.models, peer.prices))
            for name, peer in config.peers.items()
        },
        peer_models={
            name: PeerModel(peer=peer.peer, model=model)
            for name, (peer, model) in config.peer_models.table.items()
        },
    )


def _model(model: ModelConfig, prices: Prices | None) -> ModelRoute:
    return taken_from(model, ModelRoute, prices=prices)


def _peer(peer: PeerConfig, prices: dict[str, Prices]) -> PeerRoute:
    return taken_from(
        peer,
        PeerRoute,
        connect_s=peer.timeouts.connect_s or _DAY_S,
        header_s=peer.timeouts.response_header_s,
        prices=prices,
    )


def taken_from(source: object, into: type[T], **own: object) -> T:
    """Make one of `into`: each field is `own`, or what `source` has under that name."""
    names = (name for name in into.__struct_fields__ if name not in own)
    return into(**{name: getattr(source, name) for name in names}, **own)


def _listened_on(listen: Address) -> tuple[str, ...]:
    """Return the name that is listened on; of an address the socket itself tells."""
    return (listen.host.lower(),) if listen.host and not is_address(listen.host) else ()
