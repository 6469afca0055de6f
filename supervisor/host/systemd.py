"""Notifies systemd of the state of this service.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5).
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

import trio

log = logging.getLogger(__name__)

# A service should notify twice within the time it was given (sd_watchdog_enabled(3)).
_BEATS_PER_LIMIT = 2


class Notifier:
    """Sends notes to the socket that ``NOTIFY_SOCKET`` names; without it, does nothing.

    Never raises and never waits: a service manager that does not listen is no reason to fail.

    Attributes:
        watchdog_interval_s: Seconds between two calls of `watchdog` that the service manager
            asks for, or None when it does not watch.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_interval_s = _watchdog_interval_s(environ)

    def ready(self, status: str) -> None:
        """Report that the service serves (also after `reloading`)."""
        self._send(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, text: str) -> None:
        """Set the text that ``systemctl status`` shows."""
        self._send(f"STATUS={_one_line(text)}")

    def reloading(self) -> None:
        """Report that a new configuration is being read.

        `ready` ends that.
        """
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """Report that the service ends."""
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """Report that the service lives."""
        self._send("WATCHDOG=1")

    def _send(self, note: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(note.encode(errors="replace"), self._address)
        except OSError as exc:
            log.debug("notify.lost error=%s", exc)


async def feed_watchdog(notifier: Notifier) -> None:
    """Call `Notifier.watchdog` as often as is asked for, until cancelled.

    Belongs beside the work in the main nursery: when the loop hangs, this hangs with it, and the
    service is restarted. Returns at once without a watchdog.
    """
    interval_s = notifier.watchdog_interval_s
    while interval_s is not None:
        notifier.watchdog()
        await trio.sleep(interval_s)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return "\0" + text[1:]  # a name without a file
    return text if text.startswith("/") else None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # another process of the service is watched
    limit_us = environ.get("WATCHDOG_USEC", "")
    if not limit_us.isdecimal() or int(limit_us) == 0:
        return None
    return int(limit_us) / 1_000_000 / _BEATS_PER_LIMIT
