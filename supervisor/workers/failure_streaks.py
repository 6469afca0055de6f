"""Models that answer with errors only.

One bad request that always fails is no reason to stop a server that others are content with: what
counts is a row of failures with no good answer in between. And only what the server itself has
said about itself counts: not our own errors, not that it is busy or loading (503), not that it
cannot do what one request asks for (501, 505 to 511), and nothing about the request (4xx).

Starting it again may not help. So after each time the row has to be twice as long, until there was
a good answer; and the pauses of the engine grow.
"""

from typing import Final

import msgspec

from arriero.protocol.records import RequestRecord

# So many failures in a row. The usual clients ask three times before they give up: that one of them
# did is not enough, that two did in a row, and nobody was content meanwhile, is.
FAILURES: Final = 5

# Times that this is doubled at the most.
_MAX_DOUBLINGS: Final = 5

_STATUSES: Final = frozenset({500, 502, 504})

# The error in a stream that was begun early for such a response; its own status was 200 by then.
_LATE_CODES: Final = frozenset(code for n in _STATUSES for code in (str(n), f"http_{n}"))

# Errors of ours with such a status: there was no answer.
_OURS: Final = frozenset(
    {
        "internal",
        "model_load_failed",
        "model_load_timeout",
        "upstream_disconnected",
        "upstream_hung",
        "upstream_timeout",
        "upstream_truncated",
    }
)


class _Streak(msgspec.Struct):
    swap: int
    failures: int = 0
    rounds: int = 0


class StreakBroken(msgspec.Struct, frozen=True):
    """A model is to be started again.

    Attributes:
        failures: How many answers in a row were errors.
        rounds: How often it was started again for that before, in a row.
        was_well: There was a good answer before that from the same process.
    """

    failures: int
    rounds: int
    was_well: bool


class FailureStreaks:
    """The consecutive failures of all models."""

    def __init__(self) -> None:
        self._rows: dict[str, _Streak] = {}
        self._well: dict[str, int] = {}  # model -> the last start with a good answer

    def take(self, record: RequestRecord, swap: int) -> StreakBroken | None:
        """Take a request that ended; return when its model is to be restarted.

        Args:
            record: Of the request.
            swap: Number of the start whose process has answered.
        """
        model = record.model
        if is_success(record):
            self._well[model] = swap
            self._rows.pop(model, None)
        if not is_failure(record):
            return None
        row = self._rows.setdefault(model, _Streak(swap))
        if row.swap != swap:
            row.swap, row.failures = swap, 0
        row.failures += 1
        if row.failures < FAILURES * 2 ** min(row.rounds, _MAX_DOUBLINGS):
            return None
        verdict = StreakBroken(row.failures, row.rounds, self._well.get(model) == swap)
        row.failures, row.rounds = 0, row.rounds + 1
        return verdict


def is_failure(record: RequestRecord) -> bool:
    """Return whether the model's server failed, by its own response."""
    code = record.error_code or ""
    if record.outcome != "upstream_error" or code in _OURS:
        return False
    return record.status in _STATUSES or (record.stream and code in _LATE_CODES)


def is_success(record: RequestRecord) -> bool:
    """Return whether the model's server has sent anything of use."""
    return record.outcome == "ok" or record.output_tokens > 0
