"""Topics of subscribers, within limits.

zmq keeps the beginnings of topics in a tree of single bytes: 80 bytes of memory for each byte that
somebody sends. Nothing in zmq bounds that tree, so a subscriber that makes it grow too far is cut
off.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Final, TypeVar

import msgspec

_Key = TypeVar("_Key")

# Longest beginning of a topic: `progress/`, the id of a model, and a line end.
MAX_TOPIC_BYTES: Final = 256

# Of one subscriber. Who follows more models than that takes all of them, with one subscription.
MAX_TOPICS: Final = 1000

# Of all together: 40 MB of memory.
MAX_BYTES: Final = 512 * 1024


class Subscriptions(msgspec.Struct):
    """Prefixes of topics, each with its first subscriber."""

    _wanted: dict[bytes, Hashable] = msgspec.field(default_factory=dict)
    _lengths: Counter[int] = msgspec.field(default_factory=Counter)
    _counts: Counter[Hashable] = msgspec.field(default_factory=Counter)
    _bytes: int = 0

    def note(self, frame: bytes, source: Hashable) -> Hashable | None:
        """Take a subscription: 1 or 0, and the prefix of a topic.

        zmq reports only the first subscriber of a topic, and when the last one has left it.

        Args:
            frame: The message.
            source: The sender; None if unknown.

        Returns:
            The subscriber to cut off, if any.
        """
        kind, topic = frame[:1], frame[1:]
        if kind == b"\0":
            self._drop(topic)
        elif kind == b"\1":
            return self._add(topic, source)
        return None

    def wants(self, topic: bytes) -> bool:
        """Return whether `topic` has a subscriber."""
        return any(topic[:length] in self._wanted for length in self._lengths)

    def has_any(self, prefix: bytes) -> bool:
        """Return whether a subscription begins with `prefix`."""
        return any(topic.startswith(prefix) for topic in self._wanted)

    def _add(self, topic: bytes, source: Hashable) -> Hashable | None:
        if topic in self._wanted:
            return None
        self._wanted[topic] = source
        self._lengths[len(topic)] += 1
        self._bytes += len(topic)
        self._counts[source] += 1
        if len(topic) > MAX_TOPIC_BYTES or self._counts[source] > MAX_TOPICS:
            return source
        if self._bytes > MAX_BYTES:
            return self._counts.most_common(1)[0][0]
        return None

    def _drop(self, topic: bytes) -> None:
        if topic not in self._wanted:
            return
        source = self._wanted.pop(topic)
        self._bytes -= len(topic)
        _take_one(self._lengths, len(topic))
        _take_one(self._counts, source)


def _take_one(counts: Counter[_Key], key: _Key) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
