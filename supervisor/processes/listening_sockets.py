"""The listening TCP sockets of this machine, from the kernel's own tables.

Tables are read instead of connecting: that has no effect on the listener, and sees one that is too
busy to accept.

The kernel is asked for listeners only, by netlink: 0.2 ms. ``/proc/net/tcp`` tells the same after
a walk through its table of connections, which takes 8 ms on a machine that has none; it is read
where netlink is forbidden or not built in.

Sources: sock_diag(7); linux/inet_diag.h; the kernel's Documentation/networking/proc_net_tcp.rst.
"""

import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x1 | 0x300  # NLM_F_REQUEST | NLM_F_DUMP
_DONE: Final = 3  # NLMSG_DONE
_LISTEN: Final = 10  # TCP_LISTEN of tcp_states.h
_RECEIVE_BYTES: Final = 64 * 1024

# The kernel answers at once, from memory.
_ANSWER_S: Final = 1.0

_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_REQUEST: Final = struct.Struct("=BBBxI")  # inet_diag_req_v2 before its 48 bytes of sockid
_SOCKID_BYTES: Final = 48

# inet_diag_msg: state; the address from byte 8 on; user and inode at its end.
_STATE_AT: Final = 1
_PORT_AT: Final = 4
_ADDRESS_AT: Final = 8
_OWNER: Final = struct.Struct("=II")
_OWNER_AT: Final = 64
_MESSAGE_BYTES: Final = 72

# States of a connection in /proc/net/tcp.
_PROC_LISTENING: Final = b"0A"
_PROC_SYN_RECEIVED: Final = b"03"


class ListeningSocket(msgspec.Struct, frozen=True):
    """A listening TCP socket.

    Attributes:
        address, port: Where.
        uid: The user who made it.
        inode: Its number; the open files of a process show the same.
    """

    address: IPAddress
    port: int
    uid: int
    inode: int


def listening_sockets() -> list[ListeningSocket]:
    """Return all of this machine, or of this container."""
    try:
        return [*_from_netlink(socket.AF_INET), *_from_netlink(socket.AF_INET6)]
    except OSError:
        return [*from_proc("/proc/net/tcp"), *from_proc("/proc/net/tcp6")]


def _from_netlink(family: int) -> Iterator[ListeningSocket]:
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << _LISTEN) + bytes(_SOCKID_BYTES)
    length = _HEADER.size + len(body)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_S)
        kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
        while True:
            answer = kernel.recv(_RECEIVE_BYTES)
            at = 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind == _DONE:
                    return
                message = answer[at + _HEADER.size : at + length]
                if kind != _SOCK_DIAG_BY_FAMILY or len(message) < _MESSAGE_BYTES:
                    raise OSError("the kernel does not tell its listening sockets")
                if message[_STATE_AT] == _LISTEN:
                    yield _read_message(message, family)
                at += (length + 3) & ~3


def _read_message(message: bytes, family: int) -> ListeningSocket:
    length = 4 if family == socket.AF_INET else 16
    uid, inode = _OWNER.unpack_from(message, _OWNER_AT)
    return ListeningSocket(
        address=_unmapped(message[_ADDRESS_AT : _ADDRESS_AT + length]),
        port=int.from_bytes(message[_PORT_AT : _PORT_AT + 2], "big"),
        uid=uid,
        inode=inode,
    )


def from_proc(path: str) -> Iterator[ListeningSocket]:
    """Give the rows of such a table of /proc; none if there is no such file."""
    try:
        with open(path, "rb") as table:
            next(table)  # the headline
            for row in table:
                _, local, _, state, *_, uid, _, inode, _ = row.split(maxsplit=10)
                if state == _PROC_LISTENING:
                    address, _, port = local.partition(b":")
                    yield ListeningSocket(
                        _read_address(address), int(port, 16), int(uid), int(inode)
                    )
                elif state != _PROC_SYN_RECEIVED:
                    break  # listeners come first; there may be thousands of connections
    except FileNotFoundError:
        return  # no IPv6 on this machine


def _read_address(text: bytes) -> IPAddress:
    """Read an address of the table: 32-bit words in native order."""
    raw = bytes.fromhex(text.decode())
    if socket.htons(1) != 1:  # little-endian
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return _unmapped(raw)


def _unmapped(raw: bytes) -> IPAddress:
    address = ipaddress.ip_address(raw)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
