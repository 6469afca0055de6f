"""The definitions of the keys: all of llama-swap's, and each acts where it says so."""

import ast
from collections.abc import Iterator

import pytest

from arriero.supervisor.config.document import every_key
from arriero.supervisor.config.schema.reader import NOT_YET, Key
from tests.paths import ROOT

LEAVES = [(path, key) for path, key in every_key() if not key.type.has_keys]

_FILTERS = "stripParams setParams setParamsByID"
_PRICES = "input output cacheRead cacheWrite cacheWrite1h reasoning"
_TIMEOUTS = "connect keepalive responseHeader tlsHandshake expectContinue idleConn"

# All of them in v250: a prefix, and what stands under it.
LLAMA_SWAP = {
    "": (
        "healthCheckTimeout logLevel logTimeFormat logToStdout logRequests metricsMaxInMemory "
        "captureBuffer store.path ui.activity.session_id performance.disabled performance.every "
        "globalTTL unloadTimeout startPort sendLoadingState includeAliasesInList apiKeys macros "
        "hooks.on_startup.preload upstream.ignorePaths"
    ),
    "models.<id>.": (
        "cmd cmdStop proxy checkEndpoint env aliases ttl unloadTimeout unlisted name description "
        "useModelName concurrencyLimit sendLoadingState metadata macros compat.ignoreWebsockets "
        "capabilities.in capabilities.out capabilities.tools capabilities.reranker "
        "capabilities.context healthCheckTimeout filters.strip_params"
    ),
    "models.<id>.filters.": _FILTERS,
    "models.<id>.timeouts.": _TIMEOUTS,
    "groups.<id>.": "members swap exclusive persistent",
    "matrix.": "vars evict_costs sets",
    "routing.": "router.use scheduler.use scheduler.settings.fifo.priority",
    "profiles.<id>.": "description pins",
    "selectors.<id>.": "strategy targets settings.spillover name description unlisted metadata",
    "peers.<id>.": "proxy models apiKey",
    "peers.<id>.filters.": _FILTERS,
    "peers.<id>.timeouts.": _TIMEOUTS,
}
# The same keys in a second place.
AGAIN = {
    "routing.router.settings.groups.<id>.": "members swap exclusive persistent",
    "routing.router.settings.matrix.": "vars evict_costs sets",
}
OWN = {
    "": (
        "listen ollamaListen adminListen workers progress progressDelay heartbeatInterval "
        "progressMarker progressDetails "
        "strict progressMarkersOld nonstreamHold nonstreamKeepalive upstreamIdle upstreamStall "
        "maxRetryWait maxBody bodyMemory trailers cors allowedHosts publicWithoutKeys hungAfter "
        "drainLimit onFailure saveSlotsLimit keepInRam memory adopt supervisorGrace endSilence "
        "scrapeMetrics launcher"
    ),
    "control.": "listen key clients",
    "launchers.<id>.": "start stop endpoint",
    "peers.<id>.wake.": "mac broadcast limit",
    "clientKeys.<id>.": "hash scopes models concurrency dailyTokens dailyCost",
    "store.": "rows age size captureBody",
    "default.": "models idleFor",
    "telemetry.": "traces endpoint",
    "devices.<id>.": "total reserve",
    "rules.<id>.": "model path headers body move remove default set",
    "headers.request.": "set remove",
    "headers.response.": "set remove",
    "models.<id>.": (
        "progress strict kind usage hungAfter drainLimit onFailure apiKey sleep saveSlots "
        "memory pin onBlocked scrapeMetrics sleepMemory launcher"
    ),
    "models.<id>.ray.": "cpus gpus resources",
    "ray.": "address",
    "models.<id>.prices.": _PRICES,
    "prices.<id>.": _PRICES,
    "priceList.": "file url provider markup refresh",
    "peers.<id>.": "kind usage forwardAuth region",
    "peers.<id>.prices.<id>.": _PRICES,
}


def paths(*lists: dict[str, str]) -> list[str]:
    return [
        f"{prefix}{name}"
        for one in lists
        for prefix, names in one.items()
        for name in names.split()
    ]


def test_there_are_all_the_keys_of_llama_swap_and_our_own() -> None:
    defined = {
        path.removesuffix(key.name) + spelling for path, key in LEAVES for spelling in key.spellings
    }
    assert len(paths(LLAMA_SWAP)) == 84
    assert defined == set(paths(LLAMA_SWAP, AGAIN, OWN))


# --- what acts ----------------------------------------------------------------------------------

