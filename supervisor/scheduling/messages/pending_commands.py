"""Commands that follow from the event at hand, in order; and the numbers that they bear."""

from .events import Command


class PendingCommands:
    """Collects commands until the event at hand is settled."""

    def __init__(self) -> None:
        self._commands: list[Command] = []
        self._last = 0

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, *commands: Command) -> None:
        """Add commands; they are carried out in this order."""
        self._commands += commands

    def take(self) -> list[Command]:
        """Return what was collected, and begin anew."""
        commands, self._commands = self._commands, []
        return commands

    def number(self) -> int:
        """Return a new number for a lease or a start."""
        self._last += 1
        return self._last

    def is_taken(self, number: int) -> None:
        """Note that `number` was given by an earlier supervisor: new ones are larger."""
        self._last = max(self._last, number)
