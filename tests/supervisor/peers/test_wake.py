"""Wake-on-LAN: the packet, who gets one, and how often."""

import socket

from arriero.supervisor.config.names import PeerConfig, WakeOnLan
from arriero.supervisor.peers.wake import Waker, magic_packet, send_packet

MAC = "00:1a:2B:3c:4d:5e"


def test_the_packet_is_received_on_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        host, port = receiver.getsockname()
        send_packet(MAC, f"{host}:{port}")
        data = receiver.recv(2000)
    assert data == b"\xff" * 6 + b"\x00\x1a\x2b\x3c\x4d\x5e" * 16
    assert magic_packet(MAC.replace(":", "-")) == data


def test_only_who_is_configured_is_woken_and_not_too_often() -> None:
    now = 0.0
    sent: list[tuple[str, str]] = []
    peers = {
        "a": PeerConfig(peer="a", wake=WakeOnLan(mac=MAC, broadcast="192.168.1.255")),
        "b": PeerConfig(peer="b"),
    }
    waker = Waker(lambda: peers, lambda: now, lambda mac, to: sent.append((mac, to)))
    for peer in ("a", "a", "b", "c", "a"):
        waker.wake(peer)
    assert sent == [(MAC, "192.168.1.255")]
    now = 3.0
    waker.wake("a")
    assert len(sent) == 2


def test_a_packet_that_cannot_be_sent_harms_nobody() -> None:
    def fail(mac: str, broadcast: str) -> None:
        raise OSError(101, "Network is unreachable")

    peers = {"a": PeerConfig(peer="a", wake=WakeOnLan(mac=MAC))}
    Waker(lambda: peers, lambda: 0.0, fail).wake("a")