# These read the configuration, check it, show it or make one up. They do not carry it out.
ONLY_TELL = ("config", "cli", "generate", "placement")
# This one says what the log warns of at the start.
ACTS = "exposure.py"


def reads(source: str) -> Iterator[str]:
    """Give all attributes that `source` reads: ``attribute``, and ``owner.attribute``.

    The owner is the last name before the dot: ``config.listen`` for ``self.config.listen``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            if isinstance(owner, ast.Attribute | ast.Name):
                name = owner.attr if isinstance(owner, ast.Attribute) else owner.id
                yield f"{name.lstrip('_')}.{node.attr}"


@pytest.fixture(scope="module")
def all_read() -> set[str]:
    """What the product reads; it takes seconds to find out."""
    return {
        read
        for root in ("supervisor", "worker", "protocol")
        for path in (ROOT / root).rglob("*.py")
        if path.name == ACTS or path.relative_to(ROOT / root).parts[0] not in ONLY_TELL
        for read in reads(path.read_text())
    }


# How code reads what keys say, where that is not just their field; paths, or beginnings of paths.
# A dot at the end: the field, but of this owner, as others have a field of that name.
READ_AS = {
    "config.": "listen workers progressMarker progressDetails trailers allowedHosts cors "
    "publicWithoutKeys",
    "config.memory": "memory",
    "budget.": "devices",
    "config.routing": "groups matrix routing.router",
    "config.peer_models": "peers.<id>.models",
    "request_headers": "headers.request",
    "response_headers": "headers.response",
    "logging.": "logLevel",
    "config.log_requests": "logRequests",
    "route.": "strict models.<id>.strict models.<id>.aliases models.<id>.useModelName "
    "models.<id>.name models.<id>.description models.<id>.unlisted models.<id>.kind "
    "models.<id>.usage models.<id>.metadata",
    "route.progress": "progress sendLoadingState models.<id>.progress models.<id>.sendLoadingState",
    "launch.": "models.<id>.cmd models.<id>.env",
    "launch.command": "macros models.<id>.macros",
    "launch.stop_argv": "models.<id>.cmdStop",
    "launch.endpoint": "models.<id>.proxy",
    "config.is_elsewhere": "launcher models.<id>.launcher",
    "launch.wanted": "models.<id>.apiKey",
    "launch.health_url": "models.<id>.checkEndpoint",
    "timeouts.": "models.<id>.timeouts peers.<id>.timeouts",
    "capabilities.": "models.<id>.capabilities",
    "peer.": "peers.<id>.proxy peers.<id>.apiKey peers.<id>.kind peers.<id>.usage "
    "peers.<id>.forwardAuth peers.<id>.region",
    "prices.": "prices models.<id>.prices peers.<id>.prices priceList.markup",
    "route.prices": "priceList.file priceList.provider",
    "source.": "priceList.url priceList.refresh",
    "profile.": "profiles.<id>.description",
    "selector.": "selectors.<id>.name selectors.<id>.description selectors.<id>.unlisted "
    "selectors.<id>.metadata",
    "engine.queue": "routing.scheduler.use",
    "routing.": "routing.scheduler.settings.fifo.priority",
}
ATTRIBUTES = {path: attribute for attribute, paths in READ_AS.items() for path in paths.split()}


def read_as(path: str, key: Key) -> str:
    """Return the attribute by which code reads what `key` says."""
    names = path.split(".")
    starts = [".".join(names[:count]) for count in range(len(names), 0, -1)]
    found = next((ATTRIBUTES[start] for start in starts if start in ATTRIBUTES), "")
    own = key.field.rpartition(".")[2]
    return found + own if not found or found.endswith(".") else found


def verdict(path: str, key: Key, read: set[str]) -> str:
    """Say what is wrong with what `key` says of who acts on it; nothing if it is right."""
    attribute = read_as(path, key)
    acts = attribute in read
    if key.acts == NOT_YET:
        return f"acts: {attribute} is read; say since which version" if acts else ""
    return "" if acts else f"acts nowhere: {attribute} is not read; say that it does not act"


def test_a_key_acts_if_and_only_if_it_says_so(all_read: set[str]) -> None:
    assert {path: wrong for path, key in LEAVES if (wrong := verdict(path, key, all_read))} == {}
    # It would be noticed if that changed.
    assert [
        path for path, key in LEAVES if not verdict(path, key, all_read ^ {read_as(path, key)})
    ] == []


def test_an_attribute_counts_where_it_is_read_not_where_it_is_set() -> None:
    assert set(reads("x.a = self._config.b(c().d)")) == {
        "b",
        "config.b",
        "_config",
        "self._config",
        "d",
        "c.d",
    }
