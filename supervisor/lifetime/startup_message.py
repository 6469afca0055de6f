"""The message of `arriero serve` on a terminal: address and examples. No I/O."""

import json
import shlex
from ipaddress import ip_address

from ..config.values import Config


def first_words(config: Config, address: str, init: str = "") -> str:
    """Return some lines for the user who has just started it.

    Args:
        config: In force.
        address: ``host:port`` of the listening socket.
        init: The command that writes this configuration into a file; empty if it is in one.
    """
    url = own_url(config, address)
    model = next(
        (found.model for found in config.written_models.values() if not found.unlisted), None
    )
    if model is None:
        return (
            f"arriero answers at {url}, but its configuration has no models yet.\n"
            "Write some into it (arriero init --dry-run ~/models shows how) and send SIGHUP.\n"
        )
    body = {
        "model": model,
        "stream": True,
        "messages": [{"role": "user", "content": "Who drives a train of llamas?"}],
    }
    key = " -H 'Authorization: Bearer YOUR_KEY'" if config.asks_for_keys else ""
    return (
        f"arriero answers at {url}; Ctrl-C ends it. Try, from another terminal:\n"
        f"  curl -N {url}/v1/chat/completions{key} -d {shlex.quote(json.dumps(body))}\n"
        f"{_without_file(len(config.written_models), init)}"
    )


def _without_file(count: int, init: str) -> str:
    if not init:
        return ""
    return (
        f"There is no configuration file: it serves the {count} model{'s' * (count != 1)} that it "
        f"has found.\nTo write one down and change it: {init}. To look for new models: arriero "
        "reload\n"
    )


def own_url(config: Config, address: str) -> str:
    """Return where programs of this machine ask.

    Args:
        config: In force.
        address: ``host:port`` of the listening socket.
    """
    return f"{'http' if config.tls is None else 'https'}://{_reachable(address)}"


def _reachable(address: str) -> str:
    """Return an address that programs on this machine can use."""
    host, _, port = address.rpartition(":")
    if ip_address(host.strip("[]")).is_unspecified:
        return f"127.0.0.1:{port}"
    return address
