"""What tests of the engine are made of."""

from collections.abc import Sequence

from arriero.protocol.values import ErrorInfo
from arriero.supervisor.scheduling.engine import Engine
from arriero.supervisor.scheduling.messages.events import (
    Announce,
    BecameReady,
    Command,
    GrantLease,
    Spawn,
    Spawned,
    Waiter,
    Wanted,
)

CRASHED = ErrorInfo(code="model_unavailable", message="it ended", transient=True)
W1, W2, W3 = (Waiter("w", number) for number in (1, 2, 3))
OTHER = Waiter("other", 1)
SCRIPT = Waiter("script", 1, takes_lease=False)


def acts(commands: Sequence[Command]) -> list[Command]:
    """What is done, without what is said about it."""
    return [command for command in commands if not isinstance(command, Announce)]


def make_ready(engine: Engine, model: str, waiter: Waiter, now: float) -> GrantLease:
    spawn = next(c for c in engine.handle(Wanted(waiter, model), now) if isinstance(c, Spawn))
    engine.handle(Spawned(model, spawn.swap, 100, f"http://{model}"), now)
    (grant,) = acts(engine.handle(BecameReady(model, spawn.swap), now))
    assert isinstance(grant, GrantLease)
    return grant
