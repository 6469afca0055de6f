"""Addresses of servers: listening addresses, base URLs, unix sockets, paths."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}")
_URL_CHARS: Final = re.compile(r"[!-~]+")  # ASCII without blanks
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")

_UNIX: Final = "unix:"

# Bytes: Linux takes 108, with a zero at the end (unix(7)).
MAX_UNIX_PATH: Final = 107


class Address(msgspec.Struct, frozen=True):
    """An address to listen on; an empty host means all addresses."""

    host: str
    port: int


class UnixAddress(msgspec.Struct, frozen=True):
    """A unix socket to listen on."""

    path: str


def parse_address(text: str) -> Address | None:
    """Read ``host:port``, ``:port`` or ``[v6]:port``; None if it is none of these."""
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit() or len(digits) > 5:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            return None
    elif host and not _HOST.fullmatch(host):
        return None
    return Address(host, int(digits)) if int(digits) <= 65535 else None


def is_address(host: str) -> bool:
    """Return whether `host` is an IPv4 or IPv6 address, not a name."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether `host` is reached from this machine only.

    An empty one is reached from everywhere.
    """
    if not is_address(host):
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
    address = ip_address(host.strip("[]"))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def is_base_url(text: str) -> bool:
    """Return whether the path of a request can be joined to `text`."""
    if not _URL_CHARS.fullmatch(text) or _BAD_ESCAPE.search(text):
        return False
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    known_host = _is_ipv6(host) if ":" in host else _HOST.fullmatch(host) is not None
    bare = not parts.query and not parts.fragment and "?" not in text and "#" not in text
    return parts.scheme in {"http", "https"} and known_host and port != 0 and bare


def unix_path(url: str) -> str | None:
    """Return the path in ``unix:/path`` or ``unix:///path``; None for others.

    It is returned as it was written.

    Source of the first form: nginx, "server" in an upstream. There is no base path: what follows
    is the path of the socket to its end, whatever it holds.
    """
    if not url.startswith(_UNIX):
        return None
    path = url.removeprefix(_UNIX)
    return path.removeprefix("//")


def is_unix_path(path: str) -> bool:
    """Return whether a unix socket can have that path."""
    return path.isprintable() and 0 < len(path.encode()) <= MAX_UNIX_PATH


def path_of(text: str) -> str | None:
    """Return the path and query of a path or URL.

    None if it is neither.

    Source: llama-swap takes a full URL for a path, too, and uses its path only.
    """
    if text and not _URL_CHARS.fullmatch(text):
        return None
    if re.match(r"https?://", text):
        try:
            text = urlsplit(text).path
        except ValueError:
            return None
    if "#" in text or _BAD_ESCAPE.search(text):
        return None
    return "/" + text.lstrip("/")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
