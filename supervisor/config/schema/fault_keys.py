"""The keys for models that hang, fail or cannot finish: once for all of them, and for each."""

from dataclasses import replace
from typing import Any, Final

from .reader import Key
from .types import choice, duration

_DAY_S: Final = 24 * 3600

TOP_FAULT_KEYS: Final[tuple[Key[Any], ...]] = (
    Key(
        "hungAfter",
        duration(1, _DAY_S, or_none=True),
        60.0,
        "A model that is asked, but for so long says nothing, uses no processor time and does not "
        "answer its check either, is killed and started again; 0: never.",
        acts="0.1",
        field="hung_after_s",
        written="60s",
    ),
    Key(
        "drainLimit",
        duration(1, _DAY_S, or_none=True),
        600.0,
        "Requests of a model that has to stop are ended when none of them has got any further for "
        "so long; 0: never.",
        acts="0.1",
        field="drain_limit_s",
        written="10m",
    ),
    Key(
        "onFailure",
        choice({"restore": "restore", "none": "none"}),
        "restore",
        "When a model cannot be started, those that were stopped for it are started again "
        "(restore), or not (none).",
        acts="0.1",
        field="on_failure",
    ),
)

MODEL_FAULT_KEYS: Final = tuple(
    replace(
        key,
        default=None,
        written=None,
        meaning="As the global key, for this model.",
        without="the global value",
    )
    for key in TOP_FAULT_KEYS
)
