"""Clients of httpx, and of what is built on it, share their contexts for TLS.

Each makes one of its own, in 20 ms of CPU, and hardly any of those in tests speaks TLS.
"""

import functools

import httpx
from httpx._transports import default as used_by_clients


def share_tls_contexts() -> None:
    """Have all clients of this process that want the same context get the same one."""
    if vars(used_by_clients)["create_ssl_context"] is httpx.create_ssl_context:
        vars(used_by_clients)["create_ssl_context"] = functools.cache(httpx.create_ssl_context)
