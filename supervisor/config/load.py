"""The configuration: YAML -> immutable values that cannot be wrong. Only `load_config` does I/O.

All mistakes are told at once, each with file, line, column, what was found and what would do.
"""

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError, Problem
from ..pricing.price_list import BadPriceList
from ..text.addresses import Address, parse_address
from .merge import merge
from .named_files import read_prices, store_problem
from .read_models import Globals, macros_of, read_models, resolve_mode
from .read_names import Names, check_peers, read_peers, read_profiles, read_selectors
from .read_routing import policy_of, read_routing
from .schema.reader import Enough, Place, Reading
from .schema.stream_keys import header_rules
from .schema.top_keys import IGNORED_PATHS, SESSION_HEADERS, TOP_KEYS
from .schema.types import section
from .sources import find_sources, read_source
from .values import Activity, Config, Launch, Logging, ModelConfig, frozen
from .yaml.tree import Node, YamlError, parse_yaml

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

_TOP: Final = section(TOP_KEYS)
_METRICS_ROWS: Final = 1000


def load_config(
    *files: Path,
    directory: Path | None = None,
    environ: Mapping[str, str],
    lenient: bool = False,
) -> Config:
    """Read one configuration out of `files`, and the YAML files in `directory`, in that order.

    Args:
        files: Those that were named.
        directory: A folder; its own folders are not read.
        environ: The environment, for ``${env.NAME}``.
        lenient: Unknown keys are warnings, not mistakes.

    Raises:
        ConfigError: They cannot be read, or have mistakes; holds all of them.
    """
    return load_with_tree(*files, directory=directory, environ=environ, lenient=lenient)[0]


def load_with_tree(
    *files: Path,
    directory: Path | None = None,
    environ: Mapping[str, str],
    lenient: bool = False,
) -> tuple[Config, Node]:
    """Do as `load_config`, and return the tree, too, for who has to say where something stands."""
    texts: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for path in find_sources(files, directory):
        try:
            texts.append((str(path), read_source(path)))
        except ConfigError as exc:
            problems += exc.problems
    config, root = _parse(texts, problems, environ=environ, lenient=lenient)
    stored = config.activity.store_path
    if stored is not None and (message := store_problem(Path(stored))) is not None:
        raise _refused(root, "store", "path", message)
    listed = None
    if config.price_list is not None and config.price_list.file is not None:
        try:
            listed = read_prices(Path(config.price_list.file))
        except BadPriceList as exc:
            raise _refused(root, "priceList", "file", str(exc)) from exc
    return replace(config, files=tuple(source for source, _ in texts), listed=listed), root


def _refused(root: Node, section: str, key: str, message: str) -> ConfigError:
    """Return the error that a file which a key names cannot be used."""
    owner = root.member(section)
    node = (owner and owner.member(key)) or root
    return ConfigError([Problem(node.source, node.line, node.column, f"{section}.{key}", message)])


def parse_config(
    text: str, source: str = "config", *, environ: Mapping[str, str], lenient: bool = False
) -> Config:
    """Read a configuration out of `text`.

    Raises:
        ConfigError: There are mistakes; holds all of them. Nothing else is raised, whatever the
            text is.
    """
    return _parse([(source, text)], [], environ=environ, lenient=lenient)[0]


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
    lenient: bool,
) -> tuple[Config, Node]:
    with _without_collector():
        return _read(texts, problems, environ, lenient=lenient)


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
    *,
    lenient: bool,
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
    reading = Reading(name, environ, lenient=lenient)
    reading.problems += problems  # what could not be read may hold what is missed elsewhere
    config = None
    with suppress(Enough):
        config = _read_config(root, Place(reading))
    if reading.problems or config is None:
        raise ConfigError(reading.problems, reading.warnings)
    config = replace(
        config,
        warnings=tuple(sorted(reading.warnings)),
        notes=tuple(sorted(reading.idle.values())),
    )
    return config, root


