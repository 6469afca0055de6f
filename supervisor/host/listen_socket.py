"""The sockets on which clients are accepted, opened once and inherited by every worker."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping

from ..errors import SupervisorError
from ..text.addresses import Address

# Connections that wait in the kernel while no worker takes them: during a restart, clients queue
# here instead of being refused, and thousands may come at once: one that finds no room is let in a
# second later, or three. The kernel cuts it to net.core.somaxconn (4096 by default).
BACKLOG = 4096

# The first socket that systemd hands over. Source: sd_listen_fds(3), SD_LISTEN_FDS_START.
_FIRST_FD = 3


def listen_card(host: str, port: int) -> bytes:
    """Return a text by which the next supervisor knows whether this is what it wants."""
    return f"{host}:{port}".encode()


def listening_socket(
    host: str,
    port: int,
    environ: Mapping[str, str] = os.environ,
    *,
    inherited: tuple[bytes, int] | None = None,
) -> socket.socket:
    """Return a listening, non-blocking TCP socket.

    Children do not inherit it unless they are given it.

    Args:
        host: Address or name; empty means all addresses, IPv4 and IPv6.
        port: 0 lets the system choose.
        environ: When systemd has opened the socket (``LISTEN_FDS``), that one is returned, and
            `host` and `port` are not looked at.
        inherited: That of an earlier supervisor, with its `listen_card`. It is used if it is what
            is wanted, and closed if not. Clients wait there.

    Raises:
        SupervisorError: It cannot be opened; with the reason and the remedy.
    """
    card, left = inherited or (b"", -1)
    sock = _inherited(environ)
    if sock is None and card == listen_card(host, port):
        sock = socket.socket(fileno=left)
    elif left >= 0:
        os.close(left)
    sock = sock or _open(host.strip("[]"), port)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def second_socket(key: str, address: Address, inherited: tuple[bytes, int] | None) -> socket.socket:
    """Return another such socket, which is never systemd's.

    Args:
        key: Its key in the configuration, for messages.
        address: Where.
        inherited: See `listening_socket`.

    Raises:
        SupervisorError: It cannot be opened; with the reason and the remedy.
    """
    try:
        return listening_socket(address.host, address.port, {}, inherited=inherited)
    except SupervisorError as exc:
        raise SupervisorError(f"{key}: {exc}") from exc


def private_socket(path: str, inherited: tuple[bytes, int] | None) -> socket.socket:
    """Return a listening, non-blocking unix socket that only this user may use.

    One that nobody listens on any more is replaced: its owner was killed.

    Args:
        path: Where. Its folder exists.
        inherited: See `listening_socket`; its card is the path.

    Raises:
        SupervisorError: It cannot be opened; with the reason and the remedy.
    """
    card, left = inherited or (b"", -1)
    if card == path.encode():
        sock = socket.socket(fileno=left)
    else:
        if left >= 0:
            os.close(left)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            mask = os.umask(0o177)
            try:
                sock.bind(path)
            finally:
                os.umask(mask)
            sock.listen(BACKLOG)
        except OSError as exc:
            sock.close()
            raise SupervisorError(f"adminListen: cannot listen on {path}: {_reason(exc)}") from exc
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody listens on.

    Raises:
        OSError: Somebody does, or it is something else.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "this is there, and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise OSError(errno.EADDRINUSE, "")


def where_it_listens(sock: socket.socket) -> tuple[str | None, str]:
    """Return the host of `sock` (None for a unix socket) and its address."""
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None, str(sock.getsockname())
    host, port = sock.getsockname()[:2]
    return host, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise SupervisorError(f"cannot listen on {host or '*'}:{port}: the last port is 65535")
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        family, *_, address = socket.getaddrinfo(
            host or "0.0.0.0",  # noqa: S104  an empty host asks for exactly that
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)  # with SO_REUSEADDR
    except OSError as exc:
        raise SupervisorError(f"cannot listen on {host or '*'}:{port}: {_reason(exc)}") from exc


def _inherited(environ: Mapping[str, str]) -> socket.socket | None:
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None  # set for another process
    count = environ.get("LISTEN_FDS", "")
    if count != "1":
        raise SupervisorError(
            f"cannot use {count or 'no'} sockets of systemd: exactly one is expected; write one "
            "ListenStream= into the socket unit"
        )
    try:
        sock = socket.socket(fileno=_FIRST_FD)
    except OSError as exc:
        raise SupervisorError(
            f"cannot use the socket of systemd: descriptor {_FIRST_FD}: {exc.strerror}"
        ) from exc
    listening = False
    with contextlib.suppress(OSError):
        listening = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    if sock.type != socket.SOCK_STREAM or not listening:
        sock.detach()
        raise SupervisorError(
            "cannot use the socket of systemd: it does not accept connections; write "
            "ListenStream= and Accept=no into the socket unit"
        )
    return sock


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there; stop it, or choose another address"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case errno.EACCES:
            return "ports below 1024 are for root; choose a higher one"
        case _:
            return error.strerror or "the system refused"
