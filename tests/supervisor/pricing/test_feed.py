"""Prices from a URL: nobody waits for them, and the last good ones count."""

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import trio

from arriero.supervisor.pricing import feed as prices_fetch
from arriero.supervisor.pricing.by_pattern import PriceSource
from arriero.supervisor.pricing.feed import FILE_NAME, FeedLimits, PriceFeed
from arriero.supervisor.pricing.price_list import MAX_LIST_BYTES
from tests.supervisor.host.file_server import HANGS, answer, file_server

# Time from one attempt to the next, in seconds.
SOON_S = 0.01


@pytest.fixture(autouse=True)
def _all_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "arriero.supervisor.pricing.feed")


def listing(price: float) -> bytes:
    return json.dumps({"p": {"models": {"m": {"cost": {"input": price}}}}}).encode()


class Scene:
    """A feed, and how often it told that there is another list."""

    def __init__(
        self, folder: Path, url: str | None, refresh_s: float = SOON_S, fetch_s: float = 60.0
    ) -> None:
        self.source: PriceSource | None = None
        if url is not None:
            self.source = PriceSource(url=url, refresh_s=refresh_s)
        self.copy = folder / "state" / FILE_NAME
        self.feed = PriceFeed(
            lambda: self.source, self.copy, FeedLimits(fetch_s=fetch_s, retry_s=SOON_S)
        )
        self.changes = 0
        self._changed = trio.Event()

    def price(self) -> Decimal | None:
        """Return what the model costs, by the list that everybody gets now."""
        listed = self.feed.listed
        found = None if listed is None else listed.find("m")
        return None if found is None else found.input

    def changed(self) -> None:
        self.changes += 1
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for_price(self, price: str) -> None:
        while self.price() != Decimal(price):
            await self._changed.wait()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Run the feed as the supervisor does, for half a minute at most."""
        await self.feed.load_copy()
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.feed.run, self.changed)
                yield
                nursery.cancel_scope.cancel()


class Failed(logging.Handler):
    """Notices the line that says that a list could not be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.told = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("prices.not_fetched"):
            self.told.set()


@pytest.fixture
def failed() -> Iterator[Failed]:
    """What notices the line that says so."""
    found = Failed()
    prices_fetch.log.addHandler(found)
    yield found
    prices_fetch.log.removeHandler(found)


def lines(caplog: pytest.LogCaptureFixture, what: str) -> int:
    return sum(message.startswith(what) for message in caplog.messages)


BAD = (
    answer(b"down", "500 Internal Server Error"),
    answer(b"<html>"),
    b"",
    answer(listing(1))[:-1],
    answer(b"{}"),
    answer(b" " * (MAX_LIST_BYTES + 1)),
)


async def test_after_failures_good_list_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with file_server(*BAD, answer(listing(0.1))) as server:
        scene = Scene(tmp_path, server.url)
        async with scene.running():
            await server.wait_until_asked(len(BAD))
            assert (scene.price(), scene.changes) == (None, 0)
            await scene.wait_for_price("0.1")
    assert lines(caplog, "prices.not_fetched") == 1
    assert "reason='it answered with status 500' uses='none'" in caplog.text
    assert lines(caplog, "prices.fetched") == 1


async def test_down_source_keeps_last_list(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with file_server(answer(listing(0.1)), *BAD, answer(listing(0.2))) as server:
        scene = Scene(tmp_path, server.url)
        async with scene.running():
            await scene.wait_for_price("0.1")
            await server.wait_until_asked(1 + len(BAD))
            assert scene.price() == Decimal("0.1")
            await scene.wait_for_price("0.2")
    assert scene.changes == 2
    assert lines(caplog, "prices.not_fetched") == 1
    assert "uses='the last one'" in caplog.text


async def test_each_outage_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    answers = (b"", answer(listing(1)), b"", b"", answer(listing(2)))
    async with file_server(*answers) as server:
        scene = Scene(tmp_path, server.url)
        async with scene.running():
            await scene.wait_for_price("2")
    assert lines(caplog, "prices.not_fetched") == 2
    assert lines(caplog, "prices.fetched") == 2


async def test_start_without_source_uses_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, failed: Failed
) -> None:
    async with file_server(answer(listing(0.1))) as server:
        before = Scene(tmp_path, server.url)
        async with before.running():
            await before.wait_for_price("0.1")
    scene = Scene(tmp_path, server.url)  # where nobody listens any more
    await scene.feed.load_copy()
    assert scene.price() == Decimal("0.1")  # before anything was asked
    async with scene.running():
        await failed.told.wait()
        assert scene.price() == Decimal("0.1")
        async with file_server(answer(listing(0.2)), port=server.port):
            await scene.wait_for_price("0.2")
            assert lines(caplog, "prices.not_fetched") == 1
    assert "uses='the last one'" in caplog.text


