"""Whether a failed request is sent to its upstream once more, and after how long.

Asked only while nothing of an answer has gone to the client: what it is told is the last answer,
untouched. A 500 is never tried again: it says that the request itself was too much.

Source of the fields: RFC 9110, section 10.2.3 (``Retry-After``); ``X-RateLimit-Reset`` has no
standard, and means seconds to some services and a Unix time to others.
"""

import math
import re
from collections.abc import Iterable
from datetime import UTC
from typing import Final

import msgspec

from ..limits import LIMITS

# Seconds after its grant in which a local model may still be starting: its server has said that
# it is ready, but what stands before it, or behind it, may not be.
STARTING_S: Final = 10.0

# Times that a request is sent again. Clients try again as well, each time with all of these.
_MAX_RETRIES: Final = 3

# Times that a request is sent again to a local model whose server took it and went away without a
# word: a request that kills its server would kill the next one as well.
_MAX_LOCAL_LOSSES: Final = 1

# Seconds until a local model is asked for again; doubled with each refusal, up to the longest.
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0

# Seconds before the first of them, doubled each time, if the upstream does not say how long.
_FIRST_DELAY_S: Final = 0.5

# Part of a delay of our own, and most seconds on top of one that was asked for, that chance
# decides, so that those who failed together do not come back together.
_CHANCE_SHARE: Final = 0.5
_CHANCE_S: Final = 0.25

_LOCAL_CAUSES: Final = frozenset({429})
_STARTING_CAUSES: Final = frozenset({429, 502, 503, 504})
_PEER_CAUSES: Final = frozenset({429, 503})
_FALL_CAUSES: Final = frozenset({429, 502, 503})

_NUMBER: Final = re.compile(rb"[0-9]+(\.[0-9]*)?")

# Above these a figure is a point in time and no duration: thirty years in s, and in ms.
_LEAST_UNIX_S: Final = 1e9
_LEAST_UNIX_MS: Final = 1e12


class Retries(msgspec.Struct, eq=False):
    """The further attempts of one request.

    Attributes:
        max_wait_s: Longest time in seconds that all its waits may take together.
        is_peer: The upstream is another server, not a local model.
        granted_at: When a local model was granted last, on the caller's clock.
        may_fall: Another machine has the model, and is asked at once instead.
    """

    max_wait_s: float
    is_peer: bool
    granted_at: float = -math.inf
    may_fall: bool = False
    _waited_s: float = 0.0
    _retries: int = 0

    def after_loss(self, *, chance: float) -> float | None:
        """Return how long to wait after a connection to a peer that was refused.

        Args:
            chance: A random number, from 0.0 to below 1.0.

        Returns:
            Seconds; None to try no more.
        """
        return None if self.may_fall else self._wait(None, chance)

    def after_answer(
        self,
        status: int,
        fields: Iterable[tuple[bytes, bytes]],
        *,
        unix_now: float,
        chance: float,
        since_grant_s: float = math.inf,
    ) -> float | None:
        """Return how long to wait after the head of an answer.

        Args:
            status: Its status.
            fields: Its fields, with lower-case names.
            unix_now: The time, for fields that name a point in time.
            chance: A random number, from 0.0 to below 1.0.
            since_grant_s: Seconds since the model was granted; of no meaning for peers.

        Returns:
            Seconds; None to pass the answer on.
        """
        if self.may_fall and self.is_peer:
            return 0.0 if status in _FALL_CAUSES else None
        if self.is_peer:
            causes = _PEER_CAUSES
        else:
            causes = _STARTING_CAUSES if since_grant_s < STARTING_S else _LOCAL_CAUSES
        if status not in causes:
            return None
        return self._wait(_asked_for(fields, unix_now), chance)

    def _wait(self, asked_s: float | None, chance: float) -> float | None:
        left_s = self.max_wait_s - self._waited_s
        if asked_s is None:
            delay_s = _FIRST_DELAY_S * 2.0**self._retries
            least_s = delay_s * (1 - _CHANCE_SHARE)
            wait_s = least_s + delay_s * _CHANCE_SHARE * chance
        else:
            least_s = asked_s
            wait_s = asked_s + _CHANCE_S * chance
        if least_s > left_s or self._retries >= _MAX_RETRIES:
            return None
        wait_s = min(wait_s, left_s)
        self._retries += 1
        self._waited_s += wait_s
        return wait_s


class LocalLosses:
    """How often one request has lost the server of its local model, before an answer began.

    Whoever is told to wait asks for the model again afterwards, and so waits for its restart.

    Args:
        refusing_s: See `Limits`.
    """

    def __init__(self, refusing_s: float = LIMITS.refusing_s) -> None:
        self._refusing_s = refusing_s
        self._unanswered = 0
        self._refused_since: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def after_loss(self, now: float, *, refused: bool) -> float | None:
        """Return how long to wait before the model is asked for again.

        Args:
            now: The time in seconds, on any clock.
            refused: There was no connection: nobody has seen the request. Else it was taken, and
                the connection ended without a byte of an answer.

        Returns:
            Seconds; None to try no more.
        """
        if not refused:
            self._unanswered += 1
            self._refused_since, self._pause_s = None, _FIRST_PAUSE_S
            return _FIRST_PAUSE_S if self._unanswered <= _MAX_LOCAL_LOSSES else None
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= self._refusing_s:
            return None
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s


def _asked_for(fields: Iterable[tuple[bytes, bytes]], unix_now: float) -> float | None:
    """Return the seconds that the upstream wants to be left alone; None if it does not say."""
    found = dict(fields)
    for name, read in ((b"retry-after", _read_retry_after), (b"x-ratelimit-reset", _read_reset)):
        value = found.get(name)
        asked_s = None if value is None else read(value.strip(), unix_now)
        if asked_s is not None and asked_s > 0:  # "now" says nothing of how long
            return asked_s
    return None


def _read_retry_after(value: bytes, unix_now: float) -> float | None:
    if _NUMBER.fullmatch(value):
        return float(value)
    from email.utils import parsedate_to_datetime  # most write a number

    try:
        when = parsedate_to_datetime(value.decode("ascii"))
        if when.tzinfo is None:  # asctime's form has no zone; all dates in HTTP are in UTC
            when = when.replace(tzinfo=UTC)
        return when.timestamp() - unix_now
    except Exception:  # noqa: BLE001  # whatever a stranger has written there: it is no date
        return None


def _read_reset(value: bytes, unix_now: float) -> float | None:
    if not _NUMBER.fullmatch(value):
        return None
    figure = float(value)
    if figure >= _LEAST_UNIX_MS:
        return figure / 1000 - unix_now
    return figure - unix_now if figure >= _LEAST_UNIX_S else figure
