"""Settings of the engine that an operator may change."""

import msgspec

from .backoff import Backoff


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings that concern all models.

    Attributes:
        max_wait_s: How long a contested model may go on admitting requests. Ten seconds let a
            chat or a batch finish a few short requests before the swap, and are not yet the
            minute after which clients begin to give up.
        backoff: Pauses between the starts of a model that fails.
    """

    max_wait_s: float = 10.0
    backoff: Backoff = msgspec.field(default_factory=Backoff)
