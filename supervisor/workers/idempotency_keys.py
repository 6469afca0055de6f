"""``Idempotency-Key`` of running requests, so that no second one runs.

A key belongs to its caller: two callers may use the same one. It is taken for as long as the
request runs, not longer; who asks after that wants the work done again.
"""

from collections.abc import Callable
from typing import Final

import msgspec

# Keys that are kept. A claim is a request that runs now, and ten thousand of these are more than
# any machine serves: this bounds what workers could make us remember.
MAX_CLAIMS: Final = 100_000


class _Claim(msgspec.Struct, frozen=True):
    owner: str
    request_id: str


class Claims:
    """The keys that are taken.

    Args:
        most: Kept at the most. A request beyond that runs without being kept: a repeat of it would
            not be noticed, which is better than to refuse it.
    """

    def __init__(self, most: int = MAX_CLAIMS) -> None:
        self._claims: dict[tuple[str, str], _Claim] = {}
        self._most = most

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, owner: str, caller: str, key: str, request_id: str) -> str:
        """Claim `key` for the request `request_id`.

        Returns the id of the one that has it.

        Empty when it was free: it is taken now. Asking twice is no repeat of the same question:
        a client that sends a request again may well send the same id again.

        Args:
            owner: The worker in which the request runs.
            caller: The key's owner.
            key: The key.
            request_id: Of the request.
        """
        if (held := self._claims.get((caller, key))) is not None:
            return held.request_id
        if len(self._claims) < self._most:
            self._claims[caller, key] = _Claim(owner, request_id)
        return ""

    def unclaim(self, owner: str, caller: str, key: str, request_id: str) -> None:
        """Free the key of a request that ended, if it has one."""
        if self._claims.get((caller, key)) == _Claim(owner, request_id):
            del self._claims[caller, key]

    def lost(self, owner: str) -> None:
        """Free the keys of a worker that is gone."""
        self._keep_only(lambda claim: claim.owner != owner)

    def _keep_only(self, stays: Callable[[_Claim], bool]) -> None:
        self._claims = {key: claim for key, claim in self._claims.items() if stays(claim)}
