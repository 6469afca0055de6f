"""Models: a tree -> `ModelConfig`, mistakes noted."""

from collections.abc import Container, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, TypeVar

from ..llamacpp.api_key import API_KEY
from ..llamacpp.command import server_options
from .model_config import MODEL, PORT, ModelConfig, mode_of
from .schema.launcher_types import BUILT_IN, LauncherConfig
from .schema.macros import Macro, ScalarValue
from .schema.model_types import COMMAND, ENVIRONMENT, MAX_NAME, is_name, macros_of
from .schema.reader import Place, ValueType, Wrong
from .values import Config
from .yaml.tree import Node

T = TypeVar("T")

# llama-swap's special case: pages of ComfyUI open many requests and a web socket at once.
_COMFYUI: Final = "comfyui_auto"
_COMFYUI_LIMIT: Final = 50

_LAST_PORT: Final = 65535

# Read first: whether ${PORT} means anything in the others depends on them.
_READ_FIRST: Final = frozenset({"cmd", "env", "macros"})


def read_models(node: Node | None, place: Place, config: Config) -> Mapping[str, ModelConfig]:
    """Return the models under `node`, in the order of the file; mistakes are noted.

    As in llama-swap each model that uses ``${PORT}`` gets the next number, by the order of ids.
    Here that is the port that is tried first when the model starts.

    Args:
        node: The mapping of them; None if there is none.
        place: Where it stands.
        config: What the other keys of the top level say.
    """
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        place.note(node, "write a mapping of names to models")
        return {}
    drafts: dict[str, _Draft] = {}
    ports = 0
    for name in sorted(node.value):
        key, value = node.value[name]
        at = place.under(name)
        if value.value is None:
            message = "there is nothing in it; write how to start it, or leave it out"
            place.reading.keep_doubtful(at.problem(key, message), "there is nothing in it")
            continue
        if not is_name(name):
            at.note(key, f"a model's name is 1 to {MAX_NAME} printable characters")
        elif "${" in name:
            at.note(key, "macros do not act in the name of a model; write the name itself")
        at = at.with_macros((Macro("MODEL_ID", ScalarValue(name, name)), *config.macros))
        draft = drafts[name] = _Draft(value, at.with_macros(macros_of(value, at)), config)
        if draft.uses_port:
            draft.port = config.start_port + ports % (_LAST_PORT + 1 - config.start_port)
            ports += 1
    defaults = MODEL.defaults_under(config)
    defaults["progress"] = config.progress or mode_of(config.send_loading_state)
    owners: dict[str, str] = {}
    models = {}
    for name in node.value:
        if name not in drafts:
            continue
        draft = drafts[name]
        model = draft.read(defaults)
        state = model.send_loading_state
        if not (state is None or config.progress or _is_written(draft.node, "progress")):
            model = replace(model, progress=mode_of(state))
        if name == _COMFYUI:
            model = _for_comfyui(model)
        models[name] = _with_names(model, draft, node.value, owners)
    return MappingProxyType(models)


def _is_written(node: Node, name: str) -> bool:
    member = node.member(name)
    return member is not None and member.value is not None


