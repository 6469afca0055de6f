"""Finds the owner of a request to be cancelled, among all workers."""

from collections.abc import Iterable, Mapping
from typing import Final

from arriero.protocol.lease import CancelResult

# Weight of an answer beside the others. Ids may be chosen by clients, so that two requests can
# have the same one: what was ended counts more than another caller's, or an older one that was.
_WEIGHT: Final[Mapping[CancelResult, int]] = {
    "unknown": 0,
    "finished": 1,
    "forbidden": 2,
    "cancelled": 3,
}


class CancelInquiry:
    """One query to several workers.

    Attributes:
        result: The best answer so far.

    Args:
        asked: The workers who are asked.
    """

    def __init__(self, asked: Iterable[str]) -> None:
        self._silent = set(asked)
        self.result: CancelResult = "unknown"

    def __repr__(self) -> str:
        return f"<Inquiry {self.result}, {len(self._silent)} silent>"

    @property
    def is_decided(self) -> bool:
        """True if no further answer can change anything."""
        return self.result == "cancelled" or not self._silent

    def answered(self, owner: str, result: CancelResult) -> None:
        """Take the answer of `owner`.

        One that was not asked, or has answered, is ignored.
        """
        if owner in self._silent:
            self._silent.discard(owner)
            self.result = max(self.result, result, key=_WEIGHT.__getitem__)

    def lost(self, owner: str) -> None:
        """Note that `owner` is gone, and will not answer."""
        self._silent.discard(owner)
