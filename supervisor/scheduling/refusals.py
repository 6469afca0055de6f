"""What is told to those who wait for a model and do not get it."""

from arriero.protocol.values import ErrorInfo


def removed(model: str) -> ErrorInfo:
    """Another configuration has no such model."""
    return ErrorInfo(
        code="unknown_model", message=f"model {model} was removed from the configuration"
    )


def unavailable(model: str, why: str) -> ErrorInfo:
    """There is no mistake; later it may be different."""
    return ErrorInfo(
        code="model_unavailable", message=f"model {model} is not available: {why}", transient=True
    )


def stalled(model: str, limit_s: float) -> ErrorInfo:
    """Requests that got no further end, because their model has to stop."""
    return ErrorInfo(
        code="model_evicted",
        message=f"model {model} has to stop, and this request had got no further for "
        f"{limit_s:g} s; ask again, or raise drainLimit if it needs longer",
        transient=True,
    )


def hung(model: str, limit_s: float) -> ErrorInfo:
    """It is killed because it shows no sign of life."""
    return ErrorInfo(
        code="model_hung",
        message=f"model {model} hung: no byte, no processor time and no answer to its check for "
        f"{limit_s:g} s; it is killed, and started again for the next request",
        transient=True,
    )


def failing(model: str, failures: int, rounds: int) -> ErrorInfo:
    """It is started again because it answers with errors only."""
    again = f"; that did not help {rounds} times before" if rounds else ""
    return ErrorInfo(
        code="model_unavailable",
        message=f"model {model} has answered {failures} requests in a row with an error of its "
        f"server; it is started again for the next request{again}",
        transient=True,
    )


def too_slow(model: str, limit_s: float, why: str = "") -> ErrorInfo:
    """It was not ready in time; `why` says what is missing, and what would do."""
    after = f"it was not ready after {limit_s:g} s"
    return ErrorInfo(
        code="model_load_timeout",
        message=f"model {model} failed to load: {after}"
        + (f": {why}" if why else "; raise healthCheckTimeout if it needs longer"),
    )
