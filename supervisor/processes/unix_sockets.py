"""Listeners on a unix socket, and the removal of abandoned ones.

A socket is asked by connecting: it is looked up where it lies, so it does not matter by which path
it was bound, and in which container. The listener sees a connection that ends at once.
"""

import errno
import os
import socket
import stat
from typing import Final

import trio

from ..errors import PortError
from ..text.addresses import MAX_UNIX_PATH, is_unix_path

# Seconds between two looks at a socket that has to close: the first and the longest.
_FIRST_PAUSE_S: Final = 0.002
_LAST_PAUSE_S: Final = 0.05

# struct ucred of unix(7): process, user and group of the one that called listen().
_CREDENTIALS: Final = 12


def is_listening_at(path: str) -> bool:
    """Return whether a process listens there, however busy.

    False if that cannot be seen.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        return _connects(asking, path)


def listener_at(path: str) -> int | None:
    """Return the process that listens there; None if unknown or none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        if not _connects(asking, path):
            return None
        try:
            found = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS)
        except OSError:
            return None
        pid = int.from_bytes(found[:4], "little" if socket.htons(1) != 1 else "big")
        return pid or None  # 0: it is in another world of processes


async def wait_socket_closed(path: str) -> None:
    """Return once nothing listens there. There is no time limit."""
    pause_s = _FIRST_PAUSE_S
    while is_listening_at(path):
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LAST_PAUSE_S)


def make_way(path: str) -> None:
    """Make sure that a server can bind `path`.

    The socket that an earlier one has left is removed.

    llama-server leaves its socket behind, and the next one could not bind it.

    Raises:
        PortError: A process listens there, it is something else than a socket, or too long a path.
    """
    name = f"cannot use the socket {os.path.basename(path)[:60]!r}"  # clients read it: no folders
    if not is_unix_path(path):
        raise PortError(f"{name}: its path is too long; write one of at most {MAX_UNIX_PATH} bytes")
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise PortError(f"{name}: {exc.strerror}") from exc
    if not stat.S_ISSOCK(found.st_mode):
        raise PortError(f"{name}: a file is there that is no socket; write another path")
    if is_listening_at(path):
        raise PortError(f"{name}: another program listens there; stop it, or write another path")
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise PortError(
            f"{name}: an earlier server has left it, and it cannot be removed: {exc.strerror}"
        ) from exc


def _connects(asking: socket.socket, path: str) -> bool:
    try:
        asking.connect(path)
    except BlockingIOError:
        return True  # its queue is full
    except OSError as exc:
        return exc.errno == errno.EINPROGRESS
    return True