async def test_silent_source_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with file_server(answer(listing(0.1)), HANGS, answer(listing(0.2))) as server:
        scene = Scene(tmp_path, server.url, fetch_s=0.2)
        async with scene.running():
            await server.wait_until_asked(2)
            assert scene.price() == Decimal("0.1")
            await scene.wait_for_price("0.2")
    assert "reason='it took longer than 0.2 s'" in caplog.text


async def test_the_same_list_again_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with file_server(answer(listing(0.1))) as server:
        scene = Scene(tmp_path, server.url)
        async with scene.running():
            await server.wait_until_asked(4)
            assert scene.changes == 1
            written = scene.copy.stat().st_mtime_ns
            await server.wait_until_asked(6)
            assert scene.copy.stat().st_mtime_ns == written
    assert len(caplog.messages) == 1


async def test_list_is_refreshed_on_time(tmp_path: Path) -> None:
    async with file_server(answer(listing(0.1))) as server:
        scene = Scene(tmp_path, server.url, refresh_s=3600)
        async with scene.running():
            await scene.wait_for_price("0.1")
            scene.feed.follow()  # a reload that changed something else
            await trio.testing.wait_all_tasks_blocked()
            assert len(server.heads) == 1
            scene.source = PriceSource(url=server.url, refresh_s=SOON_S)
            scene.feed.follow()
            await server.wait_until_asked(3)


async def test_other_url_counts_at_once(tmp_path: Path) -> None:
    async with (
        file_server(answer(listing(0.1))) as one,
        file_server(b"", answer(listing(0.2))) as other,
    ):
        scene = Scene(tmp_path, one.url, refresh_s=3600)
        async with scene.running():
            await scene.wait_for_price("0.1")
            scene.source = PriceSource(url=other.url, refresh_s=3600)
            assert scene.price() is None  # also before anybody was told
            scene.feed.follow()
            await other.wait_until_asked(1)
            assert scene.price() is None  # nor the copy on disk, which is of the other one
            await scene.wait_for_price("0.2")
            scene.source = None
            assert scene.price() is None


async def test_without_url_nothing_is_asked(tmp_path: Path) -> None:
    async with file_server(answer(listing(0.1))) as server:
        scene = Scene(tmp_path, None)
        async with scene.running():
            await trio.testing.wait_all_tasks_blocked()
            assert scene.price() is None
            scene.source = PriceSource(file="/somewhere")
            scene.feed.follow()
            await trio.testing.wait_all_tasks_blocked()
            assert server.heads == []
            scene.source = PriceSource(url=server.url)
            scene.feed.follow()
            await scene.wait_for_price("0.1")


URL = "http://127.0.0.1:1/"
OF_URL = b'{"of":"' + hashlib.sha256(URL.encode()).hexdigest().encode() + b'","data":'


@pytest.mark.parametrize(
    ("data", "price", "count"),
    [
        (OF_URL + listing(3) + b"}", 3, 0),
        (None, None, 0),  # an ordinary first start
        (b'{"of":"another","data":' + listing(3) + b"}", None, 0),
        (OF_URL + b"[]}", None, 1),
        (OF_URL + listing(3), None, 1),
        (b"", None, 1),
        (b"\xff", None, 1),
        (b'{"of":1}', None, 1),
        (b"[" * 100_000, None, 1),
        (OF_URL + listing(3) + b"}" + b" " * (MAX_LIST_BYTES + 200), None, 1),
    ],
)
async def test_broken_copy_is_none(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    data: bytes | None,
    price: int | None,
    count: int,
) -> None:
    scene = Scene(tmp_path, URL)
    scene.copy.parent.mkdir()
    if data is not None:
        scene.copy.write_bytes(data)
    await scene.feed.load_copy()
    assert scene.price() == price
    assert lines(caplog, "prices.unreadable") == count


async def test_unwritable_copy_costs_no_prices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with file_server(answer(listing(0.1))) as server:
        scene = Scene(tmp_path, server.url)
        scene.copy.mkdir(parents=True)
        async with scene.running():
            await scene.wait_for_price("0.1")
    assert lines(caplog, "prices.not_saved") == 1
    assert [entry.name for entry in scene.copy.parent.iterdir()] == [FILE_NAME]


async def test_key_in_url_stays_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with file_server(b"", answer(listing(0.1))) as server:
        scene = Scene(tmp_path, f"{server.url}?api_key=s3cret")
        async with scene.running():
            await scene.wait_for_price("0.1")
            await server.wait_until_asked(3)
    assert b"?api_key=s3cret" in server.heads[0]
    assert "s3cret" not in caplog.text
    assert b"s3cret" not in scene.copy.read_bytes()
    assert scene.copy.stat().st_mode & 0o077 == 0
