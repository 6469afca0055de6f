"""What the supervisor raises: a class for each thing that the reader would do about it."""


class SupervisorError(Exception):
    """The supervisor cannot do something. The text says what, why, and what would do."""


class IllegalStep(SupervisorError):
    """A step that the lifecycle table lacks: a bug in the caller. Nothing was changed."""


class SpawnError(SupervisorError):
    """A process cannot be started. The text never holds its arguments: clients may see it."""


class PortError(SupervisorError):
    """No port is free."""
