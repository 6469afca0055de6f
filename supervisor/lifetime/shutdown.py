"""The end of a supervisor: signals, and how long requests are waited for."""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import trio

from arriero.protocol.wakefulness import LOOK_S

from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import ShuttingDown
from ..workers.pool import WorkerPool

log = logging.getLogger(__name__)

# Seconds that running requests get after SIGTERM. docker stop gives 10, systemd 90; a long answer
# of a slow model takes a minute, and deploy/arriero.service leaves twice that.
DRAIN_LIMIT_S = 60.0


async def lose_patience(patience: trio.CancelScope, dispatcher: Dispatcher) -> None:
    """Cancel `patience` after `DRAIN_LIMIT_S` seconds in which this process was awake."""
    until = dispatcher.now() + DRAIN_LIMIT_S
    while (left_s := until - dispatcher.now()) > 0:  # noqa: ASYNC110  time is all there is
        await trio.sleep(min(left_s, LOOK_S))
    patience.cancel()


async def drain(dispatcher: Dispatcher, pool: WorkerPool) -> None:
    """Let running requests finish, and admit no new ones."""
    dispatcher.handle(ShuttingDown())
    await pool.finish_all()
    await dispatcher.wait_until(lambda engine: not engine.running())


def heeded_signals() -> list[signal.Signals]:
    """Return those that `obey` handles.

    A shell has SIGINT ignored in what a script runs in the background: Ctrl-C is meant for the
    script then, which may stop us in good order.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return [signal.SIGTERM, signal.SIGHUP]
    return [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


async def obey(
    signals: AsyncIterator[int],
    told_to_stop: trio.Event,
    patience: trio.CancelScope,
    reload: Callable[[], None],
) -> None:
    """Handle signals: SIGHUP reloads, the others stop.

    The first of these stops in good order, the second at once.

    SIGHUP from a terminal that has been closed asks to stop, as it does of every program there.
    """
    had_terminal = os.isatty(sys.stderr.fileno())
    async for number in signals:
        log.info("supervisor.signal name=%s", signal.Signals(number).name)
        if number == signal.SIGHUP and not (had_terminal and not os.isatty(sys.stderr.fileno())):
            reload()
            continue
        if told_to_stop.is_set():
            patience.cancel()
        told_to_stop.set()
