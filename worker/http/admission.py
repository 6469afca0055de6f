"""May this request act at all? Decided before anything of its body is read or started.

`server.http1` asks as soon as the route is known, in one place for all there is: both doors,
WebSockets, and the streams of HTTP/2, whose heads come there as HTTP/1.1. What is not listed is
closed. The rules, in this order:

1. *The host is ours.* DNS rebinding: a page of evil.example has its name lead to 127.0.0.1, and
   from then on is of the same origin as this server. Its browser sends no ``Origin`` with a GET
   and, as plain http is not trusted, no ``Sec-Fetch-Site`` at all; only ``Host`` still has the
   name. A browser cannot be told from a script by what it says of itself, so the rule is for
   everybody. Ours are loopback names (localhost and all under it, 127.0.0.0/8, ``[::1]``), the
   address that is listened on, and the names of ``allowedHosts``. Who listens on all addresses is
   meant by any address, since rebinding needs a name, and by the name of the machine. A browser
   neither reaches a unix socket nor leaves ``Host`` out, so there the rule does not apply.
2. *A page may ask.* Browsers send ``Origin`` with every request but GET and HEAD, simple ones
   included, and with every WebSocket: it has to be permitted (see `cors`), or of the host that is
   asked. Without it ``Sec-Fetch-Site``, where it is sent, has to say that no other site is behind
   the request, unless somebody follows a link to a page that starts nothing. A request with
   neither changes nothing, and no page can read its answer: it is not touched.
3. *A key is shown*, if there are any in the configuration. Without one only the pairs of method
   and path are answered that are declared open (load balancers and service managers have no key),
   and preflights, which cannot show a key and start nothing.
4. *The key is good for that.* Each route declares what it needs (see `route_declaration`), and is
   refused otherwise. Pages are held against their declaration once more where they are answered:
   there a path is understood that is written in another way.
"""

from collections.abc import Set
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

import msgspec

from arriero.protocol.worker_config import WorkerConfig

from ..errors import BadRequest, Forbidden
from .auth import ANYBODY, NOBODY, Caller, KeyRing, keys_in_query, without_key
from .cors import compile_origins
from .request_head import RequestHead
from .request_target import Host, read_host
from .route_declaration import Access

_SAFE: Final = frozenset({b"GET", b"HEAD"})

# Of `Sec-Fetch-Site`: a page of ours, or nobody's; and who is no browser says nothing.
_OWN_SITES: Final = frozenset({None, b"same-origin", b"none"})

_PORTS: Final = {b"http": "80", b"https": "443"}

# Values of `Host` and `Origin` that are remembered as permitted, each as long as that at most. A
# client has one or two.
_MAX_REMEMBERED: Final = 256
_LONGEST_REMEMBERED: Final = 256

