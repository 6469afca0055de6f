"""The configuration: YAML -> immutable values that cannot be wrong. Only `load_config` does I/O.

All mistakes are told at once, each with file, line, column, what was found and what would do.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ..errors import ConfigError, Problem
from ..pricing.price_list import BadPriceList
from ..text.addresses import Address, parse_address
from .merge import merge
from .model_config import LaunchConfig, ModelConfig
from .named_files import exporter_problem, ray_problem, read_prices, store_problem
from .read_models import check_instead, read_models
from .read_names import KnownNames, check_peers, check_profiles, check_selectors
from .read_routing import policy_of, read_routing
from .schema.model_types import macros_of
from .schema.reader import Enough, Place, Reading, UnknownKeys, Wrong
from .sources import find_sources, read_source
from .values import CONFIG, Config
from .yaml.tree import Node, YamlError, parse_yaml

__all__ = [
    "Address",
    "Config",
    "LaunchConfig",
    "ModelConfig",
    "load_config",
    "parse_config",
    "parse_listen",
]

# Macros hold for all else, and models need all else.
_READ_LATER: Final = frozenset({"macros", "models"})


def load_config(
    *files: Path,
    directory: Path | None = None,
    environ: Mapping[str, str],
    unknown: UnknownKeys = "by file",
) -> Config:
    """Read one configuration out of `files`, and the YAML files in `directory`, in that order.

    Args:
        files: Those that were named.
        directory: A folder; its own folders are not read.
        environ: The environment, for ``${env.NAME}``.
        unknown: What unknown keys are.

    Raises:
        ConfigError: They cannot be read, or have mistakes; holds all of them.
    """
    return load_with_tree(*files, directory=directory, environ=environ, unknown=unknown)[0]


def load_with_tree(
    *files: Path,
    directory: Path | None = None,
    environ: Mapping[str, str],
    unknown: UnknownKeys = "by file",
) -> tuple[Config, Node]:
    """Do as `load_config`, and return the tree, too, for who has to say where something stands."""
    texts: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for path in find_sources(files, directory):
        try:
            texts.append((str(path), read_source(path)))
        except ConfigError as exc:
            problems += exc.problems
    config, root = _parse(texts, problems, environ=environ, unknown=unknown)
    stored = config.activity.store_path
    if stored is not None and (message := store_problem(Path(stored))) is not None:
        raise _refused(root, "store", "path", message)
    if config.traces and (message := exporter_problem()) is not None:
        raise _refused(root, "telemetry", "traces", message)
    on_ray = next((model for model in config.models.values() if model.is_on_ray), None)
    if on_ray is not None and (message := ray_problem()) is not None:
        raise _refused(root, "models", on_ray.model, message)
    listed = None
    if config.price_list is not None and config.price_list.file is not None:
        try:
            listed = read_prices(Path(config.price_list.file))
        except BadPriceList as exc:
            raise _refused(root, "priceList", "file", str(exc)) from exc
    return replace(config, files=tuple(source for source, _ in texts), listed=listed), root


def _refused(root: Node, section: str, key: str, message: str) -> ConfigError:
    """Return the error that what a key names or needs cannot be used."""
    owner = root.member(section)
    node = (owner and owner.member(key)) or root
    return ConfigError([Problem(node.source, node.line, node.column, f"{section}.{key}", message)])


def parse_config(
    text: str,
    source: str = "config",
    *,
    environ: Mapping[str, str],
    unknown: UnknownKeys = "by file",
) -> Config:
    """Read a configuration out of `text`.

    Raises:
        ConfigError: There are mistakes; holds all of them. Nothing else is raised, whatever the
            text is.
    """
    return parse_with_tree(text, source, environ=environ, unknown=unknown)[0]


def parse_with_tree(
    text: str,
    source: str = "config",
    *,
    environ: Mapping[str, str],
    unknown: UnknownKeys = "by file",
) -> tuple[Config, Node]:
    """Do as `parse_config`, and return the tree, too."""
    return _parse([(source, text)], [], environ=environ, unknown=unknown)


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


def _parse(
    texts: Sequence[tuple[str, str]],
    problems: list[Problem],
    *,
    environ: Mapping[str, str],
    unknown: UnknownKeys,
) -> tuple[Config, Node]:
    with _without_collector():
        return _read(texts, problems, environ, unknown)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Let the garbage be: for 10,000 models, looking for it takes a third of the time in vain."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(
    texts: Sequence[tuple[str, str]],
    problems: list[Problem],
    environ: Mapping[str, str],
    unknown: UnknownKeys,
) -> tuple[Config, Node]:
    trees: list[Node] = []
    for source, text in texts:
        mistakes: list[YamlError] = []
        tree = None
        try:
            tree = parse_yaml(text, source, mistakes)
        except YamlError as exc:
            mistakes.append(exc)
        problems += [Problem(source, one.line, one.column, "", str(one)) for one in mistakes]
        if tree is None:
            continue  # nothing but comments, or no tree
        if isinstance(tree.value, dict):
            trees.append(tree)
        else:
            message = "this is not a mapping of keys; write keys such as models:"
            problems.append(Problem(source, tree.line, tree.column, "", message))
    merged, conflicts = merge(trees)
    problems += conflicts
    root = merged or Node({}, 1, 1)
    name = ", ".join(source for source, _ in texts) or "the configuration"
    reading = Reading(name, environ, unknown)
    reading.problems += problems  # what could not be read may hold what is missed elsewhere
    config = None
    with suppress(Enough):
        config = _read_config(root, Place(reading))
    with suppress(Enough):
        reading.judge_doubtful()
    if reading.problems or config is None:
        raise ConfigError(reading.problems, reading.warnings)
    return config, root


def _read_config(root: Node, place: Place) -> Config | None:
    top = macros_of(root, place)
    place = place.with_macros(top)
    try:
        values = CONFIG.values(root, place, skip=_READ_LATER)
    except Wrong as exc:
        place.keep(exc)
        return None
    config = CONFIG.make({**values, "macros": top})
    written = read_models(root.member("models"), place.under("models"), config)
    models = {name: model for name, model in written.items() if not model.is_remote}
    check_instead(written, root.member("models") or root, place.under("models"))

    def at(name: str) -> tuple[Node, Place]:
        return root.member(name) or root, place.under(name)

    names = KnownNames.of(written, config.peers)
    check_peers(names, config.peers, *at("peers"))
    routing = read_routing(config.written_routing, root, place, names.models)
    policy = None if place.reading.problems else policy_of(routing, models, config.memory)
    check_selectors(config.selectors, *at("selectors"), names, policy)
    check_profiles(config.profiles, *at("profiles"), names, config.selectors)
    if not written and not config.peers and not place.reading.problems:
        place.warn(None, "there are no models; write at least one under 'models:'")
    if config.body_memory_bytes < config.max_body_bytes:
        place.warn(
            root.member("bodyMemory") or root.member("maxBody"),
            "bodyMemory is smaller than maxBody: no body longer than bodyMemory can be taken",
        )
    _check_control(config, *at("control"))
    place.reading.judge_doubtful()
    return replace(
        config,
        written_models=written,
        models=MappingProxyType(models),
        remotes=MappingProxyType({name: written[name] for name in names.remote}),
        workers=config.workers or len(os.sched_getaffinity(0)),
        routing=routing,
        preload=_models(
            config.preload, place.under("hooks").under("on_startup").under("preload"), names
        ),
        default_models=_models(
            config.default_models, place.under("default").under("models"), names
        ),
        warnings=tuple(sorted(place.reading.warnings)),
        notes=tuple(sorted(place.reading.idle.values())),
    )


def _check_control(config: Config, node: Node, place: Place) -> None:
    """Note what is missing for commands of other machines."""
    if config.control_listen is None:
        return
    if config.control_key is None:
        message = "there is no key; make one with arriero keygen FILE, and write key: FILE here"
        place.under("key").note(node, message)
    if not config.control_clients:
        message = "there are no clients, so nobody is answered; write their public keys"
        place.under("clients").warn(node, message)


def _models(written: tuple[str, ...], where: Place, names: KnownNames) -> tuple[str, ...]:
    """Return the ids of models to be loaded unasked; llama-swap drops unknown ones silently.

    Those that are simply there need not be.
    """
    models: dict[str, None] = {}
    for asked, item in where.items(written):
        name = asked if asked in names.models else asked.strip()
        if name in names.models:
            models[names.models[name]] = None
        elif name:
            where.warn(item, names.unknown(name, where))
    return tuple(model for model in models if model not in names.remote)
