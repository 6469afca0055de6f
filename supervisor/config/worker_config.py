"""A configuration -> what workers have to know of it."""

from typing import Final

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import ModelRoute, PeerModel, PeerRoute, WorkerConfig

from ..pricing.by_pattern import Pricing
from ..pricing.price_list import PriceList
from ..text.addresses import Address, is_address
from .values import Config, ModelConfig, Peer

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
    return WorkerConfig(
        generation=generation,
        models=tuple(
            _model(model, pricing.of_model(model.model, model.aliases, model.prices))
            for model in config.models.values()
        ),
        progress_delay_s=config.progress_delay_s,
        heartbeat_s=config.heartbeat_s,
        marker=config.marker,
        details=config.details,
        api_keys=config.api_keys,
        old_markers=config.old_markers,
        nonstream_hold_s=config.nonstream_hold_s,
        nonstream_blanks=config.nonstream_blanks,
        upstream_idle_s=config.upstream_idle_s,
        upstream_stall_s=config.upstream_stall_s,
        max_retry_wait_s=config.max_retry_wait_s,
        max_body_bytes=config.max_body_bytes,
        body_memory_bytes=config.body_memory_bytes,
        trailers=config.trailers,
        cors=config.cors,
        allowed_hosts=(*config.allowed_hosts, *_listened_on(config.listen)),
        request_headers=config.request_headers,
        response_headers=config.response_headers,
        peers={
            name: _peer(peer, pricing.of_peer(name, peer.models, peer.prices))
            for name, peer in config.peers.items()
        },
        peer_models={
            name: PeerModel(peer=peer.peer, model=model)
            for name, (peer, model) in config.peer_models.table.items()
        },
    )


def _listened_on(listen: Address) -> tuple[str, ...]:
    """Return the name that is listened on; of an address the socket itself tells."""
    return (listen.host.lower(),) if listen.host and not is_address(listen.host) else ()


def _model(model: ModelConfig, prices: Prices | None) -> ModelRoute:
    return ModelRoute(
        model=model.model,
        aliases=model.aliases,
        send_as=model.use_model_name,
        progress=model.progress,
        strict=model.strict,
        ttl_s=model.ttl_s,
        name=model.name,
        description=model.description,
        unlisted=model.unlisted,
        kind=model.kind,
        usage=model.usage,
        prices=prices,
    )


def _peer(peer: Peer, prices: dict[str, Prices]) -> PeerRoute:
    return PeerRoute(
        peer=peer.peer,
        url=peer.proxy,
        kind=peer.kind,
        usage=peer.usage,
        api_key=peer.api_key,
        region=peer.region,
        forward_auth=peer.forward_auth,
        connect_s=float(peer.timeouts.connect_s) or _DAY_S,
        header_s=float(peer.timeouts.response_header_s),
        prices=prices,
    )
