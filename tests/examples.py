"""How many examples a property is tried with that says so itself."""

import os

IS_NIGHT = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"


def examples(by_day: int, by_night: int) -> int:
    """Return one of the two: on each change what finds most, at night what finds more."""
    return by_night if IS_NIGHT else by_day