# How much of a host or an origin is repeated back.
_SHOWN: Final = 100


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where this program is reached, as far as its socket tells.

    Attributes:
        names: Names and addresses, as `Host.name` has them.
        any_address: All addresses of the machine are listened on.
        any_host: No browser gets here: it is a unix socket.
    """

    names: frozenset[str] = frozenset()
    any_address: bool = False
    any_host: bool = False


def listening_at(address: IPv4Address | IPv6Address, machine: str) -> Listening:
    """Return what is listened on.

    Args:
        address: To which the socket is bound.
        machine: The name of this machine. Where only the machine itself gets in, it is not taken:
            whoever can give a name in a network a meaning could take its place.
    """
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return Listening(names=frozenset({str(address)}))
    full = machine.lower()
    short = full.partition(".")[0]
    names = {str(address), full, short, f"{short}.local"} - {"", ".local"}
    return Listening(names=frozenset(names), any_address=address.is_unspecified)


class Admission:
    """Lets requests in, by one configuration.

    Attributes:
        keys: Those of the configuration.
    """

    def __init__(
        self,
        config: WorkerConfig,
        listening: Listening,
        open_pairs: Set[tuple[bytes, bytes]],
        visited: Set[bytes],
        open_below: bytes,
    ) -> None:
        """Make `config` ready.

        Args:
            config: The configuration.
            listening: Where this program is reached.
            open_pairs: Method and path of what needs no key, unless a WebSocket is asked for.
            visited: Paths to which a link of another site may lead: what is there starts nothing.
            open_below: What is read at a path that begins so is both.
        """
        self._open_below = open_below
        self._open_pairs = open_pairs
        self._visited = visited
        listed = [name.lower() for name in config.allowed_hosts]
        self._any_host = listening.any_host or "*" in listed
        self._any_address = listening.any_address
        self._names = listening.names.union(name.lstrip(".") for name in listed)
        self._suffixes = (".localhost", *(name for name in listed if name.startswith(".")))
        self._any_page = config.cors is True
        self._permits_page = compile_origins(config.cors)
        self.keys = KeyRing(config)
        self._good_hosts: set[bytes] = set()  # as they were written, so that few are read twice
        self._good_pages: set[bytes] = set()

    def check(self, head: RequestHead, *, websocket: bool = False) -> Caller:
        """Make sure that a request may act, as far as that does not depend on its route.

        Returns who asks.

        Args:
            head: What it says.
            websocket: It is one for a WebSocket.

        Raises:
            BadRequest: The host that it names is none.
            Forbidden: That is not ours, or a page asks that may not.
            Unauthorized: It shows no key, or a wrong one.
        """
        self._check_host(head.host)
        if head.authority is not None:
            self._check_host(head.authority)
        if not self._any_page:
            self._check_site(head, websocket)
        if not self.keys:
            return ANYBODY
        if not websocket and self._is_open(head):
            return NOBODY
        return self.keys.caller(head.keys)

    def take_key_in_query(self, head: RequestHead) -> None:
        """Let a request show its key in the query, and take it out there: it is for nobody else."""
        for field in keys_in_query(head.target) if self.keys else ():
            head.keys.append(field)
            if self.keys.has(field[1]):
                head.target = without_key(head.target, field[1])

    def _check_host(self, written: bytes) -> None:
        if not written or written in self._good_hosts:
            return
        host = read_host(written)
        if not self._is_ours(host):
            shown = host.name[:_SHOWN]
            raise Forbidden(
                f"cannot answer at '{shown}', which any page of the web could have as its name; if "
                f"this server is meant, set allowedHosts: ['{shown}'] in the configuration",
                code="host_not_allowed",
            )
        _remember(self._good_hosts, written)

    def _is_ours(self, host: Host) -> bool:
        if self._any_host or host.name in self._names:
            return True
        if host.is_address:
            return self._any_address or ip_address(host.name).is_loopback
        return host.name == "localhost" or host.name.endswith(self._suffixes)

    def _check_site(self, head: RequestHead, websocket: bool) -> None:
        page = head.origin
        if page is None:
            if head.site in _OWN_SITES or (not websocket and self._is_visit(head)):
                return
            raise Forbidden(
                "cannot answer a page of another site that does not say which; pages that are "
                "listed as 'cors' in the configuration may ask, by fetch() in the mode 'cors'",
                code="origin_not_allowed",
            )
        if page in self._good_pages or _is_same(page, head.authority or head.host):
            return
        if not self._permits_page(page):
            shown = page[:_SHOWN].decode("ascii", "replace")
            raise Forbidden(
                f"cannot answer pages of '{shown}'; if they may ask, set cors: ['{shown}'] in the "
                "configuration (cors: true lets the pages of all sites ask)",
                code="origin_not_allowed",
            )
        _remember(self._good_pages, page)

    def _is_open(self, head: RequestHead) -> bool:
        """Whether a request, which is none for a WebSocket, needs no key."""
        return (
            (head.method, head.path) in self._open_pairs
            or (head.method in _SAFE and head.path.startswith(self._open_below))
            or is_preflight(head)
        )

    def _is_visit(self, head: RequestHead) -> bool:
        """Whether somebody goes to a page that starts nothing, and it is not shown in another."""
        is_visited = head.path in self._visited or head.path.startswith(self._open_below)
        if head.method not in _SAFE or not is_visited:
            return False
        said = {(name, value.lower()) for name, value in head.fields()}
        return said >= {(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")}


def check_scope(caller: Caller, access: Access, *, is_admin_here: bool = True) -> None:
    """Make sure that a caller may do what needs `access`.

    Args:
        caller: Who asks.
        access: See `RouteDeclaration`.
        is_admin_here: What needs the scope `admin` is answered on this socket.

    Raises:
        Forbidden: He may not.
    """
    if access in {"open", "key"}:
        return
    if access not in caller.scopes:
        raise Forbidden(
            f"cannot do this with this API key: it takes one with the scope '{access}'"
            + (f", and this one has: {', '.join(sorted(caller.scopes))}" if caller.scopes else ""),
            code="scope_missing",
        )
    if access == "admin" and not is_admin_here:
        raise Forbidden(
            "cannot do this here: it is answered where 'adminListen' in the configuration says",
            code="not_on_this_listener",
        )


def is_preflight(head: RequestHead) -> bool:
    """Whether a browser asks if a page may ask. Source: Fetch standard, section 3.3.2."""
    return (
        head.method == b"OPTIONS"
        and head.origin is not None
        and any(name == b"access-control-request-method" for name, _ in head.fields())
    )


def _is_same(page: bytes, host: bytes) -> bool:
    """Whether a page came from the host that is asked. Which scheme a proxy has is not known."""
    scheme, _, rest = page.partition(b"://")
    port = _PORTS.get(scheme.lower())
    if port is None or not host:
        return False
    try:
        its, asked = read_host(rest), read_host(host)
    except BadRequest:
        return False
    return (its.name, its.port or port) == (asked.name, asked.port or port)


def _remember(good: set[bytes], written: bytes) -> None:
    if len(good) < _MAX_REMEMBERED and len(written) <= _LONGEST_REMEMBERED:
        good.add(written)
