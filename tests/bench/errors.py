"""What a benchmark may end with."""


class BenchError(Exception):
    """The benchmark cannot go on; the message is for the person who started it."""
