"""Where and whom arriero answers: addresses, keys, hosts, pages."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final

from ...text.addresses import (
    Address,
    UnixAddress,
    is_unix_path,
    parse_address,
    unix_path,
)
from ..yaml.tree import Node
from .json_schema import array, text_like
from .macros import escaped
from .reader import Place, ValueType, Wrong
from .types import BOOLEAN, adjusted, is_storable, listed, read_text, text

_NAME: Final = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"

# --- where and to whom -------------------------------------------------------------------------


def _listen(node: Node, place: Place) -> Address:
    address = parse_address(read_text(node, place).strip())
    if address is None:
        raise place.wrong(node, "host:port, such as 127.0.0.1:8080, :8080 or [::1]:8080")
    return address


def _written_address(address: Address) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


LISTEN: Final = ValueType(
    "host:port",
    text_like(
        r"^\s*(?:\[.+\]|[A-Za-z0-9._-]*):[0-9]{1,5}\s*$",
        "host:port, such as 127.0.0.1:8080, :8080 or [::1]:8080",
        ["string"],
    ),
    _listen,
    _written_address,
)


_CONTROL_LISTEN: Final = "tcp://host:port, such as tcp://0.0.0.0:7777"
_TCP: Final = "tcp://"

# The event socket has the port after it.
_LAST_CONTROL_PORT: Final = 65534


def _control_listen(node: Node, place: Place) -> Address:
    found = read_text(node, place).strip()
    address = parse_address(found.removeprefix(_TCP)) if found.startswith(_TCP) else None
    if address is None or address.port > _LAST_CONTROL_PORT:
        raise place.wrong(node, _CONTROL_LISTEN)
    return address


CONTROL_LISTEN: Final = ValueType(
    "tcp://host:port",
    text_like(r"^\s*tcp://(?:\[.+\]|[A-Za-z0-9._-]*):[0-9]{1,5}\s*$", _CONTROL_LISTEN, ["string"]),
    _control_listen,
    lambda address: _TCP + _written_address(address),
)

_CURVE_KEY: Final = "a public key, as arriero keygen shows it"
_CURVE_DIGITS: Final = r"[0-9A-Fa-f]{64}"

CURVE_KEYS: Final = listed(
    adjusted(
        text(
            _CURVE_KEY,
            lambda found: re.fullmatch(_CURVE_DIGITS, found) is not None,
            strip=True,
            pattern=rf"^\s*{_CURVE_DIGITS}\s*$",
        ),
        str.lower,
    ),
    "public keys",
)

_ADMIN_LISTEN: Final = "host:port, such as 127.0.0.1:8081, or unix:/path/of/a/socket"


def _admin_listen(node: Node, place: Place) -> Address | UnixAddress:
    found = read_text(node, place).strip()
    path = unix_path(found)
    if path is not None and path.startswith("/") and is_unix_path(path):
        return UnixAddress(path)
    address = parse_address(found) if path is None else None
    if address is None:
        raise place.wrong(node, _ADMIN_LISTEN)
    return address


def _written_admin(address: Address | UnixAddress) -> str:
    if isinstance(address, UnixAddress):
        return escaped(f"unix:{address.path}")
    return _written_address(address)


ADMIN_LISTEN: Final[ValueType[Address | UnixAddress]] = ValueType(
    "host:port, or a unix socket",
    text_like(
        r"^\s*(?:(?:\[.+\]|[A-Za-z0-9._-]*):[0-9]{1,5}|unix:/.+)\s*$", _ADMIN_LISTEN, ["string"]
    ),
    _admin_listen,
    _written_admin,
)


def _api_key(node: Node, place: Place) -> str:
    """A key is never shown in a message."""
    value = place.scalar(node, "a key", is_secret=True)
    found = value.text
    if not found or value.typed is None or not is_storable(found):
        raise Wrong(place.problem(node, "this key is empty; write one, or leave it out"))
    if any(char.isspace() for char in found):
        raise Wrong(place.problem(node, "this key holds a blank, which no client can send"))
    return found


API_KEYS: Final = listed(
    ValueType("a key", text_like(r"^\S+$", "a key, without blanks"), _api_key, escaped), "keys"
)

# --- hosts --------------------------------------------------------------------------------------

_HOST: Final = rf"(?:\.?{_NAME}\.?|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?|[*])"
_HOSTS: Final = (
    "a host without a port, such as llm.example.org, .example.org for all under it, too, "
    "192.168.1.5, or '*' for any"
)


def _host(node: Node, place: Place) -> str:
    """Return a host as requests name it once they are read: see `Host.name` of the worker."""
    found = read_text(node, place, _HOSTS).strip()
    if re.fullmatch(_HOST, found) is None:
        raise place.wrong(node, _HOSTS)
    if found == "*":
        return found
    is_ipv6 = ":" in found
    try:
        address = ip_address(found.removeprefix("[").removesuffix("]") if is_ipv6 else found)
    except ValueError:
        if is_ipv6:
            raise place.wrong(node, _HOSTS) from None
        return found.lower().removesuffix(".")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


HOSTS: Final = listed(
    ValueType("a host", text_like(rf"^\s*{_HOST}\s*$", _HOSTS), _host, escaped), "hosts"
)

# --- pages --------------------------------------------------------------------------------------

# Sources: RFC 6454, section 6.2; Fetch standard, section 3.2. A port that is the scheme's own is
# not sent.
_ORIGIN: Final = (
    r"(?:null|[*]|[A-Za-z][A-Za-z0-9+.-]*://"
    rf"(?:[*]|(?:[*]\.)?{_NAME}|\[[0-9A-Fa-f:.]+\])(?::(?:[0-9]{{1,5}}|[*]))?/?)"
)
_ORIGINS: Final = (
    "an origin, such as https://chat.example.org, http://192.168.1.5:* for any port, "
    "https://*.example.org, or chrome-extension://<id>"
)
_USUAL_PORTS: Final = (("http://", ":80"), ("https://", ":443"))


def _is_origin(found: str) -> bool:
    return re.fullmatch(_ORIGIN, found) is not None


_ONE: Final = text(_ORIGINS, _is_origin, strip=True, pattern=rf"^\s*{_ORIGIN}\s*$")
_LISTED: Final = listed(_ONE, "origins")
_CORS: Final = (
    "a list of origins, such as [https://chat.example.org], true for all, or false for none"
)


def _cors(node: Node, place: Place) -> bool | tuple[str, ...]:
    if isinstance(node.value, list):
        found = {_normal(origin): None for origin in _LISTED.read(node, place)}
        return "*" in found or tuple(found)
    value = place.scalar(node, _CORS).typed
    if isinstance(value, str) and _is_origin(value):
        raise place.wrong(node, f"a list: [{value}]")
    try:
        return BOOLEAN.read(node, place)
    except Wrong:
        raise place.wrong(node, _CORS) from None


def _normal(origin: str) -> str:
    origin = origin.lower().removesuffix("/")
    for scheme, port in _USUAL_PORTS:
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin


CORS: Final = ValueType(
    "a list of origins, or true or false",
    {"anyOf": [array(_ONE.schema), BOOLEAN.schema]},
    _cors,
    lambda found: found if isinstance(found, bool) else _LISTED.write(found),
)