def _read_config(root: Node, place: Place) -> Config | None:
    top = macros_of(root, place)
    place = place.with_macros(top)
    found = place.attempt(_TOP.read, root)
    if found is None:
        return None
    models = read_models(found["models"], place.under("models"), Globals(found=found, macros=top))

    def at(name: str) -> tuple[Node, Place]:
        return root.member(name) or root, place.under(name)

    peers = read_peers(found["peers"] or {}, *at("peers"))
    names = Names.of(models, peers)
    check_peers(names, peers, *at("peers"))
    routing = read_routing(found, root, place, names.models)
    room = None if place.reading.problems else policy_of(routing, models)
    selectors = read_selectors(found["selectors"] or {}, *at("selectors"), names, room)
    written = found["selectors"] or {}  # also those that have mistakes of their own
    profiles = read_profiles(found["profiles"] or {}, *at("profiles"), names, written)
    if not models and not peers and not place.reading.problems:
        place.warn(None, "there are no models; write at least one under 'models:'")
    if found["bodyMemory"] < found["maxBody"]:
        place.warn(
            root.member("bodyMemory") or root.member("maxBody"),
            "bodyMemory is smaller than maxBody: no body longer than bodyMemory can be taken",
        )
    patterns = tuple(pattern for pattern, _ in found["upstream"]["ignorePaths"])
    return Config(
        models=frozen(models),
        listen=found["listen"],
        workers=found["workers"] or len(os.sched_getaffinity(0)),
        start_port=found["startPort"],
        progress_delay_s=found["progressDelay"],
        heartbeat_s=found["heartbeatInterval"],
        marker=found["progressMarker"],
        details=found["progressDetails"],
        old_markers=tuple(marker for marker, _ in found["progressMarkersOld"]),
        nonstream_hold_s=found["nonstreamHold"],
        nonstream_blanks=found["nonstreamKeepalive"] == "whitespace",
        upstream_idle_s=found["upstreamIdle"],
        upstream_stall_s=found["upstreamStall"],
        max_retry_wait_s=found["maxRetryWait"],
        max_body_bytes=found["maxBody"],
        body_memory_bytes=found["bodyMemory"],
        trailers=found["trailers"],
        cors=found["cors"],
        allowed_hosts=tuple(host for host, _ in found["allowedHosts"]),
        public_without_keys=found["publicWithoutKeys"],
        request_headers=header_rules(found["headers"]["request"]),
        response_headers=header_rules(found["headers"]["response"]),
        prices=found["prices"],
        price_list=found["priceList"],
        routing=routing,
        peers=frozen(peers),
        profiles=frozen(profiles),
        selectors=frozen(selectors),
        preload=_preload(found, place, names),
        api_keys=tuple(key for key, _ in found["apiKeys"]),
        aliases_in_list=found["includeAliasesInList"],
        ignore_paths=patterns or IGNORED_PATHS,
        logging=_logging(found),
        activity=_activity(found),
    )


def _preload(found: dict[str, Any], place: Place, names: Names) -> tuple[str, ...]:
    """Return the ids of the models to load at the start; llama-swap drops unknown ones silently."""
    where = place.under("hooks").under("on_startup").under("preload")
    models: dict[str, None] = {}
    for written, item in found["hooks"]["on_startup"]["preload"]:
        name = written if written in names.models else written.strip()
        if name in names.models:
            models[names.models[name]] = None
        elif name:
            where.warn(item, names.unknown(name, where))
    return tuple(models)


def _logging(found: dict[str, Any]) -> Logging:
    return Logging(
        level=found["logLevel"],
        time_format=found["logTimeFormat"],
        to_stdout=found["logToStdout"],
        requests=found["logRequests"],
    )


def _activity(found: dict[str, Any]) -> Activity:
    written = found["ui"]["activity"]["session_id"]
    headers = SESSION_HEADERS if written is None else tuple(header for header, _ in written)
    performance = found["performance"]
    rows = found["metricsMaxInMemory"]
    return Activity(
        metrics_rows=rows if rows > 0 else _METRICS_ROWS,
        capture_mb=max(0, found["captureBuffer"]),
        store_path=found["store"]["path"],
        session_headers=_distinct(headers),
        sampling=not performance["disabled"],
        sampling_s=performance["every"],
    )


def _distinct(headers: Iterable[str]) -> tuple[str, ...]:
    """Return `headers` without repetitions: the first spelling counts, as they have no case."""
    found: dict[str, str] = {}
    for header in headers:
        if header:
            found.setdefault(header.lower(), header)
    return tuple(found.values())
