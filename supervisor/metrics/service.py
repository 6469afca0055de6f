"""Answers with all metrics: facts are copied on the loop, and a thread writes the text."""

import gzip
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import trio

from arriero.protocol.control.measures import MetricsReply
from arriero.protocol.values import PeerStatus

from ..machine.monitor import Monitor
from ..models.fleet import Fleet
from ..reload.reloader import ActiveConfig
from ..scheduling.dispatcher import Dispatcher
from ..telemetry.exporter import SpanExporter
from ..workers.pool import WorkerPool
from .merge import Merged
from .page import KnownNow, page
from .scrape import ScrapedServer, ask_all
from .tallies import Tallies

# The fastest: text of metrics shrinks to a twentieth.
_LEVEL: Final = 1


class _Form(NamedTuple):
    open_metrics: bool
    gzip: bool


class _Writing:
    """A text that will be written; who comes before it is begun gets it as well."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.text: bytes | None = None


class MetricsService:
    """All metrics.

    Args:
        in_force: The configuration.
        dispatcher: Of the engine.
        pool: The workers.
        fleet: The models' servers.
        tallies: What was counted.
        monitor: Samples of the machine.
        exporter: Sends spans of requests.
        started_at: Unix time at which the supervisor began.
        version: Gives that of this program.
        peers: Gives how other machines stand.
    """

    def __init__(
        self,
        in_force: ActiveConfig,
        dispatcher: Dispatcher,
        pool: WorkerPool,
        fleet: Fleet,
        tallies: Tallies,
        monitor: Monitor,
        exporter: SpanExporter,
        started_at: float,
        version: Callable[[], str],
        peers: Callable[[], tuple[PeerStatus, ...]] = tuple,
    ) -> None:
        self._in_force = in_force
        self._dispatcher = dispatcher
        self._pool = pool
        self._fleet = fleet
        self._tallies = tallies
        self._monitor = monitor
        self._exporter = exporter
        self._started_at = started_at
        self._version = version
        self._peers = peers
        self._turn = trio.Lock()
        self._waiting: dict[_Form, _Writing] = {}

    async def answer(self, *, open_metrics: bool, compressed: bool) -> MetricsReply:
        """Return the metrics of a moment after this call.

        One text is written at a time, and all who wait for it get the same: a flood of questions
        costs one processor's thread, and no more.

        Args:
            open_metrics: In the form of OpenMetrics.
            compressed: By gzip.
        """
        form = _Form(open_metrics, compressed)
        writing = self._waiting.get(form)
        if writing is None:
            writing = self._waiting[form] = _Writing()
            try:
                async with self._turn:
                    del self._waiting[form]
                    writing.text = await self._write(form)
            finally:
                writing.done.set()
        else:
            await writing.done.wait()  # bounded: the servers of models have their limits
        if writing.text is None:
            raise RuntimeError("the text was not written")  # and the log has the reason
        return MetricsReply(text=writing.text, gzip=compressed)

    async def _write(self, form: _Form) -> bytes:
        servers = self._servers()
        told = await ask_all(servers) if servers else {}
        return await trio.to_thread.run_sync(_text, self._known(), told, form)

    def _servers(self) -> list[ScrapedServer]:
        """Return the servers that are asked: those that serve, and neither sleep nor go."""
        engine = self._dispatcher.engine
        found = []
        for model in self._in_force.config.models.values():
            if model.scrape_metrics and engine.state(model.model) == "ready":
                place = self._fleet.place_of(model.model)
                if place is not None:
                    found.append(ScrapedServer(model.model, *place))
        return found

    def _known(self) -> KnownNow:
        dispatcher = self._dispatcher
        snapshot = dispatcher.snapshot()
        system, gpus = self._monitor.last
        return KnownNow(
            version=self._version(),
            started_at=self._started_at,
            models=snapshot.models,
            queue=snapshot.queue,
            devices=dispatcher.engine.devices(dispatcher.now()),
            workers=self._pool.status(),
            config=self._in_force.status(),
            worker_restarts=self._pool.restarts,
            lease_requests=dispatcher.lease_requests,
            traced={"exported": self._exporter.exported, "lost": self._exporter.lost},
            tallies=self._tallies.snapshot(),
            system=system,
            gpus=gpus,
            peers=self._peers(),
        )


def _text(known: KnownNow, told: Mapping[str, bytes | None], form: _Form) -> bytes:
    merged = Merged()
    for model, text in told.items():
        merged.add(model, text)
    written = page(known, merged, open_metrics=form.open_metrics)
    return gzip.compress(written, _LEVEL) if form.gzip else written
