"""Decisions of the supervisor for requests that run, beside leases: the next one is told."""

import msgspec

from arriero.protocol.lease import (
    Claim,
    Deselect,
    HeldClaim,
    HeldKey,
    HeldSelection,
    KeyLeft,
    Unclaim,
)


class Engagements(msgspec.Struct):
    """Selections, claims and keys of this worker's requests, from the decision to the end."""

    _selected: dict[int, HeldSelection] = msgspec.field(default_factory=dict)
    _keys: dict[int, HeldKey] = msgspec.field(default_factory=dict)
    _claimed: dict[str, HeldClaim] = msgspec.field(default_factory=dict)  # by request

    def select(self, ask: int, selector: str, target: str, *, is_model: bool = False) -> None:
        """Note a target that was selected."""
        self._selected[ask] = HeldSelection(
            ask=ask, selector=selector, target=target, is_model=is_model
        )

    def deselect(self, ask: int) -> Deselect:
        """End a request for which a target was asked for."""
        self._selected.pop(ask, None)
        return Deselect(ask=ask)

    def enter_key(self, ask: int, key: str) -> None:
        """Note that a request runs with a key with limits."""
        self._keys[ask] = HeldKey(ask=ask, key=key)

    def leave_key(self, ask: int) -> KeyLeft:
        """End a request for which was asked whether it may run."""
        self._keys.pop(ask, None)
        return KeyLeft(ask=ask)

    def claim(self, claim: Claim) -> None:
        """Note a claim that holds, as far as anybody can tell."""
        self._claimed[claim.request_id] = HeldClaim(
            caller=claim.caller, key=claim.key, request_id=claim.request_id
        )

    def unclaim(self, caller: str, key: str, request_id: str) -> Unclaim:
        """End a request that had, or wanted, a claim."""
        self._claimed.pop(request_id, None)
        return Unclaim(caller=caller, key=key, request_id=request_id)

    def selected(self) -> tuple[HeldSelection, ...]:
        """Return what was selected for requests that run."""
        return tuple(self._selected.values())

    def keys(self) -> tuple[HeldKey, ...]:
        """Return the requests that run with keys with limits."""
        return tuple(self._keys.values())

    def claimed(self) -> tuple[HeldClaim, ...]:
        """Return the claims of requests that run."""
        return tuple(self._claimed.values())
