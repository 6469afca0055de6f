"""Loads models before the first request. `policy` decides which are worth it.

Clients come first: a model that is loaded without a waiter takes nothing away, and makes room at
once.
"""

import logging
from collections.abc import Iterable

from ..placement.policy import PlacementPolicy, left_running
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import Left, Waiter, Wanted

log = logging.getLogger(__name__)


async def preload(models: Iterable[str], policy: PlacementPolicy, dispatcher: Dispatcher) -> None:
    """Start `models`, each when the one before is ready.

    llama-swap starts them all in turn, whatever each one stops; what is running in the end is the
    same here, without the starts that are for nothing.

    Args:
        models: Ids, in the order in which they are started.
        policy: Decides which of them can run together.
        dispatcher: Starts them.
    """
    models = tuple(models)
    kept = left_running(models, policy)
    for model in models:
        if model not in kept:
            log.warning(
                "preload.left_out model=%s reason='another one of preload would stop it'", model
            )
    for number, model in enumerate(kept, start=1):
        try:
            await _load(
                model, Waiter("preload", number, takes_lease=False, is_asked=False), dispatcher
            )
        except Exception:  # it ends this one, and nothing else
            log.exception("preload.bug model=%s", model)


async def _load(model: str, waiter: Waiter, dispatcher: Dispatcher) -> None:
    """Start `model` once no request waits for any, and see it through."""
    engine = dispatcher.engine
    await dispatcher.wait_until(lambda engine: not engine.queue())  # clients come first
    if not engine.knows(model):
        return  # a reload was quicker
    await dispatcher.size_up(model)
    if not engine.knows(model):
        return
    plan = engine.explain(model, dispatcher.now())
    if plan.action in {"swap", "wait"}:
        log.warning("preload.left_out model=%s reason=%r", model, plan.why)
        return
    dispatcher.handle(Wanted(waiter, model))
    # Its start goes on, but waiters of another model need not wait for the end of it.
    dispatcher.handle(Left(waiter))
    swap = engine.swap(model)
    await dispatcher.wait_until(
        lambda engine: engine.has_ended(model, swap) or engine.state(model) != "starting"
    )
    for status in engine.models(dispatcher.now(), 0.0):
        if status.model == model and status.state != "ready":
            why = status.error.message if status.error else "it was stopped before it was ready"
            log.warning("preload.failed model=%s reason=%r", model, why)
