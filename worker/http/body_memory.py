"""How many bytes of bodies a worker keeps in memory, all requests together.

Each body has a limit of its own; many at once would be more memory than there is. What counts is
what has come, not what was promised: a client that promises much and sends nothing takes no room
from others.
"""

from typing import Final

from ..errors import BodyMemoryFull

# See `WorkerConfig.body_memory_bytes`.
DEFAULT_BYTES: Final = 512 * 1024**2


class BodyMemory:
    """All bytes that are held.

    Attributes:
        limit_bytes: Not more than this. It may be lowered: then nothing is taken for a while.
        held_bytes: So many are held now.
    """

    __slots__ = ("held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int = DEFAULT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class MemoryHold:
    """The bytes that one connection holds; one body at a time.

    Attributes:
        held_bytes: How many these are.
    """

    __slots__ = ("_memory", "held_bytes")

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.held_bytes = 0

    def grow(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            BodyMemoryFull: All together would be too many. Nothing has changed then.
        """
        memory = self._memory
        held = memory.held_bytes + count
        if held > memory.limit_bytes:
            raise BodyMemoryFull(memory.limit_bytes)
        memory.held_bytes = held
        self.held_bytes += count

    def check(self, count: int) -> None:
        """Make sure that there is room for so many bytes more; nobody keeps it free.

        Raises:
            BodyMemoryFull: There is none.
        """
        if self._memory.held_bytes + count > self._memory.limit_bytes:
            raise BodyMemoryFull(self._memory.limit_bytes)

    def release(self) -> None:
        """Hold nothing any more; may be called again."""
        self._memory.held_bytes -= self.held_bytes
        self.held_bytes = 0
