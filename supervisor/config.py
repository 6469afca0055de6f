"""The configuration: YAML -> immutable values that cannot be wrong. Only `load_config` does I/O.

All mistakes are told at once, each with file, line, column, what was found and what would do.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from arriero.protocol.values import ProgressMode

from .addresses import Address, parse_address
from .config_keys import MAX_NAME, MODEL_KEYS, TOP_KEYS, is_name
from .config_macros import (
    NAME,
    RESERVED,
    Macro,
    MacroError,
    Value,
    check_declaration,
    overlay,
)
from .config_reading import Enough, Place, Reading, read_mapping
from .config_values import PORT, Config, Launch, ModelConfig
from .errors import ConfigError, Problem
from .yamltree import MAX_BYTES, Node, YamlError, parse_yaml

__all__ = [
    "Address",
    "Config",
    "Launch",
    "ModelConfig",
    "load_config",
    "parse_config",
    "parse_listen",
    "resolve_mode",
]

# llama-swap's time for a process to end, where it is written as 0.
_UNLOAD_TIMEOUT_S = 10


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
    try:
        config = _read_config(root or Node({}, 1, 1), Place("", reading, ()))
    except Enough:
        config = None
    if reading.problems or config is None:
        raise ConfigError(reading.problems)
    return config


def parse_listen(text: str) -> Address:
    """Read ``host:port``, ``:port`` or ``[v6]:port``.

    Raises:
        ConfigError: It is none of these.
    """
    address = parse_address(text)
    if address is None:
        message = f"found {text[:60]!r}; write host:port, such as 127.0.0.1:8080"
        raise ConfigError([Problem("--listen", 0, 0, "", message)])
    return address


def resolve_mode(
    progress: ProgressMode | None,
    global_progress: ProgressMode | None,
    loading_state: bool | None,
    global_loading_state: bool | None,
) -> ProgressMode:
    """Choose how waiting clients are told, unless a request says otherwise.

    `strict` is not looked at: it depends on the request how far it reaches (worker, `modes`).

    Source: wire format, section 1.
    """
    said = progress or global_progress
    if said is not None:
        return said
    state = global_loading_state if loading_state is None else loading_state
    if state is None:
        return "heartbeat"
    return "reasoning" if state else "off"


def _read_config(root: Node, place: Place) -> Config:
    top = _macros_of(root, place)
    found = place.with_macros(top).attempt(_top_keys, root)
    if found is None:
        raise ConfigError(place.reading.problems)
    models = _read_models(found, place.under("models"), top)
    if not models and not place.reading.problems:
        place.note(None, "there are no models; write at least one under 'models:'")
    return Config(
        models=MappingProxyType(models),
        listen=found["listen"],
        workers=found["workers"] or len(os.sched_getaffinity(0)),
        start_port=found["startPort"],
        progress_delay_s=found["progressDelay"],
        heartbeat_s=found["heartbeatInterval"],
        marker=found["progressMarker"],
        details=found["progressDetails"],
    )


def _macros_of(owner: Node, place: Place) -> tuple[Macro, ...]:
    """Return the macros that hold under `owner`: those of `place`, and its own `macros`."""
    node = owner.member("macros")
    if node is None or node.value is None:
        return place.macros
    where = place.under("macros")
    if not isinstance(node.value, dict):
        where.note(node, "write a mapping of names to values")
        return place.macros
    own: list[Macro] = []
    for name, key, value in node.items():
        at = where.under(name)
        if name in RESERVED:
            at.note(key, "this name is taken: it is filled in by arriero")
        elif not NAME.fullmatch(name):
            at.note(key, "write a name of 1 to 63 letters, digits, _ or -")
        elif isinstance(value.value, list | dict) or value.value is None:
            at.note(value, "write a text, a number or a truth value")
        else:
            own.append(Macro.declared(name, value))
    return _checked(overlay(place.macros, own), {macro.name for macro in own}, node, where)


def _checked(
    macros: tuple[Macro, ...], own: set[str], node: Node, place: Place
) -> tuple[Macro, ...]:
    """Return `macros` with those of `own` that use what there is not marked as broken."""
    checked: list[Macro] = []
    before: set[str] = set()
    for macro in macros:
        value = node.member(macro.name) if macro.name in own else None
        good = macro
        if value is not None:
            try:
                check_declaration(macro.name, value, before, place.reading.environ)
            except MacroError as exc:
                place.under(macro.name).note(value, str(exc))
                good = Macro(macro.name, None)
        checked.append(good)
        before.add(macro.name)
    return tuple(checked)


def _read_models(
    top: dict[str, Any], place: Place, macros: tuple[Macro, ...]
) -> dict[str, ModelConfig]:
    node: Node | None = top["models"]
    models: dict[str, ModelConfig] = {}
    if node is None:
        return models
    if not isinstance(node.value, dict):
        place.note(node, "write a mapping of names to models")
        return models
    owners: dict[str, str] = {}
    for name, key, value in node.items():
        at = place.under(name)
        if not is_name(name):
            at.note(key, f"a model's name is 1 to {MAX_NAME} printable characters")
        inner = at.with_macros((Macro("MODEL_ID", Value(name, name)), *macros))
        found = _read_keys(value, inner.with_macros(_macros_of(value, inner)))
        aliases = []
        for alias, item in found["aliases"]:
            if alias == name:
                continue  # it has that name already
            if alias in node.value:
                at.under("aliases").note(item, f"{alias!r} is the name of a model")
            elif alias in owners:
                at.under("aliases").note(
                    item, f"{alias!r} is an alias of {owners[alias]!r} already"
                )
            else:
                owners[alias] = name
                aliases.append(alias)
        models[name] = _make_model(name, found, top, tuple(aliases))
    return models


def _read_keys(node: Node, place: Place) -> dict[str, Any]:
    """Return the values of a model's keys; what is wrong with them together is noted."""
    found = place.attempt(_model_keys, node)
    if found is None:
        return {key.name: key.default for key in MODEL_KEYS}
    cmd, proxy = node.member("cmd"), node.member("proxy")
    if cmd is None or cmd.value is None:
        what = "there is no command"
        if proxy is not None and proxy.value is not None:
            what = "there is a proxy and no command, but arriero starts what it answers for"
        place.under("cmd").note(cmd or node, f"{what}; write how to start it")
    elif found["cmd"] and PORT in found["proxy"] and not _uses_port(found):
        place.under("proxy").note(
            cmd if proxy is None or proxy.value is None else proxy,
            "${PORT} is used here, but not in cmd: the server would listen elsewhere",
        )
    return found


