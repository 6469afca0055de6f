"""Starts the first workers as copies of itself, which share the memory of what was imported.

The supervisor forks it before it has threads (`supervisor/workers/zygote.py`). It has no thread
either, no socket of zmq and no run of trio: a copy begins as a worker that was just imported.
"""

import contextlib
import errno
import gc
import os
import select
import socket
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import msgspec

from arriero.protocol.lease import MAX_ORDER_BYTES, MAX_ORDER_FILES, ForkOrder

from .linux import end_with_parent, fork_sibling, set_title, show_variable


def serve(door: socket.socket, parent: int) -> NoReturn:
    """Carry out orders; become a worker with the last one.

    Args:
        door: Where the orders come from.
        parent: The supervisor.
    """
    end_with_parent(parent)
    # The collector would find nothing, and later write to all that is shared.
    gc.disable()
    import_module(".__main__", __package__)
    gc.freeze()
    gc.enable()
    while True:
        data, files, _, _ = socket.recv_fds(door, MAX_ORDER_BYTES, MAX_ORDER_FILES)
        if not data:
            os._exit(0)
        order = msgspec.json.decode(data, type=ForkOrder)
        pid = 0 if order.is_last else _fork()
        if pid == 0:
            if order.is_last:
                door.send(b"%d" % os.getpid())
            door.close()
            _become_worker(order, files, parent)
        for fd in files:
            os.close(fd)
        door.send(b"%d" % pid)


def _fork() -> int:
    """Return the process id of the fork, 0 in the fork itself, or minus the number of an error."""
    try:
        return fork_sibling()
    except OSError as exc:
        return -(exc.errno or errno.ENOSYS)


def _become_worker(order: ForkOrder, files: Sequence[int], parent: int) -> NoReturn:
    from .__main__ import ORPHANED, main

    code = 1
    try:
        end_with_parent(parent)
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _place(files, order.files)
        set_title(["python", "-m", "arriero.worker", *order.options])
        show_variable(order.mark)
        if not _is_wanted():
            os._exit(ORPHANED)
        code = main(order.options)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001  this is the edge of the process
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _is_wanted() -> bool:
    """Return whether the supervisor knows of us: it then writes to our standard input."""
    known = select.poll()
    known.register(0, select.POLLIN)
    return any(event & select.POLLIN for _, event in known.poll())


def _place(files: Sequence[int], numbers: Sequence[int]) -> None:
    """Give open files the numbers that they shall have, and close them under their own."""
    beyond = max(*files, *numbers) + 1
    apart = [os.dup2(fd, beyond + n, inheritable=False) for n, fd in enumerate(files)]
    for fd in files:
        os.close(fd)
    for fd, number in zip(apart, numbers, strict=True):
        os.dup2(fd, number, inheritable=number <= 2)
        os.close(fd)