class _Draft:
    """A model that is being read.

    Attributes:
        node, place: Where it stands, and what macros hold there.
        port: Its number, if it uses ``${PORT}``.
        uses_port: Whether its server is told its port, in its command or its environment.
    """

    __slots__ = ("_command", "_env", "_launchers", "node", "place", "port", "uses_port")

    def __init__(self, node: Node, place: Place, config: Config) -> None:
        self.node = node
        self.place = place
        self.port: int | None = None
        command = self._read_first("cmd", COMMAND)
        env = self._read_first("env", ENVIRONMENT)
        self._command = command or ()
        self._env = env or ()
        self._launchers = config.launchers
        words = (*self._command, *(value for _, value in self._env))
        used = any(PORT in word for word in words) or self._is_told_by_launcher(config.launcher)
        # What is broken may use it: one mistake is told once.
        self.uses_port = used or command is None or env is None

    def _is_told_by_launcher(self, usual: str) -> bool:
        """Return whether what starts it elsewhere is told a port."""
        written = self.node.member("launcher") if self._launchers else None
        name = written.text if written is not None and written.value is not None else usual
        found = self._launchers.get(name)
        return found is not None and any(PORT in word for word in found.start)

    def _launcher(self, name: object) -> LauncherConfig | None:
        """Return what starts it elsewhere; that there is no such launcher is noted."""
        if not isinstance(name, str) or name in BUILT_IN:
            return None
        found = self._launchers.get(name)
        if found is None:
            at = self.place.under("launcher")
            known = (*BUILT_IN, *self._launchers)
            hint = at.hint(name, known)
            message = f"there is no launcher {name[:60]!r}; known are: {', '.join(known[:12])}"
            at.note(self.node.member("launcher") or self.node, f"{message}{hint}")
        return found

    def _read_first(self, name: str, kind: ValueType[tuple[T, ...]]) -> tuple[T, ...] | None:
        """Return what is written under `name`; None if that is wrong."""
        value = self.node.member(name)
        if value is None or value.value is None:
            return ()
        return self.place.under(name).attempt(kind.read, value)

    def read(self, defaults: Mapping[str, object]) -> ModelConfig:
        """Return the model; what is wrong with its keys together is noted."""
        place = self.place
        if self.port is not None:
            # First: macros are walked from the last to the first, and others may bring it in.
            port = Macro("PORT", ScalarValue(str(self.port), self.port))
            place = place.with_macros((port, *place.macros))
        values = dict(defaults)
        try:
            values = MODEL.values(self.node, place, defaults, _READ_FIRST)
        except Wrong as exc:
            place.keep(exc)
            return MODEL.make({**values, "model": place.name})
        values |= {
            "model": place.name,
            "port": self.port,
            "command": self._command,
            "env": self._env,
            "macros": self.place.macros,
            "templates": self._launcher(values["launcher"]) if self._command else None,
        }
        if not _is_written(self.node, "proxy") and (socket := self._socket()) is not None:
            values["proxy"] = f"unix:{socket}"
        model = MODEL.make(values)
        self._check(model, place)
        return model

    def _socket(self) -> str | None:
        """Return the unix socket on which its command listens, if it does."""
        options = server_options(self._command, dict(self._env)) if self._command else None
        return None if options is None else options.socket

    def _check(self, model: ModelConfig, place: Place) -> None:
        cmd = self.node.member("cmd")
        if cmd is None or cmd.value is None:
            self._check_remote(model, cmd, place)
            return
        if self.uses_port:
            return
        for name, words in (
            ("proxy", (model.place,)),
            ("checkEndpoint", (model.check_endpoint or "",)),
            ("cmdStop", model.stop_command),
        ):
            if not any(PORT in word for word in words):
                continue
            if not _is_written(self.node, name):  # it is the default of proxy
                place.under("cmd").note(
                    cmd,
                    "the server is not told where to listen; write --port ${PORT} here, "
                    "or its own port into proxy",
                )
                continue
            place.under(name).note(
                self.node.member(name),
                "${PORT} is used here, but not in cmd: the server would listen elsewhere",
            )

    def _check_remote(self, model: ModelConfig, cmd: Node | None, place: Place) -> None:
        """Check a model without a command: it answers at its proxy, whoever has started it."""
        proxy = self.node.member("proxy")
        if not _is_written(self.node, "proxy"):
            place.under("cmd").note(
                cmd or self.node,
                "there is no command; write how to start it, or a proxy at which it answers",
            )
        elif PORT in model.proxy:
            place.under("proxy").note(
                proxy, "${PORT} is used here, but there is no cmd to tell it to; write a port"
            )
        elif API_KEY in model.api_key:
            place.under("apiKey").note(
                self.node.member("apiKey"),
                "${API_KEY} is made for each start, and nothing is started here; write its key",
            )


def _with_names(
    model: ModelConfig, draft: _Draft, models: Container[str], owners: dict[str, str]
) -> ModelConfig:
    """Return `model` with its other names; names that are taken are noted.

    Args:
        model: As read.
        draft: Where it stands.
        models: All ids.
        owners: The models of all aliases so far; those of this one are added.
    """
    place = draft.place.under("aliases")
    names: dict[str, None] = {}
    for alias, item in place.items(model.aliases):
        if alias == model.model:
            continue  # it has that name already
        if alias in models:
            place.warn(item, f"{alias!r} is the name of a model, which answers to it; remove this")
        elif alias in owners:
            place.note(item, f"{alias!r} is an alias of {owners[alias]!r} already")
        else:
            owners[alias] = model.model
            names[alias] = None
    where = draft.place.under("filters").under("setParamsByID")
    node = (draft.node.member("filters") or draft.node).member("setParamsByID")
    for alias in model.filters.set_params_by_id:
        at = where.under(alias)
        owner = owners.get(alias)
        if alias == model.model or owner == model.model:
            continue
        if alias in models:
            at.note(node, f"{alias!r} is the name of another model; a name has one meaning")
        elif owner is not None:
            at.note(node, f"{alias!r} is an alias of {owner!r} already; a name has one meaning")
        elif not is_name(alias):
            at.note(node, f"an alias is 1 to {MAX_NAME} printable characters")
        else:
            owners[alias] = model.model
            names[alias] = None
    aliases = tuple(names)
    return model if aliases == model.aliases else replace(model, aliases=aliases)


def check_instead(models: Mapping[str, ModelConfig], node: Node, place: Place) -> None:
    """Note models that name another one for the time they are blocked, which there is not here."""
    here = [model for model in models.values() if not model.is_remote]
    names = {alias: model.model for model in here for alias in model.aliases}
    names |= {model.model: model.model for model in here}
    # Those that cannot be read are there all the same.
    names |= {name: name for name, _, _ in node.items() if name not in models}
    for model in here:
        instead = model.on_blocked.instead
        if not instead:
            continue
        at = place.under(model.model).under("onBlocked").under("use")
        found = (node.member(model.model) or node).member("onBlocked") or node
        if instead not in names:
            hint = at.hint(instead, names)
            at.note(found.member("use"), f"there is no model {instead[:80]!r}{hint}")
        elif names[instead] == model.model:
            at.note(found.member("use"), "this is the model itself; name another one")


def _for_comfyui(model: ModelConfig) -> ModelConfig:
    limit = max(model.concurrency_limit, _COMFYUI_LIMIT)
    return replace(model, concurrency_limit=limit, ignore_websockets=True)