def _uses_port(found: dict[str, Any]) -> bool:
    """Whether the server is told its port, in its command or its environment."""
    values = [value for (_, value), _ in found["env"]]
    return any(PORT in word for word in (*found["cmd"], *values))


def _make_model(
    model: str, found: dict[str, Any], top: dict[str, Any], aliases: tuple[str, ...]
) -> ModelConfig:
    command, proxy = found["cmd"], found["proxy"]
    env = tuple(variable for variable, _ in found["env"])
    check = found["checkEndpoint"]
    return ModelConfig(
        model=model,
        command=command,
        proxy=proxy,
        aliases=aliases,
        name=found["name"],
        description=found["description"],
        unlisted=found["unlisted"],
        env=env,
        check_endpoint=None if check == "none" else check,
        ttl_s=float(top["globalTTL"] if found["ttl"] == -1 else found["ttl"]),
        use_model_name=found["useModelName"] or None,
        health_check_timeout_s=float(found["healthCheckTimeout"] or top["healthCheckTimeout"]),
        unload_timeout_s=float(found["unloadTimeout"] or top["unloadTimeout"] or _UNLOAD_TIMEOUT_S),
        progress=resolve_mode(
            found["progress"], top["progress"], found["sendLoadingState"], top["sendLoadingState"]
        ),
        strict=found["strict"] or top["strict"],
        fingerprint=hashlib.sha256(repr((command, proxy, env)).encode()).hexdigest(),
    )


def _top_keys(node: Node, place: Place) -> dict[str, Any]:
    return read_mapping(node, place, TOP_KEYS)


def _model_keys(node: Node, place: Place) -> dict[str, Any]:
    return read_mapping(node, place, MODEL_KEYS)
