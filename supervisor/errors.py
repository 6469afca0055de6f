"""Errors of the supervisor, one class for each reaction."""

from collections.abc import Iterable

import msgspec


class SupervisorError(Exception):
    """The supervisor cannot do something.

    The text has the attempt, the reason and the remedy.
    """


class IllegalStep(SupervisorError):
    """A step that the lifecycle table lacks: a bug in the caller. Nothing was changed."""


class SpawnError(SupervisorError):
    """A process cannot be started.

    The text never holds its arguments: clients may see it.
    """


class PortError(SupervisorError):
    """No port is free."""


class Problem(msgspec.Struct, frozen=True, order=True):
    """One mistake in a configuration.

    Attributes:
        source: The file.
        line, column: From 1; 0 where the mistake is that something is missing altogether.
        path: The key, such as ``models.qwen.ttl``; may be empty.
        message: The mistake, and the remedy.
    """

    source: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class ConfigError(SupervisorError):
    """A configuration cannot be used.

    Attributes:
        problems: Every mistake in it, not only the first.
        warnings: Problems that do not keep it from being used.
    """

    def __init__(self, problems: Iterable[Problem], warnings: Iterable[Problem] = ()) -> None:
        self.problems = tuple(sorted(problems))
        self.warnings = tuple(sorted(warnings))
        count = len(self.problems)
        lines = [f"cannot use the configuration: {count} problem{'s' * (count != 1)}"]
        lines += [f"  {problem}" for problem in self.problems[:_SHOWN]]
        if count > _SHOWN:
            lines.append(f"  ... and {count - _SHOWN} more")
        super().__init__("\n".join(lines))


# As many problems as fit on a screen.
_SHOWN = 40
