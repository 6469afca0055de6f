"""Macros and models: a tree -> `ModelConfig`, mistakes noted."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from arriero.protocol.worker_config import ProgressMode

from ..llamacpp.command import server_options
from .schema.fault_keys import MODEL_FAULT_KEYS
from .schema.macros import (
    NAME,
    PER_START,
    RESERVED,
    Macro,
    MacroError,
    Value,
    check_declaration,
    overlay,
)
from .schema.model_keys import MAX_NAME, MODEL_KEYS, PROTECTED, is_name
from .schema.reader import Keys, Place, read_mapping
from .schema.types import Data
from .values import (
    PORT,
    Capabilities,
    Filters,
    ModelConfig,
    Timeouts,
    frozen,
)
from .yaml.tree import Node

# llama-swap's time for a process to end, where it is written as 0.
_UNLOAD_TIMEOUT_S: Final = 10

# llama-swap's least time to get ready, where the global key says less.
_LEAST_HEALTH_CHECK_S: Final = 15

# llama-swap's special case: pages of ComfyUI open many requests and a web socket at once.
_COMFYUI: Final = "comfyui_auto"
_COMFYUI_LIMIT: Final = 50

_LAST_PORT: Final = 65535
_LAUNCH_KEYS: Final = tuple(key for key in MODEL_KEYS if key.name in {"cmd", "env"})
_FAULT_KEYS: Final = tuple(key.name for key in MODEL_FAULT_KEYS)
_MODEL_KEYS_READY: Final = Keys(MODEL_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Globals:
    """What models get from the top level.

    Attributes:
        found: Values of the top-level keys.
        macros: The global ones.
    """

    found: Mapping[str, Any]
    macros: tuple[Macro, ...]


def macros_of(owner: Node, place: Place) -> tuple[Macro, ...]:
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
            continue
        macro = Macro(name, None)
        if not NAME.fullmatch(name):
            at.note(key, "write a name of 1 to 63 letters, digits, _ or -")
        elif isinstance(value.value, list | dict) or value.value is None:
            at.note(value, "write a text, a number or a truth value")
        else:
            macro = Macro.declared(name, value)
        own.append(macro)
    return _checked(overlay(place.macros, own), {macro.name for macro in own}, node, where)


def _checked(
    macros: tuple[Macro, ...], own: set[str], node: Node, place: Place
) -> tuple[Macro, ...]:
    """Return `macros` with those of `own` that use what there is not marked as broken."""
    checked: list[Macro] = []
    before = {PER_START} - {macro.name for macro in macros}
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


def read_models(node: Node | None, place: Place, given: Globals) -> dict[str, ModelConfig]:
    """Return the models under `node`, in the order of the file; mistakes are noted.

    As in llama-swap each model that uses ``${PORT}`` gets the next number, by the order of ids.
    Here that is the port that is tried first when the model starts.
    """
    if node is None:
        return {}
    if not isinstance(node.value, dict):
        place.note(node, "write a mapping of names to models")
        return {}
    drafts: dict[str, _Draft] = {}
    ports = 0
    for name in sorted(node.value):
        key, value = node.value[name]
        at = place.under(name)
        if not is_name(name):
            at.note(key, f"a model's name is 1 to {MAX_NAME} printable characters")
        elif "${" in name:
            at.note(key, "macros do not act in the name of a model; write the name itself")
        at = at.with_macros((Macro("MODEL_ID", Value(name, name)), *given.macros))
        draft = drafts[name] = _Draft(name, value, at.with_macros(macros_of(value, at)))
        if draft.uses_port:
            span = _LAST_PORT + 1 - given.found["startPort"]
            draft.port = given.found["startPort"] + ports % span
            ports += 1
    owners: dict[str, str] = {}
    models = {}
    for name in node.value:
        draft = drafts[name]
        found = draft.read()
        aliases = _aliases(draft, found, node, owners)
        models[name] = _make(draft, found, given.found, aliases)
    return models


class _Draft:
    """A model that is being read.

    Attributes:
        model: Its id.
        node, place: Where it stands, and what macros hold there.
        port: Its number, if it uses ``${PORT}``.
        uses_port: Whether its server is told its port, in its command or its environment.
    """

    __slots__ = ("_launch", "model", "node", "place", "port", "uses_port")

    def __init__(self, model: str, node: Node, place: Place) -> None:
        self.model = model
        self.node = node
        self.place = place
        self.port: int | None = None
        # Only these two, to know whether ${PORT} means anything in the others.
        self._launch: dict[str, Any] = {}
        is_broken = False
        for key in _LAUNCH_KEYS:
            value = node.member(key.name)
            read = key.default
            if value is not None and value.value is not None:
                read = place.under(key.name).attempt(key.kind.read, value)
                is_broken = is_broken or read is None
            self._launch[key.name] = key.default if read is None else read
        values = [value for (_, value), _ in self._launch["env"]]
        used = any(PORT in word for word in (*self._launch["cmd"], *values))
        self.uses_port = used or is_broken  # what is broken may use it: one mistake is told once

    def read(self) -> dict[str, Any]:
        """Return the values of its keys; what is wrong with them together is noted."""
        place = self.place
        if self.port is not None:
            # First: macros are walked from the last to the first, and others may bring it in.
            port = Macro("PORT", Value(str(self.port), self.port))
            place = place.with_macros((port, *place.macros))
        found = place.attempt(self._rest, self.node)
        if found is None:
            return {key.name: key.default for key in MODEL_KEYS}
        found |= self._launch
        cmd, proxy = self.node.member("cmd"), self.node.member("proxy")
        if cmd is None or cmd.value is None:
            what = "there is no command"
            if proxy is not None and proxy.value is not None:
                what = "there is a proxy and no command, but arriero starts what it answers for"
            place.under("cmd").note(cmd or self.node, f"{what}; write how to start it")
            return found
        if proxy is None or proxy.value is None:
            found["proxy"] = self._where_it_listens(found["proxy"])
        if not self.uses_port:
            for name in ("proxy", "checkEndpoint", "cmdStop"):
                words = found[name] if name == "cmdStop" else (found[name],)
                if any(PORT in word for word in words):
                    written = self.node.member(name)
                    if written is None or written.value is None:  # it is the default of proxy
                        place.under("cmd").note(
                            cmd,
                            "the server is not told where to listen; write --port ${PORT} here, "
                            "or its own port into proxy",
                        )
                        continue
                    place.under(name).note(
                        written,
                        "${PORT} is used here, but not in cmd: the server would listen elsewhere",
                    )
        return found

    def _where_it_listens(self, default: str) -> str:
        """Return where a server is asked of which that is not written: mostly the default."""
        env = {name: value for (name, value), _ in self._launch["env"]}
        options = server_options(self._launch["cmd"], env)
        path = None if options is None else options.socket
        return default if path is None else f"unix:{path}"

    def _rest(self, node: Node, place: Place) -> dict[str, Any]:
        skip = frozenset(key.name for key in _LAUNCH_KEYS)
        return read_mapping(node, place, _MODEL_KEYS_READY, skip)


def _aliases(
    draft: _Draft, found: dict[str, Any], models: Node, owners: dict[str, str]
) -> tuple[str, ...]:
    """Return the other names of a model; names that are taken are noted."""
    assert isinstance(models.value, dict)
    place = draft.place.under("aliases")
    names: dict[str, None] = {}
    for alias, item in found["aliases"]:
        if alias == draft.model:
            continue  # it has that name already
        if alias in models.value:
            place.warn(item, f"{alias!r} is the name of a model, which answers to it; remove this")
        elif alias in owners:
            place.note(item, f"{alias!r} is an alias of {owners[alias]!r} already")
        else:
            owners[alias] = draft.model
            names[alias] = None
    where = draft.place.under("filters").under("setParamsByID")
    node = (draft.node.member("filters") or draft.node).member("setParamsByID")
    for alias in found["filters"]["setParamsByID"] or ():
        at = where.under(alias)
        owner = owners.get(alias)
        if alias == draft.model or owner == draft.model:
            continue
        if alias in models.value:
            at.note(node, f"{alias!r} is the name of another model; a name has one meaning")
        elif owner is not None:
            at.note(node, f"{alias!r} is an alias of {owner!r} already; a name has one meaning")
        elif not is_name(alias):
            at.note(node, f"an alias is 1 to {MAX_NAME} printable characters")
        else:
            owners[alias] = draft.model
            names[alias] = None
    return tuple(names)


def _make(
    draft: _Draft, found: dict[str, Any], top: Mapping[str, Any], aliases: tuple[str, ...]
) -> ModelConfig:
    command, proxy = found["cmd"], found["proxy"]
    env = tuple(variable for variable, _ in found["env"])
    check = found["checkEndpoint"]
    is_comfyui = draft.model == _COMFYUI
    ready_within = found["healthCheckTimeout"] or max(
        _LEAST_HEALTH_CHECK_S, top["healthCheckTimeout"]
    )
    limit = max(0, found["concurrencyLimit"])
    faults = {key: found[key] if found[key] is not None else top[key] for key in _FAULT_KEYS}
    return ModelConfig(
        model=draft.model,
        command=command,
        stop_command=found["cmdStop"],
        proxy=proxy,
        port=draft.port,
        aliases=aliases,
        name=found["name"],
        description=found["description"],
        unlisted=found["unlisted"],
        env=env,
        check_endpoint=None if check == "none" else check,
        ttl_s=float(top["globalTTL"] if found["ttl"] == -1 else found["ttl"]),
        use_model_name=found["useModelName"] or None,
        health_check_timeout_s=float(ready_within),
        unload_timeout_s=float(found["unloadTimeout"] or top["unloadTimeout"] or _UNLOAD_TIMEOUT_S),
        hung_after_s=faults["hungAfter"],
        drain_limit_s=faults["drainLimit"],
        on_failure=faults["onFailure"],
        progress=resolve_mode(
            found["progress"], top["progress"], found["sendLoadingState"], top["sendLoadingState"]
        ),
        strict=found["strict"] or top["strict"],
        fingerprint=hashlib.sha256(repr((command, proxy, env)).encode()).hexdigest(),
        concurrency_limit=max(limit, _COMFYUI_LIMIT) if is_comfyui else limit,
        ignore_websockets=is_comfyui or found["compat"]["ignoreWebsockets"],
        metadata=frozen(found["metadata"]),
        capabilities=_capabilities(found["capabilities"]),
        filters=filters_of(found["filters"]),
        timeouts=timeouts_of(found["timeouts"]),
        kind=found["kind"],
        usage=found["usage"],
        prices=found["prices"],
        api_key=found["apiKey"],
    )


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


def _capabilities(found: dict[str, Any]) -> Capabilities:
    return Capabilities(
        takes=tuple(word for word, _ in found["in"]),
        gives=tuple(word for word, _ in found["out"]),
        tools=found["tools"],
        reranker=found["reranker"],
        context=found["context"],
    )


def filters_of(found: dict[str, Any]) -> Filters:
    """Return the filters of a model or a peer, without what they may not touch."""
    by_id = found["setParamsByID"] or {}
    return Filters(
        strip_params=found["stripParams"],
        set_params=_params(found["setParams"]),
        set_params_by_id=frozen({name: _params(params) for name, params in by_id.items()}),
    )


def _params(found: Mapping[str, Data] | None) -> Mapping[str, Data]:
    """Return `found` by sorted names: in that order they are set."""
    return frozen(
        {name: value for name, value in sorted((found or {}).items()) if name != PROTECTED}
    )


def timeouts_of(found: dict[str, Any]) -> Timeouts:
    """Return the timeouts of a model or a peer."""
    return Timeouts(
        connect_s=found["connect"],
        keepalive_s=found["keepalive"],
        response_header_s=found["responseHeader"],
        tls_handshake_s=found["tlsHandshake"],
        expect_continue_s=found["expectContinue"],
        idle_connection_s=found["idleConn"],
    )
