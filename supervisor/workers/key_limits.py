"""Limits of keys: how many requests run with each, and what it has used today.

A day is one of UTC: it is the same on all machines, has 24 hours, and does not begin anew when a
clock or a time zone is changed. What is used is known when a request has ended: those that run when
a budget is used up go on, and may go beyond it.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from arriero.protocol.records import RequestRecord
from arriero.protocol.values import ErrorInfo

from ..config.schema.key_types import KeyConfig

# Requests that are counted. Those beyond, more than any machine serves, run uncounted.
MAX_COUNTED: Final = 100_000

# Keys whose use is remembered for a day. They have a name in the configuration, so there are no
# more of them unless it changes a lot.
MAX_KEYS: Final = 10_000

# More than anybody's day costs; a number of a million digits would be written, one day.
_MOST_USD: Final = Decimal("1e30")

_DAY_S: Final = 86400

# Seconds until a request may find a place: one of those that run may end at any time.
_SOON_S: Final = 1.0


class KeyUse(msgspec.Struct):
    """What a key has used in a day.

    Attributes:
        tokens: Of prompts and answers.
        cost_usd: In US dollars, as far as prices are known.
        requests: How many have ended.
    """

    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    requests: int = 0


class OtherDay(msgspec.Struct):
    """What all keys have used in the day that it was before; as in `DayOfKeys`."""

    day: int = 0
    keys: dict[str, KeyUse] = msgspec.field(default_factory=dict)


class DayOfKeys(msgspec.Struct):
    """What all keys have used in one day.

    Attributes:
        day: Days since 1970, of UTC.
        keys: By name.
        before: The day that it was before: the clock may have been wrong, as after the start of a
            machine without a battery, and come back.
    """

    day: int = 0
    keys: dict[str, KeyUse] = msgspec.field(default_factory=dict)
    before: OtherDay = msgspec.field(default_factory=OtherDay)

    def at(self, t: float) -> None:
        """Begin another day if it is one at the Unix time `t`.

        A clock that is set back a little, by which it would be yesterday, is not believed.
        """
        day = int(t // _DAY_S)
        if day > self.day or day < self.day - 1:
            back = self.before.keys if self.before.day == day else {}
            self.before = OtherDay(self.day, self.keys)
            self.day, self.keys = day, back

    def add(self, record: RequestRecord) -> None:
        """Count a request that has ended, by the key that it has shown."""
        use = self.keys.get(record.key)
        if use is None:
            if len(self.keys) >= MAX_KEYS:
                return
            use = self.keys[record.key] = KeyUse()
        use.requests += 1
        use.tokens += record.input_tokens + record.output_tokens
        if record.cost_usd is not None:
            use.cost_usd += record.cost_usd

    def encode(self) -> bytes:
        """Return the bytes of its file."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "DayOfKeys":
        """Read it.

        Raises:
            ValueError: It is none, or has numbers with which no budget can be compared.
        """
        found = _decoder.decode(data)
        for name, use in (*found.keys.items(), *found.before.keys.items()):
            is_amount = use.cost_usd.is_finite() and 0 <= use.cost_usd <= _MOST_USD
            if use.tokens < 0 or not is_amount:
                raise ValueError(f"what '{name}' has used is no amount")
        return found


_decoder: Final = msgspec.json.Decoder(DayOfKeys)


class KeyRefusal(NamedTuple):
    """Why a request may not run.

    Attributes:
        error: For its client.
        again_s: Seconds until it may.
    """

    error: ErrorInfo
    again_s: float


class KeyLimits:
    """Decides which requests may run with keys that have limits.

    Args:
        keys: Gives the keys of the configuration in force.
        used: What they have used today.
        clock: Gives the Unix time.

    Attributes:
        used: The same.
        changes: How often that has changed.
    """

    def __init__(
        self,
        keys: Callable[[], Mapping[str, KeyConfig]],
        used: DayOfKeys,
        clock: Callable[[], float],
    ) -> None:
        self.used = used
        self.changes = 0
        self._keys = keys
        self._clock = clock
        self._running: dict[tuple[str, int], str] = {}
        self._counts: dict[str, int] = {}

    def enter(self, owner: str, ask: int, name: str) -> KeyRefusal | None:
        """Count a request, if it may run; else return why not.

        Args:
            owner: The worker.
            ask: Number of its query, to be given back to `leave`.
            name: Of the key.
        """
        key = self._keys().get(name)
        if key is None:  # it was taken out a moment ago, and its worker does not know yet
            return None
        refusal = self._refusal(key, self._counts.get(name, 0))
        if refusal is None:
            self.hold(owner, ask, name)
        return refusal

    def hold(self, owner: str, ask: int, name: str) -> None:
        """Count a request that runs, as this or an earlier supervisor has let it."""
        if len(self._running) < MAX_COUNTED:
            self.leave(owner, ask)  # it was asked twice
            self._running[owner, ask] = name
            self._counts[name] = self._counts.get(name, 0) + 1

    def leave(self, owner: str, ask: int) -> None:
        """Count a request no more."""
        name = self._running.pop((owner, ask), None)
        if name is not None:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def lost(self, owner: str) -> None:
        """Count none of those of a worker that is gone."""
        for running in [it for it in self._running if it[0] == owner]:
            self.leave(*running)

    def note(self, records: Iterable[RequestRecord]) -> None:
        """Count what requests have used that have ended, each of which had a key."""
        for record in records:
            self.used.at(self._clock())
            self.used.add(record)
            self.changes += 1

    def used_today(self) -> Mapping[str, KeyUse]:
        """Return what keys have used today, by their names."""
        self.used.at(self._clock())
        return self.used.keys

    def _refusal(self, key: KeyConfig, running: int) -> KeyRefusal | None:
        if key.concurrency and running >= key.concurrency:
            message = (
                f"cannot run this request now: {running} run with the key '{key.name}' already, as "
                "many as may ('concurrency' in the configuration)"
            )
            error = ErrorInfo(code="key_concurrency", message=message, transient=True)
            return KeyRefusal(error, _SOON_S)
        now = self._clock()
        self.used.at(now)
        use = self.used.keys.get(key.name)
        if use is None:
            return None
        if key.daily_tokens and use.tokens >= key.daily_tokens:
            what = f"{use.tokens} of {key.daily_tokens} tokens ('dailyTokens' in the configuration)"
        elif key.daily_cost and use.cost_usd >= key.daily_cost:
            cost = f"{use.cost_usd:.4f}".rstrip("0").rstrip(".")
            what = f"{cost} of {key.daily_cost:f} US dollars ('dailyCost' in the configuration)"
        else:
            return None
        error = ErrorInfo(
            code="key_budget",
            message=f"cannot run this request today: the key '{key.name}' has used {what}; it may "
            "go on at midnight, UTC",
        )
        return KeyRefusal(error, (self.used.day + 1) * _DAY_S - now)
