"""Errors for waiters that do not get their model."""

from arriero.protocol.values import ErrorInfo


def removed(model: str) -> ErrorInfo:
    """The configuration has no such model any more."""
    return ErrorInfo(
        code="unknown_model", message=f"model {model} was removed from the configuration"
    )


def unavailable(model: str, why: str) -> ErrorInfo:
    """The model cannot be had now; later it may be."""
    return ErrorInfo(
        code="model_unavailable", message=f"model {model} is not available: {why}", transient=True
    )


def full(model: str, most: int, ahead: int) -> ErrorInfo:
    """All places of the model are taken; `ahead` requests wait for one already."""
    running = f"{most} request{'s' * (most != 1)} of it run{'s' * (most == 1)}"
    return ErrorInfo(
        code="concurrency_limit",
        message=f"model {model} cannot take this request now: {running}, as many as its "
        f"concurrencyLimit allows, and {ahead} wait; it would be number {ahead + 1} in line. "
        "Ask again a little later, or raise the limit",
        transient=True,
        position=ahead + 1,
    )


def stalled(model: str, limit_s: float) -> ErrorInfo:
    """Requests without progress end, because their model has to stop."""
    return ErrorInfo(
        code="model_evicted",
        message=f"model {model} has to stop, and this request had got no further for "
        f"{limit_s:g} s; ask again, or raise drainLimit if it needs longer",
        transient=True,
    )


def hung(model: str, limit_s: float) -> ErrorInfo:
    """The model is killed because it shows no sign of life."""
    return ErrorInfo(
        code="model_hung",
        message=f"model {model} hung: no byte, no processor time and no answer to its check for "
        f"{limit_s:g} s; it is killed, and started again for the next request",
        transient=True,
    )


def machine_lost(model: str, machine: str) -> ErrorInfo:
    """The machine on which the model runs cannot be reached."""
    return ErrorInfo(
        code="model_unavailable",
        message=f"model {model} went away: its machine {machine} cannot be reached any more; ask "
        "again, and it is started on another one",
        transient=True,
    )


def failing(model: str, failures: int, rounds: int) -> ErrorInfo:
    """The model is restarted because it responds with errors only."""
    again = f"; that did not help {rounds} times before" if rounds else ""
    return ErrorInfo(
        code="model_unavailable",
        message=f"model {model} has answered {failures} requests in a row with an error of its "
        f"server; it is started again for the next request{again}",
        transient=True,
    )


def deserted(model: str) -> ErrorInfo:
    """The model is restarted because nothing listens at its endpoint any more."""
    return ErrorInfo(
        code="model_unavailable",
        message=f"model {model} went away: nothing listens at its endpoint any more, though what "
        "started it still runs; it is started again for the next request",
        transient=True,
    )


def too_slow(model: str, limit_s: float, why: str = "") -> ErrorInfo:
    """The model was not ready in time.

    `why` has the reason and the remedy.
    """
    after = f"it was not ready after {limit_s:g} s"
    return ErrorInfo(
        code="model_load_timeout",
        message=f"model {model} failed to load: {after}"
        + (f": {why}" if why else "; raise healthCheckTimeout if it needs longer"),
    )


def no_room(model: str, why: str, *, for_good: bool) -> ErrorInfo:
    """The model cannot have the memory that it needs."""
    return ErrorInfo(
        code="model_unavailable",
        message=f"model {model} has no room: {why}",
        transient=not for_good,
    )
