"""The configuration: YAML -> immutable values that cannot be wrong. Only `load_config` does I/O.

All mistakes are told at once, each with file, line, column, what was found and what would do.
"""

import difflib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from arriero.protocol.values import ModelRoute, ProgressMode, Strictness, WorkerConfig

from .commandline import split_command, without_comments
from .config_keys import MODEL_KEYS, TOP_KEYS
from .config_macros import NAME, RESERVED
from .config_reading import Place, Reading, read_mapping
from .errors import ConfigError, Problem
from .yamltree import MAX_BYTES, Node, Scalar, YamlError, parse_yaml

_PORT = "${PORT}"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; an empty host means all addresses of this machine."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of one model, with its port chosen.

    Attributes:
        command: Program and arguments.
        env: Added to the environment.
        endpoint: Base URL at which it will answer.
        health_url: What to ask until it is ready; None: it is ready as soon as it runs.
        port: The TCP port of `endpoint`, if that is on this machine.
    """

    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)  # may hold keys
    endpoint: str
    health_url: str | None
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model. ``${PORT}`` is still in `command`, `proxy` and `env`: see `launch`.

    Attributes:
        model: Its id.
        command: Program and arguments.
        proxy: Base URL.
        aliases: Other names.
        env: Added to the environment.
        check_endpoint: Path that answers 2xx when it is ready; None: ready as soon as it runs.
        ttl_s: Unloaded after so many idle seconds; 0 never.
        use_model_name: Put into the request's `model` field; None leaves it.
        health_check_timeout_s: Longest time from spawn to ready.
        unload_timeout_s: Time between SIGTERM and SIGKILL.
        progress: How waiting clients are told, unless a request says otherwise.
        strict: See the wire format.
        fingerprint: Hash of what determines how it loads.
    """

    model: str
    command: tuple[str, ...] = field(repr=False)  # may hold keys, as `env` may
    proxy: str
    aliases: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    check_endpoint: str | None
    ttl_s: float
    use_model_name: str | None
    health_check_timeout_s: float
    unload_timeout_s: float
    progress: ProgressMode
    strict: Strictness
    fingerprint: str

    @property
    def wants_port(self) -> bool:
        """Whether a free port has to be chosen for a start."""
        return any(_PORT in word for word in (*self.command, *(value for _, value in self.env)))

    def launch(self, port: int | None) -> Launch:
        """Fill `port` in; None when `wants_port` is false."""

        def fill(text: str) -> str:
            return text.replace(_PORT, str(port))

        endpoint = fill(self.proxy).rstrip("/")
        parts = urlsplit(endpoint)
        check = self.check_endpoint
        return Launch(
            command=tuple(fill(word) for word in self.command),
            env=tuple((name, fill(value)) for name, value in self.env),
            endpoint=endpoint,
            health_url=None if check is None else f"{endpoint}/{check.lstrip('/')}",
            port=parts.port if parts.hostname in _LOOPBACK else None,
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole configuration.

    Attributes:
        models: By id, in the order of the file.
        listen: Where clients are answered.
        workers: Number of worker processes.
        start_port: First port for ``${PORT}``.
        progress_delay_s: Silence before progress; None: the mode's own.
        heartbeat_s: Longest silence of a stream that waits.
        marker: What each line of progress begins with.
        details: Whether numbers for programs are added.
    """

    models: Mapping[str, ModelConfig]
    listen: Address
    workers: int
    start_port: int
    progress_delay_s: float | None
    heartbeat_s: float
    marker: str
    details: bool

    @cached_property
    def _names(self) -> dict[str, ModelConfig]:
        aliases = {alias: model for model in self.models.values() for alias in model.aliases}
        return aliases | dict(self.models)

    def resolve(self, name: str) -> ModelConfig | None:
        """Return the model of that id or alias."""
        return self._names.get(name)

    def suggest(self, name: str) -> tuple[str, ...]:
        """Return names that look like `name`, the best first."""
        return tuple(difflib.get_close_matches(name[:200], self._names, 3))

    def route_table(self, generation: int = 1) -> WorkerConfig:
        """Return what workers have to know of this."""
        return WorkerConfig(
            generation=generation,
            models=tuple(
                ModelRoute(
                    model=model.model,
                    aliases=model.aliases,
                    send_as=model.use_model_name,
                    progress=model.progress,
                    strict=model.strict,
                    ttl_s=model.ttl_s,
                )
                for model in self.models.values()
            ),
            progress_delay_s=self.progress_delay_s,
            heartbeat_s=self.heartbeat_s,
            marker=self.marker,
            details=self.details,
        )


def load_config(path: Path, *, environ: Mapping[str, str]) -> Config:
    """Read the file at `path`.

    Raises:
        ConfigError: It cannot be read, or has mistakes; holds all of them.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError(
            [Problem(str(path), 0, 0, "", f"cannot read it: {exc.strerror}")]
        ) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(
            [Problem(str(path), 0, 0, "", "cannot read it: it is not UTF-8")]
        ) from exc
    return parse_config(text, str(path), environ=environ)


def parse_config(text: str, source: str = "config", *, environ: Mapping[str, str]) -> Config:
    """Read a configuration out of `text`.

    Raises:
        ConfigError: There are mistakes; holds all of them. Nothing else is raised, whatever the
            text is.
    """
    try:
        root = parse_yaml(text)
    except YamlError as exc:
        raise ConfigError([Problem(source, exc.line, exc.column, "", str(exc))]) from exc
    reading = Reading(source, environ)
    config = _read_config(root or Node({}, 1, 1), Place("", reading, {}))
    if reading.problems:
        raise ConfigError(reading.problems)
    return config


def parse_listen(text: str) -> Address:
    """Read ``host:port``, ``:port`` or ``[v6]:port``.

    Raises:
        ConfigError: It is none of these.
    """
    address = _address(text)
    if address is None:
        message = f"found {text[:60]!r}; write host:port, such as 127.0.0.1:8080"
        raise ConfigError([Problem("--listen", 0, 0, "", message)])
    return address


def _address(text: str) -> Address | None:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return Address(host, int(port))


def _read_config(root: Node, place: Place) -> Config:
    top = _macros_of(root, place)
    found = place.with_macros(top).attempt(_top_keys, root)
    if found is None:
        raise ConfigError(place.reading.problems)
    listen = _address(found["listen"])
    if listen is None:
        where = root.value["listen"][1] if isinstance(root.value, dict) else None
        message = f"found {found['listen'][:60]!r}; write host:port, such as 127.0.0.1:8080"
        place.under("listen").note(where, message)
    models = _read_models(found, place.under("models"), top)
    if not models and not place.reading.problems:
        place.note(None, "there are no models; write at least one under 'models:'")
    return Config(
        models=MappingProxyType(models),
        listen=listen or Address("", 0),
        workers=found["workers"] or len(os.sched_getaffinity(0)),
        start_port=found["startPort"],
        progress_delay_s=found["progressDelay"],
        heartbeat_s=found["heartbeatInterval"],
        marker=found["progressMarker"],
        details=found["progressDetails"],
    )


def _macros_of(owner: Node, place: Place) -> dict[str, Scalar]:
    """Return the macros that hold under `owner`: those of `place`, and its own `macros`.

    Each may use those before it. One with the name of an outer one takes its place.
    """
    macros = dict(place.macros)
    node = (
        owner.value["macros"][1]
        if isinstance(owner.value, dict) and "macros" in owner.value
        else None
    )
    if node is None or node.value is None:
        return macros
    where = place.under("macros")
    if not isinstance(node.value, dict):
        where.note(node, "write a mapping of names to values")
        return macros
    for name, key, value in node.items():
        at = where.under(name)
        if name in RESERVED:
            at.note(key, "this name is taken: it is filled in by arriero")
        elif not NAME.fullmatch(name):
            at.note(key, "write a name of 1 to 63 letters, digits, _ or -")
        elif isinstance(value.value, list | dict) or value.value is None:
            at.note(value, "write a text, a number or a truth value")
        else:
            expanded = at.with_macros(macros).attempt(_scalar, value)
            macros[name] = "" if expanded is None else expanded
    return macros


def _read_models(
    top: dict[str, Any], place: Place, macros: dict[str, Scalar]
) -> dict[str, ModelConfig]:
    node: Node | None = top["models"]
    models: dict[str, ModelConfig] = {}
    if node is None:
        return models
    if not isinstance(node.value, dict):
        place.note(node, "write a mapping of names to models")
        return models
    owners = dict.fromkeys(node.value, "")
    for name, key, value in node.items():
        at = place.under(name).with_macros(macros | {"MODEL_ID": name})
        model = _read_model(name, value, at.with_macros(_macros_of(value, at)), top)
        models[name] = model
        if not name or not name.isprintable() or len(name) > 200:
            at.note(key, "a model's name is 1 to 200 printable characters")
        for alias in dict.fromkeys(model.aliases):
            owner = owners.get(alias)
            if owner is None and model.aliases.count(alias) == 1:
                owners[alias] = name
            else:
                told = (
                    "is the name of a model"
                    if owner == ""
                    else f"is an alias of {owner or name!r} already"
                )
                at.under("aliases").note(_member(value, "aliases"), f"{alias!r} {told}")
    return models


def _member(node: Node, name: str) -> Node | None:
    if isinstance(node.value, dict) and name in node.value:
        return node.value[name][1]
    return None


def _read_model(name: str, node: Node, place: Place, top: dict[str, Any]) -> ModelConfig:
    mistakes = len(place.reading.problems)
    found = place.attempt(_model_keys, node) or {key.name: key.default for key in MODEL_KEYS}
    command = split_command(found["cmd"])
    proxy: str = found["proxy"]
    cmd_node = _member(node, "cmd")
    if not command and len(place.reading.problems) == mistakes:
        place.under("cmd").note(cmd_node or node, "there is no command; write how to start it")
    for key, used in (("cmd", without_comments(found["cmd"])), ("proxy", proxy)):
        if "${PID}" in used:
            place.under(key).note(_member(node, key), "${PID} has a meaning in cmdStop only")
    config = ModelConfig(
        model=name,
        command=command,
        proxy=proxy,
        aliases=found["aliases"],
        env=found["env"],
        check_endpoint=None if found["checkEndpoint"].strip() == "none" else found["checkEndpoint"],
        ttl_s=float(top["globalTTL"] if found["ttl"] == -1 else found["ttl"]),
        use_model_name=found["useModelName"] or None,
        health_check_timeout_s=float(_first(found, top, "healthCheckTimeout")),
        unload_timeout_s=float(_first(found, top, "unloadTimeout")),
        progress=_mode(found, top),
        strict=found["strict"] or top["strict"],
        fingerprint=hashlib.sha256(repr((command, proxy, found["env"])).encode()).hexdigest(),
    )
    _check_proxy(config, _member(node, "proxy") or cmd_node, place.under("proxy"))
    return config


def _check_proxy(config: ModelConfig, node: Node | None, place: Place) -> None:
    if _PORT in config.proxy and config.command and not config.wants_port:
        place.note(node, "${PORT} is used here, but not in cmd: the server would listen elsewhere")
    try:
        parts = urlsplit(config.proxy.replace(_PORT, "1"))
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        place.note(node, f"found {config.proxy[:60]!r}; write a URL, such as http://127.0.0.1:9000")


def _scalar(node: Node, place: Place) -> Scalar:
    return place.scalar(node, "a text, a number or a truth value")


def _top_keys(node: Node, place: Place) -> dict[str, Any]:
    return read_mapping(node, place, TOP_KEYS)


def _model_keys(node: Node, place: Place) -> dict[str, Any]:
    return read_mapping(node, place, MODEL_KEYS)


def _first(found: dict[str, Any], top: dict[str, Any], key: str) -> int:
    value: int = top[key] if found[key] is None else found[key]
    return value


def _mode(found: dict[str, Any], top: dict[str, Any]) -> ProgressMode:
    """Choose how waiting clients are told. Source: wire format, section 1."""
    said: ProgressMode | None = found["progress"] or top["progress"]
    if said is not None:
        return said
    for state in (found["sendLoadingState"], top["sendLoadingState"]):
        if state is not None:
            return "reasoning" if state else "off"
    return "heartbeat"
