"""Companion process of a supervisor: has the database of records.

Started as ``python -m arriero.supervisor.store.store_child FD``. Frames (`frames`) come from the
socket FD and go there. When that ends, as it does with the supervisor, however that went, what has
come is written, and this process ends.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Final

import msgspec

from .frames import (
    FrameReader,
    StoreReport,
    framed,
    limits_of,
    question_of,
    report_frame,
)
from .keeper import RecordKeeper

_READ_BYTES: Final = 256 * 1024

# Seconds for the last records. A disk that takes longer hangs, and this process with it.
_LAST_WORD_S: Final = 30

# Who has requests to answer goes first; but where others keep all processors busy, it still has a
# twentieth of one, for whoever asks.
_NICE: Final = 10

_encode: Final = msgspec.json.Encoder().encode


def run(link: socket.socket) -> None:
    """Keep what comes, and answer, until the other end is closed."""
    frames = FrameReader()
    keeper: RecordKeeper | None = None
    told = StoreReport()
    tend_at = 0.0
    looks = select.poll()
    looks.register(link, select.POLLIN)

    def send(data: bytes) -> None:
        with suppress(OSError):  # nobody is there; what has come is written nevertheless
            link.sendall(data)

    def tell(level: int, text: str) -> None:
        send(framed("said", level, text.encode(errors="replace")))

    def report(keeper: RecordKeeper) -> None:
        nonlocal told
        if (found := keeper.report()) != told:
            told = found
            send(report_frame(found))

    while True:
        left_s = max(0.0, tend_at - time.monotonic()) if keeper is not None else None
        if looks.poll(None if left_s is None else left_s * 1000):
            data = _read(link)
            if not data:
                break
            for frame in frames.read(data):
                if frame.kind == "limits":
                    limits = limits_of(frame.data)
                    if keeper is None:
                        keeper = RecordKeeper(limits, tell)
                    keeper.limits = limits
                elif keeper is None:
                    continue
                elif frame.kind == "question":
                    reply = _encode(keeper.answer(question_of(frame.data)))
                    report(keeper)
                    send(framed("answer", frame.number, reply))
                else:
                    keeper.take(frame)
        if keeper is not None:
            tend_at = time.monotonic() + keeper.tend()
            report(keeper)
    signal.alarm(_LAST_WORD_S)  # its default ends the process
    if keeper is not None:
        keeper.tend()
        keeper.close()


def _read(link: socket.socket) -> bytes:
    """Read what has come; nothing at the end."""
    try:
        return link.recv(_READ_BYTES)
    except ConnectionResetError:  # the other end has left something unread
        return b""


def main(fd: str) -> None:
    """Be in nobody's way, and keep records."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the supervisor has something to say after them
    os.nice(_NICE)
    with socket.socket(fileno=int(fd)) as link:
        run(link)


if __name__ == "__main__":
    main(*sys.argv[1:])
