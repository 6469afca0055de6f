"""Names of the keys that llama-swap has as well, mappings of keys among them.

A file with none but these was written for llama-swap, which reads past keys that it does not know:
they may be those of another version, and are no reason to refuse a file that works there. A file
that has one of our own keys was written here, where a misspelt key should cost nobody an hour.
"""

from collections.abc import Iterable
from typing import Final

LLAMA_SWAP: Final = frozenset(
    {
        "activity", "aliases", "apiKey", "apiKeys", "capabilities", "captureBuffer",
        "checkEndpoint", "cmd", "cmdStop", "compat", "concurrencyLimit", "connect", "context",
        "description", "disabled", "env", "every", "evict_costs", "exclusive", "expectContinue",
        "fifo", "filters", "globalTTL", "groups", "healthCheckTimeout", "hooks", "idleConn",
        "ignorePaths", "ignoreWebsockets", "in", "includeAliasesInList", "keepalive", "logLevel",
        "logRequests", "logTimeFormat", "logToStdout", "macros", "matrix", "members", "metadata",
        "metricsMaxInMemory", "models", "name", "on_startup", "out", "path", "peers", "performance",
        "persistent", "pins", "preload", "priority", "profiles", "proxy", "reranker",
        "responseHeader", "router", "routing", "scheduler", "selectors", "sendLoadingState",
        "session_id", "sets", "setParams", "setParamsByID", "settings", "spillover", "startPort",
        "store", "strategy", "stripParams", "strip_params", "swap", "targets", "timeouts",
        "tlsHandshake", "tools", "ttl", "ui", "unlisted", "unloadTimeout", "upstream", "use",
        "useModelName", "vars",
    }
)  # fmt: skip


def are_theirs(names: Iterable[str]) -> bool:
    """Whether llama-swap has the key to which `names` lead, one mapping after the other."""
    return LLAMA_SWAP.issuperset(names)
