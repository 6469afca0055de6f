"""Where the sockets of a supervisor are: in a folder of this machine, or at an address of another.

Those of another machine ask for keys, and have ports beside each other.
"""

import re
import socket as unix
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ..text.addresses import parse_address
from .find_sockets import (
    CONTROL_SOCKET,
    EVENTS_SOCKET,
    CommandFailed,
    SupervisorUnreachable,
    why_unanswered,
    why_unreachable,
)

if TYPE_CHECKING:
    from zmq import Socket

    from arriero.protocol.remote.curve import CurveKeys

_ADDRESS: Final = re.compile(r"tcp://([0-9a-fA-F]{64})@(.+)")


class SocketPlace(Protocol):
    """Where one socket is. As a text: as errors name it."""

    @property
    def url(self) -> str:
        """As zmq wants it."""

    def prepare(self, socket: "Socket[bytes]") -> None:
        """Set what `socket` needs before it connects."""

    def probe(self, within_s: float) -> None:
        """Connect once without zmq, which would go on trying without a word.

        Raises:
            SupervisorUnreachable: Nothing listens there, or this user may not know.
        """

    def why_not_let_in(self, within_s: float | None) -> str:
        """Return why nobody shakes hands there, in that time; None: we are refused."""


class SupervisorPlace(Protocol):
    """Where both sockets are."""

    @property
    def control(self) -> SocketPlace:
        """Of the control socket."""

    @property
    def events(self) -> SocketPlace:
        """Of the event socket."""


class LocalSocket(NamedTuple):
    """A unix socket. Implements `SocketPlace`."""

    path: Path

    def __str__(self) -> str:
        """As errors name it."""
        return str(self.path)

    @property
    def url(self) -> str:
        """See `SocketPlace.url`."""
        return f"ipc://{self.path}"

    def prepare(self, socket: "Socket[bytes]") -> None:
        """See `SocketPlace.prepare`."""

    def probe(self, within_s: float) -> None:
        """See `SocketPlace.probe`."""
        with unix.socket(unix.AF_UNIX, unix.SOCK_STREAM) as probe:
            probe.settimeout(within_s)
            try:
                probe.connect(str(self.path))
            except OSError as exc:
                why = why_unreachable(self.path, exc, _owner_of(self.path))
                raise SupervisorUnreachable(why) from exc

    def why_not_let_in(self, within_s: float | None) -> str:
        """See `SocketPlace.why_not_let_in`."""
        return why_unanswered(self, within_s or 0.0)


class LocalPlace(NamedTuple):
    """A folder of unix sockets. Implements `SupervisorPlace`."""

    folder: Path

    @property
    def control(self) -> SocketPlace:
        """See `SupervisorPlace.control`."""
        return LocalSocket(self.folder / CONTROL_SOCKET)

    @property
    def events(self) -> SocketPlace:
        """See `SupervisorPlace.events`."""
        return LocalSocket(self.folder / EVENTS_SOCKET)


class RemoteSocket(NamedTuple):
    """A socket over TCP. Implements `SocketPlace`."""

    host: str
    port: int
    server: str
    keys: "CurveKeys"

    def __str__(self) -> str:
        """As errors name it."""
        return self.url

    @property
    def url(self) -> str:
        """See `SocketPlace.url`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    def prepare(self, socket: "Socket[bytes]") -> None:
        """See `SocketPlace.prepare`."""
        from arriero.protocol.remote.curve import show_keys

        socket.ipv6 = ":" in self.host
        show_keys(socket, self.keys, self.server)

    def probe(self, within_s: float) -> None:
        """See `SocketPlace.probe`."""
        try:
            unix.create_connection((self.host, self.port), within_s).close()
        except OSError as exc:
            raise SupervisorUnreachable(
                f"cannot reach a supervisor at {self}: {exc.strerror or exc}; is that what its "
                "configuration has as control.listen?"
            ) from exc

    def why_not_let_in(self, within_s: float | None) -> str:
        """See `SocketPlace.why_not_let_in`."""
        if within_s is not None:
            return (
                f"the supervisor at {self} did not shake hands within {within_s:g} s; is the key "
                "in --control its own? It is what it says at its start (supervisor.control_listens)"
            )
        from arriero.protocol.remote.curve import to_hex

        return (
            f"the supervisor at {self} does not let us in: its configuration does not have our "
            f"public key under control.clients; it is {to_hex(self.keys.public)}"
        )


class RemotePlace(NamedTuple):
    """An address of another machine. Implements `SupervisorPlace`."""

    host: str
    port: int
    server: str
    keys: "CurveKeys"

    @property
    def control(self) -> SocketPlace:
        """See `SupervisorPlace.control`."""
        return RemoteSocket(*self)

    @property
    def events(self) -> SocketPlace:
        """See `SupervisorPlace.events`."""
        return RemoteSocket(*self._replace(port=self.port + 1))


def remote_place(address: str, key_file: Path | None) -> RemotePlace:
    """Return the place that ``tcp://KEY@HOST:PORT`` names.

    Args:
        address: With the supervisor's public key.
        key_file: With our secret one.

    Raises:
        CommandFailed: It is no such address, or there is no key.
        SupervisorError: The file cannot be used.
    """
    found = _ADDRESS.fullmatch(address.strip())
    where = None if found is None else parse_address(found[2])
    if found is None or where is None or not where.host or not 0 < where.port < 65535:
        raise CommandFailed(
            "cannot use this address of a supervisor; write tcp://KEY@HOST:PORT, with its public "
            "key, as its log has it when it starts (supervisor.control_listens)"
        )
    if key_file is None:
        raise CommandFailed(
            f"a supervisor at {where.host}:{where.port} asks for a key; name the file of yours "
            "with --control-key FILE; arriero keygen FILE makes one"
        )
    from arriero.protocol.remote.curve import from_hex

    from ..host.curve_key_file import read_keys

    server = from_hex(found[1])
    assert server is not None  # it has 64 digits
    return RemotePlace(where.host, where.port, server, read_keys(key_file))


def _owner_of(path: Path) -> str | None:
    for found in (path, path.parent):
        try:
            return found.owner()
        except (OSError, KeyError):
            continue  # not to be seen, or a user without a name
    return None
