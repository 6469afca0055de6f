"""Keeps the price list of a URL up to date.

No request ever waits for it: it gets the last good list. That one is kept on disk, so
that a start without the network has prices, too. It is a convenience: losing it costs prices, no
start.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from arriero.digests import sha256
from arriero.protocol.flood_log import FloodLog
from arriero.protocol.read_json import JsonReader

from ..host.atomic_file import read_file, replace_file
from ..host.http_get import GetFailed
from ..host.shortage import why
from ..text.redact import masked_text
from .by_pattern import PriceSource
from .fetch import FetchFailed, fetch
from .price_list import MAX_LIST_BYTES, BadPriceList, PriceList, read_price_list

log = logging.getLogger(__name__)

FILE_NAME: Final = "prices.json"


class FeedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds.

    Attributes:
        fetch_s: For one attempt. What models.dev publishes takes one second.
        retry_s: Until the next attempt after one that failed: the shortest pause that can be
            configured.
    """

    fetch_s: float = 60.0
    retry_s: float = 60.0


FEED_LIMITS: Final = FeedLimits()


class _Copy(msgspec.Struct):
    """The file on disk: a list and its URL."""

    of: str
    data: msgspec.Raw


_copy = JsonReader(_Copy)

# Bytes around the list in that file.
_AROUND_BYTES: Final = 200


class PriceFeed:
    """The price list of the URL in the configuration in force."""

    def __init__(
        self,
        source: Callable[[], PriceSource | None],
        copy: Path,
        limits: FeedLimits = FEED_LIMITS,
    ) -> None:
        """Build it; nothing is read yet.

        Args:
            source: Gives the setting of the configuration in force.
            copy: File of the last good list.
            limits: Limits of one attempt.
        """
        self._limits = limits
        self._source = source
        self._copy = copy
        self._url: str | None = None
        self._listed: PriceList | None = None
        self._is_failing = False
        self._tried_at = -math.inf
        self._woken = trio.Event()
        self._flood = FloodLog(log)

    @property
    def listed(self) -> PriceList | None:
        """The last good list; None if there is none yet, or no URL."""
        source = self._source()
        return self._listed if source is not None and source.url == self._url else None

    def follow(self) -> None:
        """Look at the configuration again: URL or pause may differ."""
        self._woken.set()

    async def load_copy(self) -> None:
        """Take the copy on disk, if it is of the URL in force."""
        source = self._source()
        url = None if source is None else source.url
        self._url, self._listed = url, None
        self._is_failing, self._tried_at = False, -math.inf
        if url is not None:
            try:
                self._listed = await trio.to_thread.run_sync(_load, self._copy, url)
            except RuntimeError as exc:  # no thread: the list is fetched
                log.warning("prices.unreadable path=%s reason=%s", self._copy, why(exc))

    async def run(self, changed: Callable[[], None]) -> None:
        """Fetch the list whenever it is time; never return.

        Args:
            changed: Called when there is another list.
        """
        while True:
            self._woken = trio.Event()
            source = self._source()
            if source is None or source.url is None:
                await self._woken.wait()
                continue
            if source.url != self._url:
                await self.load_copy()
                changed()
                continue  # while it was read there may have come yet another configuration
            pause_s = self._limits.retry_s if self._is_failing else source.refresh_s
            with trio.move_on_at(self._tried_at + pause_s) as waiting:
                await self._woken.wait()
            if not waiting.cancelled_caught:
                continue
            try:
                if await self._try(source.url):
                    changed()
            except Exception as exc:  # noqa: BLE001  it ends this attempt, and nothing else
                self._is_failing = True
                self._flood.exception("prices.bug", exc=exc)

    async def _try(self, url: str) -> bool:
        """Fetch the list once; return whether it is another one."""
        self._tried_at = trio.current_time()
        try:
            data, listed = await _fetched(url, self._limits.fetch_s)
        except (GetFailed, BadPriceList) as exc:
            if not self._is_failing:  # the next ones are no news
                self._is_failing = True
                uses = "none" if self._listed is None else "the last one"
                log.warning(
                    "prices.not_fetched url=%s reason=%r uses=%r", masked_text(url), str(exc), uses
                )
            return False
        if self._is_failing or self._listed is None:
            log.info("prices.fetched url=%s prices=%d", masked_text(url), len(listed))
        self._is_failing = False
        if listed == self._listed:
            return False
        self._listed = listed
        await trio.to_thread.run_sync(_save, self._copy, url, data)
        return True


async def _fetched(url: str, limit_s: float) -> tuple[bytes, PriceList]:
    with trio.move_on_after(limit_s):
        data = await fetch(url, MAX_LIST_BYTES)
        # In a thread: reading the largest list takes half a second.
        return data, await trio.to_thread.run_sync(read_price_list, data)
    raise FetchFailed(f"it took longer than {limit_s:g} s")


def _digest(url: str) -> str:
    """Return the name of `url` on disk: it may hold a key."""
    return sha256(url.encode()).hexdigest()


def _load(path: Path, url: str) -> PriceList | None:
    try:
        data = read_file(path, MAX_LIST_BYTES + _AROUND_BYTES)
        if data is None:
            return None
        copy = _copy.read(data)
        return read_price_list(bytes(copy.data)) if copy.of == _digest(url) else None
    except (OSError, ValueError, BadPriceList) as exc:
        log.warning("prices.unreadable path=%s reason=%s", path, exc)
        return None


def _save(path: Path, url: str, data: bytes) -> None:
    try:
        replace_file(path, msgspec.json.encode(_Copy(of=_digest(url), data=msgspec.Raw(data))))
    except OSError as exc:
        log.warning("prices.not_saved path=%s reason=%s", path, exc)
