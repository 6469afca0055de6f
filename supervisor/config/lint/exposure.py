"""Who gets at the models through a configuration that was perhaps not meant so."""

from ...text.addresses import is_loopback
from ..values import Config


def exposure(config: Config, host: str) -> str | None:
    """Return what to warn of; None if nothing is open that should not be.

    Args:
        config: The configuration.
        host: What is listened on; empty for all addresses of this machine.
    """
    if config.asks_for_keys or config.public_without_keys or is_loopback(host):
        return None
    where = host or "all addresses of this machine"
    return (
        f"whoever reaches {where} may use all models, and end the requests of others, without a "
        "key; write one under apiKeys or clientKeys, listen on 127.0.0.1, or, if it is meant, set "
        "publicWithoutKeys: true"
    )


def exposure_elsewhere(config: Config, host: str | None) -> str | None:
    """Return what to warn of that no warning of `config` says; None if there is nothing.

    Args:
        config: The configuration.
        host: What systemd, or else `config`, has made us listen on; None for a unix socket.
    """
    if host is None or exposure(config, config.listen.host) is not None:
        return None
    told = exposure(config, host)
    return None if told is None else f"listen: {told}"
