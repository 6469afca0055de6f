"""A configuration -> what workers have to know of it."""

import shlex
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import (
    NO_METADATA,
    USUAL_TIMEOUTS,
    BodyFilters,
    BodyRule,
    ClientKey,
    ModelAbilities,
    ModelRoute,
    PeerModel,
    PeerRoute,
    ProfileRoute,
    SeenFacts,
    SelectorRoute,
    WorkerConfig,
)

from ..pricing.by_pattern import Pricing
from ..pricing.price_list import PriceList
from ..text.addresses import Address, UnixAddress, is_address
from ..text.redact import masked_command
from .model_config import PORT, Capabilities, Filters, ModelConfig, mode_of
from .names import PeerConfig, PeerModels, Selector
from .schema.types import Data
from .values import Config

T = TypeVar("T", bound=msgspec.Struct)


def route_table(
    config: Config,
    generation: int = 1,
    fetched: PriceList | None = None,
    profile: str | None = None,
    seen: Callable[[ModelConfig], SeenFacts | None] = lambda model: None,
    peer_models: PeerModels | None = None,
) -> WorkerConfig:
    """Return what workers have to know of `config`.

    Args:
        config: The configuration.
        generation: See `ConfigStatus`.
        fetched: The list of prices that came from the URL of `price_list`.
        profile: The one that is chosen.
        seen: Gives what was seen of a model.
        peer_models: The names of the models of peers; None: those that are written.
    """
    names = config.peer_models if peer_models is None else peer_models
    pricing = Pricing(config.prices, config.price_list, config.listed or fetched)
    return taken_from(
        config,
        WorkerConfig,
        generation=generation,
        models=tuple(
            _model(
                model,
                pricing.of_model(model.model, model.aliases, model.prices),
                config,
                seen(model),
            )
            for model in (*config.models.values(), *config.remotes.values())
        ),
        supervisor_grace_s=config.supervisor_grace_s if config.adopt else 0.0,
        allowed_hosts=(
            *config.allowed_hosts,
            *_listened_on(config.listen),
            *_listened_on(config.ollama_listen),
            *_listened_on(config.admin_listen),
        ),
        client_keys=tuple(
            taken_from(key, ClientKey, is_limited=key.is_limited)
            for key in config.client_keys.values()
        ),
        peers={
            name: _peer(peer, pricing.of_peer(name, names.models_of(name), peer.prices), config)
            for name, peer in config.peers.items()
        },
        selectors=tuple(_selector(selector) for selector in config.selectors.values()),
        profiles=tuple(
            ProfileRoute(
                profile=name,
                description=profile.description,
                pins={pin: target or None for pin, target in profile.pins.items()},
            )
            for name, profile in config.profiles.items()
        ),
        profile=profile if profile in config.profiles else None,
        session_headers=config.activity.session_headers,
        log_requests=config.logging.requests,
        combined_log=config.logging.to_stdout,
        capture_body_bytes=config.activity.capture_body_bytes if config.activity.capture_mb else 0,
        rules=tuple(
            taken_from(
                rule,
                BodyRule,
                body=_texts(rule.body),
                default=_texts(rule.default),
                set=_texts(rule.set),
                move=dict(rule.move),
            )
            for rule in config.rules
        ),
        peer_models={
            name: PeerModel(peer=peer.peer, model=model)
            for name, (peer, model) in names.table.items()
        },
        places=dict(names.places),
    )


def _model(
    model: ModelConfig, prices: Prices | None, config: Config, last_seen: SeenFacts | None
) -> ModelRoute:
    return taken_from(
        model,
        ModelRoute,
        prices=prices,
        last_seen=last_seen,
        remote=_remote(model, config) if model.is_remote else None,
        filters=_filters(model.filters),
        command=_shown(model.command),
        metadata=_as_json(model.metadata) if model.metadata else NO_METADATA,
        capabilities=_abilities(model.capabilities),
        # that one, which is not said to the workers for each of thousands of models
        timeouts=USUAL_TIMEOUTS if model.timeouts == USUAL_TIMEOUTS else model.timeouts,
    )


def _remote(model: ModelConfig, config: Config) -> PeerRoute:
    """Return where a model is that is simply there; clients' keys go on as with models here."""
    return PeerRoute(
        peer=model.model,
        url=model.proxy,
        kind=model.kind or "openai",
        usage=model.usage,
        api_key=model.api_key,
        forward_auth=not config.asks_for_keys,
        timeouts=model.timeouts,
    )


def _abilities(capabilities: Capabilities) -> ModelAbilities:
    return ModelAbilities(
        takes=capabilities.takes,
        gives=capabilities.gives,
        tools=capabilities.tools,
        reranker=capabilities.reranker,
        context=capabilities.context,
    )


@lru_cache(4096)
def _shown(command: tuple[str, ...]) -> str:
    # a port needs no quotes
    return shlex.join(masked_command(command)).replace(f"'{PORT}'", PORT)


def _selector(selector: Selector) -> SelectorRoute:
    return taken_from(selector, SelectorRoute, metadata=_as_json(selector.metadata))


def _filters(filters: Filters) -> BodyFilters | None:
    found = BodyFilters(
        strip_params=filters.strip_params,
        set_params=_texts(filters.set_params),
        set_params_by_id={
            name: _texts(params) for name, params in filters.set_params_by_id.items()
        },
    )
    return None if found == BodyFilters() else found


def _texts(params: Mapping[str, Data]) -> dict[str, msgspec.Raw]:
    return {name: _as_json(value) for name, value in params.items()}


def _as_json(value: Data) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value, enc_hook=dict))  # of a read-only mapping


def _peer(peer: PeerConfig, prices: dict[str, Prices], config: Config) -> PeerRoute:
    return taken_from(
        peer,
        PeerRoute,
        filters=_filters(peer.filters),
        prices=prices,
        wake_s=peer.wake.limit_s if peer.wake.mac else 0.0,
        progress=config.progress or mode_of(config.send_loading_state),
        strict=config.strict,
    )


def taken_from(source: object, into: type[T], **own: object) -> T:
    """Make one of `into`: each field is `own`, or what `source` has under that name."""
    names = (name for name in into.__struct_fields__ if name not in own)
    return into(**{name: getattr(source, name) for name in names}, **own)


def _listened_on(listen: Address | UnixAddress | None) -> tuple[str, ...]:
    """Return the name that is listened on; of an address the socket itself tells."""
    if not isinstance(listen, Address) or not listen.host or is_address(listen.host):
        return ()
    return (listen.host.lower(),)
