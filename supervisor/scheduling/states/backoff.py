"""Pauses before a failed model is started again."""

import msgspec


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses that double up to a limit.

    Attributes:
        first_s: Pause after the first failure. Short: one crash in a long life is an accident,
            and somebody waits.
        limit_s: Longest pause. systemd's RestartMaxDelaySec is of that order; a broken model
            should cost next to nothing, and yet come back soon after it was mended.
        forgiven_after_s: A process that served this long before it failed starts from the first
            pause again.
    """

    first_s: float = 0.5
    limit_s: float = 30.0
    forgiven_after_s: float = 30.0

    def pause_s(self, failures: int) -> float:
        """Return the pause after `failures` in a row; 0.0 after none."""
        if failures <= 0:
            return 0.0
        # Past 2**30 first pauses every limit is reached; the cap keeps the power small.
        return min(self.limit_s, self.first_s * 2.0 ** min(failures - 1, 30))
