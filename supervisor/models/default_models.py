"""Brings the models under ``default`` back when nobody has asked for anything for a while.

Once for each time of quiet: what was unloaded in it, by its ttl or by hand, stays unloaded. What
failed is tried again after its pause.
"""

import itertools
import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
import trio

from ..placement.policy import PlacementPolicy, left_running
from ..scheduling.dispatcher import Dispatcher
from ..scheduling.messages.events import Left, Waiter, Wanted
from ..scheduling.view import EngineView

log = logging.getLogger(__name__)

# Longest time between two looks at what is wanted, which a reload may change.
_LOOK_S = 5.0

# Shortest time between two attempts at what has failed.
_AGAIN_S = 1.0

# States of a model that does not run.
_AT_REST: Final = frozenset({"stopped", "asleep"})


class DefaultModels(msgspec.Struct, frozen=True):
    """What is wanted when it is quiet.

    Attributes:
        models: Ids of the models, in the order in which they are started.
        after_s: Seconds without a request.
    """

    models: tuple[str, ...]
    after_s: float


async def keep_defaults(
    wanted: Callable[[], DefaultModels],
    policy: Callable[[], PlacementPolicy],
    dispatcher: Dispatcher,
) -> None:
    """Bring models back, until cancelled.

    Args:
        wanted: What is wanted, by the configuration in force.
        policy: Decides which models can run together.
        dispatcher: Starts them.
    """
    engine = dispatcher.engine
    waiters = (Waiter("default", n, takes_lease=False, is_asked=False) for n in itertools.count(1))
    served = -math.inf  # the time of quiet in which they were brought back

    while True:
        # Looked at now and then: to be woken by each event would cost a busy supervisor more.
        now_wanted, since = wanted(), engine.quiet_since()
        left_s = since + now_wanted.after_s - dispatcher.now()
        failed = [m for m in now_wanted.models if engine.may_retry(m, dispatcher.now())]
        is_new = since != served and bool(now_wanted.models)
        if since == math.inf or left_s > 0 or not (is_new or failed):
            pause_s = min(_LOOK_S, now_wanted.after_s)
            await trio.sleep(min(left_s, pause_s) if left_s > 0 else pause_s)
            continue
        kept = left_running(now_wanted.models, policy())
        for model in now_wanted.models:
            if is_new and model not in kept:
                why = "another one of them would stop it"
                log.warning("default.left_out model=%s reason=%r", model, why)
        due = kept if is_new else [model for model in failed if model in kept]
        served = since
        for model in due:
            if engine.quiet_since() == served:
                await _bring_back(model, next(waiters), now_wanted.models, dispatcher)
        if failed:
            await trio.sleep(_AGAIN_S)  # it may be left out again


async def _bring_back(
    model: str, waiter: Waiter, defaults: Iterable[str], dispatcher: Dispatcher
) -> None:
    """Start `model`, unless that would take something from a client or from another default."""
    engine = dispatcher.engine
    if not engine.knows(model) or engine.state(model) not in _AT_REST:
        return
    await dispatcher.size_up(model)
    if not engine.knows(model) or engine.state(model) != "stopped":
        return
    plan = engine.explain(model, dispatcher.now())
    if plan.action == "wait" or not set(plan.stops).isdisjoint(defaults):
        log.info("default.left_out model=%s reason=%r", model, plan.why)
        return
    log.info("default.comes_back model=%s stops=%s", model, ",".join(plan.stops) or "-")
    dispatcher.handle(Wanted(waiter, model))

    def is_on_its_way(engine: EngineView) -> bool:
        queue = engine.queue()
        return len(queue) != 1 or queue[0].model != model or engine.state(model) not in _AT_REST

    # Others make room before; a client that comes meanwhile goes first.
    await dispatcher.wait_until(is_on_its_way)
    dispatcher.handle(Left(waiter))
    await dispatcher.wait_until(
        lambda engine: not engine.knows(model) or engine.state(model) != "starting"
    )
