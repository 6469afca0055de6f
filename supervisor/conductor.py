"""Carries out what the engine decides: one place through which every happening goes.

All of it runs in one trio task at a time and never waits, so the engine sees happenings in the
order in which they were told, and its commands are carried out before the next one.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

import trio

from arriero.protocol.events import AnyEvent
from arriero.protocol.lease import FromSupervisor, Gone, Granted, Refused
from arriero.protocol.lease import Revoke as RevokeMessage
from arriero.protocol.values import ErrorInfo, Snapshot

from .engine import Engine
from .happenings import (
    Announce,
    Command,
    Grant,
    Happening,
    Refuse,
    Revoke,
    Spawn,
    Terminate,
    TimePassed,
    Void,
    Waiter,
)
from .publisher import Publisher

log = logging.getLogger(__name__)


class Processes(Protocol):
    """Starts and ends the processes of models, without waiting."""

    def spawn(self, model: str, swap: int) -> None:
        """Begin to start `model`."""
        ...

    def terminate(self, swap: int, grace_s: float) -> None:
        """Begin to end the process of the start `swap`."""
        ...


class Conductor:
    """The engine with hands.

    Attributes:
        engine: To be asked, never to be told: `tell` does that.
        lease_requests: How often a worker had to ask for a model.
    """

    def __init__(self, engine: Engine, publisher: Publisher) -> None:
        self.engine = engine
        self.lease_requests = 0
        self._publisher = publisher
        self._processes: Processes | None = None
        self._send_to_worker: Callable[[str, FromSupervisor], None] | None = None
        self._scripts: dict[Waiter, Callable[[Grant | ErrorInfo], None]] = {}
        self._changed = trio.Event()

    def connect(
        self, *, processes: Processes, send_to_worker: Callable[[str, FromSupervisor], None]
    ) -> None:
        """Attach the parts that carry commands out; before the first happening."""
        self._processes = processes
        self._send_to_worker = send_to_worker

    def tell(self, happening: Happening) -> None:
        """Let the engine know of `happening` and carry out what it decides."""
        for command in self.engine.handle(happening, trio.current_time()):
            self._carry_out(command)
        self._changed.set()
        self._changed = trio.Event()

    def publish(self, *events: AnyEvent) -> None:
        """Publish something that the engine has no say in."""
        self._publisher.publish(*events)

    @property
    def epoch(self) -> str:
        """That of all events of this supervisor."""
        return self._publisher.epoch

    @property
    def log_seq(self) -> int:
        """Number of the last log line that was published."""
        return self._publisher.log_seq

    @property
    def usage_seq(self) -> int:
        """Number of the last end of a request that was published."""
        return self._publisher.usage_seq

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        unix_now = time.time()
        return Snapshot(
            epoch=self._publisher.epoch,
            seq=self._publisher.seq,
            t=unix_now,
            models=self.engine.models(trio.current_time(), unix_now),
            queue=self.engine.queue(),
        )

    async def keep_time(self) -> None:
        """Tell the engine when one of its deadlines has come. Runs until cancelled."""
        while True:
            changed = self._changed
            deadline = self.engine.next_deadline(trio.current_time())
            with trio.CancelScope(deadline=deadline) as waiting:
                await changed.wait()
            if waiting.cancelled_caught:
                self.tell(TimePassed())

    async def wait_until(self, holds: Callable[[Engine], bool]) -> None:
        """Return once `holds` of the engine; the caller sets the deadline."""
        while not holds(self.engine):
            await self._changed.wait()

    def answer_script(self, waiter: Waiter, answer: Callable[[Grant | ErrorInfo], None]) -> None:
        """Call `answer` once, when `waiter` (a script's) gets its model or does not."""
        self._scripts[waiter] = answer

    def forget_script(self, waiter: Waiter) -> None:
        """Do not answer `waiter` any more."""
        self._scripts.pop(waiter, None)

    def _carry_out(self, command: Command) -> None:
        assert self._processes is not None  # `connect` comes before the first happening
        assert self._send_to_worker is not None
        match command:
            case Spawn(model, swap, why):
                if why:
                    log.info("model.unasked model=%s swap=%d reason=%r", model, swap, why)
                self._processes.spawn(model, swap)
            case Terminate(_, swap, grace_s):
                self._processes.terminate(swap, grace_s)
            case Grant(waiter, model, lease, endpoint, waited_s, kind):
                if waiter.takes_lease:
                    self._send_to_worker(
                        waiter.owner,
                        Granted(
                            request=waiter.request,
                            model=model,
                            lease=lease,
                            endpoint=endpoint,
                            waited_s=waited_s,
                            kind=kind,
                        ),
                    )
                elif answer := self._scripts.pop(waiter, None):
                    answer(command)
            case Refuse(waiter, model, error):
                log.info("request.refused model=%s code=%s", model, error.code)
                if waiter.takes_lease:
                    refused = Refused(request=waiter.request, model=model, error=error)
                    self._send_to_worker(waiter.owner, refused)
                elif answer := self._scripts.pop(waiter, None):
                    answer(error)
            case Revoke(owner, model, lease, when_idle):
                self._send_to_worker(
                    owner, RevokeMessage(model=model, lease=lease, when_idle=when_idle)
                )
            case Void(owner, model, lease):
                self._send_to_worker(owner, Gone(model=model, lease=lease))
            case Announce(event):
                self._publisher.publish(event)
