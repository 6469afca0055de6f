"""Wakes the machines of peers: Wake-on-LAN, to the addresses of the configuration alone.

Source: AMD, "Magic Packet Technology" (publication 20213): six bytes of ones and sixteen times the
hardware address, anywhere in a packet. UDP, as all programs do it: whoever sleeps looks at no port.
"""

import logging
import math
import socket
from collections.abc import Callable, Mapping
from typing import Final

from ..config.names import PeerConfig
from ..host.shortage import why

log = logging.getLogger(__name__)

# Seconds between two packets for one machine: one may be lost, and more do no harm.
_PAUSE_S: Final = 3.0

# The port of `discard`, which is said to be meant.
_PORT: Final = 9


def magic_packet(mac: str) -> bytes:
    """Return the packet that wakes the machine with the hardware address `mac`."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "").replace("-", "")) * 16


def send_packet(mac: str, broadcast: str) -> None:
    """Send the packet for `mac`. Does not wait.

    Args:
        mac: The hardware address.
        broadcast: IPv4 address, with a port or without.

    Raises:
        OSError: It cannot be sent.
    """
    host, _, port = broadcast.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.sendto(magic_packet(mac), (host, int(port or _PORT)))


class Waker:
    """Wakes machines that requests wait for."""

    def __init__(
        self,
        peers: Callable[[], Mapping[str, PeerConfig]],
        now: Callable[[], float],
        send: Callable[[str, str], None] = send_packet,
    ) -> None:
        """Build it.

        Args:
            peers: Gives the peers of the configuration in force.
            now: The time.
            send: As `send_packet`.
        """
        self._peers = peers
        self._now = now
        self._send = send
        self._sent_at: dict[str, float] = {}

    def wake(self, peer: str) -> None:
        """Wake the machine of `peer`, unless that was tried a moment ago, or it cannot be woken."""
        found = self._peers().get(peer)
        now = self._now()
        if found is None or not found.wake.mac or now < self._sent_at.get(peer, -math.inf):
            return
        self._sent_at = {name: at for name, at in self._sent_at.items() if at > now}
        self._sent_at[peer] = now + _PAUSE_S
        try:
            self._send(found.wake.mac, found.wake.broadcast)
        except OSError as exc:
            log.warning("peer.not_woken peer=%s reason=%s", peer, why(exc))
        else:
            log.info("peer.woken peer=%s", peer)
