"""Where a request goes: its target, the host that it names, and the model in its query.

Both doors read them here, so that no two of them can understand one request differently. What
RFC 9112 (section 3.2) and RFC 3986 (section 3.2.2) do not know is refused.
"""

import posixpath
import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus

from ..errors import BadRequest

# A name or address and perhaps a port. Names of RFC 3986 could have more characters; nobody's do.
_AUTHORITY: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z._~-]{1,255}))(?::(\d{0,5}))?"
)
_LAST_PORT: Final = 65535
_NO_HOST: Final = "cannot read the host that the request names: write it as in example.org:8080"


class Host(NamedTuple):
    """The host that a request names.

    Attributes:
        name: In small letters and without a final dot; of an address, its shortest form.
        is_address: It is an address of IPv4 or IPv6, and no name.
        port: As digits; empty for that of the scheme.
    """

    name: str
    is_address: bool
    port: str


def split_target(method: bytes, target: bytes) -> tuple[bytes | None, bytes]:
    """Take the target of a request apart.

    Args:
        method: Of the request.
        target: As it stands there; characters that none may hold have been refused.

    Returns:
        Host and port, as they stand there, or None if there are none; and the path, which has no
        query and begins with a slash or is ``*``.

    Raises:
        BadRequest: It is none of HTTP, or one for which there is no use here.
    """
    if target[:1] == b"/" and method != b"CONNECT" and b"#" not in target:  # nearly always
        return None, target.partition(b"?")[0]
    if method == b"CONNECT":
        raise BadRequest("cannot open a tunnel: this is no proxy")
    if b"#" in target:
        raise BadRequest("cannot read the target of the request: it may hold no '#'")
    if target == b"*" and method == b"OPTIONS":
        return None, target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in {b"http", b"https"}:
        raise BadRequest("cannot read the target of the request: it has to begin with '/'")
    before_query = rest.partition(b"?")[0]
    authority, slash, path = before_query.partition(b"/")
    read_host(authority)
    return authority, slash + path or b"/"


def read_host(authority: bytes) -> Host:
    """Read a host with or without a port, as it stands in ``Host`` and in an absolute target.

    Raises:
        BadRequest: It is none.
    """
    found = _AUTHORITY.fullmatch(authority.strip())
    if found is None:
        raise BadRequest(_NO_HOST)
    in_brackets, name, port = (None if it is None else it.decode("ascii") for it in found.groups())
    if port and int(port) > _LAST_PORT:
        raise BadRequest(_NO_HOST)
    if in_brackets is not None:
        try:
            address = IPv6Address(in_brackets)
        except AddressValueError:
            raise BadRequest(
                "cannot read the host that the request names: no such address"
            ) from None
        return Host(str(address.ipv4_mapped or address), True, port or "")
    assert name is not None
    try:
        return Host(str(IPv4Address(name)), True, port or "")
    except AddressValueError:
        pass
    name = name.lower().removesuffix(".")
    if not name:
        raise BadRequest(_NO_HOST)
    return Host(name, False, port or "")


def model_in_query(target: bytes) -> str | None:
    """Return the last ``model`` in the query of `target` that is not empty; None without one."""
    found = None
    for part in target.partition(b"?")[2].split(b"&"):
        name, _, value = part.partition(b"=")
        if value and unquote_plus(name.decode("latin-1")) == "model":
            found = unquote_plus(value.decode("latin-1"), errors="replace")
    return found


def with_model(target: bytes, model: str) -> bytes:
    """Return `target` with another name in each ``model`` of its query; all else as it was."""
    path, question, query = target.partition(b"?")
    parts = []
    for part in query.split(b"&"):
        name = part.partition(b"=")[0]
        if unquote_plus(name.decode("latin-1")) == "model":
            part = name + b"=" + quote(model, safe="").encode()
        parts.append(part)
    return path + question + b"&".join(parts)


def clean_path(path: bytes) -> bytes:
    """Return `path` without doubled slashes and dots, as Go's `ServeMux` cleans it."""
    clean = posixpath.normpath(re.sub(rb"/{2,}", b"/", path))
    return clean + b"/" if path.endswith(b"/") and clean != b"/" else clean
