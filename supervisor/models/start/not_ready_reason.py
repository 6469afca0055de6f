"""Reason why a start is not ready yet, with the remedy, for waiters.

Ready is a server when its endpoint accepts connections, the listener there is what was started,
and the response to ``checkEndpoint`` is good. The server's own report makes the query
early, and is no proof: it may listen elsewhere.
"""

from typing import Final
from urllib.parse import urlsplit

from ...host.http_get import Response
from ..signs.health import Failure, Outcome

# How much is shown of an address or a path: both are from the configuration.
_SHOWN: Final = 80

_MORE_TIME: Final = "raise healthCheckTimeout if it needs longer"
_OTHER_PATH: Final = "set checkEndpoint to a path that it answers with 200, or to none"

_SILENT: Final[dict[Failure, str]] = {
    "hung up": "it closes the connection without an answer",
    "not http": "what it answers is not HTTP",
}


def why_not_ready(outcome: Outcome | None, url: str, shown: str, *, says_ready: bool) -> str:
    """Return the reason and the remedy.

    Args:
        outcome: Of the last query; None: it is not answered yet.
        url: Of the query.
        shown: Its place, from `place_shown`.
        says_ready: It has reported that it is ready.
    """
    path = (urlsplit(url).path or "/")[:_SHOWN]  # no query: it may hold a key
    despite = "its own report says that it is ready, but " if says_ready else ""
    if outcome is None:
        return (
            f"{despite}it accepts connections at {shown} and does not answer {path}; {_MORE_TIME}"
        )
    if isinstance(outcome.result, Response):
        return despite + _of_answer(outcome.result.status, outcome, path)
    if outcome.result == "unreachable":
        would_do = (
            "let proxy name the address on which it listens"
            if says_ready
            else f"{_MORE_TIME}, or let proxy name the address on which it listens"
        )
        return f"{despite}nobody listens at {shown} (proxy); {would_do}"
    return (
        f"{despite}{_SILENT[outcome.result]} when it is asked for {path} at {shown}; {_OTHER_PATH}"
    )


def place_shown(endpoint: str) -> str:
    """Return `endpoint` without user names, passwords and folders."""
    if endpoint.startswith("unix:"):
        return f"the socket {endpoint.rpartition('/')[2][:_SHOWN]!r}"
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:_SHOWN]


def _of_answer(status: int, outcome: Outcome, path: str) -> str:
    begin = f"it answered {status} at {path}"
    match status:
        case 401 | 403:
            return f"{begin}: set apiKey to the key that it wants, or checkEndpoint to an open path"
        case _ if outcome.not_followed == "elsewhere":
            return f"{begin}, which leads to another host and is not followed: {_OTHER_PATH}"
        case _ if outcome.not_followed == "too often":
            return f"{begin}, and led from one address to the next without an end: {_OTHER_PATH}"
        case 502 | 503 | 504:
            return f"{begin}, so it still loads; {_MORE_TIME}"
        case _ if status >= 500:
            return f"{begin}: its log may say why; or {_OTHER_PATH}"
        case _:
            return f"{begin}: {_OTHER_PATH}"
