"""The sockets on which clients are accepted, for all workers, and for the next supervisor."""

import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final, NamedTuple

from arriero.protocol.lease import ListenerKind

from ..config.load import Config
from ..host.listen_socket import (
    listen_card,
    listening_socket,
    private_socket,
    second_socket,
    where_it_listens,
)
from ..processes.kept_process import Inheritance
from ..processes.reaper import Reaper
from ..text.addresses import Address, UnixAddress, is_loopback

log = logging.getLogger(__name__)

# Names of what the reaper holds beside processes.
_LISTEN: Final = "listener"
_OLLAMA: Final = "ollama-listener"
_ADMIN: Final = "admin-listener"


class Listener(NamedTuple):
    """A socket that listens.

    Attributes:
        name: For the reaper.
        kind: For the workers.
        card: By which the next supervisor knows whether it is what it wants.
        socket: The socket.
    """

    name: str
    kind: ListenerKind
    card: bytes
    socket: socket.socket

    @property
    def address(self) -> str:
        """Where it listens."""
        return where_it_listens(self.socket)[1]


def open_listeners(
    config: Config, inheritance: Inheritance | None, stack: AsyncExitStack
) -> list[Listener]:
    """Open the sockets of `config`, or take over those of an earlier supervisor.

    Returns:
        That of `listen` comes first.

    Raises:
        SupervisorError: One cannot be opened; with the reason and the remedy.
    """

    def left(name: str) -> tuple[bytes, int] | None:
        return None if inheritance is None else inheritance.take(name)

    at = config.listen
    first = stack.enter_context(listening_socket(at.host, at.port, inherited=left(_LISTEN)))
    listeners = [Listener(_LISTEN, "listen", listen_card(at.host, at.port), first)]
    if (also := config.ollama_listen) is not None:
        second = stack.enter_context(second_socket("ollamaListen", also, left(_OLLAMA)))
        # Ollama's tools know plain HTTP there, and nobody else listens on this machine's own wire;
        # to others its address speaks as all do.
        host, _ = where_it_listens(second)
        kind: ListenerKind = "plain" if host is not None and is_loopback(host) else "listen"
        listeners.append(Listener(_OLLAMA, kind, _card(also), second))
    if (private := config.admin_listen) is not None:
        if isinstance(private, UnixAddress):
            admin = private_socket(private.path, left(_ADMIN))
            if not config.adopt:
                stack.callback(Path(private.path).unlink, missing_ok=True)
        else:
            admin = second_socket("adminListen", private, left(_ADMIN))
        stack.enter_context(admin)
        listeners.append(Listener(_ADMIN, "admin", _card(private), admin))
    return listeners


def hold_listeners(listeners: list[Listener], reaper: Reaper) -> None:
    """Leave copies of the sockets to the next supervisor, and say where they are."""
    for one in listeners:
        reaper.hold(one.name, one.card, one.socket.fileno())
        if one.name == _OLLAMA:
            log.info("supervisor.listens_for_ollama address=%s", one.address)
        elif one.name == _ADMIN:
            log.info("supervisor.listens_for_admin address=%s", one.address)


def _card(address: Address | UnixAddress) -> bytes:
    if isinstance(address, UnixAddress):
        return address.path.encode()
    return listen_card(address.host, address.port)
