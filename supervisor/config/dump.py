"""A configuration -> YAML text that loads to an equal one."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

from arriero.protocol.records import Prices
from arriero.protocol.worker_config import HeaderRules

from ..pricing.by_pattern import PricesByGlob, PriceSource
from ..text.addresses import Address
from ..text.command_line import join_command
from .schema.price_keys import PRICE_FIELDS
from .schema.types import Data, size_text
from .values import (
    Activity,
    Config,
    Filters,
    Logging,
    ModelConfig,
    Peer,
    Routing,
    Selector,
    Timeouts,
)
from .yaml.write import write_yaml

# What has to be escaped: all, or all but what has no value before a server starts, or stops.
_BRACE: Final = re.compile(r"\$\{")
_BRACE_BUT_PORT: Final = re.compile(r"\$\{(?!PORT\})|(?<=\$)\$\{")
_BRACE_BUT_KEY: Final = re.compile(r"\$\{(?!API_KEY\})|(?<=\$)\$\{")
_BRACE_BUT_PORT_AND_KEY: Final = re.compile(r"\$\{(?!(?:PORT|API_KEY)\})|(?<=\$)\$\{")
_BRACE_BUT_ALL: Final = re.compile(r"\$\{(?!(?:PORT|API_KEY|PID)\})|(?<=\$)\$\{")


def dump(config: Config) -> str:
    """Return `config` as YAML text, for which `parse_config(dump(config)) == config`.

    It holds what was found out, not what was written: no macros are left but ``${PORT}``,
    ``${API_KEY}`` and ``${PID}``, and what a model has from the top level stands in the model. It
    holds the secrets, too: it is for the one who owns the configuration, and not for a log.

    A configuration that uses anchors or macros to say a few megabytes many times over gives a text
    that is larger than what is read.
    """
    return write_yaml(_config(config))


def _config(config: Config) -> dict[str, object]:
    return {
        "listen": _address(config.listen),
        "workers": config.workers,
        "startPort": config.start_port,
        **_but(None, progressDelay=_duration(config.progress_delay_s)),
        "heartbeatInterval": _duration(config.heartbeat_s),
        "progressMarker": _escaped(config.marker),
        "progressMarkersOld": _texts(config.old_markers),
        "progressDetails": config.details,
        "nonstreamHold": _duration(config.nonstream_hold_s),
        "nonstreamKeepalive": "whitespace" if config.nonstream_blanks else "off",
        "upstreamIdle": _duration(config.upstream_idle_s),
        "upstreamStall": _duration(config.upstream_stall_s),
        "maxRetryWait": _duration(config.max_retry_wait_s),
        "maxBody": size_text(config.max_body_bytes),
        "bodyMemory": size_text(config.body_memory_bytes),
        "trailers": config.trailers,
        "cors": config.cors if isinstance(config.cors, bool) else _texts(config.cors),
        "allowedHosts": _texts(config.allowed_hosts),
        "publicWithoutKeys": config.public_without_keys,
        "headers": {
            "request": _header_rules(config.request_headers),
            "response": _header_rules(config.response_headers),
        },
        **_logging(config.logging),
        **_activity(config.activity),
        "includeAliasesInList": config.aliases_in_list,
        "apiKeys": _texts(config.api_keys),
        "hooks": {"on_startup": {"preload": _texts(config.preload)}},
        "upstream": {"ignorePaths": _texts(config.ignore_paths)},
        "models": {name: _model(model) for name, model in config.models.items()},
        "peers": {name: _peer(peer) for name, peer in config.peers.items()},
        "prices": _by_glob(config.prices),
        **_but(None, priceList=_price_list(config.price_list)),
        "profiles": {
            name: {
                "description": _escaped(profile.description),
                "pins": {
                    pin: None if target is None else _escaped(target)
                    for pin, target in profile.pins.items()
                },
            }
            for name, profile in config.profiles.items()
        },
        "selectors": {name: _selector(one) for name, one in config.selectors.items()},
        "routing": _routing(config.routing),
    }


def _model(model: ModelConfig) -> dict[str, object]:
    capabilities = model.capabilities
    return {
        "cmd": _BRACE_BUT_PORT_AND_KEY.sub("$${", join_command(model.command)),
        **_but("", cmdStop=_BRACE_BUT_ALL.sub("$${", join_command(model.stop_command))),
        "proxy": _with_port(model.proxy),
        "aliases": _texts(model.aliases),
        "env": [_BRACE_BUT_PORT_AND_KEY.sub("$${", f"{name}={value}") for name, value in model.env],
        **_but("", apiKey=_BRACE_BUT_KEY.sub("$${", model.api_key)),
        "checkEndpoint": "none"
        if model.check_endpoint is None
        else _with_port(model.check_endpoint),
        "ttl": int(model.ttl_s),
        **_but(
            None,
            useModelName=None if model.use_model_name is None else _escaped(model.use_model_name),
        ),
        "name": _escaped(model.name),
        "description": _escaped(model.description),
        "unlisted": model.unlisted,
        "healthCheckTimeout": int(model.health_check_timeout_s),
        "unloadTimeout": int(model.unload_timeout_s),
        "hungAfter": _duration(model.hung_after_s),
        "drainLimit": _duration(model.drain_limit_s),
        "onFailure": model.on_failure,
        "progress": model.progress,
        "strict": {"off": False, "on": True, "force": "force"}[model.strict],
        "concurrencyLimit": model.concurrency_limit,
        "metadata": _data(model.metadata),
        **_but(None, kind=model.kind, prices=model.prices and _prices(model.prices)),
        "usage": model.usage,
        "filters": _filters(model.filters),
        "timeouts": _timeouts(model.timeouts),
        "compat": {"ignoreWebsockets": model.ignore_websockets},
        "capabilities": {
            "in": list(capabilities.takes),
            "out": list(capabilities.gives),
            "tools": capabilities.tools,
            "reranker": capabilities.reranker,
            "context": capabilities.context,
        },
    }


def _peer(peer: Peer) -> dict[str, object]:
    return {
        "proxy": _escaped(peer.proxy),
        "models": _texts(peer.models),
        "apiKey": _escaped(peer.api_key),
        "kind": peer.kind,
        "usage": peer.usage,
        "prices": _by_glob(peer.prices),
        "forwardAuth": peer.forward_auth,
        "region": peer.region,
        "filters": _filters(peer.filters),
        "timeouts": _timeouts(peer.timeouts),
    }


def _header_rules(rules: HeaderRules) -> dict[str, object]:
    return {
        "set": {name: _escaped(value) for name, value in rules.set},
        "remove": _texts(rules.remove),
    }


def _by_glob(by_glob: PricesByGlob) -> dict[str, object]:
    return {glob: _prices(prices) for glob, prices in by_glob}


def _prices(prices: Prices) -> dict[str, object]:
    return _but(None, **{name: getattr(prices, field) for name, field in PRICE_FIELDS.items()})


def _price_list(source: PriceSource | None) -> dict[str, object] | None:
    if source is None:
        return None
    file, url = source.file, source.url
    return {
        **_but(None, file=file and _escaped(file), url=url and _escaped(url)),
        "provider": _escaped(source.provider),
        "markup": source.markup,
        "refresh": _duration(source.refresh_s),
    }


def _selector(selector: Selector) -> dict[str, object]:
    return {
        "strategy": selector.strategy,
        "targets": _texts(selector.targets),
        "settings": {"spillover": selector.spillover},
        "name": _escaped(selector.name),
        "description": _escaped(selector.description),
        "unlisted": selector.unlisted,
        "metadata": _data(selector.metadata),
    }


def _routing(routing: Routing) -> dict[str, object]:
    settings: dict[str, object] = {}
    if routing.groups:
        settings["groups"] = {
            group.name: {
                "members": _texts(group.members),
                "swap": group.swap,
                "exclusive": group.exclusive,
                "persistent": group.persistent,
            }
            for group in routing.groups
        }
    if routing.matrix is not None:
        settings["matrix"] = {
            "vars": {name: _escaped(model) for name, model in routing.matrix.variables.items()},
            "evict_costs": dict(routing.matrix.evict_costs),
            "sets": {name: _escaped(text) for name, text in routing.matrix.sets.items()},
        }
    return {
        "scheduler": {"use": "fifo", "settings": {"fifo": {"priority": dict(routing.priority)}}},
        "router": {"use": routing.router, "settings": settings},
    }


def _filters(filters: Filters) -> dict[str, object]:
    return {
        "stripParams": _escaped(",".join(filters.strip_params)),
        "setParams": _data(filters.set_params),
        # The only keys in which macros act.
        "setParamsByID": {
            _escaped(name): _data(params) for name, params in filters.set_params_by_id.items()
        },
    }


def _timeouts(timeouts: Timeouts) -> dict[str, int]:
    return {
        "connect": timeouts.connect_s,
        "keepalive": timeouts.keepalive_s,
        "responseHeader": timeouts.response_header_s,
        "tlsHandshake": timeouts.tls_handshake_s,
        "expectContinue": timeouts.expect_continue_s,
        "idleConn": timeouts.idle_connection_s,
    }


def _logging(logging: Logging) -> dict[str, object]:
    return {
        **_but(None, logLevel=logging.level),
        **_but("", logTimeFormat=logging.time_format),
        "logToStdout": logging.to_stdout,
        "logRequests": logging.requests,
    }


def _activity(activity: Activity) -> dict[str, object]:
    store = {} if activity.store_path is None else {"path": _escaped(activity.store_path)}
    return {
        "metricsMaxInMemory": activity.metrics_rows,
        "captureBuffer": activity.capture_mb,
        **_but({}, store=store),
        "ui": {"activity": {"session_id": _texts(activity.session_headers)}},
        "performance": {
            "disabled": not activity.sampling,
            "every": _duration(activity.sampling_s),
        },
    }


def _but(absent: object, **members: object) -> dict[str, object]:
    """Return `members` without those that are `absent`: leaving the key out is how to say so."""
    return {name: value for name, value in members.items() if value != absent}


def _address(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _duration(seconds: float | None) -> str | None:
    # 1e-09 is no duration, 0.000000001s is.
    return None if seconds is None else f"{Decimal(repr(seconds)).normalize():f}s"


def _texts(texts: Iterable[str]) -> list[str]:
    return [_escaped(text) for text in texts]


def _escaped(text: str) -> str:
    return _BRACE.sub("$${", text)


def _with_port(text: str) -> str:
    return _BRACE_BUT_PORT.sub("$${", text)


def _data(data: Data) -> object:
    match data:
        case str():
            return _escaped(data)
        case tuple():
            return [_data(item) for item in data]
        case Mapping():
            return {name: _data(value) for name, value in data.items()}
        case _:
            return data
